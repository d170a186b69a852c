"""One name, several rules: what public codes called SoftAdapt weigh, given the same losses.

The paper's equations 3 and 4 and the rules of other codes (``experiments/weightings``) are fed the same histories of two
losses: a few with a name, many random ones, and the losses of every step of a training with fixed weights. A rule that
gives the larger weight to the other component does not merely have another temperature: it asks for another training.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from experiments.data import mnist
from experiments.namesakes.settings import NamesakesSettings
from experiments.runs.command_line import Request
from experiments.runs.folder import Run
from experiments.weightings import build
from models.sparse_autoencoder import SparseAutoencoder, loss_components

COMPONENTS = ("first", "second")


def check(scale: Any, source: str) -> None:
    """Build every rule once.

    Raises:
        UserError: one line naming `source` and the key.
    """
    _build_all(scale.namesakes, f"{source}: namesakes.rules")


def run(request: Request) -> None:
    """Weigh all histories by all rules and write the run folder."""
    settings = request.settings
    folder = Run.of(request)
    if folder.finished:
        return
    _build_all(settings, "namesakes.rules")
    folder.data = mnist.checksums(request.scale.data_dir)
    folder.start()
    random = np.random.default_rng(request.seed)
    named = named_histories(settings, random)
    drawn = random_histories(settings, random)
    recorded = recorded_losses(settings, request.scale.data_dir, request.seed)
    folder.history += _rows("named", named, settings)
    folder.history += _rows("recorded", {"autoencoder": recorded}, settings)
    weights = {name: np.stack([weigh(spec, losses) for losses in drawn]) for name, spec in settings.rules.items()}
    ends = {name: values[:, -1] for name, values in weights.items()}
    steps = {
        name: np.array([(row["weight_first"], row["weight_second"]) for row in rows])
        for name in settings.rules
        if (rows := [r for r in folder.history if (r["set"], r["rule"]) == ("recorded", name) and r["settled"]])
    }
    folder.finish(
        {"random_disagreement": disagreement(ends), "recorded_disagreement": disagreement(steps)}
        | {"histories": len(drawn), "recorded_steps": len(next(iter(steps.values())))},
        samples={"rules": np.array(list(weights)), "losses": drawn, "weights": np.stack(list(weights.values()))},
    )


def _build_all(settings: NamesakesSettings, source: str) -> None:
    """Build every rule once, so that a wrong option is found before anything is written."""
    for name, spec in settings.rules.items():
        build(spec, COMPONENTS, f"{source}.{name}")


def weigh(spec: dict[str, Any], losses: np.ndarray) -> np.ndarray:
    """Weights (T, 2) that a rule has after each of the losses (T, 2), in double precision: rounding decides no order."""
    balance = build(spec, COMPONENTS).double()
    weights = np.empty_like(losses)
    for step, observation in enumerate(torch.from_numpy(losses)):
        balance(dict(zip(COMPONENTS, observation, strict=True)))
        weights[step] = balance.get_buffer("weights").numpy()
    return weights


def disagreement(weights: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Share of the observations for which two rules put different components first, for every pair of rules.

    Args:
        weights: (n, 2) by rule. Equal weights order nothing, and differ from no order.
    """
    order = {name: np.sign(values[:, 0] - values[:, 1]) for name, values in weights.items()}
    return {one: {other: float((order[one] * order[other] < 0).mean()) for other in order} for one in order}


def named_histories(settings: NamesakesSettings, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Histories (T, 2) that isolate a difference between the rules."""
    t = np.arange(settings.observations, dtype=float)
    # The plateau is shorter than the longest memory: what a rule says of it shows where its stencil looks.
    stalled = np.minimum(t, settings.observations - settings.settled + 1)
    noise = settings.noise[1] * random.standard_normal((2, settings.observations))
    pairs = {
        "first falls fast, second slowly": (10 * np.exp(-0.4 * t), 10 * np.exp(-0.05 * t)),
        "first rises, second falls": (5 * np.exp(0.05 * t), 5 * np.exp(-0.05 * t)),
        "equal decay, scales 1 : 100": (np.exp(-0.1 * t), 100 * np.exp(-0.1 * t)),
        "first stalls, second falls": (10 * np.exp(-0.2 * stalled), 10 * np.exp(-0.2 * t)),
        "both flat, noisy": tuple(np.exp(noise)),
    }
    return {name: np.stack(pair, axis=1) for name, pair in pairs.items()}


def random_histories(settings: NamesakesSettings, random: np.random.Generator) -> np.ndarray:
    """Noisy exponential decays (histories, T, 2): scale, rate and noise of every component drawn log-uniformly."""
    shape = (settings.histories, 1, len(COMPONENTS))
    scales, rates, noise = (
        np.exp(random.uniform(np.log(lowest), np.log(highest), shape))
        for lowest, highest in (settings.scales, settings.rates, settings.noise)
    )
    t = np.arange(settings.observations)[:, None]
    normal = random.standard_normal((settings.histories, settings.observations, len(COMPONENTS)))
    return scales * np.exp(-rates * t + noise * normal)


def recorded_losses(settings: NamesakesSettings, data_dir: str, seed: int) -> np.ndarray:
    """Summed squared error and L1 norm (steps, 2) of each minibatch of a sparse autoencoder with fixed weights."""
    images = mnist.load(data_dir, "train")[0][: settings.train_images]
    train = torch.from_numpy(images.reshape(len(images), -1).copy())
    torch.manual_seed(seed)
    model = SparseAutoencoder(train.shape[1], settings.hidden_units)
    optimizer = torch.optim.Adam(model.parameters(), settings.learning_rate)
    rows = []
    for _ in range(settings.epochs):
        for batch in torch.randperm(len(train)).split(settings.batch_size):
            inputs = train[batch].float() / 255
            losses = loss_components(inputs, *model(inputs))
            optimizer.zero_grad()
            (losses["reconstruction"] + settings.sparsity_weight * losses["sparsity"]).backward()
            optimizer.step()
            rows.append((losses["reconstruction"].item(), losses["sparsity"].item()))
    return np.array(rows)


def _rows(kind: str, histories: Mapping[str, np.ndarray], settings: NamesakesSettings) -> list[dict[str, Any]]:
    """A row for every history, rule and step; a step is settled once every rule has the history it needs."""
    rows = []
    for history, losses in histories.items():
        for rule, spec in settings.rules.items():
            for step, (loss, weight) in enumerate(zip(losses, weigh(spec, losses), strict=True), start=1):
                row: dict[str, Any] = {"set": kind, "history": history, "rule": rule, "step": step}
                row |= {"settled": int(step >= settings.settled)}
                row |= {f"loss_{name}": float(value) for name, value in zip(COMPONENTS, loss, strict=True)}
                rows.append(row | {f"weight_{n}": float(w) for n, w in zip(COMPONENTS, weight, strict=True)})
    return rows
