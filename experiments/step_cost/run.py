"""What SoftAdapt adds to a training step: pairs of steps in one process, fixed weights and SoftAdapt in random order.

The paper compares the wall times of whole trainings, and so of two processes (IntroVAE +0.115 %, autoencoder +13 %), in
which whatever else the machine does stands beside SoftAdapt. Here two copies of a model and its optimiser, of one seed,
take turns. Three things are timed, in seconds:

- ``step``: a whole step. Its pairs scatter by more than SoftAdapt adds to a large model's step.
- ``call``: what the methods do differently, alone, right after a step of theirs: the weighting and its backward, on
  losses without a model behind them. The step has displaced code and data from the caches, as it has in training.
- ``call_in_a_row``: the same, many calls one after another, as benchmarks time it: warm caches make it cheaper than it
  is in training.

The images are made: what a step costs does not depend on the values of pixels. IntroVAE's steps leave out the shifts and
flips of images, the autoencoder's reading of digits from memory is in. Descent takes its step from the same points
again and again, every start in one batch.
"""

import gc
import itertools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from experiments.gradient_descent.run import Descent, advance, sobol_starts
from experiments.gradient_descent.settings import METHODS as DESCENTS
from experiments.gradient_descent.settings import GradientDescentSettings
from experiments.introvae.settings import IntroVAESettings
from experiments.introvae.updates import COMPONENTS as FACE_COMPONENTS
from experiments.introvae.updates import adversarial_step, build_networks
from experiments.runs.command_line import Request
from experiments.runs.folder import Run
from experiments.runs.progress import progress_bar
from experiments.runs.room import Context
from experiments.sparse_autoencoder.settings import SparseAutoencoderSettings
from experiments.step_cost.settings import TIMED
from experiments.weightings import fixed, softadapt
from models.objectives import ROSENBROCK
from models.sparse_autoencoder import COMPONENTS, SparseAutoencoder, loss_components
from softadapt import softadapt_weights

BETA = 0.1
"""Of SoftAdapt, loss-weighted, as in the paper."""

METHODS = ("fixed", "softadapt")

MARGIN = 50.0
"""Of IntroVAE, nats. Costs do not depend on it."""

Work = Callable[[], Any]


@dataclass
class Sides:
    """The two methods of one experiment: a whole step, and the part in which they differ, by method."""

    steps: dict[str, Work]
    calls: dict[str, Work]


def run(request: Request) -> None:
    """Time all experiments and write the run folder."""
    settings = request.settings
    folder = Run.of(request)
    if folder.finished:
        return
    folder.start()
    wait = torch.cuda.synchronize if torch.cuda.is_available() else _nothing
    order = random.Random(request.seed)
    total = sum(getattr(settings.pairs, name) for name in TIMED)
    with progress_bar(total, "pairs of steps", "pair") as bar:
        for name in TIMED:
            sides = sides_of(name, request.scale.section(name), request.seed)
            pairs = getattr(settings.pairs, name)
            with _no_garbage_collection():
                for row in time_pairs(sides, pairs, settings.warmup_pairs, settings.calls_in_a_row, order, wait):
                    folder.history.append({"experiment": name} | row)
                    bar.update(row["timed"] == "step")
    medians: dict[str, Any] = {name: {} for name in TIMED}
    for name in TIMED:
        for timed in ("step", "call", "call_in_a_row"):
            rows = [row for row in folder.history if row["experiment"] == name and row["timed"] == timed]
            medians[name][timed] = {method: float(np.median([row[method] for row in rows])) for method in METHODS}
    folder.finish(medians, samples={})


def time_pairs(
    sides: Sides, pairs: int, warmup: int, calls_in_a_row: int, order: random.Random, wait: Work
) -> Iterator[dict[str, Any]]:
    """Time pairs of steps and calls; `warmup` further pairs come first and are dropped.

    Args:
        sides: what is timed.
        pairs: number of pairs.
        warmup: number of pairs dropped.
        calls_in_a_row: calls per pair that are timed as one.
        order: decides in every pair which method comes first.
        wait: returns when the device has finished; part of what is timed.

    Yields:
        Per pair one row for every kind of time: ``timed``, ``pair``, ``first`` (the method) and seconds by method.
    """

    def seconds(work: Work, times: int = 1) -> float:
        started = time.perf_counter()
        for _ in range(times):
            work()
        wait()
        return (time.perf_counter() - started) / times

    for pair in range(-warmup, pairs):
        methods = order.sample(METHODS, 2)
        times: dict[str, dict[str, float]] = {"step": {}, "call": {}, "call_in_a_row": {}}
        for method in methods:
            times["step"][method] = seconds(sides.steps[method])
            times["call"][method] = seconds(sides.calls[method])
            # Here, and not after both, so that either step meets what the same work has left in the caches.
            times["call_in_a_row"][method] = seconds(sides.calls[method], calls_in_a_row)
        if pair >= 0:
            for timed, by_method in times.items():
                row = {"timed": timed, "pair": pair, "first": methods[0]}
                yield row | {method: by_method[method] for method in METHODS}


def sides_of(experiment: str, settings: Any, seed: int) -> Sides:
    """Build both methods of an experiment, alike but for the weighting, at the sizes of the scale."""
    build = {"gradient_descent": descent_sides, "sparse_autoencoder": autoencoder_sides, "introvae": introvae_sides}
    return build[experiment](settings, seed)  # type: ignore[operator]


def weighting(method: str, names: tuple[str, ...]) -> nn.Module:
    """Build the method's weighting rule."""
    if method == "fixed":
        return fixed.Settings(rule="fixed", weights=dict.fromkeys(names, 1.0)).build(Context(names))
    return softadapt.Settings(rule="softadapt", variant="loss_weighted", beta=BETA).build(Context(names))


def descent_sides(settings: GradientDescentSettings, seed: int) -> Sides:
    """Descent on Rosenbrock's function with a fixed step, from all starts of the scale at once."""
    starts = sobol_starts(ROSENBROCK, settings.starts, seed)
    ones = torch.ones(len(starts), dtype=starts.dtype)
    betas = BETA * ones
    advanced = partial(
        advance,
        function=ROSENBROCK,
        step_rule="fixed",
        betas=betas,
        step_sizes=settings.step_sizes.lowest * ones,
        lowest_step=settings.barzilai_borwein_lowest,  # of no use to a fixed step
    )
    previous = ROSENBROCK.components(starts)
    state = advanced(Descent(starts, previous), method=DESCENTS["plain"])  # SoftAdapt has two losses from here on

    def adaptive() -> Tensor:
        weights = softadapt_weights(state.losses - previous, state.losses, beta=betas.unsqueeze(-1))
        return weights * weights.shape[-1]

    return Sides(
        {
            "fixed": lambda: advanced(state, method=DESCENTS["plain"]),
            "softadapt": lambda: advanced(state, method=DESCENTS["loss_weighted"]),
        },
        {"fixed": lambda: torch.ones_like(state.losses), "softadapt": adaptive},
    )


def autoencoder_sides(settings: SparseAutoencoderSettings, seed: int) -> Sides:
    """The step of `experiments.sparse_autoencoder`, digits read from memory included."""

    def make_step(method: str) -> Work:
        torch.manual_seed(seed)
        train = torch.randint(256, (settings.train_images, 784), dtype=torch.uint8)
        whole = torch.arange(len(train) - len(train) % min(settings.batch_size, len(train)))
        batches = itertools.cycle(whole[torch.randperm(len(whole))].split(settings.batch_size))
        model = SparseAutoencoder(784, settings.hidden_units)
        balance = weighting(method, COMPONENTS)
        optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate, fused=True)
        sums = torch.zeros(3)

        def step() -> None:
            inputs = train.index_select(0, next(batches)).float().div_(255)
            losses = loss_components(inputs, *model(inputs))
            loss = balance(losses)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            sums.add_(torch.stack((loss, losses["reconstruction"], losses["sparsity"])).detach())

        return step

    return Sides({method: make_step(method) for method in METHODS}, weighting_calls([COMPONENTS]))


def introvae_sides(settings: IntroVAESettings, seed: int) -> Sides:
    """Both updates of IntroVAE, on the device that it is trained on."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    channels = settings.image_channels
    components = list(FACE_COMPONENTS[settings.objective].values())
    margin = MARGIN if settings.objective == "introvae" else None
    shape = (settings.batch_size, channels, settings.image_size, settings.image_size)

    def make_step(method: str) -> Work:
        torch.manual_seed(seed)
        images = torch.rand(shape, device=device).contiguous(memory_format=torch.channels_last)
        networks = build_networks(settings, channels, device)
        encoder, generator = (weighting(method, names).to(device) for names in components)
        return lambda: adversarial_step(networks, images, encoder, generator, margin)

    calls = weighting_calls(components, device)
    return Sides({method: make_step(method) for method in METHODS}, calls)


def weighting_calls(losses: list[tuple[str, ...]], device: Any = None) -> dict[str, Work]:
    """By method, the weighting of losses with these component names, one after another, each with its backward."""

    def make_call(method: str) -> Work:
        balances = [weighting(method, names).to(device) for names in losses]
        leaves = [{name: torch.ones((), device=device, requires_grad=True) for name in names} for names in losses]

        def call() -> None:
            for balance, components in zip(balances, leaves, strict=True):
                torch.autograd.grad(balance(components), list(components.values()))

        return call

    return {method: make_call(method) for method in METHODS}


def _nothing() -> None:
    """Wait for a CPU."""


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """A collection would fall into one of the two steps of a pair."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
