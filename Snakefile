# The whole reproduction: data -> runs -> rows -> tables and figures -> claims -> paper and report.
#
#   snakemake --cores 2                                    the scale of config/laptop.yaml
#   snakemake --cores 2 --configfile config/smoke.yaml     another scale
#
# Every rule calls a command that can be typed by hand; nothing is computed here. How a room is run stands in
# experiments/<room>/rules.smk. Parameters that are functions of `output` are passed on, but make nothing stale.

import os
import re
import sys

sys.path.insert(0, workflow.basedir)
from experiments import scale as suite
from experiments.runs import checks, job_lines
from experiments.runs.errors import EXIT_USER_ERROR, UserError
from experiments.runs.jobs import Jobs, captions, drawn, modules, results_named_in

from snakemake.logging import logger

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
TABLES_OF = {room: tables for room in SETTINGS.rooms if (tables := captions(room, "tables"))}
FIGURES_OF = {room: figures for room in SETTINGS.rooms if (figures := drawn(SETTINGS, room))}
TABLES = [f"{RESULTS}/tables/{table}.csv" for tables in TABLES_OF.values() for table in tables]
DRAWN = [f"{FIGURES}/{figure}.pdf" for figures in FIGURES_OF.values() for figure in figures]
MANUSCRIPT = [f"{RESULTS}/paper.pdf", f"{RESULTS}/report.html"]
RUNS = {}  # room -> all files of its runs


wildcard_constraints:
    seed=r"\d+",


onstart:
    job_lines.follow(logger, counts := workflow.dag.stats()[1], JOBS.stated_minutes(counts))


onsuccess:
    made = {"paper": MANUSCRIPT[0], "report": MANUSCRIPT[1]} if SETTINGS.complete else {}
    made |= {"claims": f"{RESULTS}/claims.md", "tables": f"{RESULTS}/tables", "figures": FIGURES}
    print(*job_lines.there(made), sep="\n", file=sys.stderr)


onerror:
    print(f"what each job said: {LOGS}", file=sys.stderr)


rule all:
    input:
        MANUSCRIPT if SETTINGS.complete else [f"{RESULTS}/claims.csv", *TABLES, *DRAWN],  # the paper quotes every room


rule fetch:
    output:
        touch(f"{RESULTS}/{{dataset}}.verified"),
    log:
        f"{LOGS}/fetch-{{dataset}}.log",
    params:
        data_dir=lambda wildcards: SETTINGS.data_dir,
        # image files are converted once, before the runs that share them start together
        options=lambda wildcards: SETTINGS.introvae.fetch_options() if wildcards.dataset in ("celeba", "folder") else [],
    shell:
        "python -m experiments.data fetch {wildcards.dataset:q} {params.options:q} --data-dir={params.data_dir:q} > {log:q} 2>&1"


for room, section in SETTINGS.rooms.items():

    include: f"experiments/{room}/rules.smk"

    RUNS[room] = JOBS.files(room)


include: "experiments/evidence/rules.smk"
