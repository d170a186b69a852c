"""Soft-IntroVAE: exponentials of the evidence lower bound of fakes in place of the hinge (Daniel and Tamar 2021).

"Soft-IntroVAE: analyzing and improving the introspective variational autoencoder" (CVPR 2021, arXiv 2012.13253). Its
encoder and its generator (there: decoder) maximise

    encoder      ELBO(x) - 1 / alpha exp(alpha ELBO(G(z)))
    generator    ELBO(x) + gamma ELBO(G(z))

for images x and codes z of the prior. ELBO is minus the squared error of the reconstruction, summed over an image's pixels,
minus the KL divergence. In practice alpha = 2, both terms are scaled by s = 1 / (number of pixels), error and KL have
weights beta, and fakes are reconstructions G(E(x)) as well as samples G(z). With the weights below the components of this
module make up the published losses; factors of a whole loss mean nothing to Adam. L_AE is half the squared error.

    L_E / s    kl_real beta_kl, exp_fake 1 / (4 s), reconstruction 2 beta_rec
    L_G / s    kl_fake beta_kl / 2, reconstruction 2 beta_rec, reconstruction_fake gamma_r beta_rec

Published for faces: beta_rec 1, beta_kl 0.5, beta_neg 256 (inside of the exponential), gamma_r 1e-8. The networks are
those of `models.introvae`.
"""

from torch import Tensor

COMPONENTS: dict[str, tuple[str, ...]] = {
    "encoder": ("kl_real", "exp_fake", "reconstruction"),
    "generator": ("kl_fake", "reconstruction", "reconstruction_fake"),
}
"""Names of the loss components of L_E and of L_G, in the order of their weights."""


def exponential(kl: Tensor, error: Tensor, scale: float, beta_rec: float, beta_neg: float) -> Tensor:
    """exp(2 s ELBO) of fakes, per image: (N,) twice -> (N,), from 0 to 1.

    Args:
        kl: KL of the posteriors of fakes (N,), nats.
        error: L_AE (N,) of these fakes and their own reconstructions.
        scale: s, one over the number of an image's pixels, colours counted apart.
        beta_rec: weight of the squared error, which is twice L_AE.
        beta_neg: weight of the KL.
    """
    return (-2 * scale * (beta_rec * 2 * error + beta_neg * kl)).exp()


def encoder_loss_components(
    kl_real: Tensor, exp_reconstructed: Tensor, exp_sampled: Tensor, reconstruction: Tensor
) -> dict[str, Tensor]:
    """Components of L_E, unweighted scalars.

    Args:
        kl_real: KL of the posteriors of real images (N,).
        exp_reconstructed: `exponential` of reconstructions (N,), computed from detached images.
        exp_sampled: the same of images decoded from the prior (N,), computed from detached images.
        reconstruction: L_AE of real images (N,).
    """
    exp_fake = exp_reconstructed.mean() + exp_sampled.mean()
    return {"kl_real": kl_real.mean(), "exp_fake": exp_fake, "reconstruction": reconstruction.mean()}


def generator_loss_components(
    kl_reconstructed: Tensor,
    kl_sampled: Tensor,
    reconstruction: Tensor,
    error_reconstructed: Tensor,
    error_sampled: Tensor,
) -> dict[str, Tensor]:
    """Components of L_G, unweighted scalars.

    Args:
        kl_reconstructed: KL of the posteriors of reconstructions (N,), nothing detached.
        kl_sampled: the same of images decoded from the prior (N,).
        reconstruction: L_AE of real images (N,).
        error_reconstructed: L_AE (N,) between detached reconstructions and what the generator makes of their detached codes.
        error_sampled: the same of images decoded from the prior (N,).
    """
    return {
        "kl_fake": kl_reconstructed.mean() + kl_sampled.mean(),
        "reconstruction": reconstruction.mean(),
        "reconstruction_fake": error_reconstructed.mean() + error_sampled.mean(),
    }
