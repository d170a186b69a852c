"""The workflow as a user meets it: every scale plans, and a mistake is one line."""

import subprocess
import sys

import pytest
import yaml

from experiments.scale import read

SNAKEMAKE = [sys.executable, "-m", "snakemake", "--cores", "1", "--dry-run", "--quiet", "rules", "--nolock"]


def plan(config):
    return subprocess.run([*SNAKEMAKE, "--configfile", str(config)], capture_output=True, text=True, check=False)


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
    once = dict.fromkeys(["fetch_faces", "tables_introvae", "figures_introvae", "claims", "all"], 1)
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


def test_no_config_at_all_names_the_remedy():
    result = subprocess.run(SNAKEMAKE, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "--configfile config/laptop.yaml" in result.stderr + result.stdout
