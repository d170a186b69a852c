"""The workflow as a user meets it: every scale plans, and a mistake is one line."""

import re
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import yaml

from experiments.runs.jobs import captions
from experiments.scale import ROOMS, read

PLANNING = ["--cores", "1", "--dry-run", "--quiet", "rules", "--nolock"]


def plan(config):
    return forked.snakemake(*PLANNING, "--configfile", str(config))


def planned_jobs(result):
    """Rule -> number of its jobs, from the plan's table."""
    assert result.returncode == 0, result.stderr
    rows = [line.split() for line in result.stdout.splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_every_scale_plans(scale, tmp_path):
    """Planned under another name, so that finished runs in this checkout do not matter."""
    values = read(f"config/{scale}.yaml") | {"scale": f"planned-{scale}", "data_dir": str(tmp_path)}
    config = tmp_path / "planned.yaml"
    config.write_text(yaml.safe_dump(values))
    counts = planned_jobs(plan(config))
    methods = values["introvae"]["methods"]
    autoencoder = values["sparse_autoencoder"]
    assert counts["introvae"] == len(methods) * len(values["introvae"]["seeds"])
    every = len(autoencoder["lambdas"]) + len(autoencoder["methods"])
    assert counts["sparse_autoencoder"] == every  # all seeds of a method are one job
    assert counts["gradient_descent"] == 4
    assert {"claims", "paper", "report", "digit_classifier"} <= counts.keys()


def test_a_scale_plans_only_what_it_has(faces_config):
    counts = planned_jobs(plan(faces_config))
    introvae = yaml.safe_load(faces_config.read_text())["introvae"]
    runs = len(introvae["methods"]) * len(introvae["seeds"])
    once = dict.fromkeys(["fetch", "rows", "tables_introvae", "figures_introvae", "claims", "all"], 1)
    assert counts == once | {"introvae": runs, "total": runs + len(once)}


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda v: v["introvae"].update(epohcs=3), "introvae.epohcs: unknown key, did you mean epochs?"),
        (
            lambda v: v["introvae"]["methods"]["softadapt"]["encoder"].update(betta=3),
            "introvae.methods.softadapt.encoder: betta: unknown key, did you mean beta?",
        ),
        (
            lambda v: v["introvae"]["methods"]["fixed"]["generator"]["weights"].pop("kl_fake"),
            "introvae.methods.fixed.generator: weights must name kl_fake, reconstruction, got reconstruction",
        ),
    ],
)
def test_a_mistake_in_the_config_is_one_line_before_anything_runs(tmp_path, break_it, message):
    values = read("config/smoke.yaml")
    break_it(values)
    config = tmp_path / "bad.yaml"
    config.write_text(yaml.safe_dump(values))
    result = plan(config)
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if "rror" in line]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert lines[0].endswith(message)
    assert "Traceback" not in result.stderr


def test_without_a_config_the_laptop_scale_is_planned():
    plan = forked.snakemake(*PLANNING, "-p", "--forceall", "--quiet", "host")
    assert plan.returncode == 0, plan.stderr
    assert "python -m experiments.evidence.claims --config=config/laptop.yaml " in plan.stdout


def test_every_table_and_figure_of_a_room_has_its_caption_in_the_report():
    """The rules find tables and figures by their captions."""
    for kind in ("tables", "figures"):
        for room in ROOMS:
            names = captions(room, kind)
            assert bool(names) == (room != "digit_classifier"), room  # which is a judge, not a finding
            for name in names:
                text = Path("experiments", room, "captions", kind, f"{name}.rst").read_text(encoding="utf-8")
                assert len(text.split()) > 3
                assert "``" not in text, f"{name}: a path in a caption breaks when a file moves"


TOY = """
import sys
sys.path.insert(0, {root!r})
from experiments.runs import job_lines
from snakemake.logging import logger

onstart:
    job_lines.follow(logger, workflow.dag.stats()[1], {{"slow": 0.1}})

onsuccess:
    print(*job_lines.there({{"claims": "1.txt", "paper": "absent.pdf"}}), sep="\\n", file=sys.stderr)

rule all:
    input: expand("{{n}}.txt", n=[1, 2]), {more}

rule slow:
    output: "{{n}}.txt"
    shell: "touch {{output}}"

rule broken:
    output: "broken.txt"
    log: "broken.log"
    shell: "echo that was a mistake > {{log}}; exit 3"
"""


def toy(folder, more="[]"):
    (folder / "Snakefile").write_text(TOY.format(root=str(Path.cwd()), more=more), encoding="utf-8")
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "host", "--keep-going"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_a_job_is_one_line_and_the_end_names_what_is_there(tmp_path):
    done = toy(tmp_path)
    assert done.returncode == 0
    lines = [line for line in done.stderr.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert [re.sub(r"^\S+ +", "", line) for line in lines if "slow" in line and "1 of 3" in line]
    assert re.search(r"1 of 3  slow [12] +0 s  about \d+ s left$", lines[0])
    assert re.search(r"3 of 3  all +0 s$", lines[2])
    assert len(lines) == 3
    assert "claims    1.txt" in done.stderr
    assert "absent.pdf" not in done.stderr
    for noise in ("jobid", "Select jobs", "resources:", "\x1b", "\r"):
        assert noise not in done.stderr


def test_a_job_that_fails_shows_its_log(tmp_path):
    done = toy(tmp_path, '"broken.txt"')
    assert done.returncode == 1
    assert re.search(r"failed: broken\n  broken.log:\n    that was a mistake\n", done.stderr)
    assert done.stderr.splitlines().count("    that was a mistake") == 1
    assert len(re.findall(r" of 4  slow [12] ", done.stderr)) == 2
