"""Gradient descent: the batch equals lone trajectories written out, steps and outcomes are counted right."""

import itertools
import json
import math
import statistics
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run_room

from experiments.gradient_descent import run as gd
from experiments.gradient_descent.settings import HALVES, METHODS, STEP_RULES, SUMS_TO_ONE, Method
from experiments.scale import load
from models.objectives import BEALE, ROSENBROCK

pytestmark = pytest.mark.xdist_group("descent")  # whose loops take seconds to compile

SETTINGS = load("config/smoke.yaml").gradient_descent

SWEPT = METHODS | SUMS_TO_ONE | {"size_0.5": Method(0.5), "size_2": Method(2.0)}
"""All that runs may sweep."""


def numbers(*values):
    """A tensor (n,) in double precision."""
    return torch.tensor(values, dtype=torch.float64)


def path_written_out(function, method, step_rule, start, step_size, beta, lowest):
    """Yield the points of one trajectory in plain numpy, equation by equation, each with the weights that led to it."""
    x, weights, old = np.array(start), None, None
    while True:
        yield x, weights
        f, g = np.array(function.values(*x)), np.array(function.slopes(*x))
        weights = np.ones(len(f))
        if method.size is not None and old is not None:
            s = f - old["f"]
            if method.normalize:
                s = s / (np.abs(s).sum() + 1e-8)
            z = np.exp(beta * s - (beta * s).max()) * (f / f.max()) ** method.size
            weights = (1 if method.sums_to_one else len(f)) * z / z.sum()
        direction = weights @ g
        eta = step_size
        if step_rule != "fixed":
            eta = lowest
            if old is not None:
                # the change of the gradient at this step's weights, or of the weighted one
                turned = weights @ (g - old["g"]) if step_rule == "frozen_secant" else direction - old["d"]
                moved = x - old["x"]
                eta = step_size
                if moved @ turned > 0:
                    eta = np.clip(moved @ moved / (moved @ turned), lowest, step_size)
        old = {"f": f, "g": g, "x": x, "d": direction}
        x = x - eta * direction


def outcome(function, points, settings):
    """Steps until one of these points is near enough, or a code."""
    for step, x in enumerate(points):
        distance = math.dist(x, function.minimiser)
        if distance <= settings.tolerance:
            return step
        if not distance <= settings.divergence_radius:
            return gd.DIVERGED
        if step == settings.max_steps:
            return gd.NOT_CONVERGED
    raise AssertionError("the path ends")


def written_out(function, method, step_rule, start, step_size, beta, settings):
    """The steps to converge of one trajectory in plain numpy."""
    lowest = settings.barzilai_borwein_lowest
    path = path_written_out(function, SWEPT[method], step_rule, start, step_size, beta, lowest)
    return outcome(function, (x for x, _ in path), settings)


@pytest.mark.parametrize("function", [ROSENBROCK, BEALE], ids=["rosenbrock", "beale"])
@pytest.mark.parametrize("step_rule", STEP_RULES)
@pytest.mark.parametrize("method", SWEPT)
def test_a_trajectory_has_the_points_and_weights_of_one_written_out(function, step_rule, method):
    """Twelve steps of `advance`, with a beta at which weights differ; before the first step there are none to show."""
    settings = SETTINGS.model_copy(update={"max_steps": 12, "tolerance": 1e-9, "barzilai_borwein_lowest": 1e-4})
    start, arguments = [0.6, 0.3], (function, SWEPT[method], step_rule)
    step_size = 1e-3 if step_rule == "fixed" else 5e-3
    rows = gd.trajectory(*arguments, numbers(*start), step_size, 0.4, settings)
    written = path_written_out(*arguments, start, step_size, 0.4, 1e-4)
    assert [row["step"] for row in rows] == list(range(13))
    for row, (x, weights) in zip(rows, written, strict=False):
        names = function.component_names
        assert [row["x"], row["y"]] == pytest.approx(x.tolist(), rel=1e-6)
        assert [row[f"loss_{name}"] for name in names] == pytest.approx(list(function.values(*x)), rel=1e-6)
        expected = np.ones(len(names)) if weights is None else weights
        assert [row[f"weight_{name}"] for name in names] == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-12)


def test_the_secants_differ_once_weights_have_changed():
    """Plain descent has constant weights. All others have equal ones at the first step alone, so that the second differs."""
    settings = SETTINGS.model_copy(update={"max_steps": 6, "tolerance": 1e-9})
    for method in SWEPT:
        paths = []
        for step_rule in ("barzilai_borwein", "frozen_secant"):
            rows = gd.trajectory(BEALE, SWEPT[method], step_rule, numbers(0.4, 0.3), 10.0, 1.0, settings)
            paths.append([[row["x"], row["y"]] for row in rows])
        np.testing.assert_allclose(paths[0][:2], paths[1][:2])
        assert np.allclose(paths[0][:3], paths[1][:3], rtol=1e-6) == (method == "plain")


@pytest.mark.parametrize("function", [ROSENBROCK, BEALE], ids=["rosenbrock", "beale"])
@pytest.mark.parametrize("step_rule", STEP_RULES)
@pytest.mark.parametrize("method", SWEPT)
def test_the_batch_counts_the_steps_of_trajectories_written_out(function, step_rule, method):
    """Forty steps only: beyond that, rounding grows to different paths where Barzilai-Borwein steps are chaotic."""
    settings = SETTINGS.model_copy(update={"max_steps": 40, "tolerance": 0.3})
    starts = gd.sobol_starts(function, 6, seed=1)
    step_sizes, betas = numbers(2e-3, 2e-2, 1.0), numbers(-0.5, 0.1)
    counted = gd.steps_to_converge(function, SWEPT[method], step_rule, starts, step_sizes, betas, settings)
    assert (counted.shape, counted.dtype) == ((2, 3, 6), torch.int32)
    for b, beta in enumerate(betas.tolist()):
        for e, step_size in enumerate(step_sizes.tolist()):
            for s, start in enumerate(starts.tolist()):
                expected = written_out(function, method, step_rule, start, step_size, beta, settings)
                assert int(counted[b, e, s]) == expected


def advanced(function, method, step_rule, starts, step_sizes, betas, settings):
    """What `steps_to_converge` counts, by `advance` on a batch of all combinations."""
    beta, step_size, index = torch.cartesian_prod(betas, step_sizes, torch.arange(len(starts), dtype=torch.float64)).T
    state = gd.Descent(starts[index.long()], function.components(starts[index.long()]))
    counted = torch.full((len(index),), gd.NOT_CONVERGED, dtype=torch.int32)
    for step in range(settings.max_steps + 1):
        distance = (state.points - torch.tensor(function.minimiser, dtype=torch.float64)).norm(dim=-1)
        running = counted == gd.NOT_CONVERGED
        counted[running & (distance <= settings.tolerance)] = step
        if step:
            counted[running & ~(distance <= settings.divergence_radius)] = gd.DIVERGED
        lowest = settings.barzilai_borwein_lowest
        state = gd.advance(state, function, method, step_rule, betas=beta, step_sizes=step_size, lowest_step=lowest)
    return counted.reshape(len(betas), len(step_sizes), len(starts))


@pytest.mark.parametrize("radius", [1e3, 1e300], ids=["stopped", "overflowing"])
@pytest.mark.parametrize("step_rule", STEP_RULES)
@pytest.mark.parametrize("method", SWEPT)
@pytest.mark.parametrize("function", [ROSENBROCK, BEALE], ids=["rosenbrock", "beale"])
def test_the_compiled_loops_count_the_steps_of_the_batch(function, method, step_rule, radius):
    """Not all of them, as exp and log may differ in the last bit and Barzilai-Borwein steps are chaotic.

    The exponents of the plane, which runs sweep with a fixed step alone, are more so: starts that differ by 1e-15 agree in
    three of four counts. They have forty steps, and the radius of a run, as the batch does not take powers of infinity.
    """
    few = method.startswith("size") and step_rule != "fixed"
    radius = 1e3 if method.startswith("size") else radius
    changed = {"max_steps": 40 if few else 400, "tolerance": 0.3, "divergence_radius": radius}
    settings = SETTINGS.model_copy(update=changed)
    starts = gd.sobol_starts(function, 16, seed=2)
    step_sizes = torch.logspace(-5, 2, 8, dtype=torch.float64)
    betas = numbers(-10.0, -0.1, 0.0, 0.1, 100.0)
    combinations = (function, SWEPT[method], step_rule, starts, step_sizes, betas, settings)
    compiled, batch = gd.steps_to_converge(*combinations), advanced(*combinations)
    assert (compiled == batch).double().mean() >= (0.99 if step_rule == "fixed" else 0.95)
    assert (compiled.clamp(max=0) == batch.clamp(max=0)).double().mean() >= 0.98
    assert (batch > 0).any()
    assert (batch == gd.DIVERGED).any()
    assert (batch == gd.NOT_CONVERGED).any()
    if method == "plain":  # neither exp nor log
        assert torch.equal(compiled, batch)


def test_the_compiled_loops_agree_on_what_is_not_a_number():
    starts = torch.tensor([[float("nan"), 0.0], [float("inf"), 0.0], [-1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    step_sizes = torch.tensor([1e-3, 1e200], dtype=torch.float64)
    betas, settings = torch.tensor([1e300], dtype=torch.float64), SETTINGS.model_copy(update={"max_steps": 50})
    for method in SWEPT.values():
        combinations = (ROSENBROCK, method, "fixed", starts, step_sizes, betas, settings)
        counted = gd.steps_to_converge(*combinations)
        assert torch.equal(counted, advanced(*combinations))
        assert counted[0, 1].tolist() == [gd.DIVERGED] * 3 + [0]


def test_the_progress_bar_counts_the_combinations_in_parts(monkeypatch):
    monkeypatch.setattr(gd, "STEPS_AT_ONCE", 5 * SETTINGS.max_steps)
    parts = []
    progress = SimpleNamespace(update=parts.append)
    starts, one = gd.sobol_starts(BEALE, 4, seed=1), torch.tensor([0.1], dtype=torch.float64)
    step_sizes = torch.tensor([1e-3, 1e-2, 1e-1], dtype=torch.float64)
    counted = gd.steps_to_converge(BEALE, METHODS["original"], "fixed", starts, step_sizes, one, SETTINGS, progress)
    assert parts == [5, 5, 2]
    monkeypatch.undo()
    assert torch.equal(
        counted, gd.steps_to_converge(BEALE, METHODS["original"], "fixed", starts, step_sizes, one, SETTINGS)
    )


def test_every_beta_may_have_its_own_step_sizes():
    starts = gd.sobol_starts(BEALE, 4, seed=1)
    betas = torch.tensor([-0.5, 0.1], dtype=torch.float64)
    own = torch.tensor([[2e-3, 2e-2], [1e-2, 5e-2]], dtype=torch.float64)
    together = gd.steps_to_converge(BEALE, METHODS["original"], "fixed", starts, own, betas, SETTINGS)
    for b in range(2):
        alone = gd.steps_to_converge(BEALE, METHODS["original"], "fixed", starts, own[b], betas[b : b + 1], SETTINGS)
        assert torch.equal(together[b], alone[0])


def test_constant_step_sizes_of_components_are_counted_by_plain_loops():
    """Beale, three step sizes in every combination, from starts of which some arrive and some are lost."""
    settings = SETTINGS.model_copy(update={"max_steps": 300, "tolerance": 0.3})
    starts, sizes = gd.sobol_starts(BEALE, 5, seed=3), numbers(2e-3, 2e-2, 0.5)
    grid = torch.cartesian_prod(sizes, sizes, sizes)
    counted = gd.component_steps_to_converge(BEALE, starts, grid, settings)
    assert (counted.shape, counted.dtype) == ((27, 5), torch.int32)

    def path(start, etas):
        x, y = start
        while True:
            yield x, y
            slopes = BEALE.slopes(x, y)
            x, y = (
                value - sum(eta * slope[k] for eta, slope in zip(etas, slopes, strict=True))
                for k, value in ((0, x), (1, y))
            )

    for c, etas in enumerate(grid.tolist()):
        for s, start in enumerate(starts.tolist()):
            assert int(counted[c, s]) == outcome(BEALE, path(start, etas), settings), (etas, start)
    assert {(code > 0) - (code < -1) for code in counted.flatten().tolist()} == {-1, 0, 1}


def test_equal_step_sizes_of_components_are_plain_descent_with_that_step_size():
    starts, sizes = gd.sobol_starts(ROSENBROCK, 8, seed=3), numbers(5e-4, 2e-3, 1.0)
    counted = gd.component_steps_to_converge(ROSENBROCK, starts, torch.stack((sizes, sizes), dim=1), SETTINGS)
    plain = gd.steps_to_converge(ROSENBROCK, METHODS["plain"], "fixed", starts, sizes, numbers(0.0), SETTINGS)[0]
    assert (counted == plain).double().mean() >= 0.95  # rounded otherwise
    assert (counted > 0).any()


def test_the_progress_bar_of_component_steps_counts_combinations(monkeypatch):
    monkeypatch.setattr(gd, "STEPS_AT_ONCE", 4 * SETTINGS.max_steps)
    parts = []
    progress = SimpleNamespace(update=parts.append)
    gd.component_steps_to_converge(
        ROSENBROCK, numbers([1, 1], [0, 0]), numbers([1e-3] * 2, [1] * 2, [9] * 2), SETTINGS, progress
    )
    assert parts == [4, 2]


@pytest.mark.parametrize("function", [ROSENBROCK, BEALE], ids=["rosenbrock", "beale"])
def test_every_half_of_the_starts_and_the_rest_fill_the_box(function):
    """Every second Sobol point would lie in one half of it."""
    starts, halves = gd.sobol_starts(function, 256, seed=0), gd.random_halves(256, seed=0)
    assert (halves.shape, halves.dtype) == ((20, 256), torch.bool)
    centre = torch.tensor(function.box, dtype=torch.float64).mean(1)
    for chooses in halves:
        assert chooses.sum() == 128
        for half in (starts[chooses], starts[~chooses]):
            shares = (half > centre).double().mean(0)
            assert ((shares > 0.35) & (shares < 0.65)).all()


def test_halves_are_random_all_different_and_depend_on_the_seed():
    halves = gd.random_halves(64, seed=0)
    assert len({tuple(half.tolist()) for half in halves}) == HALVES == 20
    assert torch.equal(halves, gd.random_halves(64, seed=0))
    assert not torch.equal(halves, gd.random_halves(64, seed=1))
    chosen = halves.double().mean(0)  # every start chooses in some halves and judges in others
    assert ((chosen > 0) & (chosen < 1)).all()
    assert gd.random_halves(9, seed=0).sum(1).tolist() == [4] * 20


def with_refined(count):
    return SETTINGS.model_copy(update={"step_sizes": SETTINGS.step_sizes.model_copy(update={"refined": count})})


def test_fine_step_sizes_lie_around_the_best_by_expected_steps_and_the_best_by_the_median():
    """First beta: at 1.0 all arrive, in 100 steps; at 0.1 the median is 9, and the expected steps are
    (9 + 9 + 2001) / 2. Second beta: 0.01 is best by both."""
    step_sizes = numbers(0.01, 0.1, 1.0)
    steps = torch.tensor(
        [
            [[200, 200, 200], [9, 9, gd.NOT_CONVERGED], [100, 100, 100]],
            [[7, 9, 2], [gd.NOT_CONVERGED, gd.DIVERGED, gd.DIVERGED], [900, 90, 90]],
        ],
        dtype=torch.int32,
    )
    fine = gd.fine_step_sizes(steps, step_sizes, with_refined(3))
    expected = [[around * 10**e for around in pair for e in (-0.5, 0, 0.5)] for pair in ((1.0, 0.1), (0.01, 0.01))]
    torch.testing.assert_close(fine, torch.tensor(expected, dtype=torch.float64))
    assert fine.dtype == torch.float64


def test_fine_step_sizes_lie_between_the_neighbours_of_the_best_one():
    """Two: a third of the spacing, a factor of 4, below and above."""
    fine = gd.fine_step_sizes(torch.tensor([[[50], [5], [50]]]), numbers(1, 4, 16), with_refined(2))
    expected = [4 * 4**e for e in (-1 / 3, 1 / 3)] * 2
    torch.testing.assert_close(fine, torch.tensor([expected], dtype=torch.float64))


def test_where_none_arrives_fine_step_sizes_lie_around_the_first():
    """Its expected steps are infinite like those of the others, and no number is lost on the way."""
    steps = torch.full((1, 3, 4), gd.NOT_CONVERGED, dtype=torch.int32)
    torch.testing.assert_close(gd.fine_step_sizes(steps, numbers(1, 4, 16), with_refined(1)), numbers([1, 1]))


def test_one_start_that_arrives_counts_as_many_steps_as_all_took():
    """At 4 one of four arrives, at once: 3 x 2001 steps; at 1 two, after 1500: (2 x 1500 + 2 x 2001) / 2."""
    steps = torch.full((1, 3, 4), gd.NOT_CONVERGED, dtype=torch.int32)
    steps[0, 0, :2], steps[0, 1, 0], steps[0, 2, :1] = 1500, 0, 1
    fine = gd.fine_step_sizes(steps, numbers(1, 4, 16), with_refined(1))
    assert fine[0, 0].item() == pytest.approx(1)


def test_a_start_within_the_tolerance_takes_no_step():
    start = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    one = torch.tensor([0.1], dtype=torch.float64)
    assert gd.steps_to_converge(ROSENBROCK, METHODS["plain"], "fixed", start, one, torch.zeros(1), SETTINGS).item() == 0


def test_divergence_and_patience_are_told_apart():
    starts = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    step_sizes = torch.tensor([1e-6, 1.0], dtype=torch.float64)
    steps = gd.steps_to_converge(ROSENBROCK, METHODS["plain"], "fixed", starts, step_sizes, torch.zeros(1), SETTINGS)
    assert steps.flatten().tolist() == [gd.NOT_CONVERGED, gd.DIVERGED]


def test_a_drawn_trajectory_has_the_steps_that_the_batch_counts():
    start = torch.tensor([1.0, 1.0], dtype=torch.float64)
    options = {"beta": 0.1, "settings": SETTINGS}
    rows = gd.trajectory(BEALE, METHODS["loss_weighted"], "fixed", start, 0.01, **options)
    betas, step_sizes = torch.tensor([0.1], dtype=torch.float64), torch.tensor([0.01], dtype=torch.float64)
    steps = gd.steps_to_converge(BEALE, METHODS["loss_weighted"], "fixed", start[None], step_sizes, betas, SETTINGS)
    assert rows[-1]["step"] == steps.item() == len(rows) - 1
    assert rows[1]["weight_first"] == 1.0
    assert sum(value for key, value in rows[5].items() if key.startswith("weight")) == pytest.approx(3)


def test_starts_fill_the_box_and_depend_on_the_seed():
    starts = gd.sobol_starts(BEALE, 64, seed=0)
    (x_low, x_high), (y_low, y_high) = BEALE.box
    assert ((starts[:, 0] >= x_low) & (starts[:, 0] <= x_high)).all()
    assert ((starts[:, 1] >= y_low) & (starts[:, 1] <= y_high)).all()
    assert torch.equal(starts, gd.sobol_starts(BEALE, 64, seed=0))
    assert not torch.equal(starts, gd.sobol_starts(BEALE, 64, seed=1))


SMALL = ["--config", "config/smoke.yaml", "--function", "beale", "--starts", "4", "--max-steps", "60"]
SMALL += ["--tolerance", "1.0", "--step-sizes.count", "4", "--step-sizes.refined", "2", "--betas", "[-1.0, 0.0, 0.1]"]
SMALL += ["--plane-sizes", "[0.5]", "--component-steps.beale.count", "2", "--component-steps.beale.starts", "3"]
SMALL += ["--step-sizes.highest", "10.0", "--component-steps.beale.lowest", "0.003"]
SMALL += ["--component-steps.beale.highest", "0.03"]


def swept(folder, *words):
    """The run folder of a small sweep: what its files hold."""
    run_room("gradient_descent", *SMALL, "--output", folder, *words)
    metrics = json.loads((folder / "metrics.json").read_text())
    with np.load(folder / "samples.npz") as samples:
        return metrics, dict(samples), pd.read_csv(folder / "history.csv")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A small sweep of Beale with a fixed step."""
    return swept(tmp_path_factory.mktemp("sweep") / "run")


SMALL_SETTINGS = SETTINGS.model_copy(update={"max_steps": 60, "tolerance": 1.0})
SMALL_GRID = [1e-4 * 10 ** (5 * k / 3) for k in range(4)]  # four steps from 1e-4 to 10
SMALL_METHODS = [*METHODS, *SUMS_TO_ONE, "size_0.5"]


@pytest.mark.parametrize("method", SMALL_METHODS)
def test_a_run_sweeps_every_combination_of_a_method(sweep, method):
    """Each counted anew by a trajectory written out; beta is of no use to plain descent, which has it once.

    No finer step sizes belong to weights that sum to 1, which are judged at the step size of plain descent.
    """
    _, samples, _ = sweep
    betas = [0.0] if method == "plain" else [-1.0, 0.0, 0.1]
    parts = [(samples[f"steps_{method}"], [SMALL_GRID] * len(betas))]
    if method in SUMS_TO_ONE:
        assert not {f"fine_steps_{method}", f"fine_step_sizes_{method}"} & set(samples)
    else:
        parts.append((samples[f"fine_steps_{method}"], samples[f"fine_step_sizes_{method}"].tolist()))
        assert np.shape(parts[1][1]) == (len(betas), 4)
    for counted, sizes in parts:
        assert counted.shape == (len(betas), 4, 4)
        for (b, beta), e, s in itertools.product(enumerate(betas), range(4), range(4)):
            start = samples["starts"][s]
            expected = written_out(BEALE, method, "fixed", start, sizes[b][e], beta, SMALL_SETTINGS)
            assert counted[b, e, s] == expected, (beta, sizes[b][e])


def test_a_run_keeps_what_it_was_swept_with(sweep):
    metrics, samples, _ = sweep
    np.testing.assert_allclose(samples["step_sizes"], SMALL_GRID)
    assert samples["betas"].tolist() == pytest.approx([-1.0, 0.0, 0.1])
    assert np.array_equal(samples["starts"], gd.sobol_starts(BEALE, 4, seed=SETTINGS.seed))
    assert np.array_equal(samples["halves"], gd.random_halves(4, seed=SETTINGS.seed))
    assert samples["halves"].sum(1).tolist() == [2] * 20
    assert set(metrics) == set(SMALL_METHODS)
    assert {name for name in samples if name.startswith("steps_")} == {f"steps_{name}" for name in SMALL_METHODS}


def test_a_run_sweeps_a_step_size_for_every_component_from_the_first_starts(sweep):
    _, samples, _ = sweep
    grid = samples["component_step_sizes"]
    np.testing.assert_allclose(grid, list(itertools.product([0.003, 0.03], repeat=3)))
    assert samples["component_steps"].shape == (8, 3)
    starts = torch.from_numpy(samples["starts"][:3])
    counted = gd.component_steps_to_converge(BEALE, starts, torch.from_numpy(grid), SMALL_SETTINGS)
    assert np.array_equal(samples["component_steps"], counted)
    assert (counted > 0).any()


def test_a_run_refines_the_step_sizes_that_are_best_over_all_starts(sweep):
    """Two step sizes a third of the grid's spacing, a factor of 10^(5/3), below and above the one with the fewest expected
    steps, and two about the one with the lowest median; 61 counts for a start that does not arrive."""
    _, samples, _ = sweep
    for method in (*METHODS, "size_0.5"):
        for b, row in enumerate(samples[f"steps_{method}"].tolist()):
            costs = [[61 if code < 0 else code for code in codes] for codes in row]
            arrived = [sum(code >= 0 for code in codes) for codes in row]
            expected = [sum(cost) / count if count else math.inf for cost, count in zip(costs, arrived, strict=True)]
            medians = [statistics.median(cost) for cost in costs]
            best = [SMALL_GRID[scores.index(min(scores))] for scores in (expected, medians)]
            sizes = [size * 10**e for size in best for e in (-5 / 9, 5 / 9)]
            np.testing.assert_allclose(samples[f"fine_step_sizes_{method}"][b], sizes)


def test_a_run_counts_the_starts_that_arrive_and_diverge_on_its_grid(sweep):
    metrics, samples, _ = sweep
    for method in SMALL_METHODS:
        steps = samples[f"steps_{method}"]
        for share, holds in (("converged_share", steps >= 0), ("diverged_share", steps == gd.DIVERGED)):
            expected = [[sum(row) / 4 for row in rows] for rows in holds.tolist()]
            np.testing.assert_allclose(metrics[method][share], expected)
    assert max(metrics["plain"]["converged_share"][0]) > 0
    assert metrics["plain"]["diverged_share"][0][-1] > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_run_draws_each_method_at_its_best_step_size_from_the_illustrated_start(sweep, method):
    """At beta = 0.1; 61 counts for a step size that does not arrive, as none does with some of the methods."""
    metrics, _, history = sweep
    counts = [written_out(BEALE, method, "fixed", (1.0, 1.0), size, 0.1, SMALL_SETTINGS) for size in SMALL_GRID]
    best = min(range(4), key=lambda e: counts[e] if counts[e] >= 0 else 61)
    assert metrics[method]["drawn_steps"] == counts[best]
    assert metrics[method]["drawn_step_size"] == pytest.approx(SMALL_GRID[best])
    path = history[history["method"] == method]
    arrives = method in ("loss_weighted", "normalized_loss_weighted")
    assert (counts[best] > 0) == arrives
    assert path["step"].tolist() == list(range(counts[best] + 1 if arrives else 61))
    written = path_written_out(BEALE, METHODS[method], "fixed", (1.0, 1.0), SMALL_GRID[best], 0.1, 0.0)
    points = [next(written)[0] for _ in range(len(path))]
    np.testing.assert_allclose(path[["x", "y"]].to_numpy(), points, rtol=1e-5)
    distance = np.hypot(path["x"] - 3, path["y"] - 0.5)
    assert (distance.iloc[:-1] > 1.0).all()
    assert (distance.iloc[-1] <= 1.0) == arrives
    weights = path.filter(like="weight_").iloc[2:]
    assert np.allclose(weights.sum(axis=1), 3)
    assert (weights == 1).all(axis=None) == (method == "plain")


def test_a_run_draws_only_the_methods_whose_step_sizes_are_tuned(sweep):
    metrics, _, history = sweep
    assert history["method"].drop_duplicates().tolist() == list(METHODS)
    assert {name for name, values in metrics.items() if "drawn_steps" in values} == set(METHODS)


@pytest.mark.parametrize("step_rule", ["barzilai_borwein", "frozen_secant"])
def test_a_run_takes_function_step_rule_and_seed_from_its_request(sweep, tmp_path, step_rule):
    """With steps that are not fixed there is no plane of exponents, and no step size for every component."""
    _, samples, _ = sweep
    words = ["--function", "rosenbrock", "--step-rule", step_rule, "--seed", "3"]
    metrics, other, history = swept(tmp_path / "run", *words)
    (x_low, x_high), (y_low, y_high) = ROSENBROCK.box
    assert ((other["starts"] >= [x_low, y_low]) & (other["starts"] <= [x_high, y_high])).all()
    assert np.array_equal(other["starts"], gd.sobol_starts(ROSENBROCK, 4, seed=3))
    assert np.array_equal(other["halves"], gd.random_halves(4, seed=3))
    assert not np.array_equal(other["halves"], samples["halves"])
    assert history[["x", "y"]].iloc[0].tolist() == [-1.2, 1.0]
    assert set(metrics) == {*METHODS, *SUMS_TO_ONE}
    assert not {"component_steps", "component_step_sizes", "steps_size_0.5"} & set(other)
    for method, beta, index in (("plain", 0.0, 0), ("original", -1.0, 0), ("loss_weighted_sums_to_one", 0.1, 2)):
        expected = [
            written_out(ROSENBROCK, method, step_rule, start, 10.0, beta, SMALL_SETTINGS) for start in other["starts"]
        ]
        assert other[f"steps_{method}"][index, -1].tolist() == expected


CALLS = [name for name in METHODS for _ in range(3)] + [*SUMS_TO_ONE, "size_0.5", "size_0.5"]
"""Three calls a method that is drawn: the grid, finer step sizes, what is drawn; two of the plane, one of the others."""


@pytest.mark.parametrize("last", [4, 5, 6, 16, 19])
def test_a_sweep_goes_on_after_the_methods_that_it_has_saved(sweep, tmp_path, monkeypatch, last):
    """And one that is finished sweeps nothing."""
    count, asked = gd.steps_to_converge, []
    names = {tuple(method): name for name, method in SWEPT.items()}

    def counted(function, method, *arguments):
        asked.append(names[tuple(method)])
        if len(asked) == last:
            raise KeyboardInterrupt
        return count(function, method, *arguments)

    monkeypatch.setattr(gd, "steps_to_converge", counted)
    with pytest.raises(KeyboardInterrupt):
        swept(tmp_path / "run")
    assert asked == CALLS[:last]
    as_uninterrupted(swept(tmp_path / "run"), sweep)
    assert asked[last:] == CALLS[CALLS.index(CALLS[last - 1]) :]
    swept(tmp_path / "run")
    assert len(asked) == last + len(CALLS) - CALLS.index(CALLS[last - 1])


def as_uninterrupted(run, sweep):
    """Check that a run left what another one left."""
    metrics, samples, history = run
    assert metrics == sweep[0]
    assert list(samples) == list(sweep[1])
    assert all(np.array_equal(samples[name], values) for name, values in sweep[1].items())
    pd.testing.assert_frame_equal(history, sweep[2], check_exact=True)


def test_a_sweep_that_stops_in_the_steps_by_component_repeats_only_these(sweep, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(gd, "component_steps_to_converge", interrupted)
        swept(tmp_path / "run")
    monkeypatch.setattr(gd, "steps_to_converge", interrupted)
    as_uninterrupted(swept(tmp_path / "run"), sweep)
