# One run that measures time: it takes all cores, so that nothing runs beside it. A cluster's profile gives it a node.


rule step_cost:
    input:
        JOBS.code("step_cost"),
    output:
        JOBS.outputs("step_cost", "default", "{seed}"),
    log:
        f"{LOGS}/step_cost-{{seed}}.log",
    benchmark:
        f"{TIMES}/step_cost-{{seed}}.tsv"
    threads: workflow.cores or 1
    resources:
        gpu=min(1, SETTINGS.gpus),
        mem_mb=JOBS.megabytes("step_cost"),
        runtime=JOBS.minutes("step_cost"),
    params:
        config=lambda wildcards, output: CONFIG,
        identity=JOBS.identity("step_cost"),
    shell:
        "python -m experiments.step_cost --config={params.config:q} --seed {wildcards.seed:q} --overwrite > {log:q} 2>&1"
