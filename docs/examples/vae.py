"""A variational autoencoder whose two terms SoftAdapt weighs: python vae.py

Both terms are in nats and not negative, as equation 4 presumes, so nothing has to be brought to one scale. With weights, the
sum is no longer the evidence lower bound (ELBO). Judge and compare models by the ELBO itself, as the last lines do.
"""

import argparse

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from softadapt import SoftAdapt

SIDE, LATENT = 8, 4


class VAE(nn.Module):
    """Binary images of SIDE x SIDE pixels, a Gaussian code of LATENT numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(SIDE * SIDE, 64), nn.ReLU(), nn.Linear(64, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, 64), nn.ReLU(), nn.Linear(64, SIDE * SIDE))

    def losses(self, images: Tensor) -> dict[str, Tensor]:
        """Negative log-likelihood and Kullback-Leibler divergence, nats per image; their sum is the negative ELBO."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
        likelihood = binary_cross_entropy_with_logits(self.decoder(code), images, reduction="sum")
        divergence = (mean.square() + log_variance.exp() - log_variance - 1).sum() / 2
        return {"likelihood": likelihood / len(images), "divergence": divergence / len(images)}


def squares(count: int) -> Tensor:
    """Images (count, SIDE * SIDE) of one filled rectangle each."""
    corners = torch.randint(SIDE, (count, 2, 2)).sort(dim=2).values
    pixels = torch.arange(SIDE)
    rows, columns = ((side[:, :1] <= pixels) & (pixels <= side[:, 1:]) for side in corners.unbind(1))
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).flatten(1).float()


def train(steps: int, seed: int) -> tuple[VAE, SoftAdapt, float]:
    """Return the model, SoftAdapt, and the negative ELBO before the training."""
    torch.manual_seed(seed)
    model, balance = VAE(), SoftAdapt(["likelihood", "divergence"], total=2.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with torch.no_grad():
        before = float(sum(model.losses(squares(1000)).values()))
    for _ in range(steps):
        optimizer.zero_grad()
        balance(model.losses(squares(64))).backward()
        optimizer.step()
    return model, balance, before


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000, help="default: 1000")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model, balance, before = train(arguments.steps, arguments.seed)
    with torch.no_grad():
        held_out = model.losses(squares(1000))
        pixels = model.decoder(torch.randn(1, LATENT)).view(SIDE, SIDE) > 0
    print("weights:", {name: round(weight.item(), 3) for name, weight in balance.named_weights().items()})
    print("held out:", ", ".join(f"{name} {loss:.2f} nats" for name, loss in held_out.items()))
    print(f"negative ELBO: {before:.2f} -> {sum(held_out.values()):.2f} nats; a sample:")
    print("\n".join("".join("#" if pixel else "." for pixel in row) for row in pixels))
