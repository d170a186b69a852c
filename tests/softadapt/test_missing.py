"""Losses that a batch lacks: ``missing="hold"``."""

from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import softadapt.module
from softadapt import SoftAdapt, difference_stencil

FLOAT64 = {"dtype": torch.float64}


class Record:
    """The rule written out for lists: every component has a history of its own, which only its own losses lengthen."""

    def __init__(self, components, *, update_every, history, mean_over_history):
        self.observed = [[] for _ in range(components)]
        self.window = [[] for _ in range(components)]
        self.every, self.length, self.mean = update_every, history, mean_over_history
        self.calls = 0
        self.weights = [1 / components] * components

    def call(self, losses, beta):
        """The weighted sum of the losses, ``None`` where absent."""
        self.calls += 1
        for window, loss in zip(self.window, losses, strict=True):
            if loss is not None:
                window.append(loss)
        if self.calls % self.every == 0:
            for past, window in zip(self.observed, self.window, strict=True):
                if window:
                    past.append(sum(window) / len(window))
                window.clear()
            if all(len(past) > 1 for past in self.observed):
                self.weights = self.rule(beta)
        return sum(w * loss for w, loss in zip(self.weights, losses, strict=True) if loss is not None)

    def rule(self, beta):
        powers = []
        for past in self.observed:
            recent = past[-self.length :]
            rate = sum(c * loss for c, loss in zip(difference_stencil(len(recent)), recent, strict=True))
            loss = sum(recent) / len(recent) if self.mean else recent[-1]
            powers.append(loss * torch.exp(torch.tensor(beta * rate, **FLOAT64)).item())
        return [power / sum(powers) for power in powers]


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.lists(st.none() | st.floats(0.1, 3), min_size=3, max_size=3), min_size=1, max_size=20),
    update_every=st.sampled_from([1, 1, 2, 5]),
    history=st.integers(2, 4),
    mean_over_history=st.booleans(),
    form=st.sampled_from(["list", "mapping", "mask"]),
)
def test_each_component_keeps_its_own_history(rows, update_every, history, mean_over_history, form):
    options = {"update_every": update_every, "history": history, "mean_over_history": mean_over_history}
    balance = SoftAdapt(3, missing="hold", beta=0.7, **options, **FLOAT64)
    if form == "mapping":  # the first one names all
        balance({"a": None, "b": None, "c": None})
        balance.reset_parameters()
    record = Record(3, **options)
    for row in rows:
        expected = record.call(row, 0.7)
        if form == "list":
            total = balance(row)
        elif form == "mapping":
            total = balance({name: loss for name, loss in zip("abc", row, strict=True) if loss is not None})
        else:
            filled = torch.tensor([float("nan") if loss is None else loss for loss in row], **FLOAT64)
            total = balance(filled, torch.tensor([loss is not None for loss in row]))
        assert total.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert balance.weights.tolist() == pytest.approx(record.weights, rel=1e-9)


def test_an_absent_loss_keeps_its_weight_and_has_no_gradient():
    balance = SoftAdapt(["a", "b"], missing="hold", beta=0.5, **FLOAT64)
    for losses in ({"a": 4.0, "b": 1.0}, {"a": 2.0, "b": 3.0}):
        balance(losses)
    before = balance.weights.clone()
    a = torch.tensor(2.0, requires_grad=True, **FLOAT64)
    total = balance({"a": a, "b": None})
    # a stood still: rates (0, 2), losses (2, 3).
    powers = torch.tensor([2.0, 3 * torch.e**1.0], **FLOAT64)
    torch.testing.assert_close(balance.weights, powers / powers.sum())
    assert not torch.equal(balance.weights, before)
    total.backward()
    assert a.grad.item() == balance.weights[0].item()
    assert balance.history[:, 1].tolist() == [1, 3]


def test_without_absences_hold_changes_nothing():
    rows = torch.rand(9, 3, generator=torch.Generator().manual_seed(0), **FLOAT64) + 0.1
    for options in ({}, {"update_every": 2, "history": 4}, {"prior": [1, 2, 3], "normalize": True, "refresh_every": 2}):
        held, plain = SoftAdapt(3, missing="hold", **options, **FLOAT64), SoftAdapt(3, **options, **FLOAT64)
        for row in rows:
            torch.testing.assert_close(held(row), plain(row), rtol=1e-13, atol=0)
        torch.testing.assert_close(held.weights, plain.weights, rtol=1e-13, atol=0)
        assert torch.equal(held.history, plain.history)


def test_a_non_finite_loss_is_no_absence():
    balance = SoftAdapt(2, missing="hold", update_every=2)
    balance([1.0, 2.0])
    balance([None, float("inf")])
    balance([3.0, None])
    assert balance.history[-1].tolist() == [2.0, 2.0]
    assert balance.nonfinite_count.item() == 1
    assert balance.observations.item() == 1
    assert balance.absent_calls.tolist() == [0, 0]


def test_equal_weights_until_every_component_has_two_observations():
    balance = SoftAdapt(2, missing="hold")
    for losses in ([1.0, None], [5.0, None], [2.0, 7.0], [9.0, None]):
        balance(losses)
        assert balance.weights.tolist() == [0.5, 0.5]
    balance([None, 3.0])
    assert balance.weights.tolist() != [0.5, 0.5]


def test_evaluation_adds_what_is_there():
    balance = SoftAdapt(["a", "b"], missing="hold", prior=[1, 3]).eval()
    assert balance({"b": 2.0}).item() == 1.5
    assert balance.weigh(torch.tensor([5.0, float("nan")]), torch.tensor([True, False])).item() == 1.25
    assert balance.finite_calls.item() == 0


@pytest.mark.parametrize("form", ["mask", "mapping"])
def test_compiles_as_one_graph(form):
    torch.compiler.reset()  # a process compiles a function for so many modules only
    balance, eager = (SoftAdapt(["a", "b"], missing="hold", history=3, update_every=2) for _ in range(2))
    compiled = torch.compile(balance, fullgraph=True, backend="aot_eager")
    rows = torch.rand(8, 2, generator=torch.Generator().manual_seed(1)) + 0.1
    for step, row in enumerate(rows):
        present = torch.tensor([step % 3 != 0, step % 4 != 1])
        arguments = (row, present)
        if form == "mapping":
            arguments = ({name: row[k] for k, name in enumerate("ab") if present[k]},)
        torch.testing.assert_close(compiled(*arguments), eager(*arguments))
        torch.testing.assert_close(balance.weights, eager.weights)


def test_gradients_of_masked_losses_are_zero_whatever_they_hold():
    balance = SoftAdapt(2, missing="hold")
    losses = torch.tensor([1.0, float("nan")], requires_grad=True)
    balance(losses, torch.tensor([True, False])).backward()
    assert losses.grad.tolist() == [0.5, 0.0]
    assert balance.nonfinite_count.item() == 0


@pytest.mark.parametrize(
    ("options", "arguments", "message"),
    [
        ({}, ([1.0, None],), "missing='hold' accepts absent losses"),
        ({"losses": ["a", "b"]}, ({"a": 1.0},), "missing='hold' accepts absent losses"),
        ({}, (torch.ones(2), torch.tensor([True, False])), "needs missing='hold'"),
        ({"missing": "hold"}, ([1.0, 2.0], torch.tensor([True, False])), "a mask goes with a tensor"),
        ({"missing": "hold"}, (torch.ones(2), torch.ones(2)), r"bool tensor of shape \(2,\), got torch.float32 \(2,\)"),
        ({"missing": "hold"}, (torch.ones(2), torch.ones(3, dtype=torch.bool)), r"got torch.bool \(3,\)"),
        ({"missing": "hold"}, (torch.ones(2), [True, False]), r"got \[True, False\]"),
    ],
)
def test_refusals_name_the_remedy(options, arguments, message):
    with pytest.raises(ValueError, match=message):
        SoftAdapt(**({"losses": 2} | options))(*arguments)


def test_negative_losses_are_warned_of_on_this_path_too():
    balance = SoftAdapt(["a", "b"], missing="hold")
    with pytest.warns(UserWarning, match="the loss 'a' is -2"):
        balance({"a": -2.0})
    for _ in range(3):
        balance({"b": 1.0})  # a is held, and counts no more
    assert balance.negative_count.item() == 1


def test_hold_takes_the_path_of_tensors():
    with mock.patch.object(softadapt.module, "weights_on_host", side_effect=AssertionError("computed on the host")):
        balance = SoftAdapt(2, missing="hold")
        for _ in range(3):
            balance([1.0, 2.0])
    assert balance.observations.item() == 3
