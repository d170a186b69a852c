"""Weighting rules: one contract for all of them."""

import pytest
import torch

from experiments.config import WEIGHTINGS_FOLDER
from experiments.errors import UserError
from experiments.weightings import build

NAMES = ("a", "b")
SPECS = {"fixed": {"weights": {"a": 2.0, "b": 0.5}}, "softadapt": {"beta": 0.5}, "softadapt_swapped": {"beta": 0.5}}


@pytest.mark.parametrize("rule", sorted(path.stem for path in WEIGHTINGS_FOLDER.glob("[a-z]*.py")))
def test_every_rule_is_a_module_that_weighs_named_losses(rule):
    balance = build({"rule": rule, **SPECS[rule]}, NAMES)
    for a, b in ((1.0, 4.0), (2.0, 3.0), (0.5, 1.0)):
        a, b = torch.tensor(a, requires_grad=True), torch.tensor(b)
        loss = balance({"a": a, "b": b})
        loss.backward()
        weights = balance.get_buffer("weights")
        torch.testing.assert_close(loss, weights[0] * a + weights[1] * b)
        torch.testing.assert_close(a.grad, weights[0])
    twin = build({"rule": rule, **SPECS[rule]}, NAMES)
    twin.load_state_dict(balance.state_dict())
    torch.testing.assert_close(twin({"a": a, "b": b}), balance({"a": a, "b": b}))


def test_num_losses_as_total():
    balance = build({"rule": "softadapt", "total": "num_losses"}, ("a", "b", "c"))
    assert balance.get_buffer("weights").tolist() == pytest.approx([1, 1, 1])


def test_updates_once_an_epoch_average_its_steps():
    balance = build({"rule": "softadapt", "update_every": "epoch"}, NAMES, steps_per_epoch=3)
    twin = build({"rule": "softadapt", "update_every": 3}, NAMES)
    for step in range(9):
        losses = {"a": torch.tensor(1.0 + step), "b": torch.tensor(2.0)}
        torch.testing.assert_close(balance(losses), twin(losses))
        assert (balance.get_buffer("weights")[0] == 0.5) == (step < 5)


def test_swapped_weights_are_those_of_the_other_component():
    names = ("kl", "hinge", "error")
    right, swapped = (build({"rule": rule}, names) for rule in ("softadapt", "softadapt_swapped"))
    for values in ([1.0, 2.0, 3.0], [3.0, 2.5, 1.0], [2.0, 4.0, 1.5]):
        losses = dict(zip(names, map(torch.tensor, values), strict=True))
        right(losses)
        a, b, c = right.get_buffer("weights").tolist()
        assert swapped(losses).item() == pytest.approx(c * values[0] + b * values[1] + a * values[2])
        assert swapped.get_buffer("weights").tolist() == pytest.approx([c, b, a])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"rule": "softadapt", "betta": 1}, "m.weighting: betta: unknown key, did you mean beta?"),
        ({"rule": "softadapt", "history": 1}, "m.weighting: history must be an integer of at least 2, got 1"),
        ({"rule": "softadapt", "variant": "max"}, "m.weighting: variant: "),
        ({"rule": "fixed", "weights": {"a": 1.0}}, "m.weighting: weights must name a, b, got a"),
        ({"rule": "fixed", "weights": {"a": 1.0, "b": -1.0}}, "m.weighting: weights.b: Input should be greater"),
    ],
)
def test_a_wrong_option_is_one_line(spec, message):
    with pytest.raises(UserError) as error:
        build(spec, NAMES, "m.weighting")
    assert str(error.value).startswith(message)
