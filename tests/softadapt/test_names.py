"""Names of the components: given, learned, used, saved."""

import pytest
import torch

from softadapt import SoftAdapt

LONGEST = "é" * 32  # 64 bytes of UTF-8


def test_names_are_given_to_the_constructor():
    balance = SoftAdapt(["error", "size"], beta=3.0)
    unnamed = SoftAdapt(2, beta=3.0)
    assert balance.num_losses == 2
    assert balance.names == ("error", "size")
    for error, size in ([1.0, 2.0], [3.0, 1.0]):
        assert balance({"size": size, "error": error}) == unnamed([error, size])
        assert torch.equal(balance.weights, unnamed.weights)


def test_a_list_is_refused_where_the_constructor_got_names_and_a_tensor_is_in_their_order():
    balance = SoftAdapt(("a", "b"))
    with pytest.raises(ValueError, match="expected a mapping, since the losses have names: a, b"):
        balance([1.0, 2.0])
    balance(torch.tensor([1.0, 2.0]))
    assert balance.history[-1].tolist() == [1, 2]


def test_the_first_mapping_gives_the_names_and_a_list_remains_possible():
    balance = SoftAdapt(2)
    assert balance.names is None
    balance({"b": 1.0, "a": 2.0})
    assert balance.names == ("b", "a")
    balance([3.0, 4.0])
    assert balance.history.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("missing", ["error", "hold"])
def test_unknown_keys_are_always_errors(missing):
    balance = SoftAdapt(["a", "b"], missing=missing)
    for losses in ({"a": 1.0, "c": 2.0}, {"a": 1.0, "b": 2.0, "c": 3.0}, {"c": 1.0}):
        with pytest.raises(ValueError, match=f"expected losses named a, b, got {', '.join(losses)}$"):
            balance(losses)
    assert balance.finite_calls.item() == 0


@pytest.mark.parametrize(
    ("first", "offending"),
    [
        ({"a": 1.0, 1: 2.0}, "1"),
        ({"a": 1.0, "x" * 65: 2.0}, "65"),
        ({"a": 1.0}, "expected 2 losses, got a: the first mapping names all of them, an absent one as None;"),
    ],
)
def test_a_first_mapping_with_unusable_names_is_refused(first, offending):
    with pytest.raises(ValueError, match=r".+") as error:
        SoftAdapt(2)(first)
    assert offending in str(error.value)


def test_weights_by_name_are_a_copy_that_later_calls_leave_alone():
    balance = SoftAdapt(["a", "b"], beta=5.0, prior=[1, 3])
    before = balance.named_weights("weight/")
    assert {name: weight.item() for name, weight in before.items()} == {"weight/a": 0.25, "weight/b": 0.75}
    balance({"a": 1.0, "b": 2.0})
    balance({"a": 3.0, "b": 1.0})
    assert before["weight/a"].item() == 0.25
    after = balance.named_weights()
    assert [after[name].item() for name in ("a", "b")] == balance.weights.tolist() != [0.25, 0.75]
    assert list(SoftAdapt(3).named_weights()) == ["0", "1", "2"]


@pytest.mark.parametrize("names", [("a", "b"), ("", "line\nend"), (LONGEST, "nul\0"), ("λ", "κ")])
def test_any_name_survives_the_state(names):
    saved, fresh = SoftAdapt(names), SoftAdapt(2)
    fresh.load_state_dict(saved.state_dict())
    assert fresh.names == names
    assert len(saved.get_extra_state()) == len(SoftAdapt(2).get_extra_state())


def test_a_state_of_other_names_is_refused_and_nothing_is_loaded():
    saved, other = SoftAdapt(["a", "b"]), SoftAdapt(["b", "a"])
    saved({"a": 1.0, "b": 2.0})
    with pytest.raises(ValueError, match="saved for losses named a, b; this SoftAdapt has b, a"):
        torch.nn.ModuleDict({"balance": other}).load_state_dict(
            {f"balance.{k}": v for k, v in saved.state_dict().items()}
        )
    assert other.finite_calls.item() == 0
    unnamed = SoftAdapt(2)
    unnamed([3.0, 4.0])
    other.load_state_dict(unnamed.state_dict())
    assert other.names == ("b", "a")
    assert other.history[-1].tolist() == [3, 4]


def test_repr_shows_names_and_what_is_no_default():
    assert repr(SoftAdapt(2)) == "SoftAdapt(2)"
    assert repr(SoftAdapt(["a", "b"], prior=[1, 2], rate="relative")) == (
        "SoftAdapt(['a', 'b'], rate='relative', prior=[1.0, 2.0])"
    )
