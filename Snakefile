# The whole reproduction: data -> runs -> tables and figures -> claims -> paper and report.
#
#   snakemake --configfile config/laptop.yaml --cores 2
#
# Every rule calls a command that can be typed by hand; nothing is computed here.

import os
import sys

sys.path.insert(0, workflow.basedir)
from experiments import checks, config as suite, job_needs, sources

if not workflow.overwrite_configfiles:
    raise WorkflowError("name a scale: snakemake --configfile config/laptop.yaml --cores 2")
CONFIG = os.path.relpath(workflow.overwrite_configfiles[-1])
try:
    SETTINGS = suite.load(CONFIG)
    checks.check_weightings(SETTINGS, CONFIG)
except suite.UserError as error:
    print(f"error: {error}", file=sys.stderr)
    os._exit(2)  # one line for a user's mistake; an exception would be printed with the Snakefile's traceback

SCALE, DATA = SETTINGS.scale, SETTINGS.data_dir
RESULTS, FIGURES = f"results/{SCALE}", f"figures/{SCALE}"
RUNS, LOGS, TIMES = f"{RESULTS}/runs", f"{RESULTS}/logs", f"{RESULTS}/benchmarks"
ANALYSIS = sorted(str(path) for path in Path("experiments/analysis").glob("*.py"))
RESULT_FILES = ["config.yaml", "history.csv", "metrics.json", "provenance.json"]

# IntroVAE trains data parallel where a job has several GPUs
INTROVAE = f"torchrun --standalone --nproc-per-node {SETTINGS.gpus}" if SETTINGS.gpus > 1 else "python"

# experiment -> its runs; a scale may leave experiments out
RUNS_OF = {}
AUTOENCODER_SEEDS = [0]
if section := SETTINGS.gradient_descent:
    sweeps = expand("{function}-{rule}", function=["rosenbrock", "beale"], rule=["fixed", "barzilai_borwein"])
    RUNS_OF["gradient_descent"] = expand("{sweep}/seed-{seed}", sweep=sweeps, seed=section.seed)
if section := SETTINGS.sparse_autoencoder:
    AUTOENCODER_SEEDS = section.seeds
    RUNS_OF["sparse_autoencoder"] = expand("{method}/seed-{seed}", method=section.all_methods(), seed=section.seeds)
if section := SETTINGS.introvae:
    RUNS_OF["introvae"] = expand("{method}/seed-{seed}", method=section.methods, seed=section.seeds)
if section := SETTINGS.niqe_collapse:
    RUNS_OF["niqe_collapse"] = [f"default/seed-{section.seed}"]
if section := SETTINGS.five_rules:
    RUNS_OF["five_rules"] = [f"default/seed-{section.seed}"]
if section := SETTINGS.step_cost:
    RUNS_OF["step_cost"] = [f"default/seed-{section.seed}"]

# figure or table -> its caption in the report
FIGURES_OF = {
    "gradient_descent": ["figure_2_rosenbrock", "beale_trajectories", "steps_by_step_size", "steps_by_start"],
    "sparse_autoencoder": ["figure_5_autoencoder_losses", "figure_6_digits", "sparsity_frontier"],
    "introvae": ["figure_3_train_faces", "figure_4_held_out_faces", "introvae_quality", "introvae_course", "prior_samples"],
    "niqe_collapse": ["niqe_collapse"],
    "five_rules": ["five_rules"],
    "step_cost": ["step_cost"],
}
TABLES_OF = {
    "gradient_descent": ["gradient_descent"],
    "sparse_autoencoder": ["sparse_autoencoder", "autoencoder_methods"],
    "introvae": ["introvae_train", "introvae_held_out", "introvae_methods"],
    "niqe_collapse": ["niqe_collapse"],
    "five_rules": ["five_rules"],
    "step_cost": ["step_cost"],
}
ALL_TABLES = [f"{RESULTS}/tables/{table}.csv" for experiment in RUNS_OF for table in TABLES_OF[experiment]]
ALL_FIGURES = [f"{FIGURES}/{figure}.pdf" for experiment in RUNS_OF for figure in FIGURES_OF[experiment]]
CLAIMS = f"{RESULTS}/claims.csv"
MANUSCRIPT = [f"{RESULTS}/paper.pdf", f"{RESULTS}/report.html"]


def runs_of(experiment):
    return expand(f"{RUNS}/{experiment}/{{run}}/{{file}}", run=RUNS_OF[experiment], file=[*RESULT_FILES, "samples.npz"])


def run_outputs(folder, *more):
    """What a run leaves; not its checkpoint.pt, since Snakemake deletes the outputs of a job that fails."""
    return [f"{RUNS}/{folder}/{file}" for file in [*RESULT_FILES, *more]]


def rules_of(experiment, method):
    """The weighting rules of a method, whose files its runs depend on."""
    return sources.rules_of(SETTINGS.methods_of(experiment)[method].model_dump())


def identity(experiment, **which):
    """What a run depends on besides its code: a change makes it stale, and no other run."""
    settings = getattr(SETTINGS, experiment)
    if "method" in which:
        which["weighting"] = SETTINGS.methods_of(experiment)[which["method"]].model_dump_json()
    return which | {"settings": settings.model_dump_json(exclude={"seeds", "lambdas", "methods"})}


def memory(experiment):
    return lambda wildcards, attempt: job_needs.megabytes(SETTINGS, experiment, attempt)


def minutes(experiment):
    return lambda wildcards, attempt: job_needs.minutes(SETTINGS, experiment, attempt)


wildcard_constraints:
    seed=r"\d+",
    function="rosenbrock|beale",
    rule="fixed|barzilai_borwein",
    faces="orl-faces|celeba",


rule all:
    input:
        MANUSCRIPT if SETTINGS.complete else [CLAIMS, *ALL_TABLES, *ALL_FIGURES],  # the manuscript quotes every experiment


rule fetch_mnist:
    output:
        expand(f"{DATA}/mnist/{{split}}-{{part}}-ubyte", split=["train", "t10k"], part=["images-idx3", "labels-idx1"]),
    log:
        f"{LOGS}/fetch_mnist.log",
    benchmark:
        f"{TIMES}/fetch_mnist.tsv"
    shell:
        "python -m experiments.data fetch mnist --data-dir {DATA} > {log} 2>&1"


rule fetch_faces:
    output:
        touch(f"{RESULTS}/{{faces}}.verified"),
    params:  # CelebA is cropped and resized once, before the runs that share it start together
        size=lambda wildcards: f"--image-size {SETTINGS.introvae.image_size}" if wildcards.faces == "celeba" else "",
    log:
        f"{LOGS}/fetch_{{faces}}.log",
    benchmark:
        f"{TIMES}/fetch_{{faces}}.tsv"
    shell:
        "python -m experiments.data fetch {wildcards.faces} {params.size} --data-dir {DATA} > {log} 2>&1"


rule gradient_descent:
    input:
        sources.source_files("gradient_descent"),
    output:
        run_outputs("gradient_descent/{function}-{rule}/seed-{seed}", "samples.npz"),
    params:
        identity=lambda wildcards: identity("gradient_descent"),
    priority: 10  # the longest jobs start first, so that no core is idle at the end
    resources:
        mem_mb=memory("gradient_descent"),
        runtime=minutes("gradient_descent"),
    log:
        f"{LOGS}/gradient_descent/{{function}}-{{rule}}-{{seed}}.log",
    benchmark:
        f"{TIMES}/gradient_descent/{{function}}-{{rule}}-{{seed}}.tsv"
    shell:
        "python -m experiments.gradient_descent --config {CONFIG} --function {wildcards.function} "
        "--step-rule {wildcards.rule} --seed {wildcards.seed} --overwrite > {log} 2>&1"


rule digit_classifier:
    input:
        rules.fetch_mnist.output,
        sources.source_files("digit_classifier"),
    output:
        run_outputs("digit_classifier/default/seed-{seed}", "weights.pt"),
    params:
        identity=lambda wildcards: identity("digit_classifier"),
    resources:
        mem_mb=memory("digit_classifier"),
        runtime=minutes("digit_classifier"),
    log:
        f"{LOGS}/digit_classifier-{{seed}}.log",
    benchmark:
        f"{TIMES}/digit_classifier-{{seed}}.tsv"
    shell:
        "python -m experiments.digit_classifier --config {CONFIG} --seed {wildcards.seed} --overwrite > {log} 2>&1"


rule sparse_autoencoder:
    input:
        rules.fetch_mnist.output,
        lambda wildcards: expand(rules.digit_classifier.output, seed=SETTINGS.digit_classifier.seed),
        lambda wildcards: sources.source_files("sparse_autoencoder", rules_of("sparse_autoencoder", wildcards.method)),
    output:  # runs are short: one process does all seeds of a method; tried again, it goes on from their checkpoints
        [
            output
            for seed in AUTOENCODER_SEEDS
            for output in run_outputs(f"sparse_autoencoder/{{method}}/seed-{seed}", "samples.npz", "weights.pt")
        ],
    params:
        identity=lambda wildcards: identity("sparse_autoencoder", method=wildcards.method),
        seeds=AUTOENCODER_SEEDS,
    resources:
        mem_mb=memory("sparse_autoencoder"),
        runtime=minutes("sparse_autoencoder"),
    log:
        f"{LOGS}/sparse_autoencoder/{{method}}.log",
    benchmark:
        f"{TIMES}/sparse_autoencoder/{{method}}.tsv"
    shell:
        "python -m experiments.sparse_autoencoder --config {CONFIG} --method {wildcards.method} "
        "--seed {params.seeds} --overwrite > {log} 2>&1"


rule introvae:
    input:
        lambda wildcards: f"{RESULTS}/{SETTINGS.introvae.dataset}.verified",
        lambda wildcards: sources.source_files("introvae", rules_of("introvae", wildcards.method)),
    output:
        run_outputs("introvae/{method}/seed-{seed}", "samples.npz", "weights.pt"),
    params:
        identity=lambda wildcards: identity("introvae", method=wildcards.method),
    priority: 5
    threads: max(1, SETTINGS.gpus)
    resources:
        gpu=SETTINGS.gpus,
        mem_mb=memory("introvae"),
        runtime=minutes("introvae"),
    log:
        f"{LOGS}/introvae/{{method}}-{{seed}}.log",
    benchmark:
        f"{TIMES}/introvae/{{method}}-{{seed}}.tsv"
    shell:
        "{INTROVAE} -m experiments.introvae --config {CONFIG} --method {wildcards.method} "
        "--seed {wildcards.seed} --overwrite > {log} 2>&1"


rule niqe_collapse:
    input:
        f"{RESULTS}/orl-faces.verified",
        sources.source_files("niqe_collapse"),
    output:
        run_outputs("niqe_collapse/default/seed-{seed}", "samples.npz"),
    params:
        identity=lambda wildcards: identity("niqe_collapse"),
    log:
        f"{LOGS}/niqe_collapse-{{seed}}.log",
    benchmark:
        f"{TIMES}/niqe_collapse-{{seed}}.tsv"
    shell:
        "python -m experiments.audits.niqe_collapse --config {CONFIG} --seed {wildcards.seed} --overwrite > {log} 2>&1"


rule five_rules:
    input:
        rules.fetch_mnist.output,
        lambda wildcards: sources.source_files("five_rules", sources.rules_of(SETTINGS.five_rules.model_dump())),
    output:
        run_outputs("five_rules/default/seed-{seed}", "samples.npz"),
    params:
        identity=lambda wildcards: identity("five_rules"),
    log:
        f"{LOGS}/five_rules-{{seed}}.log",
    benchmark:
        f"{TIMES}/five_rules-{{seed}}.tsv"
    shell:
        "python -m experiments.audits.five_rules --config {CONFIG} --seed {wildcards.seed} --overwrite > {log} 2>&1"


rule step_cost:
    input:
        sources.source_files("step_cost"),
    output:
        run_outputs("step_cost/default/seed-{seed}", "samples.npz"),
    params:
        identity=lambda wildcards: [identity(name) for name in ("step_cost", *suite.TIMED)],
    threads: workflow.cores or 1  # it measures time, so nothing may run beside it; a cluster's profile gives it a node
    resources:
        gpu=min(1, SETTINGS.gpus),
        mem_mb=memory("step_cost"),
        runtime=minutes("step_cost"),
    log:
        f"{LOGS}/step_cost-{{seed}}.log",
    benchmark:
        f"{TIMES}/step_cost-{{seed}}.tsv"
    shell:
        "python -m experiments.audits.step_cost --config {CONFIG} --seed {wildcards.seed} --overwrite > {log} 2>&1"


for experiment in RUNS_OF:

    rule:
        name:
            f"tables_{experiment}"
        input:
            runs_of(experiment),
            ANALYSIS,
        output:
            report(
                [f"{RESULTS}/tables/{table}.csv" for table in TABLES_OF[experiment]],
                caption=f"paper/captions/table_{experiment}.rst",
                category="Tables",
                labels={"experiment": experiment},
            ),
            expand(f"{RESULTS}/tables/{{table}}.{{form}}", table=TABLES_OF[experiment], form=["md", "tex"]),
        params:
            experiment=experiment,
        log:
            f"{LOGS}/tables_{experiment}.log",
        benchmark:
            f"{TIMES}/tables_{experiment}.tsv"
        shell:
            "python -m experiments.analysis.tables {params.experiment} --config {CONFIG} > {log} 2>&1"

    rule:
        name:
            f"figures_{experiment}"
        input:
            runs_of(experiment),
            ANALYSIS,
        output:
            [
                report(
                    f"{FIGURES}/{figure}.png",
                    caption=f"paper/captions/{figure}.rst",
                    category="Figures",
                    labels={"experiment": experiment, "figure": figure},
                )
                for figure in FIGURES_OF[experiment]
            ],
            [f"{FIGURES}/{figure}.pdf" for figure in FIGURES_OF[experiment]],
        params:
            experiment=experiment,
        log:
            f"{LOGS}/figures_{experiment}.log",
        benchmark:
            f"{TIMES}/figures_{experiment}.tsv"
        shell:
            "python -m experiments.analysis.figures {params.experiment} --config {CONFIG} > {log} 2>&1"


rule claims:
    input:
        [runs_of(experiment) for experiment in RUNS_OF],
        ANALYSIS,
        "paper/claims.yaml",
        "paper/published.yaml",
    output:
        report(CLAIMS, caption="paper/captions/claims.rst", category="Claims"),
        f"{RESULTS}/claims.md",
        f"{RESULTS}/claims.tex",
    log:
        f"{LOGS}/claims.log",
    benchmark:
        f"{TIMES}/claims.tsv"
    shell:
        "python -m experiments.analysis.claims --config {CONFIG} > {log} 2>&1"


rule sensitivity:
    input:
        rules.claims.output,
        sorted(str(path) for path in Path("results/reference").glob("*/claims.csv")),
        ANALYSIS,
    output:
        report(f"{RESULTS}/tables/sensitivity.csv", caption="paper/captions/sensitivity.rst", category="Claims"),
        f"{RESULTS}/tables/sensitivity.md",
        f"{RESULTS}/tables/sensitivity.tex",
    log:
        f"{LOGS}/sensitivity.log",
    benchmark:
        f"{TIMES}/sensitivity.tsv"
    shell:
        "python -m experiments.analysis.sensitivity --config {CONFIG} > {log} 2>&1"


rule paper:
    input:
        rules.claims.output,
        rules.sensitivity.output,
        ALL_TABLES,
        ALL_FIGURES,
        ANALYSIS,
        "paper/paper.typ",
        "paper/published.yaml",
        "results/reference/introvae-rivals/tables/introvae_held_out.csv",
    output:
        report(f"{RESULTS}/paper.pdf", caption="paper/captions/paper.rst", category="Paper"),
    log:
        f"{LOGS}/paper.log",
    benchmark:
        f"{TIMES}/paper.tsv"
    shell:
        "python -m experiments.analysis.paper --config {CONFIG} > {log} 2>&1"


rule report:
    input:
        rules.paper.output,
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{TIMES}/report.tsv"
    shell:
        "snakemake --configfile {CONFIG} --report {output} --cores 1 --nolock paper > {log} 2>&1"
