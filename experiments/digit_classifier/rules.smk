# The judge: one run, before any autoencoder.


rule digit_classifier:
    input:
        ancient(JOBS.data("digit_classifier")),
        JOBS.code("digit_classifier"),
    output:
        JOBS.outputs("digit_classifier", "default", "{seed}"),
    log:
        f"{LOGS}/digit_classifier-{{seed}}.log",
    benchmark:
        f"{TIMES}/digit_classifier-{{seed}}.tsv"
    resources:
        mem_mb=JOBS.megabytes("digit_classifier"),
        runtime=JOBS.minutes("digit_classifier"),
    params:
        config=lambda wildcards, output: CONFIG,
        identity=JOBS.identity("digit_classifier"),
    shell:
        "python -m experiments.digit_classifier --config={params.config:q} --seed {wildcards.seed:q} --overwrite "
        "> {log:q} 2>&1"
