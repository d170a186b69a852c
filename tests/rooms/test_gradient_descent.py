"""Gradient descent: the batch equals lone trajectories written out, steps and outcomes are counted right."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run_room

from experiments.gradient_descent import run as gd
from experiments.gradient_descent.settings import METHODS, STEP_RULES
from experiments.scale import load
from models.objectives import BEALE, ROSENBROCK

pytestmark = pytest.mark.xdist_group("descent")  # whose loops take seconds to compile

SETTINGS = load("config/smoke.yaml").gradient_descent


def written_out(function, method, step_rule, start, step_size, beta, settings):
    """One trajectory in plain numpy, equation by equation; returns the steps to converge."""
    x = np.array(start)
    variant, normalize = METHODS[method]
    old = None
    for step in range(settings.max_steps + 1):
        if not np.linalg.norm(x - function.minimiser) <= settings.divergence_radius:
            return gd.DIVERGED
        if np.linalg.norm(x - function.minimiser) <= settings.tolerance:
            return step
        f = function.components(torch.tensor(x)).numpy()
        g = function.gradients(torch.tensor(x)).numpy()
        weights = np.ones(len(f))
        if variant and old is not None:
            s = f - old["f"]
            if normalize:
                s = s / (np.abs(s).sum() + 1e-8)
            z = np.exp(beta * s - (beta * s).max()) * (f if variant == "loss_weighted" else 1)
            weights = len(f) * z / z.sum()
        direction = weights @ g
        eta = step_size
        if step_rule == "barzilai_borwein":
            eta = settings.barzilai_borwein_lowest
            if old is not None:
                moved, turned = x - old["x"], direction - old["d"]
                eta = step_size
                if moved @ turned > 0:
                    eta = np.clip(moved @ moved / (moved @ turned), settings.barzilai_borwein_lowest, step_size)
        old = {"f": f, "x": x, "d": direction}
        x = x - eta * direction
    return gd.NOT_CONVERGED


@pytest.mark.parametrize("function", [ROSENBROCK, BEALE], ids=["rosenbrock", "beale"])
@pytest.mark.parametrize("step_rule", STEP_RULES)
@pytest.mark.parametrize("method", METHODS)
def test_the_batch_counts_the_steps_of_trajectories_written_out(function, step_rule, method):
    """Forty steps only: beyond that, rounding grows to different paths where Barzilai-Borwein steps are chaotic."""
    settings = SETTINGS.model_copy(update={"max_steps": 40, "tolerance": 0.3})
    starts = gd.sobol_starts(function, 6, seed=1)
    step_sizes = torch.tensor([2e-3, 2e-2, 1.0], dtype=torch.float64)
    betas = torch.tensor([-0.5, 0.1], dtype=torch.float64)
    counted = gd.steps_to_converge(function, method, step_rule, starts, step_sizes, betas, settings)
    assert counted.shape == (2, 3, 6)
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
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("function", [ROSENBROCK, BEALE], ids=["rosenbrock", "beale"])
def test_the_compiled_loops_count_the_steps_of_the_batch(function, method, step_rule, radius):
    """Not all of them, as exp and log may differ in the last bit and Barzilai-Borwein steps are chaotic."""
    settings = SETTINGS.model_copy(update={"max_steps": 400, "tolerance": 0.3, "divergence_radius": radius})
    starts = gd.sobol_starts(function, 32, seed=2)
    step_sizes = torch.logspace(-5, 2, 8, dtype=torch.float64)
    betas = torch.tensor([-10.0, -0.1, 0.0, 0.1, 100.0], dtype=torch.float64)
    combinations = (function, method, step_rule, starts, step_sizes, betas, settings)
    compiled, batch = gd.steps_to_converge(*combinations), advanced(*combinations)
    assert (compiled == batch).double().mean() >= (0.99 if step_rule == "fixed" else 0.95)
    assert (compiled.clamp(max=0) == batch.clamp(max=0)).double().mean() >= 0.99
    assert (batch > 0).any()
    assert (batch == gd.DIVERGED).any()
    assert (batch == gd.NOT_CONVERGED).any()
    if method == "plain":  # neither exp nor log
        assert torch.equal(compiled, batch)


def test_the_compiled_loops_agree_on_what_is_not_a_number():
    starts = torch.tensor([[float("nan"), 0.0], [float("inf"), 0.0], [-1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    step_sizes = torch.tensor([1e-3, 1e200], dtype=torch.float64)
    betas, settings = torch.tensor([1e300], dtype=torch.float64), SETTINGS.model_copy(update={"max_steps": 50})
    for method in METHODS:
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
    counted = gd.steps_to_converge(BEALE, "original", "fixed", starts, step_sizes, one, SETTINGS, progress)
    assert parts == [5, 5, 2]
    monkeypatch.undo()
    assert torch.equal(counted, gd.steps_to_converge(BEALE, "original", "fixed", starts, step_sizes, one, SETTINGS))


def test_every_beta_may_have_its_own_step_sizes():
    starts = gd.sobol_starts(BEALE, 4, seed=1)
    betas = torch.tensor([-0.5, 0.1], dtype=torch.float64)
    own = torch.tensor([[2e-3, 2e-2], [1e-2, 5e-2]], dtype=torch.float64)
    together = gd.steps_to_converge(BEALE, "original", "fixed", starts, own, betas, SETTINGS)
    for b in range(2):
        alone = gd.steps_to_converge(BEALE, "original", "fixed", starts, own[b], betas[b : b + 1], SETTINGS)
        assert torch.equal(together[b], alone[0])


def test_choosing_and_judging_starts_both_fill_the_box():
    """Every second Sobol point would lie in one half of it."""
    starts, chooses = gd.sobol_starts(ROSENBROCK, 128, seed=0), gd.choosing_starts(128, seed=0)
    assert chooses.sum() == 64
    centre = torch.tensor(ROSENBROCK.box, dtype=torch.float64).mean(1)
    for half in (starts[chooses], starts[~chooses]):
        shares = (half > centre).double().mean(0)
        assert ((shares > 0.35) & (shares < 0.65)).all()


def test_refined_step_sizes_lie_around_the_best_of_every_beta_for_the_starts_that_choose():
    settings = SETTINGS.model_copy(update={"step_sizes": SETTINGS.step_sizes.model_copy(update={"refined": 3})})
    step_sizes = torch.tensor([0.01, 0.1, 1.0], dtype=torch.float64)
    steps = torch.tensor([[[9, 1], [5, 900], [6, 1]], [[7, 2], [gd.NOT_CONVERGED, 1], [gd.DIVERGED, 1]]])
    fine = gd.fine_step_sizes(steps, step_sizes, torch.tensor([True, False]), settings)
    expected = [[0.1 * 10**e for e in (-0.5, 0, 0.5)], [0.01 * 10**e for e in (-0.5, 0, 0.5)]]
    torch.testing.assert_close(fine, torch.tensor(expected, dtype=torch.float64))


def test_a_start_within_the_tolerance_takes_no_step():
    start = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    one = torch.tensor([0.1], dtype=torch.float64)
    assert gd.steps_to_converge(ROSENBROCK, "plain", "fixed", start, one, torch.zeros(1), SETTINGS).item() == 0


def test_divergence_and_patience_are_told_apart():
    starts = torch.tensor([[-1.2, 1.0]], dtype=torch.float64)
    step_sizes = torch.tensor([1e-6, 1.0], dtype=torch.float64)
    steps = gd.steps_to_converge(ROSENBROCK, "plain", "fixed", starts, step_sizes, torch.zeros(1), SETTINGS)
    assert steps.flatten().tolist() == [gd.NOT_CONVERGED, gd.DIVERGED]


def test_a_drawn_trajectory_has_the_steps_that_the_batch_counts():
    start = torch.tensor([1.0, 1.0], dtype=torch.float64)
    options = {"beta": 0.1, "settings": SETTINGS}
    rows = gd.trajectory(BEALE, "loss_weighted", "fixed", start, 0.01, **options)
    betas, step_sizes = torch.tensor([0.1], dtype=torch.float64), torch.tensor([0.01], dtype=torch.float64)
    steps = gd.steps_to_converge(BEALE, "loss_weighted", "fixed", start[None], step_sizes, betas, SETTINGS)
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


def test_a_run_sweeps_every_combination_of_every_method(sweep):
    """Each counted anew by a trajectory written out; beta is of no use to plain descent, which has it once."""
    _, samples, _ = sweep
    np.testing.assert_allclose(samples["step_sizes"], SMALL_GRID)
    assert samples["betas"].tolist() == pytest.approx([-1.0, 0.0, 0.1])
    assert samples["starts"].shape == (4, 2)
    assert samples["chooses"].sum() == 2
    for method in METHODS:
        betas = [0.0] if method == "plain" else [-1.0, 0.0, 0.1]
        coarse, fine, sizes = (samples[f"{name}_{method}"] for name in ("steps", "fine_steps", "fine_step_sizes"))
        assert (coarse.shape, fine.shape, sizes.shape) == ((len(betas), 4, 4), (len(betas), 2, 4), (len(betas), 2))
        for b, beta in enumerate(betas):
            for e, size in [*enumerate(SMALL_GRID), *enumerate(sizes[b])]:
                counted = coarse if size in SMALL_GRID else fine
                for s, start in enumerate(samples["starts"]):
                    expected = written_out(BEALE, method, "fixed", start, size, beta, SMALL_SETTINGS)
                    assert counted[b, e, s] == expected, (method, beta, size)


def test_a_run_refines_the_step_size_that_is_best_for_the_starts_that_choose(sweep):
    """The fewest steps on average over the choosing starts, of which 61 count for one that does not arrive; two step
    sizes a third of the grid's spacing, a factor of 10^(5/3), below and above it."""
    _, samples, _ = sweep
    counted = np.where(samples["steps_original"] < 0, 61, samples["steps_original"])[:, :, samples["chooses"]]
    best = [SMALL_GRID[min(range(4), key=lambda e, row=row: row[e].mean())] for row in counted]
    expected = [[size * 10 ** (-5 / 9), size * 10 ** (5 / 9)] for size in best]
    np.testing.assert_allclose(samples["fine_step_sizes_original"], expected)


def test_a_run_counts_the_starts_that_arrive_and_diverge_on_its_grid(sweep):
    metrics, samples, _ = sweep
    assert set(metrics) == set(METHODS)
    for method in METHODS:
        steps = samples[f"steps_{method}"]
        for share, holds in (("converged_share", steps >= 0), ("diverged_share", steps == gd.DIVERGED)):
            expected = [[sum(row) / 4 for row in rows] for rows in holds.tolist()]
            np.testing.assert_allclose(metrics[method][share], expected)
    assert max(metrics["plain"]["converged_share"][0]) > 0
    assert metrics["plain"]["diverged_share"][0][-1] > 0


def test_a_run_draws_each_method_at_its_best_step_size_from_the_illustrated_start(sweep):
    """At beta = 0.1; 61 counts for a step size that does not arrive, as none does with some of the methods."""
    metrics, _, history = sweep
    assert history["method"].drop_duplicates().tolist() == list(METHODS)
    for method in METHODS:
        counts = [written_out(BEALE, method, "fixed", (1.0, 1.0), size, 0.1, SMALL_SETTINGS) for size in SMALL_GRID]
        best = min(range(4), key=lambda e, counts=counts: counts[e] if counts[e] >= 0 else 61)
        assert metrics[method]["drawn_steps"] == counts[best]
        assert metrics[method]["drawn_step_size"] == pytest.approx(SMALL_GRID[best])
        path = history[history["method"] == method]
        arrives = method in ("loss_weighted", "normalized_loss_weighted")
        assert (counts[best] > 0) == arrives
        assert path["step"].tolist() == list(range(counts[best] + 1 if arrives else 61))
        assert path[["x", "y"]].iloc[0].tolist() == [1.0, 1.0]
        distance = np.hypot(path["x"] - 3, path["y"] - 0.5)
        assert (distance.iloc[:-1] > 1.0).all()
        assert (distance.iloc[-1] <= 1.0) == arrives
        weights = path.filter(like="weight_").iloc[2:]
        assert np.allclose(weights.sum(axis=1), 3)
        assert (weights == 1).all(axis=None) == (method == "plain")


def test_a_run_takes_function_step_rule_and_seed_from_its_request(sweep, tmp_path):
    _, samples, _ = sweep
    words = ["--function", "rosenbrock", "--step-rule", "barzilai_borwein", "--seed", "3"]
    _, other, history = swept(tmp_path / "run", *words)
    (x_low, x_high), (y_low, y_high) = ROSENBROCK.box
    assert ((other["starts"] >= [x_low, y_low]) & (other["starts"] <= [x_high, y_high])).all()
    assert np.array_equal(other["starts"], gd.sobol_starts(ROSENBROCK, 4, seed=3))
    assert not np.array_equal(other["chooses"], samples["chooses"])
    assert history[["x", "y"]].iloc[0].tolist() == [-1.2, 1.0]
    plain = [
        written_out(ROSENBROCK, "plain", "barzilai_borwein", s, 10.0, 0.0, SMALL_SETTINGS) for s in other["starts"]
    ]
    assert other["steps_plain"][0, -1].tolist() == plain


def test_a_sweep_goes_on_after_the_methods_that_it_has_saved(sweep, tmp_path, monkeypatch):
    """And one that is finished sweeps nothing."""
    count, asked = gd.steps_to_converge, []

    def counted(function, method, *arguments):
        asked.append(method)
        if len(asked) == 4:  # three calls a method: the grid, the refined step sizes, what is drawn
            raise KeyboardInterrupt
        return count(function, method, *arguments)

    monkeypatch.setattr(gd, "steps_to_converge", counted)
    with pytest.raises(KeyboardInterrupt):
        swept(tmp_path / "run")
    metrics, samples, history = swept(tmp_path / "run")
    assert asked == ["plain"] * 3 + ["original"] + [method for method in METHODS if method != "plain" for _ in range(3)]
    assert metrics == sweep[0]
    assert all(np.array_equal(samples[name], values) for name, values in sweep[1].items())
    pd.testing.assert_frame_equal(history, sweep[2], check_exact=True)
    swept(tmp_path / "run")
    assert len(asked) == 16
