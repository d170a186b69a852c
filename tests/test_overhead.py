"""The share of time outside runs, from made benchmark files and provenance."""

import json

import pytest

from benchmarks import overhead
from experiments.runs.errors import UserError


@pytest.fixture
def results(tmp_path):
    """Two runs in one job, a run whose training is told apart in another, and a job without a run."""
    for run, times in {
        "sparse_autoencoder/equal/seed-0": {"total": 10.0},
        "sparse_autoencoder/equal/seed-1": {"total": 8.0},
        "introvae/fixed/seed-0": {"total": 50.0, "train": 40.0},
    }.items():
        (tmp_path / "runs" / run).mkdir(parents=True)
        (tmp_path / "runs" / run / "provenance.json").write_text(json.dumps({"times": times}))
    for job, seconds in {"sparse_autoencoder/equal": 20, "introvae/fixed-0": 60, "figures_introvae": 20}.items():
        (tmp_path / "benchmarks" / job).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "benchmarks" / f"{job}.tsv").write_text(f"s\tmax_rss\n{seconds}\t100\n")
    return tmp_path


def test_shares(results):
    shares = overhead.shares(results)
    assert shares["sparse_autoencoder"] == overhead.Share(jobs=1, wall=20, runs=18, training=18)
    assert shares["introvae"] == overhead.Share(jobs=1, wall=60, runs=50, training=40)
    assert shares[overhead.ANALYSIS].overhead == 1
    assert overhead.total(shares).overhead == pytest.approx(1 - 68 / 100)


def test_the_parts_of_a_workflows_time_add_up(results):
    parts = overhead.parts_of(overhead.total(overhead.shares(results)), available=2 * 80.0)
    assert sum(parts.values()) == pytest.approx(1)
    assert parts["training, descent, audits"] == pytest.approx(58 / 160)
    assert parts["planning, and cores without a job"] == pytest.approx(60 / 160)
    assert overhead._seconds("1:02:03.5") == 3723.5


def test_a_folder_without_runs_is_a_users_mistake(tmp_path):
    with pytest.raises(UserError, match="no finished runs; name the results of a scale"):
        overhead.shares(tmp_path)
