"""The two ways to compute the weights, tensor operations and Python floats, are one rule."""

import copy
from functools import partial
from math import inf, nan
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx

import softadapt.module
from softadapt import SoftAdapt, difference_stencil, rates_of_change, softadapt_weights
from softadapt.host import weights_on_host

DTYPES = [torch.float64, torch.float32]
TensorPath = partial(mock.patch.object, softadapt.module, "_HOST_LIMIT", 0)

pytestmark = pytest.mark.filterwarnings("ignore:SoftAdapt. the loss:UserWarning")


def smallest(dtype):
    """The spacing of the numbers next to zero."""
    return torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps


def same_state(module, dtype):
    """A module of `dtype` with the options and the state of `module`."""
    twin = copy.deepcopy(module).to(dtype)
    twin.load_state_dict(module.state_dict())
    return twin


@st.composite
def options(draw, components):
    history = draw(st.integers(2, 5))
    method = draw(st.sampled_from(["finite_difference", "least_squares"]))
    order = st.none() if method == "least_squares" else st.none() | st.integers(1, history - 1)
    return {
        "variant": draw(st.sampled_from(["loss_weighted", "original"])),
        "beta": draw(st.sampled_from([0.0, 0.1, -0.1, 2.0, -2.0])),
        "normalize": draw(st.booleans()),
        "history": history,
        "order": draw(order),
        "method": method,
        "rate": draw(st.sampled_from(["difference", "difference", "relative"])),
        "update_every": draw(st.sampled_from([1, 1, 3])),
        "refresh_every": draw(st.sampled_from([1, 1, 2])),
        "prior": draw(st.none() | st.lists(st.floats(0.01, 100), min_size=components, max_size=components)),
        "total": draw(st.sampled_from([1.0, 3.0, 1e-3])),
        "mean_over_history": draw(st.booleans()),
    }


@st.composite
def cases(draw):
    components = draw(st.integers(1, 4))
    loss = st.floats(0.01, 10) | st.floats(0.01, 10) | st.sampled_from([0.0, -1.0, nan, inf])
    rows = st.lists(st.lists(loss, min_size=components, max_size=components), min_size=1, max_size=9)
    return components, draw(options(components)), draw(rows)


@settings(max_examples=150, deadline=None)
@given(case=cases(), dtype=st.sampled_from(DTYPES))
def test_both_paths_agree_to_the_precision_of_the_state(case, dtype):
    components, chosen, rows = case
    balance = SoftAdapt(components, **chosen, dtype=dtype)
    for row in rows:
        losses, twin = torch.tensor(row, dtype=dtype), same_state(balance, dtype)
        loss = balance(losses)
        with TensorPath():
            expected = twin(losses)
        assert loss.dtype == expected.dtype
        assert torch.equal(balance.finite_calls, twin.finite_calls)
        assert torch.equal(balance.nonfinite_calls, twin.nonfinite_calls)
        assert torch.equal(balance.negative_observations, twin.negative_observations)
        assert bool(loss.isfinite()) == bool(losses.isfinite().all())
        eps = torch.finfo(dtype).eps
        torch.testing.assert_close(balance.history, twin.history, rtol=4 * eps, atol=40 * eps)
        torch.testing.assert_close(balance.window_mean, twin.window_mean, rtol=4 * eps, atol=40 * eps)
        # What rounding the terms of a rate does to its weight; a normalized rate is relative to the others.
        filled = min(int(balance.observations), chosen["history"])
        stencil = torch.zeros(chosen["history"], 1, dtype=torch.float64)
        if filled > 1:
            order = chosen["order"] and min(chosen["order"], filled - 1)
            stencil[-filled:, 0] = torch.tensor(difference_stencil(filled, order, chosen["method"]))
        terms = stencil * balance.history.double()
        if chosen["rate"] == "relative":
            previous = balance.history[-2].double().abs()
            terms = torch.where(previous == 0, 0.0, terms / previous)
        size = terms.abs().sum(0).max()
        if chosen["normalize"]:
            size = size / (terms.sum(0).abs().sum() + 1e-8)
        tolerance = 16 * eps * (1 + abs(chosen["beta"]) * float(size)) * chosen["total"] + smallest(dtype)
        torch.testing.assert_close(balance.weights, twin.weights, rtol=0, atol=tolerance)
        assert balance.weights.sum().item() == pytest.approx(chosen["total"], rel=4 * components * eps)


@settings(max_examples=150, deadline=None)
@given(case=cases(), dtype=st.sampled_from(DTYPES))
def test_a_narrow_state_has_the_weights_of_double_precision(case, dtype):
    components, chosen, rows = case
    balance = SoftAdapt(components, **chosen | {"update_every": 1}, dtype=dtype)
    for row in rows:
        losses, exact = torch.tensor(row, dtype=dtype), same_state(balance, torch.float64)
        balance(losses)
        with TensorPath():
            exact(losses.double())
        assert torch.equal(balance.history.double(), exact.history)
        # Normalizing magnifies what double precision leaves of rates that cancel.
        tolerance = {"rtol": torch.finfo(dtype).eps, "atol": 1e-6 * chosen["total"] + smallest(dtype)}
        torch.testing.assert_close(balance.weights.double(), exact.weights, **tolerance)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.sampled_from([0.0, 1e-38, 1e-30, 1.0, 3.0, 1e38, 3e38, -1e38, nan, inf]), min_size=3, max_size=3),
        min_size=2,
        max_size=5,
    ),
    scale=st.sampled_from([1.0, 5e269]),
    beta=st.sampled_from([0.0, 0.1, -0.1, 1e3, -1e3, 1e39, -1e39, 1e300]),
    variant=st.sampled_from(["loss_weighted", "original"]),
    flags=st.tuples(st.booleans(), st.booleans()),
    prior=st.sampled_from([None, [1e-30, 1.0, 1e30]]),
)
def test_extremes_have_the_weights_of_double_precision(rows, scale, beta, variant, flags, prior):
    """Up to the range of float32, and (scaled) of float64, whose overflows both paths treat alike."""
    chosen = {"beta": beta, "variant": variant, "normalize": flags[0], "mean_over_history": flags[1], "prior": prior}
    balance = SoftAdapt(3, **chosen, dtype=torch.float32 if scale == 1 else torch.float64)
    for row in rows:
        losses, exact = torch.tensor(row, dtype=balance.history.dtype) * scale, same_state(balance, torch.float64)
        balance(losses)
        with TensorPath():
            exact(losses.double())
        assert balance.weights.isfinite().all()
        assert balance.weights.sum().item() == pytest.approx(1)
        torch.testing.assert_close(balance.weights.double(), exact.weights, rtol=1e-6, atol=1e-6)


def test_python_floats_keep_apart_what_a_narrow_state_cannot():
    """Rates of 2.9e38 and 6e38, of which float32 holds only the first."""
    balance = SoftAdapt(3, variant="original", dtype=torch.float32)
    for losses in ([0.0, -3e38, -2.9e38], [2.9e38, 3e38, 3e38]):
        balance(losses)
    assert balance.weights.tolist() == [0, 1, 0]


@given(
    history=st.integers(1, 5).flatmap(
        lambda k: st.lists(
            st.lists(st.floats(-5, 5).filter(lambda x: x == 0 or abs(x) > 1e-6), min_size=k, max_size=k),
            min_size=2,
            max_size=2,
        )
    ),
    beta=st.floats(-5, 5),
    weighted=st.booleans(),
    normalize=st.booleans(),
    rate=st.sampled_from(["difference", "relative"]),
)
def test_weights_on_host_are_those_of_the_pure_functions(history, beta, weighted, normalize, rate):
    recent = history[-1] if weighted else None
    past = torch.tensor(history, dtype=torch.float64)
    rates = rates_of_change(past, rate=rate)
    expected = softadapt_weights(rates, past[-1] if weighted else None, beta=beta, normalize=normalize)
    ours = weights_on_host(history, [-1.0, 1.0], recent, beta, normalize, rate == "relative", None, 1.0)
    assert ours == pytest.approx(expected.tolist(), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_losses_of_another_dtype_are_recorded_in_that_of_the_state(dtype):
    balance = SoftAdapt(2, dtype=dtype)
    loss = balance(torch.tensor([1e300, 1.0], dtype=torch.float64))
    assert loss.dtype == torch.float64
    assert loss.isfinite()
    assert balance.nonfinite_count.item() == int(dtype != torch.float64)


@pytest.fixture
def _no_host(monkeypatch):
    def refuse(*args):
        raise AssertionError("computed on the host")

    monkeypatch.setattr(softadapt.module, "weights_on_host", refuse)


def called_twice(balance, losses):
    balance(losses)
    return balance(losses + 1)


@pytest.mark.usefixtures("_no_host")
def test_only_a_short_history_in_the_memory_of_the_cpu_is_read():
    losses = torch.rand(2)
    with pytest.raises(AssertionError, match="computed on the host"):
        called_twice(SoftAdapt(2), losses)
    called_twice(SoftAdapt(2, history=1000), losses)
    called_twice(SoftAdapt(2, device="meta"), losses.to("meta"))
    with TensorPath():
        called_twice(SoftAdapt(2), losses)
    called_twice(torch.compile(SoftAdapt(2), fullgraph=True, backend="eager"), losses)
    skeleton = SoftAdapt(2)
    state = {name: buffer.expand(3, *buffer.shape).clone() for name, buffer in skeleton.named_buffers()}
    for _ in range(2):
        vmap(lambda state, row: functional_call(skeleton, state, (row,)))(state, torch.rand(3, 2))
    assert state["finite_calls"].flatten().tolist() == [2, 2, 2]


@pytest.mark.usefixtures("_no_host")
def test_a_trace_keeps_the_losses_as_its_input():
    balance = SoftAdapt(2, variant="original", beta=1.0, dtype=torch.float64)

    def call(state, losses):
        return functional_call(balance, state, (losses,))

    state = dict(balance.named_buffers())
    traced = make_fx(call)({name: buffer.clone() for name, buffer in state.items()}, torch.rand(2).double())
    copies = {name: buffer.clone() for name, buffer in state.items()}
    traced(copies, torch.tensor([4.0, 1.0], dtype=torch.float64))
    traced(copies, torch.tensor([2.0, 3.0], dtype=torch.float64))
    assert copies["history"].tolist() == [[4, 1], [2, 3]]
    assert copies["weights"].tolist() == pytest.approx(torch.softmax(torch.tensor([-2.0, 2.0]), 0).tolist())
