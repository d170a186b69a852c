"""SoftAdapt with autocast, a gradient scaler and gradient accumulation: python mixed_precision_and_accumulation.py

An optimiser step sums the gradients of several micro-batches. With ``update_every`` set to their number, the mean of
their losses is one observation, and the weights stay the same within a step. On a GPU the losses are computed in float16 and
the gradients are scaled; on a CPU in bfloat16, which needs no scaler. SoftAdapt keeps its state in float32.
"""

import argparse

import torch
from torch import Tensor, nn

from softadapt import SoftAdapt


def losses_of(model: nn.Module, inputs: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The error and the roughness of the outputs along their last dimension."""
    outputs = model(inputs)
    return {"error": nn.functional.mse_loss(outputs, targets), "roughness": outputs.diff().abs().mean()}


def train(steps: int, micro_batches: int, seed: int) -> tuple[list[float], SoftAdapt]:
    """Return the error at every optimiser step, and SoftAdapt."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device == "cuda" else torch.bfloat16
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 32)).to(device)
    truth = torch.randn(8, 32, device=device).cumsum(1) / 4
    balance = SoftAdapt(["error", "roughness"], update_every=micro_batches, total=2.0).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    scaler = torch.amp.GradScaler(device, enabled=dtype == torch.float16)

    errors = []
    for _ in range(steps):
        optimizer.zero_grad()
        error = torch.zeros((), device=device)
        for _ in range(micro_batches):
            inputs = torch.randn(64, 8, device=device)
            with torch.autocast(device, dtype):
                losses = losses_of(model, inputs, inputs @ truth)
                loss = balance(losses) / micro_batches
            scaler.scale(loss).backward()
            error += losses["error"].detach() / micro_batches
        scaler.step(optimizer)  # skipped if a gradient is not finite; SoftAdapt has then ignored the loss as well
        scaler.update()
        errors.append(error.item())
    return errors, balance


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="of the optimiser (default: 200)")
    parser.add_argument("--micro-batches", type=int, default=4, help="whose gradients a step sums (default: 4)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    errors, balance = train(arguments.steps, arguments.micro_batches, arguments.seed)
    print(f"error {errors[0]:.3f} -> {errors[-1]:.3f}")
    print(f"{balance.finite_calls.item()} calls, {balance.observations.item()} observations in {arguments.steps} steps")
    print({name: round(weight.item(), 3) for name, weight in balance.named_weights().items()}, balance.weights.dtype)
