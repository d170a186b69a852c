"""Every measurement of the autoencoder, on runs whose answers are worked out here by hand.

What fixed lambdas give lies on straight lines (`synthetic.fixed`): a lambda of 10^(place - 4) has its values at `place`, and
so has every lambda between two of the grid where the code interpolates as it should.
"""

import math
from statistics import fmean

import adapter
import numpy as np
import pytest
import synthetic
from adapter import NotRun
from scipy import stats
from synthetic import EARLY, PCC, SOFTADAPT, YARDSTICKS, fixed

ROOM = "sparse_autoencoder"


def alone():
    """The made scale without the other experiments."""
    made = synthetic.scale()
    made.settings = {key: made.settings[key] for key in ("scale", "data_dir", "digit_classifier", ROOM)}
    return made


@pytest.fixture
def scale(tmp_path, monkeypatch):
    """The made scale, not yet written; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    return alone()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Findings of the made scale as it is."""
    return written_below(tmp_path_factory.mktemp("made"), alone())


def written(scale):
    """Findings of a changed scale."""
    return adapter.findings(scale.write(ROOM), ROOM)


def written_below(folder, scale):
    """Findings that have read their rows, so that tests may share them wherever they work."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        found = written(scale)
        assert len(found.rows)
    return found


def ratios(estimate, expected):
    """Whether an estimate is the geometric mean of these ratios, in their order, with its interval."""
    assert list(estimate.observations) == pytest.approx(list(expected))
    assert estimate.value == pytest.approx(math.exp(fmean(map(math.log, expected))))
    logs = np.log(expected)
    if np.ptp(logs) > 1e-9:
        interval = stats.t.interval(0.95, len(logs) - 1, logs.mean(), stats.sem(logs))
        assert [estimate.low, estimate.high] == pytest.approx(np.exp(interval).tolist())
    assert (estimate.count, estimate.kind, estimate.failed) == (len(expected), "ratio", None)


def differences(estimate, expected):
    """Whether an estimate is the mean of these differences, in their order, with its interval."""
    assert list(estimate.observations) == pytest.approx(list(expected))
    assert estimate.value == pytest.approx(fmean(expected))
    interval = stats.t.interval(0.95, len(expected) - 1, fmean(expected), stats.sem(expected))
    assert [estimate.low, estimate.high] == pytest.approx(list(interval))
    assert (estimate.count, estimate.kind, estimate.failed) == (len(expected), "mean", None)


def none(estimate, rule):
    """Whether there is no estimate, without any run having failed, and nothing is decided."""
    assert math.isnan(estimate.value)
    assert math.isnan(estimate.low)
    assert (estimate.count, estimate.failed) == (0, None)
    assert adapter.judge(rule, estimate) == "undecided"


# --- the optimal lambda ------------------------------------------------------------------------------------------


def test_lambda_is_tuned_by_the_best_pcc_on_validation_digits(found):
    """Validation: 85, 88, 50, 30 and 11. On test digits 0.0001 is better, 0 has 99 and other methods 98."""
    assert found.tuned_lambda == "lambda-0.001"


def test_lambda_is_tuned_by_the_mean_over_seeds(scale):
    """85 seven times is more on average than 100 once and 50 else."""
    scale.final(ROOM, "lambda-0.001", "validation_pcc", [100, *[50] * 6])
    assert written(scale).tuned_lambda == "lambda-0.0001"


def softadapt(column):
    return [end[column] for end in SOFTADAPT]


OPTIMAL = {
    "best_pcc": [1] * 7,
    # 95 - 10 place, on average over seven seeds, is 82; at epoch 15 it is 90 - 10 place
    "pcc_82_at_30": [1.3] * 7,
    "pcc_82_at_15": [0.8] * 7,
    # 1000 at place 0, 100 at 1
    "equal_l1": [(1000 - norm) / 900 for norm in softadapt("test_l1")],
    # 0.32 at place 1, 0.16 at 2
    "equal_active_share": [1 + (0.32 - share) / 0.16 for share in softadapt("test_active_share")],
}
"""Criterion -> places of SoftAdapt's optimal lambda, by seed."""

OPTIMAL_OTHERS = {
    # five seeds, whose PCC is lower by 1 on average
    ("pcc_82_at_30", "softadapt-mean-error", ""): [1.2] * 5,
    ("pcc_82_at_15", "softadapt-mean-error", ""): [0.7] * 5,
    # at place 2.5; 10 at place 2, 1 at 3
    ("equal_l1", "softadapt-mean-error", ""): [2 + (10 - 10**0.5) / 9] * 5,
    ("best_pcc", "unit-norm.softadapt", "unit-norm"): [2] * 5,
    ("pcc_82_at_30", "unit-norm.softadapt", "unit-norm"): [1.2] * 5,
    # at place 0.8; 1000 at place 0, 10 at 2
    ("equal_l1", "unit-norm.softadapt", "unit-norm"): [2 * (1000 - 10**2.2) / 990] * 5,
    ("equal_active_share", "unit-norm.softadapt", "unit-norm"): [2 * (0.64 - 0.64 * 2**-0.8) / 0.48] * 5,
}

CRITERIA = [(criterion, "softadapt", "", places) for criterion, places in OPTIMAL.items()]
CRITERIA += [(*which, places) for which, places in OPTIMAL_OTHERS.items()]


@pytest.mark.parametrize(("criterion", "ours", "variant", "places"), CRITERIA)
def test_the_optimal_lambda_by_every_criterion(found, criterion, ours, variant, places):
    logs = found.optimal_lambda(criterion, ours, variant)
    assert (logs / math.log(10) + 4).tolist() == pytest.approx(places)


def test_of_two_lambdas_with_the_published_pcc_the_larger_one_is_taken(scale):
    """PCC rises from 80 to 85 before it falls to 75."""
    scale.final(ROOM, "lambda-0.0001", "test_pcc", [80] * 7)
    assert written(scale).optimal_lambda("pcc_82_at_30", "softadapt")[0] == pytest.approx(-2.7 * math.log(10))


def test_a_published_pcc_that_no_lambda_has_is_no_estimate(scale):
    """Without the lambdas from 0.01 on, PCC stays above 82; at epoch 15, it still falls below."""
    scale.settings[ROOM]["lambdas"] = [0.0, 0.0001, 0.001]
    found = written(scale)
    assert np.isnan(found.optimal_lambda("pcc_82_at_30", "softadapt")).all()
    open_choice = {"training": "main", "optimal_lambda": "pcc_82_at_30"}
    none(found.loss(part="train", **open_choice), {"below": 1.0})
    none(found.loss(part="test", loss="error", **open_choice), {"within": 1.25})
    none(found.pcc(report=3, **open_choice), {"above": 0.0})
    assert found.pcc(report=3, **open_choice | {"optimal_lambda": "pcc_82_at_15"}).count == 7


def test_one_seed_denser_than_the_grid_leaves_no_estimate(scale):
    """Six seeds of seven would be the survivors."""
    del scale.settings[ROOM]["lambdas"][1]
    scale.final(ROOM, "softadapt", "test_l1", [1001, 460, 640, 370, 730, 505, 595])
    found = written(scale)
    assert np.isnan(found.optimal_lambda("equal_l1", "softadapt")).tolist() == [True, *[False] * 6]
    none(found.loss(part="train", training="main", optimal_lambda="equal_l1"), {"below": 1.0})
    none(found.pcc(report=3, training="main", optimal_lambda="equal_l1"), {"above": 0.0})
    none(found.frontier(yardstick="l1"), {"below": 1.0})
    assert found.frontier(yardstick="hoyer").count == 7


# --- losses and classification beside the optimal lambda -----------------------------------------------------------


def between(place, low, high, column, k):
    """A column at a place, on the line between two whole places."""
    share = (place - low) / (high - low)
    return (1 - share) * fixed(low, k)[column] + share * fixed(high, k)[column]


def expected_loss(end, place, k, part, loss, variant=False):
    """SoftAdapt's loss over that of the lambda at a place: errors lie on straight lines, norms on pieces of lines."""
    low, high = (0, 2) if variant else (math.floor(place), math.floor(place) + 1)
    error = fixed(place, k)[f"{part}_mse"] * (10 if variant and part == "test" else 1)
    if loss == "error":
        return end[f"{part}_mse"] / error
    value = 10 ** (place - 4)
    norm = between(place, low, high, f"{part}_l1", k)
    return (end[f"{part}_mse"] + value * end[f"{part}_l1"]) / (error + value * norm)


@pytest.mark.parametrize("loss", ["total", "error"])
@pytest.mark.parametrize("part", ["train", "validation", "test"])
@pytest.mark.parametrize("criterion", OPTIMAL)
def test_losses_over_those_of_the_optimal_lambda(found, part, criterion, loss):
    estimate = found.loss(part=part, optimal_lambda=criterion, training="main", loss=loss)
    pairs = enumerate(zip(SOFTADAPT, OPTIMAL[criterion], strict=True))
    ratios(estimate, [expected_loss(end, place, k, part, loss) for k, (end, place) in pairs])


@pytest.mark.parametrize("loss", ["total", "error"])
@pytest.mark.parametrize(
    ("training", "method", "criterion"),
    [
        ("mean-error", "softadapt-mean-error", "pcc_82_at_30"),
        ("mean-error", "softadapt-mean-error", "equal_l1"),
        ("unit-norm", "unit-norm.softadapt", "pcc_82_at_30"),
        ("unit-norm", "unit-norm.softadapt", "equal_l1"),
    ],
)
def test_losses_in_other_settings(found, training, method, criterion, loss):
    """A variant is held against its own lambdas, another reading of the terms against the same ones."""
    variant = training if training == "unit-norm" else ""
    places = OPTIMAL_OTHERS[criterion, method, variant]
    estimate = found.loss(part="test", optimal_lambda=criterion, training=training, loss=loss)
    pairs = enumerate(zip(synthetic.AUTOENCODERS[method], places, strict=True))
    ratios(estimate, [expected_loss(end, place, k, "test", loss, bool(variant)) for k, (end, place) in pairs])


def test_the_loss_is_the_error_plus_lambda_times_the_norm_unless_asked(found):
    """With lambda = 0.001, at place 1."""
    estimate = found.loss(part="train", optimal_lambda="best_pcc", training="main")
    expected = [
        (end["train_mse"] + 0.001 * end["train_l1"]) / (500 / 784**2 * 10**0.75 + 0.001 * 50 * 10 ** (0.25 * (k - 2)))
        for k, end in enumerate(SOFTADAPT)
    ]
    ratios(estimate, expected)


@pytest.mark.parametrize("report", range(4))
@pytest.mark.parametrize("criterion", OPTIMAL)
def test_pcc_at_every_report(found, report, criterion):
    """Of a lambda at a place, PCC is 10 place - k + 3 below that at place 0, SoftAdapt's is as far below as is noted."""
    early = [6.0, 4.0, 2.0, 0.0][report]
    places = OPTIMAL[criterion]
    expected = [
        end["pcc"] + early + 10 * place - k + 3 for k, (end, place) in enumerate(zip(SOFTADAPT, places, strict=True))
    ]
    differences(found.pcc(report=report, optimal_lambda=criterion, training="main"), expected)


def test_pcc_in_other_settings(found):
    """20, 21, ... 24 more than the lambda at place 2.5, which has 25 less than that at 0; best PCC is at place 1."""
    other = found.pcc(report=3, optimal_lambda="best_pcc", training="mean-error")
    differences(other, [shift - 15 for shift in (20, 21, 22, 23, 24)])
    # 5, 6, ... 9 more than at place 0.8; the best one of the variant is at place 2
    variant = found.pcc(report=0, optimal_lambda="best_pcc", training="unit-norm")
    differences(variant, [shift + 12 for shift in (5, 6, 7, 8, 9)])


def test_runs_are_paired_by_seed_whatever_the_order_of_the_seeds(scale):
    scale.settings[ROOM]["seeds"] = [14, 10, 13, 11, 12, 16, 15]
    found = written(scale)
    estimate = found.pcc(report=3, optimal_lambda="best_pcc", training="main")
    assert sorted(estimate.observations) == pytest.approx(sorted(softadapt_over(1)))
    assert found.frontier(yardstick="l1").value == pytest.approx(np.exp(np.mean(np.log(places_of_softadapt("l1")))))
    units = found.other_units(units="10")
    assert sorted(units.observations) == pytest.approx([-3, -2, -2, -1, -1])


def softadapt_over(place):
    """SoftAdapt's PCC less that of a lambda at a place, by seed."""
    return [end["pcc"] + 10 * place - k + 3 for k, end in enumerate(SOFTADAPT)]


# --- beside the curve of fixed lambdas -----------------------------------------------------------------------------

PLACE_OF = {
    "active_share": lambda value: math.log2(0.64 / value),
    "l1": lambda value: math.log10(1000 / value),
    "l1_decoder": lambda value: math.log(81 / value, 3),
    "hoyer": lambda value: (value - 0.2) / 0.2,
}
"""Yardstick -> place of a lambda of that sparsity."""


def places_of_softadapt(yardstick):
    """Its error over that of the lambda of equal sparsity, by seed."""
    places = [PLACE_OF[yardstick](end[f"test_{yardstick}"]) for end in SOFTADAPT]
    pairs = enumerate(zip(SOFTADAPT, places, strict=True))
    return [end["test_mse"] / ((1 + k / 10) * 0.01 * 2**place) for k, (end, place) in pairs]


@pytest.mark.parametrize("yardstick", YARDSTICKS)
def test_error_at_equal_sparsity(found, yardstick):
    """Sizes by their logarithm, Hoyer's sparsity as it is."""
    ratios(found.frontier(yardstick=yardstick), places_of_softadapt(yardstick))
    assert found.place("softadapt", yardstick).to_dict() == pytest.approx(
        dict(zip(synthetic.MANY, places_of_softadapt(yardstick), strict=True))
    )


@pytest.mark.parametrize("yardstick", YARDSTICKS)
def test_a_fixed_lambda_lies_on_the_curve_that_it_draws(found, yardstick):
    for value in ("0", "0.0001", "0.01", "0.1"):
        beyond = value == "0"  # its logarithm is not finite
        expected = [math.nan if beyond else 1.0] * 7
        assert found.place(f"lambda-{value}", yardstick).tolist() == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("yardstick", YARDSTICKS)
def test_quotients_of_places_take_the_seeds_that_both_have(found, yardstick):
    ours = places_of_softadapt(yardstick)
    original = [1.2, 1.25, 1.3, 1.35, 1.4]
    estimate = found.frontier(yardstick=yardstick, theirs="softadapt-original")
    ratios(estimate, [one / other for one, other in zip(ours[:5], original, strict=True)])
    estimate = found.frontier(yardstick=yardstick, ours="softadapt-original", theirs="softadapt")
    ratios(estimate, [other / one for one, other in zip(ours[:5], original, strict=True)])
    yoked = found.frontier(yardstick=yardstick, ours="softadapt-yoked", theirs="softadapt")
    ratios(yoked, [a / b for a, b in zip([1.1, 1.2, 1.1, 1.3, 1.2, 1.1, 1.4], ours, strict=True)])


@pytest.mark.parametrize("yardstick", YARDSTICKS)
def test_error_at_equal_sparsity_in_other_settings(found, yardstick):
    ratios(found.frontier(yardstick=yardstick, training="mean-error"), [1.5, 1.6, 1.55, 1.45, 1.5])
    ratios(found.frontier(yardstick=yardstick, training="unit-norm"), [0.6, 0.7, 0.8, 0.7, 0.6])
    ratios(found.frontier(yardstick=yardstick, training="main"), places_of_softadapt(yardstick))


@pytest.mark.parametrize("yardstick", YARDSTICKS)
def test_normalised_rates_over_plain_ones(found, yardstick):
    weighted = found.normalized(variant="loss_weighted", yardstick=yardstick)
    ours = places_of_softadapt(yardstick)[:5]
    ratios(weighted, [a / b for a, b in zip([1.3, 1.2, 1.25, 1.4, 1.35], ours, strict=True)])
    original = found.normalized(variant="original", yardstick=yardstick)
    ratios(original, [0.9 / 1.2, 1.0 / 1.25, 0.95 / 1.3, 0.85 / 1.35, 0.8 / 1.4])


@pytest.mark.parametrize("yardstick", YARDSTICKS)
def test_softadapt_over_a_lambda_that_rises(found, yardstick):
    """The curve of the warm-ups of ten epochs has half the error, that of five epochs four fifths."""
    for epochs, factor in ((10, 0.5), (5, 0.8)):
        estimate = found.against_warm_up(warm_up=epochs, yardstick=yardstick)
        ratios(estimate, [ratio / factor for ratio in places_of_softadapt(yardstick)])
    with pytest.raises(NotRun):
        found.against_warm_up(warm_up=20, yardstick=yardstick)


def test_a_warm_up_to_nothing_draws_no_curve(scale):
    """No logarithm of 0 is taken."""
    scale.settings[ROOM]["warm_up_lambdas"] = [0.1, 0.0, 0.0001]
    for epochs in (5, 10):
        for seed in synthetic.MANY:
            scale.runs[ROOM, f"warm-up-{epochs}.lambda-0", seed] = scale.runs[ROOM, "lambda-0", seed]
    estimate = written(scale).against_warm_up(warm_up=10, yardstick="l1")
    ratios(estimate, [ratio / 0.5 for ratio in places_of_softadapt("l1")])


@pytest.mark.parametrize("yardstick", YARDSTICKS)
@pytest.mark.parametrize(
    "arguments",
    [
        {"ours": "gradnorm"},  # one seed of five lies between the last lambda that lives and the dead one
        {"theirs": "gradnorm"},
        {"ours": "gradnorm", "theirs": "gradnorm"},
        {"ours": "mgda"},  # dead
    ],
)
def test_there_is_no_curve_beyond_the_grid(found, yardstick, arguments):
    none(found.frontier(yardstick=yardstick, **arguments), {"below": 1.0})


@pytest.mark.parametrize("norm", [5e-4, 2e-3])
def test_a_code_is_dead_from_an_l1_norm_of_a_thousandth_down(scale, norm):
    """A living one draws the curve: in seed 2 gradnorm, at 1000 / 10^3.5, is half a decade past lambda = 0.1."""
    scale.final(ROOM, "lambda-1", "test_l1", [norm] * 7)
    place = written(scale).place("gradnorm", "l1")[12]
    if norm < 1e-3:
        assert math.isnan(place)
    else:
        share = 0.5 / math.log10(1 / norm)
        error = 0.096 ** (1 - share) * 0.5**share
        assert place == pytest.approx(1.2 * 0.01 * 2**3.5 / error)


# --- one curve -----------------------------------------------------------------------------------------------------


def counted(lists, within):
    """Shares of lists of ratios whose geometric mean lies within, whose interval does, and whose interval touches it."""
    inside = wholly = touching = 0
    for values in lists:
        logs = np.log(values)
        low, high = stats.t.interval(0.95, len(logs) - 1, logs.mean(), stats.sem(logs))
        edge = math.log(within)
        inside += abs(logs.mean()) < edge
        wholly += -edge < low and high < edge
        touching += high > -edge and low < edge
    return inside, wholly, touching


OTHERS = {
    "softadapt-mean-error": [1.5, 1.6, 1.55, 1.45, 1.5],
    "softadapt-original": [1.2, 1.25, 1.3, 1.35, 1.4],
    "softadapt-normalized": [1.3, 1.2, 1.25, 1.4, 1.35],
    "softadapt-original-normalized": [0.9, 1.0, 0.95, 0.85, 0.8],
    "softadapt-beta-0": [1.02, 0.98, 1.0, 1.01, 0.99],
    "equal": [2.0, 2.1, 1.9, 2.0, 2.05],
    "uncertainty": [0.99, 1.01, 1.0, 1.005, 0.995],
    "relobralo": [0.99, 1.01, 1.0, 1.005, 0.995],
    "random-weights": [0.95, 1.0, 1.05, 1.1, 1.15],
    "dynamic-weight-average": [1.06, 1.0, 1.12, 1.05, 1.1],
    "rule-nequip": [0.70, 0.71, 0.72, 0.73, 0.74],
}
"""The living rules that lie within the grid, besides SoftAdapt."""


@pytest.mark.parametrize("within", [1.05, 1.4])
@pytest.mark.parametrize("yardstick", YARDSTICKS)
def test_share_of_the_rules_on_the_curve(found, yardstick, within):
    """Of thirteen: twelve and gradnorm, which is beyond the grid in one seed. mgda is dead, and a replay is no rule."""
    inside, wholly, touching = counted([*OTHERS.values(), places_of_softadapt(yardstick)], within)
    estimate = found.share_on_the_curve(yardstick=yardstick, within=within)
    assert [estimate.value, estimate.low, estimate.high] == pytest.approx([inside / 13, wholly / 13, touching / 13])
    assert (estimate.count, estimate.kind) == (13, "fact")
    assert 0 < wholly <= inside <= touching < 13


def test_the_share_on_the_curve_at_a_twentieth_by_hand(found):
    """By mean: random weights (1.047), beta 0, uncertainty and relobralo; wholly the last three; and one touches more."""
    estimate = found.share_on_the_curve(yardstick="l1", within=1.05)
    assert [estimate.value, estimate.low] == pytest.approx([4 / 13, 3 / 13])
    assert (
        estimate.high >= 6 / 13
    )  # dynamic weight average (1.065, down to 1.01), and the original normalised (up to 1.0)
    assert adapter.judge({"above": 0.9}, estimate) == "contradicts"
    assert adapter.judge({"above": 0.2}, estimate) == "supports"
    assert adapter.judge({"above": 0.3}, estimate) == "undecided"


def test_a_rule_with_a_run_that_diverged_is_no_rule_less(scale):
    """uncertainty was one of the four."""
    scale.diverge(ROOM, "uncertainty", 12, 20)
    found = written(scale)
    assert "uncertainty" in found.rules()
    estimate = found.share_on_the_curve(yardstick="l1", within=1.05)
    assert [estimate.value, estimate.low, estimate.count] == pytest.approx([3 / 13, 2 / 13, 13])


@pytest.mark.parametrize(("share", "alive"), [(0.0200001, True), (0.02, False), (0.0, False)])
def test_a_rule_that_keeps_no_unit_alive_is_left_out(scale, share, alive):
    """Of 50 units, on average over the seeds."""
    scale.final(ROOM, "relobralo", "test_active_share", [share] * 5)
    rules = written(scale).rules()
    assert rules == [
        name for name in synthetic.RULES if name not in ("softadapt-yoked", "mgda", *["relobralo"] * (not alive))
    ]


def test_one_seed_alone_puts_no_rule_off_the_curve(scale):
    """Without intervals nothing is decided: but for gradnorm, if its only seed lies beyond the grid, any may lie on it."""
    scale.settings[ROOM] |= {"few_seeds": 1, "every_seed": []}
    del scale.settings[ROOM]["methods"]["softadapt-yoked"]  # has no other seed's weights to replay
    scale.final(ROOM, "gradnorm", "test_l1", [0.5, 0.5, 0.5, 0.5, 0.5])
    estimate = written(scale).share_on_the_curve(yardstick="l1", within=1.05)
    # random weights with 0.95 = 1 / 1.0526 are out; SoftAdapt, beta 0, uncertainty and relobralo are within
    within = [abs(math.log(values[0])) < math.log(1.05) for values in [*OTHERS.values(), places_of_softadapt("l1")]]
    assert [estimate.value, estimate.low, estimate.high] == pytest.approx([sum(within) / 13, 0, 12 / 13])
    assert adapter.judge({"above": 0.9}, estimate) == "undecided"


def test_a_few_rules_are_no_sample(scale):
    """Nine living ones."""
    for name in ("equal", "uncertainty", "relobralo", "random-weights"):
        del scale.settings[ROOM]["methods"][name]
    found = written(scale)
    assert len(found.rules()) == 9
    with pytest.raises(NotRun):
        found.share_on_the_curve(yardstick="l1", within=1.05)


# --- where it lands ------------------------------------------------------------------------------------------------


def test_the_prediction_is_the_lambda_that_equals_the_ratio_of_its_own_losses():
    """At place 1.5 in seed 2; with the error times c, lambda = l1 / (c^2 784^2 mse), at 2 log10(c) / 2.5 before."""
    for k, factor, place in ((2, 1, 1.5), (3, 1, 1.6), (0, 1, 1.3), (2, 10, 0.7), (2, 0.1, 2.3), (2, 0.01, 3.1)):
        end = fixed(place, k)
        assert 10 ** (place - 4) == pytest.approx(end["train_l1"] / (factor**2 * 784**2 * end["train_mse"]))


def predicted(place, k):
    return 1000 * 10 ** -(place + 0.1 * (k - 2))


def test_l1_norm_over_the_predicted_one(found):
    expected = [end["test_l1"] / predicted(1.5, k) for k, end in enumerate(SOFTADAPT)]
    ratios(found.prediction(setting="main"), expected)


@pytest.mark.parametrize(
    ("setting", "expected"), [("units-10", [1.1, 1.2, 1.1, 1.0, 1.1]), ("units-0.1", [0.5, 0.6, 0.5, 0.4, 0.5])]
)
def test_prediction_in_other_units(found, setting, expected):
    ratios(found.prediction(setting=setting), expected)


def test_prediction_in_a_variant(found):
    """SoftAdapt has the norm of place 0.8 there."""
    ratios(found.prediction(setting="unit-norm"), [1000 * 10**-0.8 / predicted(1.5, k) for k in range(5)])


def test_there_is_no_prediction_beyond_the_lambdas_that_live(found):
    """With the error times 0.01, it is that of place 3.1 in seed 2, and a dead lambda comes next."""
    none(found.prediction(setting="units-0.01"), {"within": 1.25})


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_lambda_that_is_dead_on_either_part_predicts_nothing(scale, part):
    """Without lambda = 0.1 the grid ends at place 2, before what is predicted with the error times 0.1."""
    scale.final(ROOM, "lambda-0.1", f"{part}_l1", [5e-4] * 7)
    found = written(scale)
    none(found.prediction(setting="units-0.1"), {"within": 1.25})
    ratios(found.prediction(setting="main"), [end["test_l1"] / predicted(1.5, k) for k, end in enumerate(SOFTADAPT)])


def test_prediction_goes_over_a_lambda_that_diverged(scale):
    """Its neighbours lie on the same line."""
    scale.diverge(ROOM, "lambda-0.01", 15, 20)
    expected = [end["test_l1"] / predicted(1.5, k) for k, end in enumerate(SOFTADAPT)]
    ratios(written(scale).prediction(setting="main"), expected)


# --- units and the plane -------------------------------------------------------------------------------------------


def test_pcc_in_other_units(found):
    differences(found.other_units(units="10"), [-1, -2, -3, -2, -1])
    differences(found.other_units(units="0.1"), [1, 2, 3, 2, 4])
    differences(found.other_units(units="0.01"), [-10, -20, -30, -20, -10])


def test_the_knob_that_moves_the_error_more(found):
    """Paper: factors of 4, 8, 16, 4, 8 over exponents and of 2 over sharpnesses. All: of 64, and of 4, 8, 4, 8, 4."""
    ratios(found.knob(range="paper"), [2, 3, 4, 2, 3])
    ratios(found.knob(range="whole"), [6 / 2, 6 / 3, 6 / 2, 6 / 3, 6 / 2])


def test_a_knob_that_moves_nothing_is_no_divisor(scale):
    scale.final(ROOM, "size-1-rate-0", "test_mse", [0.01] * 5)
    none(written(scale).knob(range="paper"), {"above": 1.0})


def test_a_plane_without_the_paper_s_cells_says_nothing_of_them(scale):
    """With exponents of 1 and 2 alone, those of the paper were not run; all that were run, were."""
    scale.settings[ROOM]["plane"] = {"sizes": [1.0, 2.0], "rates": [0.0, 0.1]}
    found = written(scale)
    with pytest.raises(NotRun):
        found.knob(range="paper")
    ratios(found.knob(range="whole"), [6] * 5)


# --- what a scale leaves out ---------------------------------------------------------------------------------------

NOT_RUN = [
    ("loss", {"part": "train", "optimal_lambda": "best_pcc", "training": "unit-norm"}),
    ("loss", {"part": "train", "optimal_lambda": "best_pcc", "training": "mean-error"}),
    ("loss", {"part": "train", "optimal_lambda": "pcc_82_at_15", "training": "main"}),
    ("pcc", {"report": 0, "optimal_lambda": "best_pcc", "training": "mean-error"}),
    ("pcc", {"report": 0, "optimal_lambda": "pcc_82_at_15", "training": "main"}),
    ("frontier", {"yardstick": "l1", "training": "unit-norm"}),
    ("frontier", {"yardstick": "l1", "ours": "softadapt-yoked", "theirs": "softadapt"}),
    ("frontier", {"yardstick": "l1", "theirs": "softadapt-original"}),
    ("normalized", {"yardstick": "l1", "variant": "original"}),
    ("normalized", {"yardstick": "l1", "variant": "loss_weighted"}),
    ("against_warm_up", {"yardstick": "l1", "warm_up": 10}),
    ("share_on_the_curve", {"yardstick": "l1", "within": 1.05}),
    ("prediction", {"setting": "units-10"}),
    ("prediction", {"setting": "unit-norm"}),
    ("other_units", {"units": "10"}),
    ("knob", {"range": "paper"}),
    ("knob", {"range": "whole"}),
]


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    """Findings of a scale with SoftAdapt and fixed lambdas alone, which does not report on epoch 15."""
    made = alone()
    made.settings[ROOM] |= {
        "warm_ups": [],
        "warm_up_lambdas": [],
        "unit_factors": [],
        "variants": {},
        "variant_methods": [],
    }
    made.settings[ROOM] |= {"variant_lambdas": [], "plane": {"sizes": [], "rates": []}, "every_seed": ["softadapt"]}
    made.settings[ROOM]["methods"] = {"softadapt": made.settings[ROOM]["methods"]["softadapt"]}
    made.settings[ROOM]["report_epochs"] = [1, 2, 5, 30]
    return written_below(tmp_path_factory.mktemp("little"), made)


@pytest.mark.parametrize(("measurement", "arguments"), NOT_RUN)
def test_what_was_not_run_is_not_measured(little, measurement, arguments):
    with pytest.raises(NotRun):
        getattr(little, measurement)(**arguments)


def test_a_scale_with_little_has_its_tables_and_numbers(little):
    tables = little.tables()
    assert set(tables["autoencoder_methods"]["method"]) == {"softadapt", *(f"lambda-{v:g}" for v in synthetic.LAMBDAS)}
    numbers = little.numbers()["autoencoder"]
    assert set(numbers) == {"optimal_lambda", "diverged", "tuned", "softadapt"}
    assert set(numbers["optimal_lambda"]) == {"pcc_82_at_30", "equal_active_share", "equal_l1"}


def test_a_variant_without_fixed_lambdas_has_nothing_to_be_held_against(scale):
    scale.settings[ROOM]["variant_lambdas"] = []
    found = written(scale)
    with pytest.raises(NotRun):
        found.loss(part="train", optimal_lambda="best_pcc", training="unit-norm")
    none(found.loss(part="train", optimal_lambda="equal_l1", training="unit-norm"), {"below": 1.0})
    none(found.frontier(yardstick="l1", training="unit-norm"), {"below": 1.0})
    none(found.prediction(setting="unit-norm"), {"within": 1.25})
    methods = found.tables()["autoencoder_methods"].set_index("method")
    assert math.isnan(methods.loc["unit-norm.softadapt", "error_at_equal_l1"])


# --- numbers and figures -------------------------------------------------------------------------------------------


def test_numbers_of_the_manuscript(found):
    numbers = found.numbers()
    assert (numbers["tuned_method"], numbers["tuned_lambda"]) == ("lambda-0.001", 0.001)
    quoted = numbers["autoencoder"]
    # on average over seeds, of the logarithms
    expected = {name: 10 ** (fmean(places) - 4) for name, places in OPTIMAL.items() if name != "best_pcc"}
    assert quoted["optimal_lambda"] == pytest.approx(expected)
    assert quoted["diverged"] == []
    means = {name: fmean(softadapt(f"test_{name}")) for name in ("mse", "l1", "active_share")}
    assert quoted["softadapt"] == pytest.approx(
        {f"test_{name}": value for name, value in means.items()} | {"test_pcc": 95 + fmean(softadapt("pcc"))}
    )
    assert quoted["tuned"]["test_mse"] == pytest.approx(0.02 * 1.3)
    assert quoted["mean"]["test_l1"] == pytest.approx(10**0.5)


def test_figures_show_the_two_readings_of_the_optimal_lambda(scale):
    """Best by validation is 0.0001; PCC is 82 at place 1.3, nearest to 0.001. Where it is one lambda, it stands once."""
    scale.settings["scale"] = "one"
    one = adapter.figure(scale.write(ROOM), ROOM, "figure_5_autoencoder_losses")
    scale.settings["scale"] = "two"
    scale.final(ROOM, "lambda-0.0001", "validation_pcc", [95] * 7)
    two = adapter.figure(scale.write(ROOM), ROOM, "figure_5_autoencoder_losses")
    texts = [[text.get_text() for text in figure.legends[0].get_texts()] for figure in (one, two)]
    best, near = "$\\lambda$ = {} (best PCC)", "$\\lambda$ = 0.001 (PCC 85)"
    assert texts[0] == [best.format("0.001"), "SoftAdapt", "SoftAdapt, mean error"]
    assert texts[1] == [best.format("0.0001"), near, "SoftAdapt", "SoftAdapt, mean error"]


def test_the_figure_of_predictions_shows_what_was_predicted_and_reached(scale):
    figure = adapter.figure(scale.write(ROOM), ROOM, "where_it_lands")
    shown = {text.get_text(): text.xy for text in figure.axes[0].texts}
    assert set(shown) == {"main", "x 10", "x 0.1", "unit-norm"}  # times 0.01 is beyond the grid
    # reached: the mean; predicted: that over the geometric mean of the ratios
    reached = fmean(1000 * 10**-0.8 for _ in range(5))
    assert shown["unit-norm"] == pytest.approx((predicted(1.5, 2), reached))


def test_the_plane_shows_every_cell(scale):
    figure = adapter.figure(scale.write(ROOM), ROOM, "autoencoder_plane")
    # rows: exponents 0, 1, 2; columns: sharpnesses 0, 0.1, 1; means over seeds, hundredths
    expected = [[1e-3, 8, 1e4], [2, 1, 0.4], [1e-3, 64, 1e4]]
    image = np.exp(np.asarray(figure.axes[0].images[0].get_array(), dtype=float))
    np.testing.assert_allclose(image, 0.01 * np.array(expected))


@pytest.mark.parametrize("without", ["softadapt-yoked", "warm-ups"])
def test_the_figure_of_controls_leaves_out_those_that_were_not_run(scale, without):
    if without == "warm-ups":
        scale.settings[ROOM]["warm_ups"] = []
    else:
        del scale.settings[ROOM]["methods"][without]
        scale.settings[ROOM]["every_seed"] = ["softadapt"]
    figure = adapter.figure(scale.write(ROOM), ROOM, "schedule_or_adaptivity")
    labels = [label.get_text().split("\n")[0] for label in figure.axes[0].get_yticklabels()]
    rows = {"softadapt-yoked": ["SoftAdapt over"] + ["SoftAdapt over warm-up"] * 2}
    assert labels == rows.get(without, ["SoftAdapt over", "replayed over"])


def test_report_epochs_of_the_made_scale_are_those_that_the_criteria_name():
    assert (sorted(PCC), sorted(EARLY)) == ([2, 5, 15, 30], [2, 5, 15, 30])
