# One job trains one method with one seed; where a job has several GPUs, on all of them, data parallel.


rule introvae:
    input:
        ancient(JOBS.data("introvae")),
        JOBS.code("introvae"),
    output:
        JOBS.outputs("introvae", "{method}", "{seed}"),
    log:
        f"{LOGS}/introvae/{{method}}-{{seed}}.log",
    benchmark:
        f"{TIMES}/introvae/{{method}}-{{seed}}.tsv"
    priority: 5
    threads: max(1, SETTINGS.gpus)
    resources:
        gpu=SETTINGS.gpus,
        mem_mb=JOBS.megabytes("introvae"),
        runtime=JOBS.minutes("introvae"),
    params:
        config=lambda wildcards, output: CONFIG,
        identity=JOBS.identity("introvae"),
        start=f"torchrun --standalone --nproc-per-node {SETTINGS.gpus}" if SETTINGS.gpus > 1 else "python",
    shell:
        "{params.start} -m experiments.introvae --config={params.config:q} --method {wildcards.method:q} "
        "--seed {wildcards.seed:q} --overwrite > {log:q} 2>&1"
