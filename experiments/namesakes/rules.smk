# One run feeds the same losses to all rules.


rule namesakes:
    input:
        ancient(JOBS.data("namesakes")),
        JOBS.code("namesakes"),
    output:
        JOBS.outputs("namesakes", "default", "{seed}"),
    log:
        f"{LOGS}/namesakes-{{seed}}.log",
    benchmark:
        f"{TIMES}/namesakes-{{seed}}.tsv"
    resources:
        mem_mb=JOBS.megabytes("namesakes"),
        runtime=JOBS.minutes("namesakes"),
    params:
        config=lambda wildcards, output: CONFIG,
        identity=JOBS.identity("namesakes"),
    shell:
        "python -m experiments.namesakes --config={params.config:q} --seed {wildcards.seed:q} --overwrite "
        "> {log:q} 2>&1"
