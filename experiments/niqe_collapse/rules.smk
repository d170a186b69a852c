# One run scores all sets of images.


rule niqe_collapse:
    input:
        ancient(JOBS.data("niqe_collapse")),
        JOBS.code("niqe_collapse"),
    output:
        JOBS.outputs("niqe_collapse", "default", "{seed}"),
    log:
        f"{LOGS}/niqe_collapse-{{seed}}.log",
    benchmark:
        f"{TIMES}/niqe_collapse-{{seed}}.tsv"
    resources:
        mem_mb=JOBS.megabytes("niqe_collapse"),
        runtime=JOBS.minutes("niqe_collapse"),
    params:
        config=lambda wildcards, output: CONFIG,
        identity=JOBS.identity("niqe_collapse"),
    shell:
        "python -m experiments.niqe_collapse --config={params.config:q} --seed {wildcards.seed:q} --overwrite "
        "> {log:q} 2>&1"
