"""SoftAdapt with L-BFGS: weigh in the closure, observe once a step. python with_lbfgs.py

L-BFGS calls its closure many times within a step and compares the values, so the weights must not move meanwhile:
`balance(losses)` in the closure would record every call. `weigh` records nothing; `observe` after the step refreshes the weights.
Normalized slopes keep every weight away from zero, though the losses fall by orders of magnitude. The curvature that L-BFGS
remembers is that of earlier weights; if it stalls, leave out `observe`, and the weights stay as a phase of Adam left them.
The network solves u' = -u with u(0) = 1 on [0, 3].
"""

import argparse

import torch
from torch import Tensor, nn

from softadapt import SoftAdapt


def losses_of(network: nn.Module, times: Tensor) -> dict[str, Tensor]:
    """Mean squares of the equation's residual and of the deviation from the initial value."""
    u = network(times)
    (slope,) = torch.autograd.grad(u.sum(), times, create_graph=True)
    return {"equation": (slope + u).square().mean(), "start": (u[0] - 1).square().mean()}


def train(steps: int, seed: int) -> tuple[float, int, SoftAdapt]:
    """Return the largest error of u, the number of closure calls, and SoftAdapt."""
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(1, 20), nn.Tanh(), nn.Linear(20, 1))
    times = torch.linspace(0, 3, 50).unsqueeze(1).requires_grad_()
    balance = SoftAdapt(["equation", "start"], variant="original", normalize=True, beta=1.0, total=2.0)
    optimizer = torch.optim.LBFGS(network.parameters(), max_iter=5, line_search_fn="strong_wolfe")
    closure_calls = 0

    def closure() -> Tensor:
        nonlocal closure_calls
        closure_calls += 1
        optimizer.zero_grad()
        loss = balance.weigh(losses_of(network, times))
        loss.backward()
        return loss

    for step in range(1, steps + 1):
        optimizer.step(closure)
        losses = losses_of(network, times)
        balance.observe(losses)
        shown = {**losses, **balance.named_weights("weight of ")}
        print(f"step {step}:", ", ".join(f"{name} {value:.3g}" for name, value in shown.items()))
    error = (network(times) - torch.exp(-times)).abs().max().item()
    return error, closure_calls, balance


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12, help="of L-BFGS, with 5 iterations each (default: 12)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    error, closure_calls, balance = train(arguments.steps, arguments.seed)
    print(f"{closure_calls} closure calls, {balance.observations.item()} observations; largest error of u {error:.2g}")
