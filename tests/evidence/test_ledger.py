"""The ledger and the manuscript's numbers, on runs whose answers are worked out here by hand."""

import json
from pathlib import Path
from statistics import stdev

import adapter
import pytest
import synthetic
from scipy import stats
from synthetic import SEEDS


@pytest.fixture
def scale(tmp_path, monkeypatch):
    """The made scale, not yet written; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    return synthetic.scale()


def values(estimate):
    """The observations, in their order."""
    return pytest.approx(list(estimate.observations))


# --- the ledger --------------------------------------------------------------------------------------------------

ENTRIES = [
    {"id": "pcc", "measure": {"sparse_autoencoder.pcc": {"report": 3}}, "rule": {"above": 0.0}},
    {"id": "frontier", "measure": {"sparse_autoencoder.frontier": {}}, "rule": {"below": 1.0}},
    {
        "id": "grid",
        "measure": {"sparse_autoencoder.frontier": {"ours": "dynamic-weight-average"}},
        "rule": {"below": 1.0},
    },
    {"id": "on", "measure": {"sparse_autoencoder.frontier": {"ours": "uncertainty"}}, "rule": {"below": 1.0}},
    {"id": "beyond", "measure": {"sparse_autoencoder.frontier": {"ours": "gradnorm"}}, "rule": {"below": 1.0}},
    {
        "id": "descent",
        "measure": {"gradient_descent.ratio": {"function": "rosenbrock", "step_rule": "fixed", "method": "original"}},
        "rule": {"below": 1.0},
    },
    {
        "id": "faces",
        "measure": {"introvae.difference": {"part": "held_out", "measure": "psnr", "report": 3}},
        "rule": {"above": 0.0},
        "published": {"softadapt": 2.5},
        "unit": "dB",
        "figure": "somewhere",
    },
    {"id": "niqe", "measure": {"niqe_collapse.published_spread": {}}, "rule": {"artefact": 4.0}},
    {"id": "no-artefact", "measure": {"niqe_collapse.published_spread": {}}, "rule": {"artefact": 2.0}},
    {"id": "cluster", "rule": {"not testable": "needs a cluster"}},
]


def holm(p_values):
    """Holm's step-down, written once more."""
    corrected, highest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, p * (len(p_values) - rank)))
        corrected[name] = highest
    return corrected


def test_the_ledger(scale):
    """Verdicts, Holm within each experiment over the claims that have a p value, and effect sizes."""
    ledger = adapter.ledger(scale.write(*scale.settings), ENTRIES)
    assert ledger["verdict"].to_dict() == {
        "pcc": "not reproduced",  # -7, far from 0
        "frontier": "reproduced",
        "grid": "inconclusive",  # 1.1, p of 0.034 before the correction
        "on": "inconclusive",
        "beyond": "inconclusive",
        "descent": "inconclusive",  # seven of eight starts
        "faces": "reproduced",
        "niqe": "artefact",
        "no-artefact": "inconclusive",
        "cluster": "not testable",
    }
    tests = {
        "pcc": ([-3, -8, -7, -9, -8], 0.0),
        "frontier": ([0.5, 0.55, 0.6, 0.65, 0.7], 1.0),
        "grid": ([1.0, 1.1, 1.1, 1.1, 1.2], 1.0),
        "on": ([0.9, 1.1, 1.0, 1.05, 0.95], 1.0),
    }
    raw = {name: stats.ttest_1samp(observed, bound).pvalue for name, (observed, bound) in tests.items()}
    assert raw["grid"] == pytest.approx(0.034, abs=0.001)
    for name, p in holm(raw).items():
        assert ledger.loc[name, "corrected_p"] == pytest.approx(p)
    # others are families of their own: the sign test of seven below and one above, 2 (1 + 8) / 2^8; Student's t
    assert ledger.loc["descent", "corrected_p"] == pytest.approx(18 / 256)
    assert ledger.loc["faces", "corrected_p"] == pytest.approx(stats.ttest_1samp([1, 1.2, 1.4, 1.6, 1.8], 0).pvalue)
    assert ledger.loc[["beyond", "niqe", "no-artefact", "cluster"], "corrected_p"].isna().all()
    assert ledger.loc["pcc", "effect"] == pytest.approx(-7 / stdev([-3, -8, -7, -9, -8]))
    assert ledger.loc["descent", "effect"] == pytest.approx((1 - 7) / 8)
    row = ledger.loc["faces"]
    assert row["measured"] == pytest.approx(1.4)
    assert row["measured_low"] < 1.4 < row["measured_high"]
    assert row[["published", "observations", "failed_runs", "unit", "rule", "figure"]].tolist() == [
        "softadapt 2.5",
        5,
        "",
        "dB",
        "above 0.0",
        "somewhere",
    ]


def test_seeds_without_scatter_decide_nothing(scale):
    """SoftAdapt is better by 1 dB exactly, five times: one observation as far as anyone can tell."""
    scale.final("introvae", "softadapt", "held_out_psnr", [19.0, 19.0, 19.0, 19.0, 19.0])
    scale.final("introvae", "fixed", "held_out_psnr", [18.0, 18.0, 18.0, 18.0, 18.0])
    row = adapter.ledger(scale.write("introvae"), [e for e in ENTRIES if e["id"] == "faces"]).loc["faces"]
    assert row["measured"] == 1.0
    assert row[["measured_low", "measured_high", "corrected_p", "effect"]].isna().all()
    assert row["verdict"] == "inconclusive"


# --- the manuscript's numbers ------------------------------------------------------------------------------------


def test_numbers_of_the_manuscript(scale):
    scale.final("sparse_autoencoder", "softadapt", "test_l1", [20, 20, 20, 20, 20])
    settings = scale.write(*scale.settings)
    adapter.write_ledger(settings, ENTRIES)
    numbers = adapter.numbers(settings)
    json.dumps(numbers, allow_nan=False)
    assert numbers["scale"] == "made"
    assert (numbers["tuned_method"], numbers["tuned_lambda"]) == ("lambda-0.01", 0.01)
    sparse = numbers["autoencoder"]
    assert sparse["trials_to_match"] == 2
    # the error is (0.04 + 0.044 + 0.048 + 0.052 + 0.056) / 5
    assert sparse["softadapt"] == pytest.approx(
        {"test_mse": 0.048, "test_l1": 20, "test_active_share": 0.25, "test_pcc": 73}
    )
    assert sparse["tuned"] == pytest.approx(
        {"test_mse": 0.04, "test_l1": 100, "test_active_share": 0.25, "test_pcc": 80}
    )
    assert sparse["mean"]["test_pcc"] == pytest.approx(10.8)
    # 20 is nearer to 100 (a fifth) than to 1 (the twentyfold), though not in the difference
    assert sparse["nearest_lambda"] == 0.01
    assert sparse["nearest"] == sparse["tuned"]
    assert numbers["classifier_accuracy"] == 98.5
    assert numbers["niqe"] == synthetic.CLOSED_FORM | {"pooled": {"crops": 2.5}, "images": 4}
    # 4 sweeps, 11 autoencoders and 3 IntroVAE by five seeds, 3 audits and the classifier
    assert numbers["runs"] == 4 + 55 + 15 + 4
    # each 2 s longer than training: sweeps and the last four 1 s, lambdas 10, the other seven 7 to 11, IntroVAE 30
    seconds = 8 * 3 + 20 * 12 + 7 * (9 + 10 + 11 + 12 + 13) + 15 * 32
    assert numbers["training_minutes"] == pytest.approx(seconds / 60)
    assert numbers["claims"]["faces"]["measured"] == pytest.approx(1.4)
    assert numbers["claims"]["faces"]["verdict"] == "reproduced"
    assert numbers["claims"]["cluster"]["measured"] is None
    assert numbers["verdicts"]["inconclusive"] == 5
    assert numbers["provenance"]["commit"] == "c" * 40
    assert numbers["provenance"]["machines"] == "a processor"
    assert numbers["one_thread"] is True
    assert numbers["settings"]["introvae"]["seeds"] == SEEDS


def test_minutes_on_a_gpu_are_not_those_of_one_thread(scale):
    settings = scale.write(*scale.settings)
    path = Path("results/made/runs/introvae/fixed/seed-10/provenance.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"gpu": "NVIDIA H100", "threads": 8}))
    adapter.write_ledger(settings, ENTRIES)
    numbers = adapter.numbers(settings)
    assert numbers["one_thread"] is False
    assert numbers["provenance"]["machines"] == "a processor and a processor with NVIDIA H100"
