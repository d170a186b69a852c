# One job sweeps one function with one step rule.


rule gradient_descent:
    input:
        JOBS.code("gradient_descent"),
    output:
        JOBS.outputs("gradient_descent", "{function}-{step_rule}", "{seed}"),
    log:
        f"{LOGS}/gradient_descent/{{function}}-{{step_rule}}-{{seed}}.log",
    benchmark:
        f"{TIMES}/gradient_descent/{{function}}-{{step_rule}}-{{seed}}.tsv"
    priority: 10  # the longest jobs start first, so that no core is idle at the end
    resources:
        mem_mb=JOBS.megabytes("gradient_descent"),
        runtime=JOBS.minutes("gradient_descent"),
    params:
        config=lambda wildcards, output: CONFIG,
        identity=JOBS.identity("gradient_descent"),
    shell:
        "python -m experiments.gradient_descent --config={params.config:q} --function {wildcards.function:q} "
        "--step-rule {wildcards.step_rule:q} --seed {wildcards.seed:q} --overwrite > {log:q} 2>&1"
