"""Every measurement and every choice of tuned settings, on runs whose answers are worked out here by hand."""

import math
from itertools import combinations
from pathlib import Path
from statistics import mean

import adapter
import numpy as np
import pytest
import synthetic
from adapter import NAMESAKES
from synthetic import NAN


@pytest.fixture
def scale(tmp_path, monkeypatch):
    """The made scale, not yet written; the working directory is empty."""
    monkeypatch.chdir(tmp_path)
    return synthetic.scale()


def values(estimate):
    """The observations, in their order."""
    return pytest.approx(list(estimate.observations))


# --- gradient descent --------------------------------------------------------------------------------------------


def test_settings_are_chosen_on_the_choosing_starts_and_judged_on_the_others(scale):
    """Plain: 100 steps at 0.01 on the choosing starts, 150 at 0.05; the judging ones need 800 and 150.

    Original: 50 steps at beta 0.1 and the refined step, 60 at beta -1, and 10 at beta 0, which is plain descent.
    """
    settings = scale.write("gradient_descent")
    plain = adapter.tune(settings, "rosenbrock", "fixed", "plain")
    assert plain.step_size == pytest.approx(0.01)
    assert math.isnan(plain.beta)
    assert plain.steps[plain.judged].tolist() == [800] * 8
    original = adapter.tune(settings, "rosenbrock", "fixed", "original")
    assert (original.beta, original.step_size) == (0.1, 0.05)
    # 1000: the last one does not arrive within 999 steps
    assert original.steps[original.judged].tolist() == [200, 240, 280, 320, 360, 400, 440, 1000]
    assert original.converged[original.judged].tolist() == [True] * 7 + [False]
    asked_for = adapter.tune(settings, "rosenbrock", "fixed", "original", 0.0)
    assert (asked_for.beta, asked_for.step_size) == (0.0, pytest.approx(0.01))


def test_descent_ratio(scale):
    settings = scale.write("gradient_descent")
    sweep = {"function": "rosenbrock", "step_rule": "fixed", "method": "original"}
    ratio = adapter.measure(settings, "gradient_descent.ratio", **sweep)
    # 200 / 800, 240 / 800, ... 440 / 800, 1000 / 800
    assert values(ratio) == [0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 1.25]
    assert ratio.value == pytest.approx(0.425)  # half way from 0.40 to 0.45
    assert ratio.count == 8
    assert 0.25 <= ratio.low <= 0.425 <= ratio.high <= 1.25
    # beta -1 is at its best with 60 steps on the choosing starts: 100 / 800; beta 0: 10 / 800
    assert adapter.measure(settings, "gradient_descent.ratio", **sweep, beta=-1.0).value == pytest.approx(0.125)
    assert adapter.measure(settings, "gradient_descent.ratio", **sweep, beta=0.0).value == pytest.approx(0.0125)
    # plain descent in the other sweeps: 500 / 500
    assert adapter.measure(settings, "gradient_descent.ratio", **sweep | {"step_rule": "barzilai_borwein"}).value == 1.0


def test_steps_by_step_size_follow_the_rule_of_the_verdicts(scale):
    """At the middle step beta -1 takes 60 steps on the choosing starts and 100 on the judged ones.

    Beta 0, which may not be chosen, takes 10 and 10; plain descent takes 800 on the judged starts.
    """
    sweep = adapter.findings(scale.write("gradient_descent"), "gradient_descent").sweep("rosenbrock", "fixed")
    for method, steps in (("original", 100), ("plain", 800)):
        row = sweep.quartiles(method).iloc[1]
        assert row["step_size"] == pytest.approx(0.01)
        assert row[["steps_low", "steps_median", "steps_high"]].tolist() == [steps] * 3


def test_a_start_at_the_minimum_takes_one_step(scale):
    """0 / 0 steps is 1, 2 / 4 is 0.5: the median of four of each is 0.75."""
    settings = scale.write("gradient_descent")
    ratio = adapter.measure(
        settings, "gradient_descent.ratio", function="beale", step_rule="barzilai_borwein", method="original"
    )
    assert values(ratio) == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5]
    assert ratio.value == 0.75


def test_descent_beta_ratio(scale):
    settings = scale.write("gradient_descent")
    sweep = {"function": "rosenbrock", "step_rule": "fixed", "method": "original"}
    ratio = adapter.measure(settings, "gradient_descent.beta_ratio", **sweep, than=-1.0)
    # over the 100 steps of beta = -1
    assert values(ratio) == [2, 2.4, 2.8, 3.2, 3.6, 4, 4.4, 10]
    assert ratio.value == pytest.approx(3.4)
    # over the 10 of beta = 0; over itself
    assert adapter.measure(settings, "gradient_descent.beta_ratio", **sweep, than=0.0).value == pytest.approx(34)
    assert adapter.measure(settings, "gradient_descent.beta_ratio", **sweep, than=0.1).value == 1


@pytest.mark.parametrize(("smallest_step", "starts"), [(0.001, 0), (0.01, 10), (0.1, 12)])
def test_plain_diverged_share_asks_for_all_large_steps(scale, smallest_step, starts):
    """Of 16 starts ten diverge at 0.01 and 0.1, two more at 0.1 alone, and none at 0.001; four never arrive at 0.1."""
    settings = scale.write("gradient_descent")
    share = adapter.measure(
        settings, "gradient_descent.plain_diverged_share", function="beale", smallest_step=smallest_step
    )
    assert (share.value, share.count) == (starts / 16, 16)


def test_the_interval_of_a_share_is_wilsons(scale):
    """(p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n) with p = 10 / 16."""
    settings = scale.write("gradient_descent")
    share = adapter.measure(settings, "gradient_descent.plain_diverged_share", function="beale", smallest_step=0.01)
    p, n, z = 10 / 16, 16, 1.959963985
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    bounds = [(p + z**2 / (2 * n) + sign * half) / (1 + z**2 / n) for sign in (-1, 1)]
    assert [share.low, share.high] == pytest.approx(bounds)


# --- sparse autoencoder ------------------------------------------------------------------------------------------


def test_lambda_is_tuned_by_the_best_pcc_on_validation_digits(scale):
    """Validation: 85, 88, 50, 11. On test digits 0.001 is better (90 against 80); other methods have 99."""
    assert adapter.tuned_lambda(scale.write("sparse_autoencoder")) == "lambda-0.01"


def test_lambda_is_tuned_by_the_mean_over_seeds(scale):
    """85 five times is more on average than 100 once and 50 else."""
    scale.final("sparse_autoencoder", "lambda-0.01", "validation_pcc", [100, 50, 50, 50, 50])
    assert adapter.tuned_lambda(scale.write("sparse_autoencoder")) == "lambda-0.001"


@pytest.mark.parametrize(
    ("part", "differences"),
    [
        # (0.10 + 0.01 x [1, 2, 3, 4, 5]) - (0.04 + 0.01 x 20)
        ("train", [-0.13, -0.12, -0.11, -0.10, -0.09]),
        # (0.20 + 0.01 x [1, 2, 3, 4, 5]) - (0.03 + 0.01 x 10)
        ("validation", [0.08, 0.09, 0.10, 0.11, 0.12]),
    ],
)
def test_autoencoder_loss_is_error_plus_lambda_times_the_l1_norm(scale, part, differences):
    loss = adapter.measure(scale.write("sparse_autoencoder"), "sparse_autoencoder.loss", part=part)
    assert values(loss) == differences
    assert loss.value == pytest.approx(mean(differences))
    assert loss.low < loss.value < loss.high
    assert loss.count == 5


def test_autoencoder_pcc(scale):
    settings = scale.write("sparse_autoencoder")
    last = adapter.measure(settings, "sparse_autoencoder.pcc", report=3)
    assert values(last) == [75 - 78, 71 - 79, 73 - 80, 72 - 81, 74 - 82]
    assert last.value == pytest.approx(-7.0)
    first = adapter.measure(settings, "sparse_autoencoder.pcc", report=0)
    assert values(first) == [60 - 50, 60 - 51, 60 - 52, 60 - 53, 60 - 54]
    other = adapter.measure(settings, "sparse_autoencoder.pcc", report=3, ours="softadapt-mean-error")
    assert values(other) == [10 - 78, 11 - 79, 12 - 80, 11 - 81, 10 - 82]
    named = adapter.measure(settings, "sparse_autoencoder.pcc", report=3, ours="softadapt", theirs="equal")
    assert values(named) == [75 - 82, 71 - 82, 73 - 82, 72 - 82, 74 - 82]


def test_runs_are_paired_by_seed_whatever_the_order_of_the_seeds(scale):
    scale.settings["sparse_autoencoder"]["seeds"] = [14, 10, 13, 11, 12]
    scale.settings["introvae"]["seeds"] = [14, 10, 13, 11, 12]
    settings = scale.write("sparse_autoencoder", "introvae")
    last = adapter.measure(settings, "sparse_autoencoder.pcc", report=3)
    assert sorted(last.observations) == [-9, -8, -8, -7, -3]
    trial = adapter.measure(settings, "sparse_autoencoder.one_trial")
    assert sorted(trial.observations) == pytest.approx([11, 12, 13, 14, 15])
    faces = adapter.measure(settings, "introvae.difference", part="held_out", measure="psnr", report=3)
    assert sorted(faces.observations) == pytest.approx([1.0, 1.2, 1.4, 1.6, 1.8])


def test_autoencoder_one_trial(scale):
    """The grid's mean is (90 + 80 + 60 + 10) / 4 = 60 for every seed: what is added to one is taken from another."""
    trial = adapter.measure(scale.write("sparse_autoencoder"), "sparse_autoencoder.one_trial")
    assert values(trial) == [75 - 60, 71 - 60, 73 - 60, 72 - 60, 74 - 60]
    assert trial.value == pytest.approx(13.0)


def test_autoencoder_frontier(scale):
    settings = scale.write("sparse_autoencoder")
    ratio = adapter.measure(settings, "sparse_autoencoder.frontier")
    # 0.04, 0.044, ... over 0.08
    assert values(ratio) == [0.5, 0.55, 0.6, 0.65, 0.7]
    assert ratio.value == pytest.approx(0.6)
    gain = adapter.measure(settings, "sparse_autoencoder.frontier", measure="pcc_gain")
    # 75, 71, 73, 72, 74 less 70
    assert values(gain) == [5, 1, 3, 2, 4]
    quotient = adapter.measure(settings, "sparse_autoencoder.frontier", ours="softadapt", theirs="random-weights")
    # 0.5 / 1.0, 0.55 / 1.1, 0.6 / 1.0, 0.65 / 1.3, 0.7 / 1.4
    assert values(quotient) == [0.5, 0.5, 0.6, 0.5, 0.5]
    difference = adapter.measure(settings, "sparse_autoencoder.frontier", measure="pcc_gain", theirs="random-weights")
    # random weights: 83 - 84, 83.5 - 84.5, 83 - 85, 83.5 - 85.5, 82 - 86
    assert values(difference) == [5 + 1, 1 + 1, 3 + 2, 2 + 2, 4 + 4]


@pytest.mark.parametrize(
    "arguments",
    [
        {"ours": "gradnorm"},  # one seed of five has an L1 norm of 0.5; the grid ends at 1
        {"ours": "gradnorm", "measure": "pcc_gain"},
        {"ours": "softadapt", "theirs": "gradnorm"},
        {"ours": "softadapt-mean-error"},  # dead
    ],
)
def test_there_is_no_frontier_beyond_the_grid(scale, arguments):
    """Four seeds of five would be the survivors."""
    estimate = adapter.measure(scale.write("sparse_autoencoder"), "sparse_autoencoder.frontier", **arguments)
    assert math.isnan(estimate.value)
    assert math.isnan(estimate.low)
    assert estimate.count == 0
    assert adapter.judge({"below": 1.0}, estimate, NAN) == "inconclusive"


def test_expected_best_of_a_random_search():
    """Of (validation, test) (88, 80), (85, 90), (50, 60), (11, 10): one draw 60; of six pairs three hold the first
    lambda and two the second, (3 x 80 + 2 x 90 + 60) / 6 = 80; three draws (3 x 80 + 90) / 4 = 82.5; all of them 80."""
    chosen_by, judged_by = np.array([85.0, 88, 50, 11]), np.array([90.0, 80, 60, 10])
    expected = [adapter.expected_best_of(trials, chosen_by, judged_by) for trials in (1, 2, 3, 4)]
    assert expected == pytest.approx([60, 80, 82.5, 80])
    for trials in (1, 2, 3, 4):  # and by counting
        draws = [max(draw, key=lambda k: chosen_by[k]) for draw in combinations(range(4), trials)]
        assert expected[trials - 1] == pytest.approx(mean(judged_by[k] for k in draws))


@pytest.mark.parametrize(
    ("method", "trials"), [("softadapt", 2), ("dynamic-weight-average", 1), ("equal", 3), ("uncertainty", None)]
)
def test_trials_to_match(scale, method, trials):
    """60, 80, 82.5 and 80 are expected; the methods have a PCC of 73, 60, 82 and 90."""
    assert adapter.trials_to_match(scale.write("sparse_autoencoder"), method) == trials


# --- IntroVAE and the audits -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "differences"),
    [
        # 19.0 - 18.0, 19.4 - 18.2, 19.8 - 18.4, 20.2 - 18.6, 20.6 - 18.8
        ({"part": "held_out", "measure": "psnr", "report": 3}, [1.0, 1.2, 1.4, 1.6, 1.8]),
        # the same, less 3 of SoftAdapt and less 6 of fixed
        ({"part": "held_out", "measure": "psnr", "report": 0}, [4.0, 4.2, 4.4, 4.6, 4.8]),
        # training images: 2 more of SoftAdapt and 5 more of fixed
        ({"part": "train", "measure": "psnr", "report": 3}, [-2.0, -1.8, -1.6, -1.4, -1.2]),
        ({"part": "held_out", "measure": "ssim", "report": 3}, [-0.1, -0.08, -0.06, -0.04, -0.07]),
        ({"part": "held_out", "measure": "niqe", "report": 3}, [-1, -2, -1, -2, -1.5]),
        # 19.0 - 19.5, 19.4 - 19.0, 19.8 - 20.1, 20.2 - 20.0, 20.6 - 20.4
        ({"part": "held_out", "measure": "psnr", "report": 3, "theirs": "equal"}, [-0.5, 0.4, -0.3, 0.2, 0.2]),
    ],
)
def test_introvae_difference_is_ours_less_theirs(scale, arguments, differences):
    estimate = adapter.measure(scale.write("introvae"), "introvae.difference", **arguments)
    assert values(estimate) == differences
    assert estimate.value == pytest.approx(mean(differences))
    assert (estimate.low < estimate.value < estimate.high, estimate.count) == (True, 5)


def test_a_niqe_that_does_not_exist_is_no_failed_run(scale):
    """Constant images have none: no estimate, and none of the other seeds."""
    scale.final("introvae", "softadapt", "held_out_niqe", [5, NAN, 5, 4, 4.5])
    settings = scale.write("introvae")
    estimate = adapter.measure(settings, "introvae.difference", part="held_out", measure="niqe", report=3)
    assert math.isnan(estimate.value)
    assert estimate.failed is None
    table = adapter.tables(settings, "introvae")["introvae_held_out"].set_index(["method", "epoch"])
    assert math.isnan(table.loc[("softadapt", 8), "niqe"])
    assert table.loc[("softadapt", 8), ["seeds", "failed"]].tolist() == [5, 0]


def test_introvae_without_warmup(scale):
    """(19.0 + 19.4 + 19.8 + 20.2 + 20.6) / 5"""
    estimate = adapter.measure(scale.write("introvae"), "introvae.without_warmup")
    assert values(estimate) == [19.0, 19.4, 19.8, 20.2, 20.6]
    assert estimate.value == pytest.approx(19.8)


def test_a_scale_with_warmup_says_nothing_about_training_without(scale):
    scale.settings["introvae"]["warmup_epochs"] = 1
    estimate = adapter.measure(scale.write("introvae"), "introvae.without_warmup")
    assert math.isnan(estimate.value)
    assert adapter.judge({"above": 15.0}, estimate, NAN) == "inconclusive"


def test_published_niqe_spread(scale):
    """5.0 in the first table, of fixed weights, less 2.0 in the second, of SoftAdapt."""
    estimate = adapter.measure(scale.write("niqe_collapse"), "niqe_collapse.published_spread")
    assert (estimate.value, estimate.count) == (3.0, 16)


def test_order_disagreement(scale):
    """Of eight histories equation 3 orders three otherwise than equation 4, and one not at all; NequIP four.

    Equation 3 and NequIP are opposed in five: 1, 2, 5 and 6, and not in 3 (both negative) or 4 (a tie).
    """
    settings = scale.write(NAMESAKES)
    assert adapter.measure(settings, "namesakes.order_disagreement", rule="equation 3").value == 3 / 8
    assert adapter.measure(settings, "namesakes.order_disagreement", rule="NequIP").value == 4 / 8
    estimate = adapter.measure(settings, "namesakes.order_disagreement", rule="NequIP", reference="equation 3")
    assert (estimate.value, estimate.count) == (4 / 8, 8)


@pytest.mark.parametrize(
    ("by", "shares"),
    [
        # 1.1 / 1, 2.4 / 2, 5.2 / 4, 7 / 5, 15 / 10, less 1
        ("steps", [0.1, 0.2, 0.3, 0.4, 0.5]),
        # 0.2, 0.4, 0.6, 0.8, 1.0 over the median fixed step of 4
        ("calls", [0.05, 0.1, 0.15, 0.2, 0.25]),
        ("calls_in_a_row", [0.005, 0.01, 0.015, 0.02, 0.025]),
    ],
)
def test_step_overhead(scale, by, shares):
    settings = scale.write("step_cost")
    estimate = adapter.measure(settings, "step_cost.overhead", experiment="sparse_autoencoder", by=by)
    assert values(estimate) == shares
    assert estimate.value == pytest.approx(shares[2])
    # IntroVAE's steps take twice as long, its calls as long
    twice = adapter.measure(settings, "step_cost.overhead", experiment="introvae", by=by)
    assert twice.value == pytest.approx(shares[2] if by == "steps" else shares[2] / 2)


def test_every_measurement_is_tested_here():
    text = Path(__file__).read_text(encoding="utf-8")
    assert not {name for name in adapter.measurement_names() if f'"{name}"' not in text}
