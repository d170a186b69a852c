"""Are several small autoencoders faster as one batched model on a CPU? G lone steps against two batched ones.

make bench

All members see the same batch, as methods of one seed do. There are two batched forms. In `grouped`, the G encoders
are one wide matrix product, because their input is the same, and the decoders are a batched product. In `vmap`,
torch.func applies the lone model to stacked parameters. The forms take turns in one process: one step of each batched
form, then G steps of a lone member, one after another as in its own run, so that its weights and moments stay in the
cache. Ratios are of median processor times of one thread, which other work on the machine disturbs less. Above 1, the
batched form is faster.
"""

import time
from statistics import median

import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap

from models.sparse_autoencoder import SparseAutoencoder, loss_components

PIXELS, HIDDEN, BATCH = 784, 64, 128
LAMBDAS = (1e-5, 1e-4, 5e-4, 1e-3)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def lone_models(members):
    """Members of one seed: the same weights, each with an optimiser of its own."""
    models = []
    for _ in range(members):
        torch.manual_seed(0)
        models.append(SparseAutoencoder(PIXELS, HIDDEN))
    return models


def lone_steps(models, lambdas):
    """A step function per member."""

    def make_step(model, weight):
        optimizer = torch.optim.Adam(model.parameters(), fused=True)

        def step(images):
            losses = loss_components(images, *model(images))
            loss = losses["reconstruction"] + weight * losses["sparsity"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.detach()

        return step

    return [make_step(model, weight) for model, weight in zip(models, lambdas.tolist(), strict=True)]


def grouped_form(models, lambdas):
    members = len(models)
    encoder_weight = torch.cat([model.encoder.weight for model in models]).detach().requires_grad_()  # (G H, P)
    encoder_bias = torch.cat([model.encoder.bias for model in models]).detach().requires_grad_()
    # (G, H, P) and (G, 1, P): transposed once, so that the batched product reads rows
    decoder_weight = torch.stack([model.decoder.weight.t() for model in models]).detach().contiguous().requires_grad_()
    decoder_bias = torch.stack([model.decoder.bias for model in models]).unsqueeze(1).detach().requires_grad_()
    optimizer = torch.optim.Adam([encoder_weight, encoder_bias, decoder_weight, decoder_bias], fused=True)

    def step(images):
        code = torch.relu(torch.nn.functional.linear(images, encoder_weight, encoder_bias))
        code = code.view(len(images), members, HIDDEN).transpose(0, 1)  # (G, N, H)
        reconstructions = torch.sigmoid(torch.baddbmm(decoder_bias, code, decoder_weight))  # (G, N, P)
        errors = (reconstructions - images).square().sum((1, 2)) / len(images)
        totals = errors + lambdas * code.sum((1, 2)) / len(images)  # the code is not negative
        optimizer.zero_grad()
        totals.sum().backward()
        optimizer.step()
        return totals.detach()

    return step


def vmap_form(models, lambdas):
    parameters, _ = stack_module_state(models)
    base = models[0]
    optimizer = torch.optim.Adam(parameters.values(), fused=True)

    def loss(member, weight, images):
        losses = loss_components(images, *functional_call(base, member, (images,)))
        return losses["reconstruction"] + weight * losses["sparsity"]

    losses_of_all = vmap(loss, in_dims=(0, 0, None))

    def step(images):
        totals = losses_of_all(parameters, lambdas, images)
        optimizer.zero_grad()
        totals.sum().backward()
        optimizer.step()
        return totals.detach()

    return step


FORMS = {"grouped": grouped_form, "vmap": vmap_form}


@pytest.mark.parametrize("members", [4, 16])
def test_batched_autoencoders(benchmark, members):
    lambdas = torch.tensor([LAMBDAS[k % len(LAMBDAS)] for k in range(members)])
    alone = lone_steps(lone_models(members), lambdas)
    steps = {name: form(lone_models(members), lambdas) for name, form in FORMS.items()}
    images = torch.rand(6, BATCH, PIXELS, generator=torch.Generator().manual_seed(0))
    for batch in images:  # all forms train the same members
        expected = torch.stack([step(batch) for step in alone])
        for step in steps.values():
            torch.testing.assert_close(step(batch), expected, rtol=1e-5, atol=0)

    steps["lone"] = lambda batch: [alone[0](batch) for _ in range(members)]
    seconds = {name: [] for name in steps}

    def turn():
        for name, step in steps.items():
            started = time.process_time()
            step(images[0])
            seconds[name].append(time.process_time() - started)

    benchmark.group = f"{members} autoencoders, a step of each form"
    benchmark.pedantic(turn, rounds=400 // members, warmup_rounds=5)
    medians = {name: median(values[5:]) for name, values in seconds.items()}
    ratios = {f"lone over {name}": medians["lone"] / medians[name] for name in FORMS}
    benchmark.extra_info |= ratios
    per_member = [f"{name} {1e3 * value / members:.2f} ms" for name, value in medians.items()]
    shown = [f"{name} {value:.2f}" for name, value in ratios.items()]
    print(f"\n{members} autoencoders, a step per member: {', '.join(per_member)}; {', '.join(shown)}")
