"""What users do with `SoftAdapt`: observe and weigh apart, refresh now and then, negative losses, long histories, precision."""

import copy
import math
import warnings

import pytest
import torch
from torch.func import functional_call, grad, stack_module_state, vmap

import softadapt.module
from softadapt import SoftAdapt, rates_of_change, softadapt_weights

FLOAT64 = {"dtype": torch.float64}


@pytest.fixture(params=["floats", "tensors"])
def path(request, monkeypatch):
    """Both ways to compute the weights."""
    if request.param == "tensors":
        monkeypatch.setattr(softadapt.module, "_HOST_LIMIT", 0)


def drawn(steps, components, seed=0):
    return torch.rand(steps, components, generator=torch.Generator().manual_seed(seed), **FLOAT64) + 0.1


@pytest.mark.usefixtures("path")
def test_a_training_call_is_observe_and_weigh():
    together, apart = SoftAdapt(2, beta=3.0, **FLOAT64), SoftAdapt(2, beta=3.0, **FLOAT64)
    apart.eval()  # observe records in either mode
    for row in drawn(5, 2):
        row.requires_grad_()
        expected = together(row)
        assert apart.observe(row) is None
        before = copy.deepcopy(apart.state_dict())
        total = apart.weigh(row)
        assert torch.equal(total, expected)
        assert torch.equal(torch.autograd.grad(total, row)[0], torch.autograd.grad(expected, row)[0])
        assert all(torch.equal(before[key], value) for key, value in apart.state_dict().items())


def test_observed_losses_need_no_gradient_and_keep_no_graph():
    balance = SoftAdapt(2)
    x = torch.tensor(2.0, requires_grad=True)
    balance.observe([x, x * 2])
    assert not balance.history.requires_grad


def test_a_closure_of_lbfgs_that_weighs_sees_one_function_in_a_step():
    x = torch.tensor([-1.0, 1.0], requires_grad=True)
    optimizer = torch.optim.LBFGS([x], max_iter=5)
    balance = SoftAdapt(2, beta=5.0, total=2.0)
    weights = []

    def losses():
        return [(1 - x[0]).square(), (x[1] - x[0] ** 2).square()]

    def closure():
        optimizer.zero_grad()
        loss = balance.weigh(losses())
        loss.backward()
        weights.append(balance.weights.tolist())
        return loss

    for step in range(1, 4):
        balance.observe(losses())
        weights.clear()
        optimizer.step(closure)
        assert len(weights) > 1
        assert all(used == weights[0] for used in weights)
        assert balance.observations.item() == step


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("update_every", [1, 2])
def test_refresh_every_records_all_and_refreshes_at_every_nth(update_every):
    """History 5 and a refresh at every fifth observation: what the authors' README of 2020 and package of 2023 do."""
    balance = SoftAdapt(2, history=5, refresh_every=5, update_every=update_every, beta=2.0, **FLOAT64)
    rows = drawn(24 * update_every, 2)
    observed = rows.reshape(24, update_every, 2).mean(1)
    expected = torch.tensor([0.5, 0.5], **FLOAT64)
    for call, row in enumerate(rows, start=1):
        balance(row)
        done = call // update_every
        if call % (5 * update_every) == 0:
            recent = observed[done - 5 : done]
            expected = softadapt_weights(rates_of_change(recent), recent[-1], beta=2.0)
        torch.testing.assert_close(balance.weights, expected)
        torch.testing.assert_close(balance.history[-1], observed[done - 1] if done else torch.zeros(2, **FLOAT64))
    assert balance.observations.item() == 24


@pytest.mark.usefixtures("path")
def test_a_loss_that_was_zero_has_the_relative_rate_zero():
    balance = SoftAdapt(2, variant="original", rate="relative", beta=10.0, **FLOAT64)
    balance([0.0, 2.0])
    balance([5.0, 3.0])
    expected = torch.softmax(torch.tensor([0.0, 5.0], **FLOAT64), 0)
    torch.testing.assert_close(balance.weights, expected)


@pytest.mark.parametrize("history", range(2, 201))
def test_long_histories_have_the_slopes_of_short_ones(history):
    """Losses of 1000 in single precision that change by 0.01 a step; softmax of (-0.01, 0.01) is 0.495, 0.505."""
    balance = SoftAdapt(2, variant="original", beta=1.0, history=history, dtype=torch.float32)
    steps = torch.arange(history + 3, dtype=torch.float32)
    for step in steps.tolist():
        balance([1000 - 0.01 * step, 1000 + 0.01 * step])
    expected = torch.softmax(torch.tensor([-0.01, 0.01]), 0)
    torch.testing.assert_close(balance.weights, expected, rtol=0, atol=1e-3)


@pytest.mark.usefixtures("path")
def test_a_negative_loss_gets_the_weight_zero_a_count_and_one_warning():
    balance = SoftAdapt(["likelihood", "size"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for value in (0.3, -3.2, -4.0, 0.1, -0.5):
            balance({"likelihood": value, "size": 0.5})
            assert (balance.weights[0].item() == 0) == (value < 0)
    assert balance.negative_count.item() == 3
    assert [str(warning.message) for warning in caught] == [
        "SoftAdapt: the loss 'likelihood' is -3.2, and equation 4 gives a negative loss the weight zero; subtract a known "
        "lower bound from it, or take variant='original'"
    ]


@pytest.mark.usefixtures("path")
def test_equation_3_takes_negative_losses():
    balance = SoftAdapt(2, variant="original", beta=1.0, **FLOAT64)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for losses in ([-1.0, 0.5], [-3.0, 0.5]):
            balance(losses)
    torch.testing.assert_close(balance.weights, torch.softmax(torch.tensor([-2.0, 0.0], **FLOAT64), 0))
    assert balance.negative_count.item() == 0


@pytest.mark.usefixtures("path")
def test_negative_losses_are_counted_by_observation():
    balance = SoftAdapt(2, update_every=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for losses in ([-1.0, 1.0], [3.0, 1.0], [-1.0, -math.inf], [-1.0, 1.0]):
            balance(losses)
    with pytest.warns(UserWarning, match="the loss 0 is -0.25"):
        balance([0.5, 1.0])
    assert balance.negative_count.item() == 1  # the means are 1 and -0.25


@pytest.mark.parametrize("cast", [torch.half, torch.bfloat16])
def test_the_state_stays_in_single_precision(cast):
    network = torch.nn.Sequential(SoftAdapt(2, beta=5.0), torch.nn.Linear(2, 2)).to(cast)
    balance, exact = network[0], SoftAdapt(2, beta=5.0)
    assert network[1].weight.dtype == cast
    for losses in ([7e4, 1.001], [6.9e4, 1.0], [6.8e4, 0.999]):
        total = balance(torch.tensor(losses))
        assert total.isfinite()
        exact(torch.tensor(losses))
    assert torch.equal(balance.weights, exact.weights)
    assert torch.equal(balance.history, exact.history)
    assert balance.nonfinite_count.item() == 0
    assert balance(torch.ones(2, dtype=cast)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.float32])
def test_a_narrow_dtype_becomes_single_precision(dtype):
    assert SoftAdapt(2, dtype=dtype).history.dtype == torch.float32
    previous = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        assert SoftAdapt(2).weights.dtype == torch.float32
    finally:
        torch.set_default_dtype(previous)


def test_double_precision_stays_until_it_is_cast():
    balance = SoftAdapt(2, **FLOAT64)
    assert balance.weights.dtype == torch.float64
    assert balance.half().weights.dtype == balance.history.dtype == torch.float32
    assert balance.double().weights.dtype == torch.float64


def test_losses_on_another_device_name_the_remedy():
    for balance in (SoftAdapt(2), SoftAdapt(2).eval()):
        with pytest.raises(ValueError, match=r"the losses are on meta, .* on cpu; move it: balance.to\('meta'\)"):
            balance(torch.ones(2, device="meta"))
    with pytest.raises(ValueError, match="the losses are on meta"):
        SoftAdapt(2).weigh(torch.ones(2, device="meta"))


def test_functional_calls_with_batched_buffers_work_under_vmap_and_grad():
    lone = [SoftAdapt(2, beta=2.0, missing="hold") for _ in range(3)]
    _, buffers = stack_module_state([SoftAdapt(2, beta=2.0, missing="hold") for _ in range(3)])
    skeleton = SoftAdapt(2, beta=2.0, missing="hold")

    def total(x, state, scale):
        return functional_call(skeleton, state, (torch.stack((x.square(), scale * x)),))

    x = torch.tensor([1.0, 2.0, 3.0])
    for scale in (1.0, 2.0, 0.5):
        gradients = vmap(grad(total), (0, 0, None))(x, buffers, torch.tensor(scale))
        for module, value, gradient in zip(lone, x, gradients, strict=True):
            leaf = value.clone().requires_grad_()
            module([leaf.square(), scale * leaf]).backward()
            torch.testing.assert_close(gradient, leaf.grad)
    torch.testing.assert_close(buffers["weights"], torch.stack([module.weights for module in lone]))


def test_a_bound_call_under_vmap_is_an_error_and_no_wrong_number():
    balance = SoftAdapt(2)
    with pytest.raises(RuntimeError):
        vmap(balance)(torch.rand(4, 2))
    assert vmap(balance.eval())(torch.ones(4, 2)).tolist() == [1, 1, 1, 1]


def test_exports_and_counts_far():
    balance = SoftAdapt(2)
    balance.finite_calls.fill_(2**40)
    balance([1.0, 2.0])
    balance([1.0, 2.0])
    assert balance.observations.item() == 2**40 + 2
    assert math.isclose(balance.weights.sum().item(), 1)
    torch.compiler.reset()  # PyTorch 2.4 exports no function that it has compiled before
    exported = torch.export.export(SoftAdapt(2).eval(), (torch.ones(2),))
    assert exported.module()(torch.tensor([1.0, 3.0])).item() == 2
