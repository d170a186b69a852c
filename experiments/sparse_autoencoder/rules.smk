# Runs are short, so that one job trains all seeds of a method. Tried again, it goes on from their checkpoints.
# Some methods train from all seeds, some from the first few: a rule for either.


for seeds, methods in SETTINGS.sparse_autoencoder.by_seeds().items():

    rule:
        name:
            f"sparse_autoencoder_{len(seeds)}"
        input:
            ancient(JOBS.data("sparse_autoencoder")),
            JOBS.files("digit_classifier"),  # judges the reconstructions
            JOBS.code("sparse_autoencoder"),
            JOBS.before("sparse_autoencoder"),
        output:
            [JOBS.outputs("sparse_autoencoder", "{method}", seed) for seed in seeds],
        log:
            f"{LOGS}/sparse_autoencoder/{{method}}.log",
        benchmark:
            f"{TIMES}/sparse_autoencoder/{{method}}.tsv"
        wildcard_constraints:
            method="|".join(map(re.escape, methods)),
        resources:
            mem_mb=JOBS.megabytes("sparse_autoencoder"),
            runtime=JOBS.minutes("sparse_autoencoder"),
        params:
            config=lambda wildcards, output: CONFIG,
            identity=JOBS.identity("sparse_autoencoder"),
            seeds=list(seeds),
        shell:
            "python -m experiments.sparse_autoencoder --config={params.config:q} --method {wildcards.method:q} "
            "--seed {params.seeds:q} --overwrite > {log:q} 2>&1"
