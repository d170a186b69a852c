"""Every measurement of the descent: on a made sweep, worked out here by hand, and on random ones, by plain loops.

`synthetic` says which starts choose in the 20 halves: eight times the even ones (so that the odd ones judge), eight times
the odd ones, three times the first four, once the last four. Answers stand in that order.
"""

import itertools
import math
import statistics

import adapter
import numpy as np
import pytest
import synthetic
from adapter import DIVERGED, NOT_CONVERGED, NotRun
from synthetic import BETAS, EVERY_METHOD, HALVES, LIMIT, NEVER, descent_sweep, starts

ROOM = "gradient_descent"
EVENS_CHOOSE, ODDS_CHOOSE, FIRST_CHOOSE, LAST_CHOOSE, ALL = 0, 1, 16, 19, 20
"""Numbers of halves; the last one stands for all starts."""


def alone():
    """The made scale without the other experiments."""
    made = synthetic.scale()
    made.settings = {key: made.settings[key] for key in ("scale", "data_dir", ROOM)}
    return made


def samples_of(scale, run):
    """The arrays of a run, to be changed."""
    return scale.runs[ROOM, run, 0].samples


@pytest.fixture
def scale(tmp_path, monkeypatch):
    """The made scale, not yet written; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    return alone()


def written(folder, made):
    """Settings and findings that have read their rows, so that tests may share them wherever they work."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        settings = made.write(ROOM)
        found = adapter.findings(settings, ROOM)
        assert found.tables()
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Findings of the made scale as it is."""
    return written(tmp_path_factory.mktemp("made"), alone())


def fresh(scale):
    """Findings of a changed scale."""
    return adapter.findings(scale.write(ROOM), ROOM)


def over_halves(estimate, evens, odds, first, last):
    """Whether an estimate is the median of what the halves say, from the second lowest to the second highest."""
    ordered = sorted([evens] * 8 + [odds] * 8 + [first] * 3 + [last])
    assert list(estimate.observations) == pytest.approx(ordered)
    assert [estimate.low, estimate.high] == pytest.approx([ordered[1], ordered[-2]])
    assert estimate.value == pytest.approx(statistics.median(ordered))
    assert (estimate.count, estimate.kind, estimate.failed) == (20, "halves", None)
    return True


# --- what is chosen, and on which starts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "half", "beta", "step_size", "codes"),
    [
        # means of 0.001, 0.01 and 0.05: 300, 100, 500; 300, 600, 200; 300, 350, 350
        ("plain", EVENS_CHOOSE, None, 0.01, starts(100, 600)),
        ("plain", ODDS_CHOOSE, None, 0.05, starts(500, 200)),
        ("plain", FIRST_CHOOSE, None, 0.001, starts(300, 300)),
        ("plain", LAST_CHOOSE, None, 0.001, starts(300, 300)),
        ("plain", ALL, None, 0.001, starts(300, 300)),
        # 50 steps with beta 0.1, 60 with -1; 1720 / 3 or 500, 120; 135, 90; 460, 90; 1920 / 7, 90
        ("original", EVENS_CHOOSE, 0.1, 0.04, starts(50, [200, 240, 280, NOT_CONVERGED])),
        ("original", ODDS_CHOOSE, -1.0, 0.01, starts(60, 120)),
        ("original", FIRST_CHOOSE, -1.0, 0.01, starts(60, 120)),
        ("original", LAST_CHOOSE, -1.0, 0.01, starts(60, 120)),
        ("original", ALL, -1.0, 0.01, starts(60, 120)),
    ],
)
def test_step_size_and_beta_are_the_best_of_the_half_and_beta_is_not_0(scale, method, half, beta, step_size, codes):
    chosen = adapter.tune(scale.write(ROOM), "rosenbrock-fixed", method, half)
    assert math.isnan(chosen.beta) if beta is None else chosen.beta == beta
    assert chosen.step_size == pytest.approx(step_size)
    assert chosen.codes.tolist() == codes.tolist()


def test_a_beta_that_is_asked_for_has_its_own_step_size(scale):
    """With 0.1 the odd starts would take 1720 / 3 steps at 0.04, 2200 / 3 at 0.1 and 500 at 0.001; with 0 they take 10."""
    settings = scale.write(ROOM)
    chosen = adapter.tune(settings, "rosenbrock-fixed", "original", ODDS_CHOOSE, beta=0.1)
    assert (chosen.beta, chosen.step_size, chosen.codes.tolist()) == (0.1, 0.001, [500] * 8)
    chosen = adapter.tune(settings, "rosenbrock-fixed", "original", ODDS_CHOOSE, beta=0.0)
    assert (chosen.beta, chosen.step_size, chosen.codes.tolist()) == (0.0, pytest.approx(0.01), [10] * 8)


@pytest.mark.parametrize(
    ("half", "step_size", "beta", "codes"),
    [
        # at 0.01, where beta 0.1 does not arrive and 0 would take 10; then at 0.001, where all betas take 500
        (EVENS_CHOOSE, 0.01, -1.0, starts(60, 120)),
        (ODDS_CHOOSE, 0.001, -1.0, starts(500, 500)),
        (FIRST_CHOOSE, 0.001, -1.0, starts(500, 500)),
        (ALL, 0.001, -1.0, starts(500, 500)),
    ],
)
def test_the_equal_step_size_is_the_one_of_the_grid_that_is_best_for_plain_descent(scale, half, step_size, beta, codes):
    """The odd starts would like 0.05 better than 0.001, but that is no step size of the grid."""
    settings = scale.write(ROOM)
    chosen = adapter.tune(settings, "rosenbrock-fixed", "original", half, step_size="plain")
    assert (chosen.step_size, chosen.beta) == (pytest.approx(step_size), beta)
    assert chosen.codes.tolist() == codes.tolist()
    plain = adapter.tune(settings, "rosenbrock-fixed", "plain", half, step_size="plain")
    assert plain.step_size == pytest.approx(step_size)


CRITERIA = {
    # at 0.001, 0.01 and 0.1: expected 300, 353.3, 348.3; median 300, 20, 22; mean 300, 265, 261.25
    "expected": (0.001, [300, 300, 300, 300]),
    "median": (0.01, [20, 20, 20, NOT_CONVERGED]),
    "mean": (0.1, [1, 22, 22, NOT_CONVERGED]),
}


@pytest.mark.parametrize("tuned", CRITERIA)
def test_each_criterion_chooses_what_is_best_by_it(scale, tuned):
    """Step sizes, of plain descent too where all have its step, and betas, of which each is good at one step size."""
    samples = samples_of(scale, "beale-frozen_secant")
    for size, (_, steps) in enumerate(CRITERIA.values()):
        samples["steps_plain"][0, size] = starts(steps, 7)
        samples["steps_normalized"][:, size] = starts(steps, 7)
    settings = scale.write(ROOM)
    step_size, steps = CRITERIA[tuned]
    for method, size in itertools.product(("plain", "normalized"), ("own", "plain")):
        how = {"tuned": tuned, "step_size": size}
        chosen = adapter.tune(settings, "beale-frozen_secant", method, EVENS_CHOOSE, **how)
        assert chosen.step_size == pytest.approx(step_size)
        assert chosen.codes.tolist() == starts(steps, 7).tolist()


@pytest.mark.parametrize("tuned", CRITERIA)
def test_each_criterion_chooses_the_beta_that_is_best_by_it(scale, tuned):
    samples = samples_of(scale, "beale-frozen_secant")
    samples["betas"] = np.array([-1.0, 0.1, 10.0])
    for beta, (_, steps) in enumerate(CRITERIA.values()):
        samples["steps_normalized"][beta] = starts(steps, 7), NEVER, NEVER
    scale.settings[ROOM]["betas"] = [0.0, -1.0, 0.1, 10.0]
    chosen = adapter.tune(scale.write(ROOM), "beale-frozen_secant", "normalized", EVENS_CHOOSE, tuned=tuned)
    assert chosen.beta == dict(zip(CRITERIA, (-1.0, 0.1, 10.0), strict=True))[tuned]
    assert chosen.codes.tolist() == starts(CRITERIA[tuned][1], 7).tolist()


def test_what_was_not_swept_was_not_run(scale):
    settings = scale.write(ROOM)
    for run, method, how in (
        ("rosenbrock-fixed", "original", {"beta": 0.3}),
        ("rosenbrock-fixed", "size_3", {"beta": 0.1}),
        ("rosenbrock-fixed", "size_3", {}),
        ("rosenbrock-barzilai_borwein", "size_2", {}),
        ("rosenbrock-barzilai_borwein", "component_steps", {"beta": 0.0}),
        ("rosenbrock-fixed", "original_sums_to_one", {}),  # at its own step size
        ("rosenbrock-fixed", "component_steps", {"step_size": "plain", "beta": 0.0}),
    ):
        with pytest.raises(NotRun):
            adapter.tune(settings, run, method, 0, **how)


@pytest.mark.parametrize("beta", ["best", 0.0])
def test_a_step_size_for_every_component_is_no_number_and_has_no_beta(scale, beta):
    """The even ones of the first six starts take 40 steps with the first combination and 80 with the second."""
    chosen = adapter.tune(scale.write(ROOM), "rosenbrock-fixed", "component_steps", EVENS_CHOOSE, beta=beta)
    assert math.isnan(chosen.step_size)
    assert math.isnan(chosen.beta)
    assert chosen.codes.tolist() == [40, 90, 40, 90, 40, 90]


# --- speed -------------------------------------------------------------------------------------------------------------

FIXED = {"function": "rosenbrock", "step_rule": "fixed"}
MAIN = {"tuned": "expected", "step_size": "own", "beta": "default", "total": "components"}


@pytest.mark.parametrize(
    ("method", "specification", "ratios"),
    [
        # On the odd starts plain descent takes 600 steps; on the even ones 500, on the halves by place 300.
        ("original", {}, (1720 / 3 / 600, 500 / 500, 460 / 300, 135 / 300)),
        ("original", {"beta": "best"}, (1720 / 3 / 600, 60 / 500, 90 / 300, 90 / 300)),
        ("original", {"beta": "best", "tuned": "median"}, (260 / 600, 60 / 500, 90 / 300, 90 / 300)),
        ("original", {"beta": "best", "tuned": "mean"}, (430 / 600, 60 / 500, 90 / 300, 90 / 300)),
        ("loss_weighted", {}, (103 / 600, 35.5 / 500, 48.5 / 300, 90 / 300)),
        ("loss_weighted", {"beta": "best"}, (30 / 600, 30 / 500, 30 / 300, 30 / 300)),
        ("loss_weighted", {"beta": "zero"}, (200 / 600, 200 / 500, 200 / 300, 200 / 300)),
        # All at 0.01, where the original rule does not arrive with beta 0.1, or all at 0.001.
        ("original", {"step_size": "plain", "beta": "best"}, (120 / 600, 500 / 300, 500 / 300, 500 / 300)),
        ("original", {"step_size": "plain"}, (math.inf, 500 / 300, 500 / 300, 500 / 300)),
        ("loss_weighted", {"step_size": "plain"}, (103 / 600, 500 / 300, 500 / 300, 500 / 300)),
        # The same where the weights sum to 1. At the step size that is best for them, they would take 20 steps.
        ("loss_weighted", {"step_size": "plain", "total": "one"}, (900 / 600, 700 / 300, 700 / 300, 700 / 300)),
        (
            "loss_weighted",
            {"step_size": "plain", "total": "one", "beta": "best"},
            (900 / 600, 500 / 300, 500 / 300, 500 / 300),
        ),
        (
            "loss_weighted",
            {"step_size": "plain", "total": "one", "beta": "zero"},
            (math.inf, 500 / 300, 500 / 300, 500 / 300),
        ),
        # A fixed step has no secant.
        ("loss_weighted", {"secant": "frozen"}, (103 / 600, 35.5 / 500, 48.5 / 300, 90 / 300)),
        ("loss_weighted", {"secant": "weighted"}, (103 / 600, 35.5 / 500, 48.5 / 300, 90 / 300)),
    ],
)
def test_speed_is_the_steps_over_those_of_plain_descent_on_the_other_half(found, method, specification, ratios):
    assert over_halves(found.speed(method=method, **FIXED, **MAIN | specification), *ratios)


def test_speed_of_plain_descent_by_another_name_is_no_measurement(found):
    for options in itertools.product(("own", "plain"), ("components", "one"), ("expected", "median", "mean")):
        specification = MAIN | dict(zip(("step_size", "total", "tuned"), options, strict=True))
        assert found.speed(method="original", **FIXED, **specification | {"beta": "zero"}) is None
        zero = found.speed(method="loss_weighted", **FIXED, **specification | {"beta": "zero"})
        assert (zero is None) == (options[:2] == ("own", "one"))  # the scale of the weights is that of the step


def test_the_secant_is_a_choice_of_barzilai_and_borwein_steps(found):
    """With the frozen one 250 steps, else 500; plain descent takes 500."""
    bb = {"function": "rosenbrock", "step_rule": "barzilai_borwein", "method": "original"}
    assert over_halves(found.speed(**bb, **MAIN), 1, 1, 1, 1)
    assert over_halves(found.speed(**bb, **MAIN, secant="weighted"), 1, 1, 1, 1)
    assert over_halves(found.speed(**bb, **MAIN, secant="frozen"), 0.5, 0.5, 0.5, 0.5)


def test_a_start_at_the_minimum_takes_one_step(found):
    """0 / 0 steps is 1, 2 / 4 is 0.5, and of two of each the steps are 6 and 10."""
    bb = {"function": "beale", "step_rule": "barzilai_borwein", "method": "original"}
    assert over_halves(found.speed(**bb, **MAIN), 1, 0.5, 0.6, 0.6)


@pytest.mark.parametrize("tuned", ["expected", "median", "mean"])
@pytest.mark.parametrize(("ours", "theirs"), [("arrives", "never"), ("never", "arrives"), ("never", "never")])
def test_who_never_arrives_loses_without_bound_and_where_both_do_none_loses(scale, ours, theirs, tuned):
    """By the median and the mean, 1,000 steps stand for a start that does not arrive; a zero of expected steps none."""
    for method, kind in (("original", ours), ("plain", theirs)):
        samples_of(scale, "beale-fixed")[f"steps_{method}"][:] = NEVER if kind == "never" else 250
    without_bound = {("arrives", "never"): 0.0, ("never", "arrives"): math.inf, ("never", "never"): 1.0}
    limited = {("arrives", "never"): 0.25, ("never", "arrives"): 4.0, ("never", "never"): 1.0}
    ratio = (without_bound if tuned == "expected" else limited)[ours, theirs]
    beale = {"function": "beale", "step_rule": "fixed", "method": "original"}
    estimate = fresh(scale).speed(**beale, **MAIN | {"tuned": tuned})
    assert over_halves(estimate, ratio, ratio, ratio, ratio)


# --- the gain of a beta ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "specification", "ratios"),
    [
        ("loss_weighted", {"beta": "default", "than": "zero"}, (103 / 200, 35.5 / 200, 48.5 / 200, 90 / 200)),
        ("loss_weighted", {"than": "default"}, (30 / 103, 30 / 35.5, 30 / 48.5, 30 / 90)),
        ("loss_weighted", {"beta": "best", "than": "default"}, (30 / 103, 30 / 35.5, 30 / 48.5, 30 / 90)),
        ("original", {"than": "default"}, (1, 60 / 500, 90 / 460, 90 / 135)),
        ("original", {"than": "default", "tuned": "median"}, (1, 60 / 50, 90 / 165, 90 / 125)),
        ("original", {"than": "zero"}, (1720 / 3 / 10, 6, 9, 9)),
        ("loss_weighted", {"than": "zero", "step_size": "plain"}, (math.inf, 1, 1, 1)),
        (
            "loss_weighted",
            {"beta": "default", "than": "zero", "step_size": "plain", "total": "one"},
            (0, 700 / 500, 700 / 500, 700 / 500),
        ),
    ],
)
def test_beta_gain_is_the_steps_with_one_beta_over_those_with_another(found, method, specification, ratios):
    """By the median with beta 0.1 at 0.04: of 200, 240, 280 and 1000, which choose it, the others take 50."""
    common = {"tuned": "expected", "step_size": "own", "total": "components"}
    if specification == {"than": "zero", "step_size": "plain"}:  # at 0.01 the best beta is -1: 30 over 200
        ratios = (30 / 200, 1, 1, 1)
    assert over_halves(found.beta_gain(method=method, **FIXED, **common | specification), *ratios)


def test_beta_gain_has_no_scale_of_weights_at_a_step_size_of_its_own(found):
    common = {"tuned": "expected", "step_size": "own", "than": "default"}
    for method in ("original", "loss_weighted"):
        assert found.beta_gain(method=method, total="one", **FIXED, **common) is None
        assert found.beta_gain(method=method, total="components", **FIXED, **common) is not None


def test_beta_gain_may_have_either_secant(scale):
    samples_of(scale, "rosenbrock-frozen_secant")["steps_original"][0, 0] = 50
    found = fresh(scale)
    bb = {"function": "rosenbrock", "step_rule": "barzilai_borwein", "method": "original"}
    bb |= {"than": "default", "tuned": "expected", "step_size": "own", "total": "components"}
    assert over_halves(found.beta_gain(**bb), 1, 1, 1, 1)
    assert over_halves(found.beta_gain(**bb, secant="frozen"), 0.2, 0.2, 0.2, 0.2)


# --- exponent and sharpness --------------------------------------------------------------------------------------------


def span(*steps):
    """Logarithm of the largest over the smallest."""
    return math.log(max(steps) / min(steps))


ORIGINAL = (1720 / 3, 500, 460, 135)
WEIGHTED = (103, 35.5, 48.5, 90)
"""Expected steps at beta 0.1."""

NONE_ARRIVES = 4 * (LIMIT - 1)
"""Steps of four starts of which none arrives, as if one had."""


def test_knob_of_the_papers_range(found):
    """Exponents 0 and 1 at beta 0.1; beta 0, with 200 steps, and 0.1 at the exponent 1."""
    knobs = [span(one, other) / span(200, other) for one, other in zip(ORIGINAL, WEIGHTED, strict=True)]
    assert over_halves(found.knob(function="rosenbrock", range="paper"), *knobs)


def test_knob_of_the_whole_range(found):
    """The exponent 2 too, with which no start arrives, and beta -1, with 30 steps."""
    knobs = [span(NONE_ARRIVES, *each) / span(200, 30, each[1]) for each in zip(ORIGINAL, WEIGHTED, strict=True)]
    assert over_halves(found.knob(function="rosenbrock", range="whole"), *knobs)


def test_knob_without_the_lowest_exponents(found):
    """Of 0, 1 and 2 at beta 0.1 the first is left out."""
    knobs = [span(NONE_ARRIVES, one) / span(200, 30, one) for one in WEIGHTED]
    assert over_halves(found.knob(function="rosenbrock", range="whole", lowest=0.5), *knobs)


def test_knob_without_any_span_of_the_sharpness_is_large_and_with_none_at_all_zero(scale):
    assert over_halves(fresh(scale).knob(function="beale", range="whole"), 0, 0, 0, 0)
    samples_of(scale, "beale-fixed")["steps_loss_weighted"][:, 0] = 250
    huge = math.log(2) / 1e-9
    found = adapter.findings(rewritten(scale), ROOM)
    for part in ("paper", "whole"):
        assert over_halves(found.knob(function="beale", range=part), huge, huge, huge, huge)


def rewritten(scale):
    """Settings of a scale that was written before."""
    scale.settings["scale"] = "again"
    return scale.write(ROOM)


def test_knob_of_the_whole_range_takes_more_than_the_papers_exponents(scale):
    scale.settings[ROOM]["plane_sizes"] = []
    found = fresh(scale)
    assert found.plane_sizes == [0, 1]
    with pytest.raises(NotRun):
        found.knob(function="rosenbrock", range="whole")
    assert found.knob(function="rosenbrock", range="paper").count == 20


def test_the_plane_has_every_exponent_and_sharpness(scale):
    """In the order of the exponents; 250 steps stand in one cell."""
    for run in scale.runs.values():
        if "steps_size_2" in run.samples:
            for part in ("steps", "fine_steps", "fine_step_sizes"):
                run.samples[f"{part}_size_0.5"] = run.samples[f"{part}_size_2"].copy()
    samples_of(scale, "beale-fixed")["steps_size_0.5"][2, 0] = 250
    scale.settings[ROOM]["plane_sizes"] = [2.0, 0.5]
    found = fresh(scale)
    assert found.plane_sizes == [0, 0.5, 1, 2]
    for size, beta in itertools.product(found.plane_sizes, BETAS):
        expected = 250 if (size, beta) == (0.5, 0.1) else 500
        assert found.plane("beale", size, beta).tolist() == [expected] * 20
    assert over_halves(found.knob(function="beale", range="whole"), *[math.log(2) / 1e-9] * 4)


# --- a step size for every component -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tuned", "beta", "ratios"),
    [
        # Of the first six starts 1, 3 and 5 judge, then 0, 2 and 4, then 4 and 5, then the first four; the two last starts,
        # with 7 steps, do not.
        ("expected", "default", (135 / 90, 45 / 80, 90 / 55, 90 / 55)),
        ("median", "default", (135 / 90, 45 / 80, 90 / 55, 90 / 55)),
        ("mean", "default", (135 / 90, 45 / 80, 90 / 55, 90 / 55)),
        ("expected", "best", (30 / 90, 30 / 80, 30 / 55, 30 / 55)),
        (
            "median",
            "best",
            (30 / 90, 30 / 80, 30 / 55, 90 / 55),
        ),  # of 45, 135, 7 and 7, which choose beta 0.1, it is 26
        ("expected", "zero", (200 / 90, 200 / 80, 200 / 55, 200 / 55)),
    ],
)
def test_against_component_steps_judges_by_the_first_starts(found, tuned, beta, ratios):
    assert over_halves(found.against_component_steps(function="rosenbrock", tuned=tuned, beta=beta), *ratios)


def test_the_figure_chooses_and_judges_on_halves_as_the_ledger_does(scale):
    """Over plain descent's 600, 500 and 300 steps, in 8, 8 and 4 of the 20 halves; drawn are the medians.

    The original rule takes 240, 60 and 90 steps, the loss-weighted one 135, 45 and 90, steps by component 90, 80 and 55.
    """
    axes = adapter.figure(scale.write(ROOM), ROOM, "descent_plane").axes[2]
    drawn = {line.get_label(): list(line.get_xdata()) for line in axes.lines}
    assert drawn["Rosenbrock"] == pytest.approx([90 / 300, 135 / 600, 80 / 500])
    assert drawn["Beale"] == pytest.approx([500 / 100] * 3)


def test_against_component_steps_of_the_other_function(found):
    assert over_halves(found.against_component_steps(function="beale", tuned="expected", beta="default"), 1, 1, 1, 1)


def test_against_component_steps_knows_the_criterion_and_who_never_arrives(scale):
    """Of the judging odd ones 1, 3 and 5, the last does not arrive: (90 + 90 + 1000) / 2, 90, and (90 + 90 + 1000) / 3."""
    samples_of(scale, "rosenbrock-fixed")["component_steps"][0, 5] = DIVERGED
    found = fresh(scale)
    for tuned, steps in (("expected", 590), ("median", 90), ("mean", 1180 / 3)):
        estimate = found.against_component_steps(function="rosenbrock", tuned=tuned, beta="default")
        assert 135 / steps == pytest.approx(found_among(estimate, 135 / steps))
    samples_of(scale, "rosenbrock-fixed")["component_steps"][:] = NOT_CONVERGED
    found = adapter.findings(rewritten(scale), ROOM)
    estimate = found.against_component_steps(function="rosenbrock", tuned="expected", beta="default")
    assert over_halves(estimate, 0, 0, 0, 0)


def found_among(estimate, value):
    """The observation next to a value."""
    return min(estimate.observations, key=lambda observation: abs(observation - value))


# --- lost or slow --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("smallest_step", "long", "shares"),
    [
        # At 0.001 all take 100 steps. At 0.01 the starts 0, 2 and 4 diverge, 6 takes 50 and the odd ones 300. At 0.1 the
        # starts 1 and 3 take 20, and the others do not arrive.
        (0.001, 250, (6 / 12, 7 / 12, 7 / 12, 6 / 12)),
        (0.001, 300, (2 / 12, 7 / 12, 5 / 12, 4 / 12)),
        (0.001, 299, (6 / 12, 7 / 12, 7 / 12, 6 / 12)),
        (0.001, 50, (10 / 12, 11 / 12, 11 / 12, 10 / 12)),
        (0.01, 250, (6 / 8, 7 / 8, 7 / 8, 6 / 8)),
        (0.02, 250, (2 / 4, 1, 1, 2 / 4)),
        (0.1, 250, (2 / 4, 1, 1, 2 / 4)),
    ],
)
def test_lost_or_slow_is_a_share_of_pairs_of_a_judging_start_and_a_large_step(found, smallest_step, long, shares):
    estimate = found.lost_or_slow(function="beale", smallest_step=smallest_step, long=long)
    assert over_halves(estimate, *shares)


def test_lost_or_slow_takes_a_step_of_the_grid_as_large_as_asked_for(found):
    with pytest.raises(NotRun):
        found.lost_or_slow(function="beale", smallest_step=0.11, long=1000)
    assert over_halves(found.lost_or_slow(function="rosenbrock", smallest_step=0.1, long=5000), 1, 1, 1, 1)
    assert over_halves(found.lost_or_slow(function="rosenbrock", smallest_step=0.01, long=5000), *[0.5] * 4)


# --- tables and figures ----------------------------------------------------------------------------------------------------


def test_the_table_has_every_method_at_its_best_over_all_starts(scale):
    """And, over the halves, what it takes over plain descent where it was not chosen."""
    # six take 10 steps and two do not arrive: 2060 / 6, and the third quartile is a quarter of the way from 10 to 1000
    samples_of(scale, "beale-frozen_secant")["steps_normalized"][2, 0] = [10] * 6 + [NOT_CONVERGED, DIVERGED]
    tables = fresh(scale).tables()
    assert set(tables) == {ROOM}
    table = tables[ROOM]
    assert list(table.columns) == [
        *("function", "step_rule", "method", "beta", "step_size"),
        *("quartile_steps", "quartile_steps_low", "quartile_steps_high", "expected_steps", "arrived_share"),
        *("expected_ratio_to_plain", "expected_ratio_to_plain_low", "expected_ratio_to_plain_high", "starts"),
    ]
    rows = table.set_index(["function", "step_rule", "method"])
    functions, rules = ("rosenbrock", "beale"), ("fixed", "barzilai_borwein", "frozen_secant")
    assert list(rows.index) == list(itertools.product(functions, rules, EVERY_METHOD))
    assert (rows["starts"] == 8).all()
    places = ["beta", "step_size", "quartile_steps_low", "quartile_steps", "quartile_steps_high", "expected_steps"]
    original = rows.loc[("rosenbrock", "fixed", "original")]
    assert original[places].tolist() == pytest.approx([-1, 0.01, 60, 90, 120, 90])
    ratios = [name for name in table if "ratio" in name]
    assert original[ratios].tolist() == pytest.approx([90 / 300, 60 / 500, 1720 / 1800])
    plain = rows.loc[("rosenbrock", "fixed", "plain")]
    assert plain[[*places[1:], *ratios]].tolist() == pytest.approx([0.001, 300, 300, 300, 300, 1, 1, 1])
    assert rows.xs("plain", level="method")["beta"].isna().all()
    normalized = rows.loc[("beale", "frozen_secant", "normalized")]
    assert normalized[places].tolist() == pytest.approx([0.1, 0.001, 10, 10, 257.5, 2060 / 6])
    assert normalized["arrived_share"] == 0.75
    assert rows.drop(index=("beale", "frozen_secant", "normalized"))["arrived_share"].eq(1).all()


def test_where_neither_arrives_the_table_says_that_none_is_faster(scale):
    for method in EVERY_METHOD:
        samples_of(scale, "beale-fixed")[f"steps_{method}"][:] = NEVER
    table = fresh(scale).tables()[ROOM]
    rows = table[(table["function"] == "beale") & (table["step_rule"] == "fixed")].set_index("method")
    assert rows["expected_steps"].eq(math.inf).all()
    assert rows["arrived_share"].eq(0).all()
    assert rows["quartile_steps"].eq(LIMIT).all()
    assert rows.loc["plain", "expected_ratio_to_plain"] == 1
    assert rows.loc["original", "expected_ratio_to_plain"] == 1


def test_the_steps_at_a_step_size_are_those_of_the_beta_that_is_best_there_over_all_starts(scale):
    """Beta 0, which may not be chosen, takes 10 steps at 0.01; of plain descent it is the only one."""
    sweep = fresh(scale).sweep("rosenbrock", "fixed")
    columns = ["step_size", "steps_low", "steps_median", "steps_high", "arrived"]
    expected = {
        "original": [
            [0.001, 500, 500, 500, 1],
            [0.01, 60, 90, 120, 1],  # beta -1; with 0.1 none arrives
            [0.1, 400, 400, 550, 0.75],  # beta 0.1: six take 400 steps, two do not arrive
        ],
        "plain": [[0.001, 300, 300, 300, 1], [0.01, 100, 350, 600, 1], [0.1, 1000, 1000, 1000, 0]],
        "normalized": [[0.001, 500, 500, 500, 1], [0.01, 1000, 1000, 1000, 0], [0.1, 1000, 1000, 1000, 0]],
    }
    for method, rows in expected.items():
        np.testing.assert_allclose(sweep.quartiles(method)[columns].to_numpy(), rows)


@pytest.mark.parametrize("arrives", [True, False])
def test_figures_are_drawn_where_methods_arrive_and_where_none_does(scale, arrives):
    """No picture stumbles over 0 / 0. On Beale, plain descent takes 100 steps and all other methods 500."""
    if not arrives:
        for run in ("beale-fixed", "rosenbrock-barzilai_borwein"):
            for name, values in samples_of(scale, run).items():
                if name.startswith(("steps_", "fine_steps_")) or name == "component_steps":
                    values[:] = NOT_CONVERGED
    settings = scale.write(ROOM)
    with adapter.coarse():
        for name in ("steps_by_step_size", "arrivals", "descent_plane"):
            figure = adapter.figure(settings, ROOM, name)
            assert figure.axes
            figure.canvas.draw()
        plane = adapter.figure(settings, ROOM, "descent_plane").axes[1]
    assert {text.get_text() for text in plane.texts} == {"5.00" if arrives else "1.00"}


# --- rows ------------------------------------------------------------------------------------------------------------------


def random_sweep(function, step_rule, seed):
    """A sweep of eleven starts with random codes, of which some do not arrive, and numbers that no decimal ends."""
    random = np.random.default_rng(seed)

    def codes(*shape):
        values = random.integers(0, LIMIT, shape)
        share = random.random((*shape[:-1], 1)) ** 3
        return np.where(random.random(shape) < share, random.choice([NOT_CONVERGED, DIVERGED], shape), values)

    samples = {"starts": random.normal(size=(11, 2)), "step_sizes": np.logspace(-3.1, -0.7, 4)}
    samples["halves"] = np.stack([random.permutation(11) < 5 for _ in range(20)])
    samples["betas"] = np.array(RANDOM_BETAS)
    for name in descent_sweep(function, step_rule):
        method = name.removeprefix("steps_")
        betas = 1 if method == "plain" else len(RANDOM_BETAS)
        if name.startswith("steps_"):
            samples[name] = codes(betas, 4, 11)
            if not method.endswith("_sums_to_one"):
                samples[f"fine_steps_{method}"] = codes(betas, 6, 11)
                samples[f"fine_step_sizes_{method}"] = random.lognormal(-4, 1, (betas, 6))
    if step_rule == "fixed":
        samples["component_step_sizes"] = random.lognormal(-4, 1, (7, {"rosenbrock": 2, "beale": 3}[function]))
        samples["component_steps"] = codes(7, 8)
    return samples


RANDOM_BETAS = [0.1, -10.0, 0.0, 3.0]


@pytest.fixture(scope="module")
def random_sweeps():
    """Arrays by run."""
    rules = ("fixed", "barzilai_borwein", "frozen_secant")
    names = [(function, rule) for function in ("rosenbrock", "beale") for rule in rules]
    return {f"{function}-{rule}": random_sweep(function, rule, seed) for seed, (function, rule) in enumerate(names)}


@pytest.fixture(scope="module")
def random_found(random_sweeps, tmp_path_factory):
    """Findings of random sweeps."""
    made = alone()
    for run, samples in random_sweeps.items():
        made.runs[ROOM, run, 0].samples = samples
    made.settings[ROOM] |= {"betas": RANDOM_BETAS, "starts": 11}
    return written(tmp_path_factory.mktemp("random"), made)


def test_what_the_rows_keep_is_read_exactly(random_found, random_sweeps):
    for run, samples in random_sweeps.items():
        sweep = random_found.sweep(*run.split("-"))
        assert np.array_equal(sweep.starts, samples["starts"])
        assert np.array_equal(sweep.halves, samples["halves"])
        sizes, codes = sweep.plain_codes()
        assert np.array_equal(sizes, samples["step_sizes"])
        assert np.array_equal(codes, samples["steps_plain"][0])
        for method, (index, beta) in itertools.product(EVERY_METHOD[1:], enumerate(RANDOM_BETAS)):
            swept = [*samples["step_sizes"], *samples[f"fine_step_sizes_{method}"][index]]
            of_all = [*samples[f"steps_{method}"][index], *samples[f"fine_steps_{method}"][index]]
            for half, tuned in itertools.product(range(21), CRITERIA):
                chosen = sweep.chosen(method, tuned, "own", beta, half)
                assert chosen.beta == beta
                assert chosen.codes.tolist() == of_all[swept.index(chosen.step_size)].tolist()


# --- everything once more, by plain loops -----------------------------------------------------------------------------------


def cost(code):
    return LIMIT if code < 0 else max(1, int(code))


def scored(tuned, codes):
    costs = [cost(code) for code in codes]
    if tuned == "expected":
        arrived = sum(code >= 0 for code in codes)
        return sum(costs) / arrived if arrived else math.inf
    return statistics.median(costs) if tuned == "median" else statistics.fmean(costs)


class Loops:
    """The measurements of one sweep, from its arrays."""

    def __init__(self, samples):
        self.samples = samples
        self.halves = [[s for s in range(11) if half[s]] for half in samples["halves"]]

    def candidates(self, method, index):
        """Codes of every step size of a method at the beta of an index."""
        if method == "component_steps":
            return list(self.samples["component_steps"])
        fine = self.samples.get(f"fine_steps_{method}")
        return [*self.samples[f"steps_{method}"][index], *([] if fine is None else fine[index])]

    def best(self, tuned, candidates, chooses):
        scores = [scored(tuned, [codes[s] for s in chooses if s < len(codes)]) for codes in candidates]
        return scores.index(min(scores)), min(scores)

    def codes(self, method, tuned, step_size, beta, chooses):
        """Codes of a method at the settings that the starts `chooses` choose."""
        found = []
        for index in range(1) if method in ("plain", "component_steps") else range(len(RANDOM_BETAS)):
            value = RANDOM_BETAS[index]
            if len(RANDOM_BETAS) > 1 and method not in ("plain", "component_steps"):
                if beta == "best" and value == 0:
                    continue
                if beta != "best" and value != beta:
                    continue
            if step_size == "plain":
                at, _ = self.best(tuned, list(self.samples["steps_plain"][0]), chooses)
                codes = self.samples[f"steps_{method}"][index][at]
            else:
                candidates = self.candidates(method, index)
                codes = candidates[self.best(tuned, candidates, chooses)[0]]
            found.append(codes)
        return found[self.best(tuned, found, chooses)[0]]

    def scores(self, method, tuned, step_size, beta, first=11):
        """By half, the score of the starts that did not choose, of the first ones."""
        by_half = []
        for chooses in self.halves:
            codes = self.codes(method, tuned, step_size, beta, chooses)
            by_half.append(scored(tuned, [codes[s] for s in range(min(first, len(codes))) if s not in chooses]))
        return by_half


def over(ours, theirs):
    ratios = []
    for one, other in zip(ours, theirs, strict=True):
        both = math.isinf(one) and math.isinf(other)
        ratios.append(1.0 if both else 0.0 if math.isinf(other) else one / other)
    return pytest.approx(sorted(ratios))


NUMBERS = {"default": 0.1, "zero": 0.0, "best": "best"}
RULES = [("fixed", "weighted"), ("barzilai_borwein", "weighted"), ("barzilai_borwein", "frozen")]


@pytest.mark.parametrize("function", ["rosenbrock", "beale"])
@pytest.mark.parametrize(("step_rule", "secant"), RULES)
def test_random_sweeps_have_the_speeds_and_gains_of_plain_loops(
    random_found, random_sweeps, function, step_rule, secant
):
    loops = Loops(random_sweeps[f"{function}-{'frozen_secant' if secant == 'frozen' else step_rule}"])
    where = {"function": function, "step_rule": step_rule, "secant": secant}
    options = itertools.product(CRITERIA, ("own", "plain"), ("components", "one"), ("original", "loss_weighted"))
    for tuned, step_size, total, method in options:
        common = {"method": method, "tuned": tuned, "step_size": step_size, "total": total}
        if (step_size, total) == ("own", "one"):
            continue
        swept = f"{method}_sums_to_one" if total == "one" else method
        scores = {beta: loops.scores(swept, tuned, step_size, number) for beta, number in NUMBERS.items()}
        plain = loops.scores("plain", tuned, step_size, 0.0)
        for beta, ours in scores.items():
            if (method, beta) != ("original", "zero"):
                estimate = random_found.speed(beta=beta, **where, **common)
                assert list(estimate.observations) == over(ours, plain)
            for than, theirs in scores.items():
                estimate = random_found.beta_gain(beta=beta, than=than, **where, **common)
                assert list(estimate.observations) == over(ours, theirs)


@pytest.mark.parametrize("function", ["rosenbrock", "beale"])
def test_random_sweeps_have_the_other_measurements_of_plain_loops(random_found, random_sweeps, function):
    loops = Loops(random_sweeps[f"{function}-fixed"])
    for tuned, beta in itertools.product(CRITERIA, NUMBERS):
        ours = loops.scores("loss_weighted", tuned, "own", NUMBERS[beta], first=8)
        theirs = loops.scores("component_steps", tuned, "own", 0.0, first=8)
        estimate = random_found.against_component_steps(function=function, tuned=tuned, beta=beta)
        assert list(estimate.observations) == over(ours, theirs)
    names = {0: "original", 1: "loss_weighted", 2: "size_2"}
    for part, sizes, betas in (("paper", (0, 1), (0.0, 0.1)), ("whole", (0, 1, 2), RANDOM_BETAS)):
        by_size = [loops.scores(names[size], "expected", "own", 0.1) for size in sizes]
        by_beta = [loops.scores("loss_weighted", "expected", "own", beta) for beta in betas]
        knobs = []
        for half in range(20):
            spans = [span(*(min(row[half], 5.5 * (LIMIT - 1)) for row in rows)) for rows in (by_size, by_beta)]
            knobs.append(spans[0] / max(spans[1], 1e-9))
        assert list(random_found.knob(function=function, range=part).observations) == pytest.approx(sorted(knobs))
    sizes, codes = loops.samples["step_sizes"], loops.samples["steps_plain"][0]
    for smallest, long in itertools.product(sizes, (100, 900)):
        shares = []
        for chooses in loops.halves:
            pairs = [codes[e][s] for e in range(4) if sizes[e] >= smallest for s in range(11) if s not in chooses]
            shares.append(sum(code < 0 or code > long for code in pairs) / len(pairs))
        estimate = random_found.lost_or_slow(function=function, smallest_step=smallest, long=long)
        assert list(estimate.observations) == pytest.approx(sorted(shares))


def test_random_sweeps_have_the_table_of_plain_loops(random_found, random_sweeps):
    table = random_found.tables()[ROOM]
    for row in table.itertuples():
        loops = Loops(random_sweeps[f"{row.function}-{row.step_rule}"])
        codes = loops.codes(row.method, "expected", "own", "best", range(11))
        assert row.expected_steps == pytest.approx(scored("expected", codes))
        quartiles = np.percentile([cost(code) for code in codes], [25, 50, 75])
        assert [row.quartile_steps_low, row.quartile_steps, row.quartile_steps_high] == pytest.approx(list(quartiles))
        assert row.arrived_share == pytest.approx(sum(code >= 0 for code in codes) / 11)
        assert row.starts == 11
        ratios = loops.scores(row.method, "expected", "own", "best"), loops.scores("plain", "expected", "own", 0.0)
        ordered = over(*ratios).expected
        places = [statistics.median(ordered), ordered[1], ordered[-2]]
        found = [row.expected_ratio_to_plain, row.expected_ratio_to_plain_low, row.expected_ratio_to_plain_high]
        assert found == pytest.approx(places)


def test_the_made_halves_are_what_the_answers_presume():
    kinds = [(half.tolist(), number) for number, half in enumerate(HALVES)]
    assert [half for half, number in kinds if number == EVENS_CHOOSE] == [[True, False] * 4]
    assert [half for half, number in kinds if number == FIRST_CHOOSE] == [[True] * 4 + [False] * 4]
    assert [sum(half == kinds[k][0] for half, _ in kinds) for k in (0, 1, 16, 19)] == [8, 8, 3, 1]
