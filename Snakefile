# The whole reproduction: data -> runs -> rows -> tables and figures -> claims -> paper and report.
#
#   snakemake --cores 2                                       # config/laptop.yaml
#   snakemake --cores 2 --configfile config/smoke.yaml        # another scale
#
# Every rule calls a command that can be typed by hand; nothing is computed here. How a room is run stands in
# experiments/<room>/rules.smk. A parameter that is a function of `output` is passed on, but makes nothing stale.

import os
import sys

sys.path.insert(0, workflow.basedir)
from experiments import scale as suite
from experiments.runs import checks
from experiments.runs.errors import EXIT_USER_ERROR, UserError
from experiments.runs.jobs import Jobs, captions, relative
from experiments.runs.sources import module_files

CONFIG = os.path.relpath(workflow.overwrite_configfiles[-1]) if workflow.overwrite_configfiles else suite.DEFAULT
try:
    SETTINGS = suite.load(CONFIG)
    checks.check(SETTINGS, CONFIG)
except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    os._exit(EXIT_USER_ERROR)  # one line; an exception would be printed with the Snakefile's traceback

JOBS = Jobs(SETTINGS)
RESULTS, FIGURES = f"results/{SETTINGS.scale}", f"figures/{SETTINGS.scale}"
LOGS, TIMES = f"{RESULTS}/logs", f"{RESULTS}/benchmarks"
FINDINGS = [f"experiments.{room}.findings" for room in SETTINGS.rooms]
TABLES_OF = {room: captions(room, "tables") for room in SETTINGS.rooms}
FIGURES_OF = {room: captions(room, "figures") for room in SETTINGS.rooms}
ALL_ROWS = [f"{RESULTS}/rows/{room}.csv" for room in SETTINGS.rooms]
ALL_TABLES = [f"{RESULTS}/tables/{table}.csv" for room in SETTINGS.rooms for table in TABLES_OF[room]]
ALL_FIGURES = [f"{FIGURES}/{figure}.pdf" for room in SETTINGS.rooms for figure in FIGURES_OF[room]]
EVIDENCE = [f"{RESULTS}/claims.csv", *ALL_TABLES, *ALL_FIGURES]
MANUSCRIPT = [f"{RESULTS}/paper.pdf", f"{RESULTS}/report.html"]


wildcard_constraints:
    seed=r"\d+",


rule all:
    input:
        MANUSCRIPT if SETTINGS.complete else EVIDENCE,  # the manuscript quotes every room


rule fetch:
    output:
        touch(f"{RESULTS}/{{dataset}}.verified"),
    log:
        f"{LOGS}/fetch_{{dataset}}.log",
    benchmark:
        f"{TIMES}/fetch_{{dataset}}.tsv"
    params:
        data_dir=lambda wildcards: SETTINGS.data_dir,
        # CelebA is cropped and resized once, before the runs that share it start together
        size=lambda wildcards: ["--image-size", SETTINGS.introvae.image_size] if wildcards.dataset == "celeba" else [],
    shell:
        "python -m experiments.data fetch {wildcards.dataset:q} {params.size:q} --data-dir={params.data_dir:q} > {log:q} 2>&1"


for room, section in SETTINGS.rooms.items():

    include: f"experiments/{room}/rules.smk"

    # several wildcard values may lead to the same file, where one job does all seeds
    RUNS = sorted(set(expand(getattr(rules, room).output, seed=section.all_seeds(), **section.choices())))

    rule:
        name:
            f"rows_{room}"
        input:
            RUNS,
            relative(module_files("experiments.evidence.rows", f"experiments.{room}.findings")),
        output:
            f"{RESULTS}/rows/{room}.csv",
        log:
            f"{LOGS}/rows_{room}.log",
        benchmark:
            f"{TIMES}/rows_{room}.tsv"
        group:
            "analysis"
        params:
            config=lambda wildcards, output: CONFIG,
            room=room,
        shell:
            "python -m experiments.evidence.rows {params.room:q} --config={params.config:q} > {log:q} 2>&1"

    if TABLES_OF[room]:

        rule:
            name:
                f"tables_{room}"
            input:
                f"{RESULTS}/rows/{room}.csv",
                relative(module_files("experiments.evidence.tables", f"experiments.{room}.findings")),
                "paper/published.yaml",
            output:
                [
                    report(
                        f"{RESULTS}/tables/{table}.csv",
                        caption=f"experiments/{room}/captions/tables/{table}.rst",
                        category="Tables",
                        labels={"experiment": room, "table": table},
                    )
                    for table in TABLES_OF[room]
                ],
                expand(f"{RESULTS}/tables/{{table}}.{{form}}", table=TABLES_OF[room], form=["md", "tex"]),
            log:
                f"{LOGS}/tables_{room}.log",
            benchmark:
                f"{TIMES}/tables_{room}.tsv"
            group:
                "analysis"
            params:
                config=lambda wildcards, output: CONFIG,
                room=room,
            shell:
                "python -m experiments.evidence.tables {params.room:q} --config={params.config:q} > {log:q} 2>&1"

    if FIGURES_OF[room]:

        rule:
            name:
                f"figures_{room}"
            input:
                f"{RESULTS}/rows/{room}.csv",
                RUNS,
                relative(module_files("experiments.evidence.figures", f"experiments.{room}.figures")),
            output:
                [
                    report(
                        f"{FIGURES}/{figure}.png",
                        caption=f"experiments/{room}/captions/figures/{figure}.rst",
                        category="Figures",
                        labels={"experiment": room, "figure": figure},
                    )
                    for figure in FIGURES_OF[room]
                ],
                [f"{FIGURES}/{figure}.pdf" for figure in FIGURES_OF[room]],
            log:
                f"{LOGS}/figures_{room}.log",
            benchmark:
                f"{TIMES}/figures_{room}.tsv"
            group:
                "analysis"
            params:
                config=lambda wildcards, output: CONFIG,
                room=room,
                label=SETTINGS.label,
            shell:
                "python -m experiments.evidence.figures {params.room:q} --config={params.config:q} > {log:q} 2>&1"


rule claims:
    input:
        ALL_ROWS,
        relative(module_files("experiments.evidence.claims", *FINDINGS)),
        "paper/claims.yaml",
        "paper/published.yaml",
    output:
        report(f"{RESULTS}/claims.csv", caption="paper/captions/claims.rst", category="Claims"),
        f"{RESULTS}/claims.md",
        f"{RESULTS}/claims.tex",
    log:
        f"{LOGS}/claims.log",
    benchmark:
        f"{TIMES}/claims.tsv"
    group:
        "analysis"
    params:
        config=lambda wildcards, output: CONFIG,
    shell:
        "python -m experiments.evidence.claims --config={params.config:q} > {log:q} 2>&1"


rule sensitivity:
    input:
        f"{RESULTS}/claims.csv",
        sorted(str(path) for path in Path("results/reference").glob("*/claims.csv")),
        relative(module_files("experiments.evidence.sensitivity")),
    output:
        report(f"{RESULTS}/tables/sensitivity.csv", caption="paper/captions/sensitivity.rst", category="Claims"),
        f"{RESULTS}/tables/sensitivity.md",
        f"{RESULTS}/tables/sensitivity.tex",
    log:
        f"{LOGS}/sensitivity.log",
    benchmark:
        f"{TIMES}/sensitivity.tsv"
    group:
        "analysis"
    params:
        config=lambda wildcards, output: CONFIG,
    shell:
        "python -m experiments.evidence.sensitivity --config={params.config:q} > {log:q} 2>&1"


rule paper:
    input:
        EVIDENCE,
        f"{RESULTS}/tables/sensitivity.csv",
        relative(module_files("experiments.evidence.manuscript", *FINDINGS)),
        "paper/paper.typ",
        "paper/published.yaml",
        "results/reference/introvae-rivals/tables/introvae_held_out.csv",
    output:
        report(f"{RESULTS}/paper.pdf", caption="paper/captions/paper.rst", category="Paper"),
        f"{RESULTS}/numbers.json",
    log:
        f"{LOGS}/paper.log",
    benchmark:
        f"{TIMES}/paper.tsv"
    group:
        "analysis"
    params:
        config=lambda wildcards, output: CONFIG,
    shell:
        "python -m experiments.evidence.manuscript --config={params.config:q} > {log:q} 2>&1"


rule report:
    input:
        rules.paper.output,
        [f"experiments/{room}/captions/tables/{table}.rst" for room in SETTINGS.rooms for table in TABLES_OF[room]],
        [f"experiments/{room}/captions/figures/{figure}.rst" for room in SETTINGS.rooms for figure in FIGURES_OF[room]],
        sorted(str(path) for path in Path("paper/captions").glob("*.rst")),
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{TIMES}/report.tsv"
    group:
        "analysis"
    params:
        config=lambda wildcards, output: CONFIG,
    shell:
        "snakemake --configfile={params.config:q} --report={output:q} --cores=1 --nolock -- paper > {log:q} 2>&1"
