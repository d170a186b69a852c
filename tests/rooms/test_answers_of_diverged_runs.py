"""A run that diverges is a finished run that says so: its method has failed, in claims, tables and figures alike."""

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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Where no run diverges: the autoencoder's claims, and SoftAdapt's places by every yardstick."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(tmp_path_factory.mktemp("undisturbed"))
        settings = synthetic.scale().write("sparse_autoencoder")
        return adapter.ledger(settings, DIGITS + PAIRS), places_of_softadapt(settings)


def places_of_softadapt(settings):
    frontier = adapter.findings(settings, "sparse_autoencoder").frontier
    return {yardstick: pytest.approx(frontier(yardstick=yardstick).observations) for yardstick in synthetic.YARDSTICKS}


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
    ("ours", "theirs", "better", "rule", "decision"),
    [
        (1, 0, "above", "above", "contradicts"),
        (0, 2, "above", "above", "supports"),
        (1, 2, "above", "above", "undecided"),
        (1, 0, "below", "below", "contradicts"),
        (0, 1, "below", "below", "supports"),
        (5, 5, "below", "below", "undecided"),
        # claims against the method: it is worse than the other
        (1, 0, "above", "below", "supports"),
        (0, 1, "above", "below", "contradicts"),
        (1, 0, "below", "above", "supports"),
        (0, 1, "below", "above", "contradicts"),
        (1, 1, "below", "above", "undecided"),
        # one that failed is not as good as one that did not
        (1, 0, "below", "within", "contradicts"),
        (0, 1, "below", "within", "contradicts"),
        (1, 1, "above", "within", "undecided"),
    ],
)
def test_a_failed_method_loses(ours, theirs, better, rule, decision):
    nan = math.nan
    estimate = adapter.Estimate(nan, nan, nan, 0, failed=Failed(ours, theirs, 5, better))
    assert adapter.judge({rule: 1.0}, estimate) == decision


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
    order=({"introvae.order": {}}, {"above": 0.0}),
)


S, C, U = "supported", "contradicted", "undecided"


@pytest.mark.parametrize(
    ("diverged", "verdicts", "failed"),
    [
        ([], [S, S, S, C, S, S], ""),
        ([("softadapt", 12, 6)], [C, C, C, S, C, C], "ours 1 of 5"),
        ([("fixed", 10, 6), ("fixed", 14, 1)], [S, S, S, C, S, S], "theirs 2 of 5"),
        ([("softadapt", 12, 8), ("fixed", 10, 2)], [U, U, U, U, C, C], "ours 1 of 5, theirs 1 of 5"),
        ([("equal", 12, 3)], [S, S, S, C, S, S], ""),
    ],
)
def test_claims_on_introvae(scale, diverged, verdicts, failed):
    """Without divergence SoftAdapt is better by 1.4 dB, by 4.4 dB early, and by 1.5 in NIQE, 19.8 dB exceed 15, and KL of
    samples that of images."""
    for method, seed, epoch in diverged:
        scale.diverge("introvae", method, seed, epoch)
    ledger = adapter.ledger(scale.write("introvae"), FACES)
    assert ledger["verdict"].tolist() == verdicts
    assert ledger.loc["psnr", "failed_runs"] == failed
    assert math.isnan(ledger.loc["psnr", "measured"]) == bool(failed)
    assert ledger.loc["psnr", "observations"] == (0 if failed else 5)
    assert (ledger.loc["psnr", "factor"] == 1) >= bool(failed)  # nothing is tested, so nothing is corrected


def test_one_run_of_many_that_diverges_refutes_that_none_does(scale):
    scale.diverge("introvae", "softadapt", 14, 8)
    estimate = adapter.measure(scale.write("introvae"), "introvae.without_warmup")
    assert math.isnan(estimate.value)
    assert estimate.failed == Failed(1, 0, 5, "above")
    assert adapter.judge({"above": 15.0}, estimate) == "contradicts"


MAIN = {"optimal_lambda": "best_pcc", "training": "main"}
CURVE = {"yardstick": "l1"}

DIGITS = claims(
    train=({"sparse_autoencoder.loss": MAIN | {"part": "train"}}, {"below": 1.0}),
    comparable=({"sparse_autoencoder.loss": MAIN | {"part": "test", "loss": "error"}}, {"within": 1.25}),
    pcc=({"sparse_autoencoder.pcc": MAIN | {"report": 3}}, {"above": 0.0}),
    first=({"sparse_autoencoder.pcc": MAIN | {"report": 0}}, {"above": 0.0}),
    frontier=({"sparse_autoencoder.frontier": CURVE}, {"below": 1.0}),
    warm_up=({"sparse_autoencoder.against_warm_up": CURVE | {"warm_up": 10}}, {"below": 1.0}),
    lands=({"sparse_autoencoder.prediction": {"setting": "main"}}, {"within": 1.25}),
)
"""SoftAdapt alone, against fixed lambdas."""

PAIRS = claims(
    original=({"sparse_autoencoder.frontier": CURVE | {"theirs": "softadapt-original"}}, {"below": 1.0}),
    yoked=(
        {"sparse_autoencoder.frontier": CURVE | {"ours": "softadapt-yoked", "theirs": "softadapt"}},
        {"within": 1.05},
    ),
    normalized=({"sparse_autoencoder.normalized": CURVE | {"variant": "loss_weighted"}}, {"below": 1.0}),
    units=({"sparse_autoencoder.other_units": {"units": "10"}}, {"within": 5.0}),
)
"""Methods against each other."""


@ALL_MANNERS
def test_claims_on_the_autoencoder(scale, manner):
    manner("softadapt", 12, 3)(scale)
    ledger = adapter.ledger(scale.write("sparse_autoencoder"), DIGITS + PAIRS)
    assert ledger.loc[[c["id"] for c in DIGITS], "verdict"].tolist() == [C] * len(DIGITS)
    who = [text.partition(" of ")[0] for text in ledger["failed_runs"]]
    assert who == ["ours 1"] * 8 + ["theirs 1"] * 3
    assert ledger.loc[["original", "yoked", "normalized", "units"], "verdict"].tolist() == [C, C, S, C]
    assert ledger[["measured", "measured_low", "measured_high"]].isna().all(axis=None)
    assert set(ledger["factor"]) == {1}


@ALL_MANNERS
def test_a_rival_that_diverges_loses(scale, manner, undisturbed):
    """Others are judged as ever."""
    for seed in (10, 11):
        manner("softadapt-original", seed, 3)(scale)
    before, _ = undisturbed
    ledger = adapter.ledger(scale.write("sparse_autoencoder"), DIGITS + PAIRS)
    assert ledger.loc["original", "verdict"] == S
    assert ledger.loc["original", "failed_runs"].startswith("theirs 2 of ")
    assert before.loc["original", "failed_runs"] == ""
    others = [name for name in ledger.index if name != "original"]
    columns = ["measured", "measured_low", "measured_high", "verdict"]
    assert ledger.loc[others, columns].equals(before.loc[others, columns])


@ALL_MANNERS
def test_a_method_in_other_units_or_settings_that_diverges_has_failed(scale, manner):
    for method in ("units-10", "unit-norm.softadapt", "softadapt-mean-error"):
        manner(method, 13, 6)(scale)
    settings = scale.write("sparse_autoencoder")
    for name, arguments, better in (
        ("prediction", {"setting": "units-10"}, "below"),
        ("prediction", {"setting": "unit-norm"}, "below"),
        ("other_units", {"units": "10"}, "above"),
        ("frontier", CURVE | {"training": "unit-norm"}, "below"),
        ("frontier", CURVE | {"training": "mean-error"}, "below"),
        ("loss", MAIN | {"part": "train", "training": "mean-error"}, "below"),
        ("pcc", MAIN | {"report": 0, "training": "unit-norm"}, "above"),
    ):
        estimate = adapter.measure(settings, f"sparse_autoencoder.{name}", **arguments)
        assert math.isnan(estimate.value)
        assert estimate.failed == Failed(1, 0, 5, better), name


@ALL_MANNERS
def test_a_cell_of_the_plane_that_diverges_leaves_no_span(scale, manner):
    """There is no loser among the two knobs."""
    manner("size-0-rate-0.1", 11, 3)(scale)
    estimate = adapter.measure(scale.write("sparse_autoencoder"), "sparse_autoencoder.knob", range="paper")
    assert math.isnan(estimate.value)
    assert adapter.judge({"above": 1.0}, estimate) == "undecided"


@MANNERS
def test_a_run_that_diverges_at_once_is_not_dropped(scale, manner):
    """Its history may be empty."""
    manner("softadapt", 10, 1)(scale)
    settings = scale.write("sparse_autoencoder")
    estimate = adapter.measure(settings, "sparse_autoencoder.pcc", report=0, **MAIN)
    assert estimate.failed == Failed(1, 0, 7, "above")
    rows = adapter.tables(settings, "sparse_autoencoder")["sparse_autoencoder"].set_index(["method", "epoch"])
    assert rows.loc["softadapt"][["seeds", "failed"]].to_numpy().tolist() == [[7, 1]] * 4
    assert rows.loc["softadapt"]["test_pcc"].isna().all()


def test_both_that_diverge_decide_nothing(scale):
    scale.diverge("sparse_autoencoder", "softadapt-original", 10, 4)
    scale.diverge("sparse_autoencoder", "softadapt", 11, 4)
    row = adapter.ledger(scale.write("sparse_autoencoder"), PAIRS).loc["original"]
    assert row["verdict"] == U
    assert row["failed_runs"].startswith("ours 1 of 7, theirs 1 of ")


# --- the grid of lambdas -----------------------------------------------------------------------------------------


@ALL_MANNERS
def test_a_lambda_that_diverges_leaves_the_curve_of_every_seed(scale, manner, undisturbed):
    """Curves stay straight without lambda = 0.01, between places 1 and 3; PCC too. Pieces of lines do not: an L1 norm of
    place 2.5 is then at 1 + 2 (100 - 10^0.5) / 99 for every seed, and not at 2 + (10 - 10^0.5) / 9."""
    manner("lambda-0.01", 12, 3)(scale)
    found = adapter.findings(scale.write("sparse_autoencoder"), "sparse_autoencoder")
    for yardstick, places in undisturbed[1].items():
        assert found.frontier(yardstick=yardstick).observations == places
    places = found.optimal_lambda("equal_l1", "softadapt-mean-error") / math.log(10) + 4
    assert places.tolist() == pytest.approx([1 + 2 * (100 - 10**0.5) / 99] * 5)
    assert found.tuned_lambda == "lambda-0.001"


@ALL_MANNERS
def test_a_lambda_at_the_end_of_the_grid_that_diverges_shortens_the_curve(scale, manner):
    """softadapt-mean-error, at place 2.5, did not fail: there is nothing beside it."""
    manner("lambda-0.1", 14, 3)(scale)
    settings = scale.write("sparse_autoencoder")
    estimate = adapter.measure(settings, "sparse_autoencoder.frontier", ours="softadapt-mean-error", yardstick="l1")
    assert math.isnan(estimate.value)
    assert estimate.failed is None
    assert adapter.judge({"below": 1.0}, estimate) == "undecided"
    assert adapter.measure(settings, "sparse_autoencoder.frontier", ours="uncertainty", yardstick="l1").count == 5


@ALL_MANNERS
def test_a_lambda_that_diverges_in_a_seed_that_a_method_lacks_still_draws_its_curve(scale, manner):
    """Seed 16 is one of SoftAdapt's and none of softadapt-mean-error's."""
    manner("lambda-0.1", 16, 3)(scale)
    settings = scale.write("sparse_autoencoder")
    other = adapter.measure(settings, "sparse_autoencoder.frontier", ours="softadapt-mean-error", yardstick="l1")
    assert list(other.observations) == pytest.approx([1.5, 1.6, 1.55, 1.45, 1.5])


@ALL_MANNERS
def test_a_lambda_that_diverges_is_not_the_tuned_one(scale, manner):
    """The next by validation is 0.0001, of 85; six runs of 0.001 still have 88."""
    manner("lambda-0.001", 12, 3)(scale)
    settings = scale.write("sparse_autoencoder")
    assert adapter.tuned_lambda(settings) == "lambda-0.0001"
    last = adapter.measure(settings, "sparse_autoencoder.pcc", report=3, **MAIN)
    expected = [end["pcc"] - k + 3 for k, end in enumerate(synthetic.SOFTADAPT)]
    assert list(last.observations) == pytest.approx(expected)


def test_a_grid_of_which_every_lambda_diverges_is_one_line(scale):
    for value in synthetic.LAMBDAS:
        scale.diverge("sparse_autoencoder", f"lambda-{value:g}", 12, 3)
    settings = scale.write("sparse_autoencoder")
    with pytest.raises(adapter.UserError, match="every fixed lambda has a run that diverged"):
        adapter.tuned_lambda(settings)
    for name, arguments in (
        ("frontier", CURVE),
        ("loss", {"part": "train", "training": "main", "optimal_lambda": "equal_l1"}),
        ("loss", {"part": "train", "training": "main", "optimal_lambda": "pcc_82_at_30"}),
        ("pcc", {"report": 0, "training": "main", "optimal_lambda": "equal_active_share"}),
        ("prediction", {"setting": "main"}),
    ):
        estimate = adapter.measure(settings, f"sparse_autoencoder.{name}", **arguments)
        assert math.isnan(estimate.value)
        assert estimate.failed is None


# --- tables, figures and manuscript ------------------------------------------------------------------------------


@MANNERS
def test_tables_of_the_autoencoder(scale, manner):
    """It diverges in epoch 6, after the first two reports: on average (-20 - 21 - ...) / 7 = -20 from 76 and 84."""
    manner("softadapt", 12, 6)(scale)
    manner("lambda-0.1", 10, 5)(scale)
    tables = adapter.tables(scale.write("sparse_autoencoder"), "sparse_autoencoder")
    rows = tables["sparse_autoencoder"].set_index(["method", "epoch"])
    ours = rows.loc["softadapt"]
    assert ours["seeds"].tolist() == [7] * 4
    assert ours["failed"].tolist() == [1] * 4
    assert ours["test_pcc"].tolist()[:2] == pytest.approx([56, 64])
    assert ours.loc[[15, 30], ["test_pcc", "test_mse", "train_mse", "validation_mse", "test_l1"]].isna().all(axis=None)
    assert ours["test_pcc_minus_fixed"].isna().all()
    # like the tuned lambda, at place 1, on the same seeds
    expected = [5, 0, 95 - 10 - 1, 0]
    assert rows.loc[("equal", 30), ["seeds", "failed", "test_pcc", "test_pcc_minus_fixed"]].tolist() == pytest.approx(
        expected
    )
    methods = tables["autoencoder_methods"].set_index("method")
    assert methods["failed"][methods["failed"] > 0].to_dict() == {"softadapt": 1, "lambda-0.1": 1}
    assert methods.loc["softadapt", ["test_pcc", "test_mse", "error_at_equal_l1", "error_at_equal_hoyer"]].isna().all()
    assert methods.loc["equal", "error_at_equal_l1"] == pytest.approx((2.0 * 2.1 * 1.9 * 2.0 * 2.05) ** 0.2)


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
    assert ends["verdict"].to_dict() == {"fixed": "trained", "softadapt": "trained 4, diverged 1", "equal": "diverged"}
    assert ends["failed"].to_dict() == {"fixed": 0, "softadapt": 1, "equal": 5}
    assert ends.loc[["softadapt", "equal"], ["validation_psnr", "kl_real"]].isna().all(axis=None)


def test_nothing_is_compared_with_a_baseline_that_failed(scale):
    scale.diverge("introvae", "fixed", 12, 6)
    rows = adapter.tables(scale.write("introvae"), "introvae")["introvae_held_out"].set_index(["method", "epoch"])
    assert rows["psnr_minus_fixed"].isna().all()
    assert rows.loc[("softadapt", 8), "psnr"] == pytest.approx(19.8)


@pytest.mark.whole
@pytest.mark.parametrize("manner", [nan_then, ends_before])
def test_figures_of_the_autoencoder(scale, manner):
    """The first seed's digits are drawn, as far as there are any."""
    manner("softadapt", 10, 3)(scale)
    manner("lambda-0.1", 10, 5)(scale)
    for epoch in (5, 15, 30):
        del scale.runs["sparse_autoencoder", "softadapt", 10].samples[f"epoch_{epoch}"]
    settings = scale.write("sparse_autoencoder")
    adapter.write_ledger(settings)
    figures = adapter.draw(settings, "sparse_autoencoder")
    assert figures == adapter.captions("sparse_autoencoder", "figures")


@pytest.mark.whole
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
    """SoftAdapt diverged: its means are null in the JSON file, and so is the lambda of equal sparsity."""
    scale.diverge("sparse_autoencoder", "softadapt", 12, 3)
    settings = scale.write("sparse_autoencoder", "digit_classifier")
    adapter.write_ledger(settings, DIGITS)
    quoted = adapter.findings(settings, "sparse_autoencoder").numbers()["autoencoder"]
    assert quoted["diverged"] == ["softadapt"]
    assert all(math.isnan(value) for value in quoted["softadapt"].values())
    assert math.isnan(quoted["optimal_lambda"]["equal_l1"])
    assert quoted["optimal_lambda"]["pcc_82_at_30"] == pytest.approx(10**-2.7)
