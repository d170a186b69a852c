"""`SoftAdapt` as a criterion: what it returns, records and saves."""

import copy
import math
import pickle
from unittest import mock

import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.utils._python_dispatch import TorchDispatchMode

import softadapt.module
from softadapt import SoftAdapt, rates_of_change, softadapt_weights

FLOAT64 = {"dtype": torch.float64}


def drawn_losses(steps, components, seed=0, **options):
    return torch.rand(steps, components, generator=torch.Generator().manual_seed(seed), **options) + 0.1


def test_worked_example():
    """Losses (4, 1) then (2, 3): s = (-2, 2); equation 3 with beta = 0.5 gives e^-1 and e^1 over their sum."""
    balance = SoftAdapt(2, variant="original", beta=0.5, **FLOAT64)
    assert balance([4.0, 1.0]).item() == pytest.approx(2.5)
    loss = balance([2.0, 3.0])
    first = math.exp(-1) / (math.exp(-1) + math.exp(1))
    assert balance.weights.tolist() == pytest.approx([first, 1 - first], rel=1e-14)
    assert loss.item() == pytest.approx(2 * first + 3 * (1 - first))


@pytest.mark.parametrize("variant", ["original", "loss_weighted"])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(("history", "order"), [(2, None), (5, None), (5, 2)])
def test_weights_follow_the_pure_functions_once_the_history_is_full(variant, normalize, history, order):
    balance = SoftAdapt(3, variant=variant, beta=0.7, normalize=normalize, history=history, order=order, **FLOAT64)
    losses = drawn_losses(9, 3, **FLOAT64)
    for step, row in enumerate(losses, start=1):
        total = balance(row)
        recent = losses[max(0, step - history) : step]
        if step < 2:
            expected = torch.full((3,), 1 / 3, **FLOAT64)
        else:
            possible = None if order is None else min(order, len(recent) - 1)
            rates = rates_of_change(recent, possible)
            f = row if variant == "loss_weighted" else None
            expected = softadapt_weights(rates, f, beta=0.7, normalize=normalize)
        torch.testing.assert_close(balance.weights, expected, rtol=1e-13, atol=1e-14)
        torch.testing.assert_close(total, expected @ row, rtol=1e-13, atol=1e-14)


def test_mean_over_history_takes_the_place_of_the_newest_loss():
    balance = SoftAdapt(2, beta=0.0, history=3, mean_over_history=True, **FLOAT64)
    for losses in ([1.0, 1.0], [2.0, 4.0], [3.0, 1.0]):
        balance(losses)
    torch.testing.assert_close(balance.weights, torch.tensor([0.5, 0.5], **FLOAT64))


def test_least_squares_slope():
    losses = drawn_losses(6, 2, **FLOAT64)
    balance = SoftAdapt(2, variant="original", history=4, method="least_squares", **FLOAT64)
    for row in losses:
        balance(row)
    expected = softadapt_weights(rates_of_change(losses[-4:], method="least_squares"), beta=0.1)
    torch.testing.assert_close(balance.weights, expected)


def test_each_window_of_update_every_calls_is_one_observation_its_mean():
    losses = drawn_losses(12, 2, **FLOAT64)
    windowed = SoftAdapt(2, update_every=3, beta=2.0, **FLOAT64)
    direct = SoftAdapt(2, beta=2.0, **FLOAT64)
    for start in range(0, 12, 3):
        before = windowed.weights.clone()
        for row in losses[start : start + 2]:
            windowed(row)
            torch.testing.assert_close(windowed.weights, before)
        windowed(losses[start + 2])
        direct(losses[start : start + 3].mean(0))
        torch.testing.assert_close(windowed.weights, direct.weights)


def test_total_and_prior():
    prior = [1.0, 2.0, 5.0]
    balance = SoftAdapt(3, variant="original", prior=prior, total=3.0, **FLOAT64)
    expected = 3 * torch.tensor(prior, **FLOAT64) / 8
    torch.testing.assert_close(balance.weights, expected)
    for _ in range(3):
        balance([1.0, 1.0, 1.0])  # equal rates: nothing moves the weights off the prior
    torch.testing.assert_close(balance.weights, expected)
    balance([1.0, 2.0, 1.0])
    assert balance.weights.sum().item() == pytest.approx(3)
    assert balance.weights[1] > expected[1]


def test_losses_may_be_a_tensor_a_sequence_or_a_mapping_matched_by_name():
    by_tensor, by_list, by_name = (SoftAdapt(2, beta=5.0) for _ in range(3))
    for step, (a, b) in enumerate(drawn_losses(5, 2)):
        total = by_tensor(torch.stack((a, b)))
        assert torch.equal(by_list([a, b.reshape(1)]), total)
        assert torch.equal(by_name({"b": b, "a": a} if step % 2 else {"a": a, "b": b}), total)
        assert torch.equal(by_list.weights, by_tensor.weights)
        assert torch.equal(by_name.weights, by_tensor.weights)


def test_gradient_is_the_weights_and_none_flows_through_them():
    balance = SoftAdapt(3, **FLOAT64)
    balance(drawn_losses(1, 3, **FLOAT64)[0])
    losses = drawn_losses(1, 3, seed=1, **FLOAT64)[0].requires_grad_()
    total = balance(losses)
    assert not balance.weights.requires_grad
    assert not balance.history.requires_grad
    total.backward()
    torch.testing.assert_close(losses.grad, balance.weights)


def test_a_later_call_does_not_disturb_an_earlier_graph():
    balance = SoftAdapt(2)
    x = torch.tensor(2.0, requires_grad=True)
    totals = [balance([x**2, 3 * x]) for _ in range(3)]
    balance.eval()
    totals.append(balance([x, x]))
    balance.train()
    totals.append(balance([x**3, x]))
    sum(totals).backward()
    assert x.grad.isfinite()


def test_evaluation_mode_leaves_all_state_alone():
    balance = SoftAdapt(2)
    for row in drawn_losses(3, 2):
        balance(row)
    before = copy.deepcopy(balance)
    balance.eval()
    total = balance([7.0, float("nan")])
    assert total.isnan()
    assert all(torch.equal(buffer, before.get_buffer(name)) for name, buffer in balance.named_buffers())


@pytest.mark.parametrize("after", range(1, 8))
def test_resuming_from_a_saved_state_changes_nothing(tmp_path, after):
    losses = drawn_losses(10, 2)
    whole = SoftAdapt(2, history=3, update_every=2)
    part = SoftAdapt(2, history=3, update_every=2)
    for row in losses:
        whole(row)
    for row in losses[:after]:
        part(row)
    torch.save(part.state_dict(), tmp_path / "state.pt")
    resumed = SoftAdapt(2, history=3, update_every=2)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for row in losses[after:]:
        resumed(row)
    assert all(torch.equal(buffer, resumed.get_buffer(name)) for name, buffer in whole.named_buffers())


@pytest.mark.parametrize("how", ["state_dict", "deepcopy", "pickle"])
def test_names_are_saved_with_the_state_that_belongs_to_them(tmp_path, how):
    rows = drawn_losses(4, 2).tolist()
    whole, part = SoftAdapt(2, beta=5.0), SoftAdapt(2, beta=5.0)
    for a, b in rows:
        whole({"a": a, "b": b})
    for a, b in rows[:2]:
        part({"a": a, "b": b})
    if how == "state_dict":
        torch.save(part.state_dict(), tmp_path / "state.pt")
        resumed = SoftAdapt(2, beta=5.0)
        resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    else:
        resumed = copy.deepcopy(part) if how == "deepcopy" else pickle.loads(pickle.dumps(part))
    for a, b in rows[2:]:
        resumed({"b": b, "a": a})
    assert torch.equal(resumed.weights, whole.weights)
    with pytest.raises(ValueError, match="expected losses named a, b, got a, c"):
        resumed({"a": 1.0, "c": 2.0})


def test_a_state_without_names_leaves_them_to_the_first_mapping():
    unnamed, named = SoftAdapt(2), SoftAdapt(2)
    unnamed([1.0, 2.0])
    named({"a": 1.0, "b": 2.0})
    named.load_state_dict(unnamed.state_dict())
    assert named.names == ("a", "b")


def test_shapes_of_the_state_never_change():
    balance = SoftAdapt(3, history=4, update_every=2)
    shapes = {name: buffer.shape for name, buffer in balance.named_buffers()}
    for row in drawn_losses(9, 3):
        balance(row)
    assert {name: buffer.shape for name, buffer in balance.named_buffers()} == shapes


def test_casting_to_double_does_not_round_constants_twice():
    cast, born = SoftAdapt(3, history=5, prior=[1, 2, 4]).double(), SoftAdapt(3, history=5, prior=[1, 2, 4], **FLOAT64)
    for row in drawn_losses(7, 3, **FLOAT64):
        torch.testing.assert_close(cast(row), born(row), rtol=0, atol=0)
    assert torch.equal(cast.weights, born.weights)


class NoHostRead(TorchDispatchMode):
    """Fails on any operation that reads a tensor's value."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert "local_scalar_dense" not in str(function), "the step path waits for the device"
        assert "is_nonzero" not in str(function), "the step path branches on a value"
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "options",
    [{}, {"history": 5, "normalize": True}, {"update_every": 3, "prior": [1, 2], "mean_over_history": True}],
)
def test_step_path_never_reads_a_value_on_the_host(options):
    balance = SoftAdapt(2, **options)
    balance(drawn_losses(1, 2)[0])  # the constants are made once
    with mock.patch.object(softadapt.module, "_HOST_LIMIT", 0), NoHostRead():
        for row in drawn_losses(4, 2).unbind():
            balance(row)


def test_runs_on_a_device_without_values():
    balance = SoftAdapt(2, history=4, device="meta")
    assert balance(torch.rand(2, device="meta")).device.type == "meta"
    assert balance.weigh([1.0, 2.0]).device.type == "meta"
    assert balance._initial_weights().device.type == "meta"


def test_constants_are_made_once():
    """Sending them to a device at every call would wait for it."""
    balance = SoftAdapt(2, history=4, prior=[1, 2])
    losses = drawn_losses(1, 2)[0]
    with mock.patch.object(softadapt.module, "_HOST_LIMIT", 0):
        balance(losses)
        with mock.patch.object(torch, "tensor", side_effect=AssertionError("made again")):
            balance(losses)
        balance.double()
        balance(losses)  # and anew for another dtype
    assert balance.observations.item() == 3


@pytest.mark.parametrize("options", [{}, {"history": 4, "update_every": 2, "normalize": True}])
def test_traces_as_one_graph(options):
    torch.compiler.reset()  # a process compiles a function for so many modules only
    eager, traced = SoftAdapt(2, **options), SoftAdapt(2, **options)
    compiled = torch.compile(traced, fullgraph=True, backend="aot_eager")
    for row in drawn_losses(6, 2):
        torch.testing.assert_close(compiled(row), eager(row))
    for a, b in drawn_losses(3, 2, seed=1):
        torch.testing.assert_close(compiled({"a": a, "b": b}), eager([a, b]))
    assert traced.names == ("a", "b")
    torch.testing.assert_close(traced.weights, eager.weights)


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"history": 4, "normalize": True, "prior": [1, 2]}, {"update_every": 2}])
def test_autocast_changes_nothing(low, options):
    """Losses that differ in the fourth digit: half precision would round away what the rates are made of."""
    plain, cast, mapped = (SoftAdapt(2, beta=5.0, **options) for _ in range(3))
    states = [{name: buffer[None].clone() for name, buffer in mapped.named_buffers()} for _ in range(2)]

    def together(state, row):  # the path of tensor operations
        return vmap(lambda state, row: functional_call(mapped, state, (row,)))(state, row[None])[0]

    for row in torch.tensor([[100.3, 50.0], [100.1, 50.2], [99.9, 50.1], [99.7, 50.4]]):
        expected, expected_together = plain(row), together(states[0], row)
        with torch.autocast("cpu", low):
            loss, loss_together = cast(row.unbind()), together(states[1], row)
        assert loss.dtype == loss_together.dtype == torch.float32
        assert torch.equal(loss, expected)
        assert torch.equal(loss_together, expected_together)
        assert torch.equal(cast.weights, plain.weights)


def test_vmap_over_stacked_modules_equals_lone_modules():
    lone = [SoftAdapt(2, history=3) for _ in range(4)]
    parameters, buffers = stack_module_state([SoftAdapt(2, history=3) for _ in range(4)])
    skeleton = SoftAdapt(2, history=3)
    losses = drawn_losses(5 * 4, 2).reshape(5, 4, 2)

    def call(state, row):
        return functional_call(skeleton, state, (row,))

    for rows in losses:
        together = vmap(call)({**parameters, **buffers}, rows)
        torch.testing.assert_close(together, torch.stack([m(row) for m, row in zip(lone, rows, strict=True)]))
    torch.testing.assert_close(buffers["weights"], torch.stack([m.weights for m in lone]))


def test_non_finite_losses_are_counted_and_change_nothing_else():
    balance, undisturbed = SoftAdapt(2, history=3), SoftAdapt(2, history=3)
    losses = drawn_losses(6, 2)
    for step, row in enumerate(losses):
        balance(row)
        undisturbed(row)
        if step in (0, 2, 4):
            balance([float("nan"), 1.0])
            balance([1.0, float("inf")])
    assert torch.equal(balance.weights, undisturbed.weights)
    assert torch.equal(balance.history, undisturbed.history)
    assert balance.nonfinite_count.item() == 6


def test_a_non_finite_loss_does_not_count_towards_a_window():
    balance = SoftAdapt(2, update_every=2)
    balance([1.0, 1.0])
    balance([float("nan"), 1.0])
    assert balance.observations.item() == 0
    balance([1.0, 1.0])
    assert balance.observations.item() == 1


def test_means_of_huge_losses_do_not_overflow():
    windowed, direct = (SoftAdapt(2, beta=0.0, update_every=n, mean_over_history=True) for n in (2, 1))
    for _ in range(4):
        windowed([3e38, 1e38])
        direct([3e38, 1e38])
    torch.testing.assert_close(windowed.history, torch.tensor([[3e38, 1e38]] * 2))
    for balance in (windowed, direct):  # beta = 0 leaves the shares of the means
        torch.testing.assert_close(balance.weights, torch.tensor([0.75, 0.25]))


@pytest.mark.parametrize("beta", [-1000.0, 0.0, 1000.0])
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pair", [([0.0, 0.0], [0.0, 0.0]), ([1e38, 3e38], [3e38, 1e38]), ([1e-30, 0.0], [5.0, 1e-38])])
def test_extreme_losses_and_betas_give_finite_weights(beta, normalize, pair):
    for variant in ("original", "loss_weighted"):
        balance = SoftAdapt(2, variant=variant, beta=beta, normalize=normalize, history=3)
        for losses in (*pair, *pair):
            balance(losses)
            assert balance.weights.isfinite().all()
            assert balance.weights.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("normalize", [False, True])
def test_a_beta_beyond_the_dtype_gives_finite_weights(normalize):
    balance = SoftAdapt(3, variant="original", beta=1e39, normalize=normalize)
    for losses in ([1.0, 2.0, 1.0], [1.0, 1.0, 2.0]):
        balance(losses)
    assert balance.weights.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("prior", "dtype", "shares"),
    [
        ([1e-50, 1.0], torch.float32, [0.0, 1.0]),
        ([1e39, 1.0], torch.float32, [1.0, 0.0]),
        ([3e38, 3e38], torch.float32, [0.5, 0.5]),
        ([1e308, 1e308], torch.float64, [0.5, 0.5]),
        ([5e-324, 1e308], torch.float64, [0.0, 1.0]),
    ],
)
def test_a_prior_beyond_the_dtype_keeps_its_proportions(prior, dtype, shares):
    born = SoftAdapt(2, variant="original", prior=prior, dtype=dtype)
    cast = SoftAdapt(2, variant="original", prior=prior, **FLOAT64).to(dtype)
    for balance in (born, cast):
        assert balance.weights.tolist() == pytest.approx(shares, abs=1e-30)
        for _ in range(3):
            assert balance([1.0, 1.0]).item() == 1
        assert balance.weights.tolist() == pytest.approx(shares, abs=1e-30)


def test_a_prior_too_small_for_the_dtype_still_counts_where_the_other_component_is_zero():
    balance = SoftAdapt(2, prior=[1e-50, 1.0])
    for _ in range(3):
        balance([1.0, 0.0])
    assert balance.weights.tolist() == [1, 0]


def test_casting_refuses_a_total_beyond_the_new_dtype_and_leaves_the_module_alone():
    balance = SoftAdapt(2, total=1e100, dtype=torch.float64)
    for cast in (balance.float, balance.half):
        with pytest.raises(ValueError, match=r"torch.float32, got 1e\+100"):
            cast()
    with pytest.raises(ValueError, match=r"complex64"):
        balance.to(torch.complex64)
    assert balance.weights.dtype == balance.history.dtype == torch.float64
    assert balance.weights.tolist() == [5e99, 5e99]
