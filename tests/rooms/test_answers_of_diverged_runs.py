"""A run that diverges is a finished run that says so: its method has failed, in claims, tables and figures alike."""

import json
import math

import adapter
import numpy as np
import pytest
import synthetic
from adapter import Failed

HELD_OUT = {"part": "held_out", "measure": "psnr", "report": 3}


@pytest.fixture
def scale(tmp_path, monkeypatch):
    """The made scale, not yet written; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    return synthetic.scale()


def nan_then(method, seed, epoch):
    """The autoencoder's history ends with a row of NaN."""
    return lambda scale: scale.diverge("sparse_autoencoder", method, seed, epoch)


def ends_before(method, seed, epoch):
    """It ends with the last epoch that was well."""
    return lambda scale: scale.end_before("sparse_autoencoder", method, seed, epoch)


def goes_on(method, seed, epoch):
    """It goes on with NaN, which are classified as whatever digit."""
    return lambda scale: scale.go_on_with_nan(method, seed, epoch)


def in_silence(method, seed, epoch):
    """It goes on with finite numbers: a weight or a gradient was not."""
    return lambda scale: scale.runs["sparse_autoencoder", method, seed].metrics.update(verdict="diverged")


MANNERS = pytest.mark.parametrize("manner", [nan_then, ends_before, goes_on])
ALL_MANNERS = pytest.mark.parametrize("manner", [nan_then, ends_before, goes_on, in_silence])


# --- verdicts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "better", "rule", "verdict"),
    [
        (1, 0, "above", "above", "not reproduced"),
        (0, 2, "above", "above", "reproduced"),
        (1, 2, "above", "above", "inconclusive"),
        (1, 0, "below", "below", "not reproduced"),
        (0, 1, "below", "below", "reproduced"),
        (5, 5, "below", "below", "inconclusive"),
        # claims against the method: it is worse than the other
        (1, 0, "above", "below", "reproduced"),
        (0, 1, "above", "below", "not reproduced"),
        (1, 0, "below", "above", "reproduced"),
        (0, 1, "below", "above", "not reproduced"),
        (1, 1, "below", "above", "inconclusive"),
    ],
)
def test_a_failed_method_loses(ours, theirs, better, rule, verdict):
    nan = math.nan
    estimate = adapter.Estimate(nan, nan, nan, 0, failed=Failed(ours, theirs, 5, better))
    for corrected in (nan, 0.0, 1.0):  # no p value has a say
        assert adapter.judge({rule: 1.0}, estimate, corrected) == verdict


def test_failed_runs_in_words():
    assert str(Failed(1, 0, 5, "above")) == "ours 1 of 5"
    assert str(Failed(0, 2, 5, "above")) == "theirs 2 of 5"
    assert str(Failed(3, 2, 5, "below")) == "ours 3 of 5, theirs 2 of 5"


def claims(**measures):
    """Entries of a ledger: SoftAdapt is better in this measure, above or below a bound."""
    return [
        {"id": name.replace("_", "-"), "measure": measure, "rule": rule} for name, (measure, rule) in measures.items()
    ]


FACES = claims(
    psnr=({"introvae.difference": HELD_OUT}, {"above": 0.0}),
    early=({"introvae.difference": HELD_OUT | {"report": 0}}, {"above": 0.0}),
    niqe=({"introvae.difference": HELD_OUT | {"measure": "niqe"}}, {"below": 0.0}),
    worse=({"introvae.difference": HELD_OUT}, {"below": 0.0}),
    trains=({"introvae.without_warmup": {}}, {"above": 15.0}),
)


@pytest.mark.parametrize(
    ("diverged", "verdicts", "failed"),
    [
        ([], ["reproduced", "reproduced", "reproduced", "not reproduced", "reproduced"], ""),
        (
            [("softadapt", 12, 6)],
            ["not reproduced", "not reproduced", "not reproduced", "reproduced", "not reproduced"],
            "ours 1 of 5",
        ),
        (
            [("fixed", 10, 6), ("fixed", 14, 1)],
            ["reproduced", "reproduced", "reproduced", "not reproduced", "reproduced"],
            "theirs 2 of 5",
        ),
        (
            [("softadapt", 12, 8), ("fixed", 10, 2)],
            ["inconclusive", "inconclusive", "inconclusive", "inconclusive", "not reproduced"],
            "ours 1 of 5, theirs 1 of 5",
        ),
        ([("equal", 12, 3)], ["reproduced", "reproduced", "reproduced", "not reproduced", "reproduced"], ""),
    ],
)
def test_claims_on_introvae(scale, diverged, verdicts, failed):
    """Without divergence SoftAdapt is better by 1.4 dB, by 4.4 dB early, and by 1.5 in NIQE, and 19.8 dB exceed 15."""
    for method, seed, epoch in diverged:
        scale.diverge("introvae", method, seed, epoch)
    ledger = adapter.ledger(scale.write("introvae"), FACES)
    assert ledger["verdict"].tolist() == verdicts
    assert ledger.loc["psnr", "failed_runs"] == failed
    assert math.isnan(ledger.loc["psnr", "measured"]) == bool(failed)
    assert ledger.loc["psnr", "observations"] == (0 if failed else 5)
    assert math.isnan(ledger.loc["psnr", "corrected_p"]) == bool(failed)
    assert math.isnan(ledger.loc["psnr", "effect"]) == bool(failed)


def test_one_run_of_many_that_diverges_refutes_that_none_does(scale):
    scale.diverge("introvae", "softadapt", 14, 8)
    estimate = adapter.measure(scale.write("introvae"), "introvae.without_warmup")
    assert math.isnan(estimate.value)
    assert estimate.failed == Failed(1, 0, 5, "above")
    assert adapter.judge({"above": 15.0}, estimate) == "not reproduced"


DIGITS = claims(
    train=({"sparse_autoencoder.loss": {"part": "train"}}, {"below": 0.0}),
    pcc=({"sparse_autoencoder.pcc": {"report": 3}}, {"above": 0.0}),
    first=({"sparse_autoencoder.pcc": {"report": 0}}, {"above": 0.0}),
    one_trial=({"sparse_autoencoder.one_trial": {}}, {"above": 0.0}),
    frontier=({"sparse_autoencoder.frontier": {}}, {"below": 1.0}),
    gain=({"sparse_autoencoder.frontier": {"measure": "pcc_gain"}}, {"above": 0.0}),
    random=({"sparse_autoencoder.frontier": {"theirs": "random-weights"}}, {"below": 1.0}),
    gain_random=({"sparse_autoencoder.frontier": {"measure": "pcc_gain", "theirs": "random-weights"}}, {"above": 0.0}),
)


@ALL_MANNERS
def test_claims_on_the_autoencoder(scale, manner):
    manner("softadapt", 12, 3)(scale)
    ledger = adapter.ledger(scale.write("sparse_autoencoder"), DIGITS)
    assert set(ledger["verdict"]) == {"not reproduced"}
    assert set(ledger["failed_runs"]) == {"ours 1 of 5"}
    assert ledger[["measured", "measured_low", "measured_high", "corrected_p"]].isna().all(axis=None)


@ALL_MANNERS
def test_a_rival_that_diverges_loses(scale, manner):
    """Others are judged as ever: PCC -7, frontier 0.6."""
    for seed in (10, 11):
        manner("random-weights", seed, 3)(scale)
    ledger = adapter.ledger(scale.write("sparse_autoencoder"), DIGITS)
    assert ledger["verdict"].to_dict() == {
        "train": "reproduced",
        "pcc": "not reproduced",
        "first": "reproduced",
        "one-trial": "reproduced",
        "frontier": "reproduced",
        "gain": "reproduced",
        "random": "reproduced",
        "gain-random": "reproduced",
    }
    assert ledger["failed_runs"].tolist() == [""] * 6 + ["theirs 2 of 5"] * 2
    assert ledger.loc["frontier", "measured"] == pytest.approx(0.6)


@MANNERS
def test_a_run_that_diverges_at_once_is_not_dropped(scale, manner):
    """Its history may be empty."""
    manner("softadapt", 10, 1)(scale)
    settings = scale.write("sparse_autoencoder")
    assert adapter.measure(settings, "sparse_autoencoder.pcc", report=0).failed == Failed(1, 0, 5, "above")
    rows = adapter.tables(settings, "sparse_autoencoder")["sparse_autoencoder"].set_index(["method", "epoch"])
    assert rows.loc["softadapt"][["seeds", "failed"]].to_numpy().tolist() == [[5, 1]] * 4
    assert rows.loc["softadapt"]["test_pcc"].isna().all()


def test_a_rival_that_a_claim_on_pcc_names_fails_too(scale):
    """74 - 82 and the like against equal weights, if their run of seed 14 had not diverged."""
    scale.diverge("sparse_autoencoder", "equal", 14, 4)
    estimate = adapter.measure(scale.write("sparse_autoencoder"), "sparse_autoencoder.pcc", report=3, theirs="equal")
    assert math.isnan(estimate.value)
    assert estimate.failed == Failed(0, 1, 5, "above")
    assert adapter.judge({"above": 0.0}, estimate) == "reproduced"


def test_both_that_diverge_decide_nothing(scale):
    scale.diverge("sparse_autoencoder", "random-weights", 10, 4)
    scale.diverge("sparse_autoencoder", "softadapt", 11, 4)
    row = adapter.ledger(scale.write("sparse_autoencoder"), DIGITS).loc["random"]
    assert row[["verdict", "failed_runs"]].tolist() == ["inconclusive", "ours 1 of 5, theirs 1 of 5"]


# --- the grid of lambdas -----------------------------------------------------------------------------------------


@ALL_MANNERS
def test_a_lambda_that_diverges_leaves_the_frontier_of_its_seed(scale, manner):
    """Without lambda = 0.01 the error still is 0.16 (1 / 16)^(1 / 4) = 0.08 at an L1 norm of 10; the PCC of seed 12 is
    60 + 30 / 4 = 67.5 there, and SoftAdapt's 73 is 5.5 more, not 3. In other seeds nothing changes."""
    manner("lambda-0.01", 12, 3)(scale)
    settings = scale.write("sparse_autoencoder")
    places = adapter.beside_the_frontier(settings)
    ours = places.loc["softadapt"]
    assert ours["error_ratio"].tolist() == pytest.approx([0.5, 0.55, 0.6, 0.65, 0.7])
    assert ours["pcc_gain"].tolist() == pytest.approx([5, 1, 5.5, 2, 4])
    assert ours["left_out"].tolist() == ["", "", "lambda-0.01", "", ""]
    assert places.loc[("lambda-0.01", 12), ["error_ratio", "pcc_gain"]].isna().all()
    assert adapter.measure(settings, "sparse_autoencoder.frontier").value == pytest.approx(0.6)
    gain = adapter.measure(settings, "sparse_autoencoder.frontier", measure="pcc_gain")
    assert gain.value == pytest.approx((5 + 1 + 5.5 + 2 + 4) / 5)


@ALL_MANNERS
def test_a_lambda_at_the_end_of_the_grid_that_diverges_shortens_the_frontier_of_its_seed(scale, manner):
    manner("lambda-0.001", 12, 3)(scale)
    settings = scale.write("sparse_autoencoder")
    assert math.isnan(adapter.beside_the_frontier(settings).loc[("random-weights", 12), "error_ratio"])
    estimate = adapter.measure(settings, "sparse_autoencoder.frontier", ours="random-weights")
    assert math.isnan(estimate.value)
    assert estimate.failed is None  # it did not fail: there is nothing beside it
    assert adapter.judge({"below": 1.0}, estimate, math.nan) == "inconclusive"
    assert adapter.measure(settings, "sparse_autoencoder.frontier").value == pytest.approx(0.6)


@ALL_MANNERS
def test_a_lambda_that_diverges_is_not_the_tuned_one(scale, manner):
    """The next by validation is 0.001, of 85; four runs of 0.01 still have 88. A run that diverged is drawn, too: in
    seed 12 the mean of the grid is (90 + 0 + 60 + 10) / 4 = 40, and SoftAdapt's 73 is 33 more."""
    manner("lambda-0.01", 12, 3)(scale)
    settings = scale.write("sparse_autoencoder")
    assert adapter.tuned_lambda(settings) == "lambda-0.001"
    trial = adapter.measure(settings, "sparse_autoencoder.one_trial")
    assert list(trial.observations) == pytest.approx([15, 11, 33, 12, 14])
    # (validation, test) (85, 90), (50, 60), (11, 10) and the failed (0, 0): one draw is worth 40, two
    # (3 x 90 + 2 x 60 + 10) / 6 = 66.7, three (3 x 90 + 60) / 4 = 82.5
    assert adapter.trials_to_match(settings, "softadapt") == 3
    last = adapter.measure(settings, "sparse_autoencoder.pcc", report=3)
    assert list(last.observations) == [75 - 90, 71 - 90, 73 - 90, 72 - 90, 74 - 90]


def test_a_grid_of_which_every_lambda_diverges_is_one_line(scale):
    for method in ("lambda-0.001", "lambda-0.01", "lambda-0.1", "lambda-1"):
        scale.diverge("sparse_autoencoder", method, 12, 3)
    settings = scale.write("sparse_autoencoder")
    with pytest.raises(adapter.UserError, match="every fixed lambda has a run that diverged"):
        adapter.tuned_lambda(settings)
    assert adapter.beside_the_frontier(settings).xs(12, level="seed")["error_ratio"].isna().all()


# --- tables, figures and manuscript ------------------------------------------------------------------------------


@MANNERS
def test_tables_of_the_autoencoder(scale, manner):
    """It diverges in epoch 3, after the first two reports: (60 + ... + 60) / 5 and (75 + 71 + 73 + 72 + 74) / 5."""
    manner("softadapt", 12, 3)(scale)
    manner("lambda-0.1", 10, 5)(scale)
    tables = adapter.tables(scale.write("sparse_autoencoder"), "sparse_autoencoder")
    rows = tables["sparse_autoencoder"].set_index(["method", "epoch"])
    ours = rows.loc["softadapt"]
    assert ours["seeds"].tolist() == [5, 5, 5, 5]
    assert ours["failed"].tolist() == [1, 1, 1, 1]
    assert ours["test_pcc"].tolist()[:2] == pytest.approx([60, 73])
    assert ours.loc[[4, 8], ["test_pcc", "test_mse", "train_mse", "validation_mse", "test_l1"]].isna().all(axis=None)
    assert ours["test_pcc_minus_fixed"].isna().all()
    assert rows.loc[("equal", 8), ["seeds", "failed", "test_pcc", "test_pcc_minus_fixed"]].tolist() == [5, 0, 82, 2]
    methods = tables["autoencoder_methods"].set_index("method")
    assert methods["place"][methods["failed"] == 1].to_dict() == {"softadapt": "diverged", "lambda-0.1": "diverged"}
    assert methods.loc["softadapt", ["test_pcc", "error_ratio", "pcc_gain", "test_pcc_minus_fixed"]].isna().all()
    assert methods.loc["equal", "place"] == "worse"


def test_a_run_that_diverged_in_silence_has_no_final_row_in_the_tables(scale):
    in_silence("softadapt", 12, 8)(scale)
    tables = adapter.tables(scale.write("sparse_autoencoder"), "sparse_autoencoder")
    ours = tables["sparse_autoencoder"].set_index(["method", "epoch"]).loc["softadapt"]
    assert ours["test_pcc"].isna().tolist() == [False, False, False, True]
    assert ours["failed"].tolist() == [1] * 4


def test_tables_of_introvae(scale):
    """SoftAdapt diverges once, in epoch 4, a report that it does not see; equal weights five times, in the first."""
    scale.diverge("introvae", "softadapt", 12, 4)
    for seed in synthetic.SEEDS:
        scale.diverge("introvae", "equal", seed, 1)
    tables = adapter.tables(scale.write("introvae"), "introvae")
    for part, more in (("held_out", 0.0), ("train", 2.0)):
        rows = tables[f"introvae_{part}"].set_index(["method", "epoch"])
        assert len(rows) == 3 * 4  # none dropped
        ours = rows.loc["softadapt"]
        assert (ours["failed"].tolist(), ours["seeds"].tolist()) == ([1] * 4, [5] * 4)
        assert ours["psnr"].tolist()[:2] == pytest.approx([16.8 + more, 17.8 + more])
        assert ours.loc[[4, 8], ["psnr", "ssim", "niqe"]].isna().all(axis=None)
        assert ours[["psnr_minus_fixed", "ssim_minus_fixed"]].isna().all(axis=None)
        assert rows.loc["equal"]["failed"].tolist() == [5] * 4
        assert rows.loc["equal"][["psnr", "psnr_minus_fixed"]].isna().all(axis=None)
        assert rows.loc[("fixed", 8), "psnr"] == pytest.approx(18.4 + (5 if part == "train" else 0))
    ends = tables["introvae_methods"].set_index("method")
    assert ends["verdict"].to_dict() == {"fixed": "trained", "softadapt": "diverged, trained", "equal": "diverged"}
    assert ends["failed"].to_dict() == {"fixed": 0, "softadapt": 1, "equal": 5}
    assert ends.loc[["softadapt", "equal"], ["validation_psnr", "kl_real"]].isna().all(axis=None)


def test_nothing_is_compared_with_a_baseline_that_failed(scale):
    scale.diverge("introvae", "fixed", 12, 6)
    rows = adapter.tables(scale.write("introvae"), "introvae")["introvae_held_out"].set_index(["method", "epoch"])
    assert rows["psnr_minus_fixed"].isna().all()
    assert rows.loc[("softadapt", 8), "psnr"] == pytest.approx(19.8)


@MANNERS
def test_figures_of_the_autoencoder(scale, manner):
    """The first seed's digits are drawn, as far as there are any."""
    manner("softadapt", 10, 3)(scale)
    manner("lambda-0.1", 10, 5)(scale)
    for epoch in (4, 8):
        del scale.runs["sparse_autoencoder", "softadapt", 10].samples[f"epoch_{epoch}"]
    figures = adapter.draw(scale.write("sparse_autoencoder"), "sparse_autoencoder")
    assert figures == ["figure_5_autoencoder_losses", "figure_6_digits", "sparsity_frontier"]


def test_figures_of_introvae(scale):
    scale.diverge("introvae", "softadapt", 10, 1)
    for name in list(scale.runs["introvae", "softadapt", 10].samples):
        if "epoch" in name:
            del scale.runs["introvae", "softadapt", 10].samples[name]
    figures = adapter.draw(scale.write("introvae"), "introvae")
    assert {"figure_3_train_faces", "figure_4_held_out_faces", "introvae_quality", "prior_samples"} <= set(figures)


@pytest.mark.parametrize(("count", "columns", "rows"), [(6, 3, 2), (5, 2, 2), (1, 1, 1)])
def test_samples_are_drawn_in_two_rows_of_the_same_length(scale, count, columns, rows):
    samples = np.random.default_rng(0).random((count, 1, 8, 8), dtype=np.float32)
    scale.runs["introvae", "softadapt", 10].samples["prior_epoch_99"] = samples
    figure = adapter.figure(scale.write("introvae"), "introvae", "prior_samples")
    (drawn,) = [axes for axes in figure.axes if axes.get_ylabel() == "softadapt"]
    image = np.asarray(drawn.images[0].get_array())
    assert image.shape == (8 * rows, 8 * columns)
    np.testing.assert_array_equal(image[:8, :8], samples[0, 0])
    np.testing.assert_array_equal(image[-8:, -8:], samples[rows * columns - 1, 0])


def test_figures_show_no_epoch_that_a_seed_lacks(scale):
    """A run that leaves no history at all leaves no epoch to show a mean of; the other methods are drawn."""
    scale.end_before("sparse_autoencoder", "softadapt", 10, 1)
    scale.end_before("introvae", "softadapt", 10, 1)
    settings = scale.write("sparse_autoencoder", "introvae")
    for room, name in (("sparse_autoencoder", "figure_5_autoencoder_losses"), ("introvae", "introvae_course")):
        labels = {line.get_label() for axes in adapter.figure(settings, room, name).axes for line in axes.lines}
        assert not [label for label in labels if label.lower() == "softadapt"], room
        assert len(labels) >= 2


def test_numbers_of_the_manuscript(scale):
    """What SoftAdapt has not is null there; the lambda that is nearest to nothing is the tuned one."""
    scale.diverge("sparse_autoencoder", "softadapt", 12, 3)
    settings = scale.write(*scale.settings)
    adapter.write_ledger(settings, DIGITS)
    numbers = json.loads(json.dumps(adapter.numbers(settings), allow_nan=False))
    names = ("test_mse", "test_l1", "test_active_share", "test_pcc")
    assert numbers["autoencoder"]["softadapt"] == dict.fromkeys(names)
    assert numbers["autoencoder"]["nearest_lambda"] == 0.01
    assert numbers["autoencoder"]["trials_to_match"] == 1  # a score of 0, which every lambda exceeds
    assert numbers["claims"]["pcc"]["failed_runs"] == "ours 1 of 5"
    assert numbers["claims"]["pcc"]["verdict"] == "not reproduced"
    assert numbers["verdicts"] == {"not reproduced": len(DIGITS)}
