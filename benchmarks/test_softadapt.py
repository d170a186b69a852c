"""What SoftAdapt costs: a call of the module, and its share of a training step, measured in one run.

make bench
"""

import time

import pytest
import torch

from models.sparse_autoencoder import SparseAutoencoder, loss_components
from softadapt import SoftAdapt

OPTIONS = {
    "default": {},
    "history of 5": {"history": 5},
    "normalized": {"normalize": True},
    "updated every 10 calls": {"update_every": 10},
}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.mark.parametrize("components", [2, 8])
@pytest.mark.parametrize("name", ["plain sum", *OPTIONS])
def test_call(benchmark, name, components):
    benchmark.group = f"one call, {components} components"
    losses = [torch.rand((), requires_grad=True) for _ in range(components)]
    balance = SoftAdapt(components, **OPTIONS[name]) if name in OPTIONS else lambda losses: torch.stack(losses).sum()
    benchmark(balance, losses)


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
