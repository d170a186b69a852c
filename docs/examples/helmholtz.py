"""A physics-informed network under six weightings of its two losses: python helmholtz.py

The task is the Helmholtz equation of Bischof and Kraus (arXiv 2110.09813) on the square [-1, 1] x [-1, 1]:

    u_xx + u_yy + k^2 u = f, with u = 0 on the boundary, k = 1, and f such that u = sin(pi x) sin(4 pi y).

The network has two layers of 64 tanh units. Its losses are the mean squares of the equation's residual at 512 points and of
u at 512 points of the boundary, drawn anew at every step of Adam (1e-3). For one seed, all rules start from the same
network and see the same points. The table shows the mean squared error against u on a grid, 0.245 for the function u = 0.
"""

import argparse
from collections.abc import Callable
from math import pi

import torch
from torch import Tensor, nn

from softadapt import SoftAdapt

Losses = dict[str, Tensor]
NAMES = ["equation", "boundary"]
GRID = torch.cartesian_prod(*[torch.linspace(-1, 1, 101)] * 2)


def solution(points: Tensor) -> Tensor:
    """u at the points (n, 2)."""
    return torch.sin(pi * points[:, 0]) * torch.sin(4 * pi * points[:, 1])


def losses_of(network: nn.Module, inside: Tensor, edge: Tensor) -> Losses:
    """Both losses, at the points (n, 2) inside the square and on its edge."""
    inside.requires_grad_()
    u = network(inside).squeeze(1)
    (slope,) = torch.autograd.grad(u.sum(), inside, create_graph=True)
    u_xx, u_yy = (torch.autograd.grad(slope[:, i].sum(), inside, create_graph=True)[0][:, i] for i in (0, 1))
    f = (1 - 17 * pi**2) * solution(inside)
    return {"equation": (u_xx + u_yy + u - f).square().mean(), "boundary": network(edge).square().mean()}


def relobralo(temperature: float = 0.1, memory: float = 0.999, lookback: float = 0.999) -> Callable[[Losses], Tensor]:
    """Relative loss balancing with random lookback: equation 11 of arXiv 2110.09813, with the constants given there."""
    weights = torch.ones(len(NAMES))
    seen: list[Tensor] = []  # the first losses and the previous ones

    def weigh(losses: Losses) -> Tensor:
        nonlocal weights
        values = torch.stack([losses[name] for name in NAMES])
        now = values.detach()
        first, previous = seen or (now, now)
        seen[:] = first, now
        since_first, since_previous = (len(now) * torch.softmax(now / (temperature * t), 0) for t in (first, previous))
        kept = weights if torch.rand(()) < lookback else since_first
        weights = memory * kept + (1 - memory) * since_previous
        return torch.dot(weights, values)

    return weigh


RULES: dict[str, Callable[[], Callable[[Losses], Tensor]]] = {
    "plain sum": lambda: lambda losses: losses["equation"] + losses["boundary"],
    "boundary x 100": lambda: lambda losses: losses["equation"] + 100 * losses["boundary"],
    "SoftAdapt, defaults": lambda: SoftAdapt(NAMES),
    "SoftAdapt, eq. 3 normalized, every 100": lambda: SoftAdapt(
        NAMES, variant="original", normalize=True, beta=1.0, update_every=100, total=2.0
    ),
    "SoftAdapt, relative rates": lambda: SoftAdapt(NAMES, variant="original", rate="relative", beta=1.0, total=2.0),
    "ReLoBRaLo": relobralo,
}


def mean_squared_error(rule: str, steps: int, seed: int) -> float:
    """Train a network from scratch and compare it with the solution."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    weigh, optimizer = RULES[rule](), torch.optim.Adam(network.parameters(), lr=1e-3)
    points = torch.Generator().manual_seed(seed)  # its own, since a rule may draw random numbers too
    for _ in range(steps):
        inside, edge = 2 * torch.rand(2, 512, 2, generator=points) - 1
        edge[:256, 0], edge[256:, 1] = edge[:256, 0].sign(), edge[256:, 1].sign()  # moved to x = -1, 1 or y = -1, 1
        optimizer.zero_grad()
        weigh(losses_of(network, inside, edge)).backward()
        optimizer.step()
    with torch.no_grad():
        return (network(GRID).squeeze(1) - solution(GRID)).square().mean().item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000, help="of Adam (default: 3000)")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each rule, seeds 0, 1 and so on (default: 5)")
    arguments = parser.parse_args()
    print("| rule |", *(f"seed {seed} |" for seed in range(arguments.seeds)), "geometric mean | relative L2 error |")
    print("| --- |", *["---: |"] * (arguments.seeds + 2))
    for rule in RULES:
        errors = torch.tensor([mean_squared_error(rule, arguments.steps, seed) for seed in range(arguments.seeds)])
        mean = errors.log().mean().exp()
        relative = (mean / solution(GRID).square().mean()).sqrt()
        print(f"| {rule} |", *(f"{number:.2g} |" for number in [*errors, mean, relative]), flush=True)
