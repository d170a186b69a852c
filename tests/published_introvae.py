"""IntroVAE and Soft-IntroVAE written out as functions of lists of weights, from the publications and not from our modules.

A network's weights are taken in this order: convolutions and layers from input to output; in a block the shortcut, if there
is one, the first convolution, scale and shift of its normalisation, the second convolution, scale and shift of the sum's.
"""

import torch
from torch.nn.functional import conv2d


def normalised(x, scale, shift):
    """Batch normalisation in training mode."""
    mean = x.mean((0, 2, 3), keepdim=True)
    variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * scale[None, :, None, None] + shift[None, :, None, None]


def leaky(x):
    return torch.where(x > 0, x, 0.2 * x)


def halved(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))


def doubled(x):
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def block(x, width, take):
    shortcut = x if x.shape[1] == width else conv2d(x, take())
    inner = leaky(normalised(conv2d(x, take(), padding=1), take(), take()))
    return leaky(normalised(conv2d(inner, take(), padding=1) + shortcut, take(), take()))


def encode(x, channels, weights):
    """Images -> mean and log-variance."""
    take = iter(weights).__next__
    x = halved(leaky(normalised(conv2d(x, take(), padding=2), take(), take())))
    for width in channels[1:]:
        x = halved(block(x, width, take))
    x = block(x, channels[-1], take)
    out = x.reshape(len(x), -1) @ take().T + take()
    half = out.shape[1] // 2
    return out[:, :half], out[:, half:]


def generate(z, channels, weights):
    """Codes -> images."""
    take = iter(weights).__next__
    x = torch.clamp(z @ take().T + take(), min=0).reshape(len(z), channels[-1], 4, 4)
    for width in channels[::-1]:
        x = doubled(block(x, width, take))
    x = block(x, channels[0], take)
    return conv2d(x, take(), take(), padding=2)


def divergence(posterior):
    """KL per image, equation 12."""
    mu, log_var = posterior
    return -0.5 * (1 + log_var - mu**2 - torch.exp(log_var)).sum(1)


def squared_error(x, y):
    """Summed over an image's pixels, per image."""
    return ((x - y) ** 2).sum((1, 2, 3))


def drawn(posterior):
    mu, log_var = posterior
    return mu + torch.exp(log_var / 2) * torch.randn_like(mu)


class Adam:
    """Kingma and Ba 2015, algorithm 1, with the usual constants."""

    def __init__(self, weights, rate):
        self.weights, self.rate, self.t = weights, rate, 0
        self.m = [torch.zeros_like(w) for w in weights]
        self.v = [torch.zeros_like(w) for w in weights]

    def step(self, loss):
        """Differentiate with respect to the weights alone and return them after the step, ready to be differentiated again."""
        gradients = torch.autograd.grad(loss, self.weights, retain_graph=True)
        self.t += 1
        after = []
        for i, (w, g) in enumerate(zip(self.weights, gradients, strict=True)):
            self.m[i] = 0.9 * self.m[i] + 0.1 * g
            self.v[i] = 0.999 * self.v[i] + 0.001 * g**2
            first, second = self.m[i] / (1 - 0.9**self.t), self.v[i] / (1 - 0.999**self.t)
            after.append((w - self.rate * first / (second.sqrt() + 1e-8)).detach().requires_grad_())
        self.weights = after
        return gradients


def introvae_step(x, channels, encoder, generator, *, margin, hinge, scale, alphas, weight):
    """One update of each network with fixed weights; `encoder` and `generator` are `Adam`.

    Returns the values of the components and the gradients of both networks.
    """

    def kl(image):
        return divergence(encode(image, channels, encoder.weights))

    def hinged(values):
        return torch.clamp(margin - (values.mean() if hinge == "batch" else values), min=0).mean()

    posterior = encode(x, channels, encoder.weights)
    x_r = generate(drawn(posterior), channels, generator.weights)
    x_p = generate(torch.randn_like(posterior[0]), channels, generator.weights)
    l_ae = scale * 0.5 * squared_error(x_r, x).mean()
    kl_real = divergence(posterior).mean()
    kl_r, kl_p = kl(x_r.detach()), kl(x_p.detach())
    found = {"kl_real": kl_real, "reconstruction": l_ae, "kl_reconstructed": kl_r.mean(), "kl_sampled": kl_p.mean()}
    found["margin_fake"] = hinged(kl_r) + hinged(kl_p)
    of_encoder = encoder.step(kl_real + alphas[0] * (hinged(kl_r) + hinged(kl_p)) + weight * l_ae)
    kl_fake = kl(x_r).mean() + kl(x_p).mean()  # by the encoder as it is now
    of_generator = generator.step(alphas[1] * kl_fake + weight * l_ae)
    return found | {"kl_fake": kl_fake}, of_encoder, of_generator


def soft_introvae_step(x, channels, encoder, generator, *, beta_rec, beta_kl, beta_neg, gamma_r):
    """One update of each network of Soft-IntroVAE, from the published losses, divided by s."""
    s = 1 / x[0].numel()

    def lower_bound_of_fake(image):
        """ELBO with beta_neg, per image."""
        posterior = encode(image, channels, encoder.weights)
        again = generate(drawn(posterior), channels, generator.weights)
        return -beta_rec * squared_error(again, image) - beta_neg * divergence(posterior)

    def of_generator_for(image):
        """The KL of fakes, and their error with codes and targets detached."""
        posterior = encode(image, channels, encoder.weights)
        again = generate(drawn([part.detach() for part in posterior]), channels, generator.weights)
        return divergence(posterior).mean(), squared_error(again, image.detach()).mean()

    posterior = encode(x, channels, encoder.weights)
    x_r = generate(drawn(posterior), channels, generator.weights)
    x_p = generate(torch.randn_like(posterior[0]), channels, generator.weights)
    error, kl_real = squared_error(x_r, x).mean(), divergence(posterior).mean()
    real = s * (beta_rec * error + beta_kl * kl_real)
    exponentials = [(2 * s * lower_bound_of_fake(fake.detach())).exp().mean() for fake in (x_r, x_p)]
    fake = 0.5 * sum(exponentials) / 2
    gradients_encoder = encoder.step((real + fake) / s)
    (kl_r, error_r), (kl_p, error_p) = of_generator_for(x_r), of_generator_for(x_p)
    mean_kl, mean_error = (kl_r + kl_p) / 2, (error_r + error_p) / 2
    gradients_generator = generator.step(beta_rec * error + beta_kl * mean_kl + gamma_r * beta_rec * mean_error)
    found = {"kl_real": kl_real, "exp_fake": sum(exponentials), "reconstruction": error / 2}
    found |= {"kl_fake": kl_r + kl_p, "reconstruction_fake": (error_r + error_p) / 2}
    return found, gradients_encoder, gradients_generator
