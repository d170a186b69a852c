"""What SoftAdapt costs: a call of the module, and its share of a training step, measured in one run.

make bench
"""

import statistics
import time

import pytest
import torch

from models.sparse_autoencoder import SparseAutoencoder, loss_components
from softadapt import SoftAdapt

OPTIONS = {
    "default": {},
    "history of 5": {"history": 5},
    "normalized": {"normalize": True},
    "updated every 100 calls": {"update_every": 100},
}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def plain_sum(losses):
    """What SoftAdapt takes the place of."""
    return sum(losses)


def fixed_weights():
    weights = torch.tensor([0.5, 0.5])
    return lambda losses: (torch.stack(losses) * weights).sum()


@pytest.mark.parametrize("backward", [False, True], ids=["forward", "forward and backward"])
def test_calls_over_a_plain_sum(benchmark, backward):
    """Two losses, all ways in turn, so that they meet the same machine: microseconds and ratios to a plain sum."""
    leaves = [torch.rand((), requires_grad=True) for _ in range(2)]
    ways = {"plain sum": plain_sum, "fixed weights": fixed_weights()}
    ways |= {name: SoftAdapt(2, **options) for name, options in OPTIONS.items()}
    ways["evaluation"] = SoftAdapt(2).eval()
    seconds = {name: [] for name in ways}

    def round_of_all():
        for name, way in ways.items():
            started = time.perf_counter()
            for _ in range(20):
                total = way([2 * leaf for leaf in leaves])
                if backward:
                    total.backward()
            seconds[name].append((time.perf_counter() - started) / 20)

    benchmark.group = "two losses"
    benchmark.pedantic(round_of_all, rounds=400, warmup_rounds=20)
    best = {name: statistics.quantiles(values, n=10)[0] for name, values in seconds.items()}
    for name, value in best.items():
        ratio, overhead = value / best["plain sum"], 1e6 * (value - best["plain sum"])
        benchmark.extra_info[name] = ratio
        print(f"\n{name:24s} {1e6 * value:6.1f} us, {ratio:5.2f} times a plain sum, {overhead:+5.1f} us", end="")


def test_share_of_an_autoencoder_step(benchmark):
    """Pairs of steps with fixed weights and with SoftAdapt, alternating, so that both meet the same machine."""
    model = SparseAutoencoder(784, 64)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    images = torch.rand(128, 784)
    balance = SoftAdapt(2)
    seconds = {"fixed": [], "softadapt": []}

    def step(weigh):
        started = time.perf_counter()
        loss = weigh(loss_components(images, *model(images)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return time.perf_counter() - started

    def pair():
        seconds["fixed"].append(step(lambda losses: losses["reconstruction"] + 1e-4 * losses["sparsity"]))
        seconds["softadapt"].append(step(balance))

    benchmark.group = "autoencoder step, pair"
    benchmark.pedantic(pair, rounds=500, warmup_rounds=20)
    median = {name: sorted(values)[len(values) // 2] for name, values in seconds.items()}
    benchmark.extra_info["softadapt_over_fixed"] = median["softadapt"] / median["fixed"]
    print(f"\nautoencoder step, SoftAdapt over fixed weights: {median['softadapt'] / median['fixed']:.4f}")
