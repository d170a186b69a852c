"""An edit makes anew what it touches, and no more: planned on a scale whose files are all there, though empty."""

import os
import re
import time
from pathlib import Path

import checkouts
import forked
import pytest
import yaml

from experiments.scale import load, read

pytestmark = [pytest.mark.whole, pytest.mark.xdist_group("a finished scale")]  # which takes time to make


def planned(checkout, *options, config="small.yaml"):
    """Sorted rules of the jobs of a plan; those of a group are indented."""
    words = ["--cores", "1", "--configfile", config, "--dry-run", "--quiet", "reason", *options]
    plan = forked.snakemake(*words, folder=checkout)
    assert plan.returncode == 0, plan.stderr
    return sorted(re.findall(r"^ *(?:local)?rule (\w+):$", plan.stdout, re.MULTILINE))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    checkout = checkouts.copy(tmp_path_factory.mktemp("finished"))
    values = read("config/smoke.yaml") | {"scale": "small"}
    values["sparse_autoencoder"] |= {"lambdas": [0.001]}
    (checkout / "small.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    an_hour_ago = time.time() - 3600
    for path in checkout.rglob("*"):
        os.utime(path, (an_hour_ago - 3600,) * 2)
    plan = forked.snakemake("--cores", "1", "--configfile", "small.yaml", "--dry-run", folder=checkout)
    for line in re.findall(r"^ +output: (.*)$", plan.stdout, re.MULTILINE):
        for name in line.split(", "):
            path = checkout / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.utime(path, (an_hour_ago,) * 2)
    return checkout


@pytest.fixture
def edited(finished):
    """A function that appends a line to a file, and returns what is planned then."""
    before = {}

    def edit(name, line="# edited\n"):
        path = finished / name
        before[path] = path.read_bytes(), path.stat().st_mtime
        with path.open("a", encoding="utf-8") as file:
            file.write(line)
        return planned(finished)

    yield edit
    for path, (content, changed) in before.items():
        path.write_bytes(content)
        os.utime(path, (changed, changed))


def test_nothing_is_planned_for_a_finished_scale(finished):
    assert planned(finished) == []


def test_an_edit_of_one_rooms_figures_draws_them_and_what_shows_them(edited):
    assert edited("experiments/introvae/figures.py") == ["all", "figures_introvae", "paper", "report"]


def test_an_edit_of_provenance_makes_nothing(edited):
    for path in sorted(Path("experiments/provenance").glob("[a-z]*.py")):
        plan = edited(path)
    assert plan == []


def test_an_edit_of_one_rooms_findings_makes_its_evidence_and_the_claims(edited):
    curves = ["figures_gradient_descent", "figures_sparse_autoencoder"]  # they draw the ledger
    evidence = ["rows", "tables_step_cost", "figures_step_cost", "claims", *curves]
    assert edited("experiments/step_cost/findings.py") == sorted([*evidence, "all", "paper", "report"])


def test_an_edit_of_a_caption_makes_the_report(edited):
    assert edited("experiments/introvae/captions/figures/prior_samples.rst", "More.\n") == ["all", "report"]


def autoencoders(plan):
    return [rule for rule in plan if rule.startswith("sparse_autoencoder")]


def test_an_edit_of_a_rule_makes_the_runs_of_its_methods(edited):
    """Two warm-ups, which train from both seeds, and two points of the plane, which train from one."""
    plan = edited("experiments/weightings/warm_up.py")
    assert autoencoders(plan) == ["sparse_autoencoder_2"] * 2
    assert {"rows", "tables_sparse_autoencoder", "figures_sparse_autoencoder", "claims"} <= set(plan)
    assert not {"introvae", "digit_classifier"} & set(plan)
    assert autoencoders(edited("experiments/weightings/size_and_rate.py")) == [
        *["sparse_autoencoder_1"] * 2,
        *["sparse_autoencoder_2"] * 2,
    ]


def test_an_edit_of_a_rule_makes_the_runs_that_replay_its_weights(edited):
    section = load(Path("config/smoke.yaml")).sparse_autoencoder
    assert autoencoders(edited("experiments/weightings/replayed.py")) == ["sparse_autoencoder_2"]
    own = [name for name in section.names() if "softadapt" in section.weightings(name)]
    stale = [*own, "softadapt-yoked"]
    assert autoencoders(edited("experiments/weightings/softadapt.py")) == sorted(
        f"sparse_autoencoder_{len(section.seeds_of(name))}" for name in stale
    )


def test_another_seed_makes_the_methods_of_every_seed_alone(finished):
    """Those of the first few seeds stay, and all jobs of a method are one."""
    values = yaml.safe_load((finished / "small.yaml").read_text(encoding="utf-8"))
    section = load(finished / "small.yaml").sparse_autoencoder
    thorough = [name for name in section.names() if len(section.seeds_of(name)) == 2]
    values["sparse_autoencoder"]["seeds"] = [10, 11, 12]
    (finished / "other.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    plan = planned(finished, "--forcerun", "rows", config="other.yaml")  # files made by hand lack Snakemake's notes
    assert autoencoders(plan) == ["sparse_autoencoder_3"] * len(thorough)


def test_an_edit_of_a_claim_judges_anew(edited):
    """And draws the figures that show claims."""
    figures = ["figures_gradient_descent", "figures_sparse_autoencoder"]
    assert edited("paper/claims.yaml") == ["all", "claims", *figures, "paper", "report"]


@pytest.mark.parametrize("name", ["claims.csv", "specifications.csv", "tables/introvae_methods.csv"])
def test_what_the_manuscript_quotes_of_another_scale_makes_it_anew(edited, name):
    assert edited(f"results/reference/introvae-rivals/{name}", "\n") == ["all", "paper", "report"]


def test_published_numbers_make_what_shows_them_anew(edited):
    plan = edited("paper/published.yaml")
    assert {"figures_niqe_collapse", "figures_step_cost", "claims", "paper"} <= set(plan)
    assert "introvae" not in plan
