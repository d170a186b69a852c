# Runs are short, so that one job trains all seeds of a method. Tried again, it goes on from their checkpoints.


rule sparse_autoencoder:
    input:
        ancient(JOBS.data("sparse_autoencoder")),
        expand(rules.digit_classifier.output, seed=SETTINGS.digit_classifier.seed),  # judges the reconstructions
        JOBS.code("sparse_autoencoder"),
    output:
        [
            JOBS.outputs(f"sparse_autoencoder/{{method}}/seed-{seed}", "samples.npz", "weights.pt")
            for seed in SETTINGS.sparse_autoencoder.seeds
        ],
    log:
        f"{LOGS}/sparse_autoencoder/{{method}}.log",
    benchmark:
        f"{TIMES}/sparse_autoencoder/{{method}}.tsv"
    resources:
        mem_mb=JOBS.megabytes("sparse_autoencoder"),
        runtime=JOBS.minutes("sparse_autoencoder"),
    params:
        config=lambda wildcards, output: CONFIG,
        identity=JOBS.identity("sparse_autoencoder"),
        seeds=SETTINGS.sparse_autoencoder.seeds,
    shell:
        "python -m experiments.sparse_autoencoder --config={params.config:q} --method {wildcards.method:q} "
        "--seed {params.seeds:q} --overwrite > {log:q} 2>&1"
