"""What docs/which-options.md and docs/when-it-updates.md say of SoftAdapt, row by row."""

import copy
import math
import re
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.func import functional_call

from softadapt import SoftAdapt

GUIDES = [Path("docs/which-options.md"), Path("docs/when-it-updates.md")]


def weights_after(balance, *rows):
    """The weights after these losses, as a list."""
    for losses in rows:
        balance(losses)
    return balance.weights.tolist()


def state_of(balance):
    return {name: buffer.clone() for name, buffer in balance.named_buffers()}


def same_state(balance, state):
    return all(torch.equal(buffer, state[name]) for name, buffer in balance.named_buffers())


@pytest.mark.parametrize("guide", GUIDES, ids=str)
def test_the_tests_that_a_guide_names_exist(guide):
    tests = "".join(path.read_text(encoding="utf-8") for path in Path("tests").rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", guide.read_text(encoding="utf-8")))
    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in tests} == set()


# Which options


def test_a_total_of_the_number_of_losses_starts_as_the_plain_sum():
    losses = torch.tensor([3.0, 0.5, 2.0])
    assert SoftAdapt(3, total=3.0)(losses).item() == pytest.approx(5.5)
    assert SoftAdapt(3)(losses).item() == pytest.approx(5.5 / 3)


def test_the_defaults_starve_the_largest_of_losses_of_unlike_scales():
    before = torch.tensor([1e6, 1.0, 1e-6])
    assert weights_after(SoftAdapt(3), before, 0.9 * before) == pytest.approx([0.0, 1.0, 1e-6], rel=0.02)


def test_relative_rates_do_not_depend_on_the_scale_of_a_loss():
    rows = torch.tensor([[1.0, 2.0], [0.9, 1.5], [0.7, 1.4]])
    options = {"variant": "original", "rate": "relative", "beta": 3.0}
    expected = weights_after(SoftAdapt(2, **options), *rows)
    assert expected[0] < expected[1]  # -0.22 against -0.07
    scaled = weights_after(SoftAdapt(2, **options), *(rows * torch.tensor([1e6, 1e-6])))
    assert scaled == pytest.approx(expected, rel=1e-4)


def test_relative_rates_leap_where_the_previous_loss_was_almost_zero():
    balance = SoftAdapt(2, variant="original", rate="relative", beta=1.0)
    assert weights_after(balance, [1.0, 1e-12], [1.0, 1e-9]) == [0.0, 1.0]


@pytest.mark.parametrize("beta", [0.1, 1.0, 5.0])
def test_normalized_slopes_keep_weights_within_e_to_the_beta(beta):
    generator = torch.Generator().manual_seed(0)
    balance = SoftAdapt(3, variant="original", normalize=True, beta=beta)
    for losses in torch.rand(50, 3, generator=generator) * torch.tensor([1e6, 1.0, 1e-6]):
        balance(losses)
        assert balance.weights.max() / balance.weights.min() <= math.exp(beta) * 1.001


def test_equation_3_takes_negative_losses_and_equation_4_gives_them_no_weight():
    rows = [[-3.0, 0.5], [-3.2, 0.5]]
    weights = weights_after(SoftAdapt(2, variant="original", beta=1.0), *rows)
    assert weights == pytest.approx([1 / (1 + math.exp(0.2)), 1 / (1 + math.exp(-0.2))])
    balance = SoftAdapt(["likelihood", "penalty"])
    with pytest.warns(UserWarning, match="'likelihood' is -3") as caught:
        assert weights_after(balance, *({"likelihood": a, "penalty": b} for a, b in rows)) == [0.0, 1.0]
    assert len(caught) == 1
    assert balance.negative_count == 2


def test_a_lower_bound_that_is_subtracted_makes_equation_4_fit_for_negative_losses():
    balance = SoftAdapt(2, beta=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights = weights_after(balance, *([likelihood + 5.0, 0.5] for likelihood in (-3.0, -3.5)))
    assert weights == pytest.approx([0.75, 0.25])


def test_least_squares_and_means_calm_the_weights_of_noisy_losses():
    noise = 1 + 0.03 * torch.randn(400, 2, generator=torch.Generator().manual_seed(0))

    def scatter(**options):
        balance = SoftAdapt(2, variant="original", beta=1.0, **options)
        return torch.tensor([weights_after(balance, losses)[0] for losses in noise])[40:].std()

    difference = scatter()
    assert scatter(history=10, method="least_squares") < 0.15 * difference  # gains of the stencils: 0.11 and 1.41
    assert scatter(update_every=20) < 0.5 * difference  # the gain is 1.41 / sqrt(20)
    assert scatter(history=5) > 3 * difference  # order 4 amplifies noise: the gain is 5.6


def test_players_need_a_balance_each():
    balance = SoftAdapt(2)
    balance({"adversarial": 1.0, "pixels": 0.5})
    with pytest.raises(ValueError, match="expected losses named adversarial, pixels, got real, generated"):
        balance({"real": 1.0, "generated": 0.5})
    mixed, alone = SoftAdapt(2), SoftAdapt(2)
    generator, discriminator = [[1.0, 0.5], [0.9, 0.5]], [[0.1, 0.2], [0.1, 0.1]]
    for ours, theirs in zip(generator, discriminator, strict=True):
        mixed(ours)
        mixed(theirs)  # lists have no names: nothing can notice
    assert mixed.weights.tolist() != pytest.approx(weights_after(alone, *generator))


def test_a_prior_multiplies_the_adaptive_weights():
    rows = [[1.0, 2.0], [0.9, 1.5]]
    options = {"variant": "original", "beta": 2.0}
    first, second = weights_after(SoftAdapt(2, **options), *rows)
    balance = SoftAdapt(2, prior=[1.0, 100.0], **options)
    assert balance.weights.tolist() == pytest.approx([1 / 101, 100 / 101])  # before any rate is known
    weights = weights_after(balance, *rows)
    assert weights[1] / weights[0] == pytest.approx(100 * second / first, rel=1e-4)


@pytest.mark.parametrize("cast", [nn.Module.half, nn.Module.bfloat16])
def test_a_model_in_half_precision_leaves_the_state_in_single(cast):
    model = nn.ModuleDict({"layer": nn.Linear(2, 2), "balance": SoftAdapt(2, variant="original", beta=100.0)})
    balance = cast(model)["balance"]
    assert model["layer"].weight.dtype != torch.float32
    assert balance.weights.dtype == balance.history.dtype == torch.float32
    rows = [[7e4, 1.001], [7e4, 1.0]]  # beyond float16; a difference that bfloat16 does not have
    assert weights_after(balance, *rows) == pytest.approx([1 / (1 + math.exp(-0.1)), 1 / (1 + math.exp(0.1))], rel=1e-3)
    assert balance.nonfinite_count == 0


def test_a_bound_call_fails_under_function_transforms_and_a_functional_one_works():
    rows = torch.rand(3, 4, 2, generator=torch.Generator().manual_seed(0))  # steps, models, losses
    new = partial(SoftAdapt, 2, variant="original", beta=2.0)
    balance = new()
    with pytest.raises(RuntimeError):
        torch.func.vmap(balance)(rows[0])
    with pytest.raises(RuntimeError):
        torch.func.grad(balance)(rows[0, 0])

    def call(state, losses):
        state = dict(state)
        return functional_call(balance, state, (losses,)), state

    states = {name: buffer.expand(4, *buffer.shape).clone() for name, buffer in new().named_buffers()}
    for losses in rows:
        _, states = torch.func.vmap(call)(states, losses)
    for model in range(4):
        assert states["weights"][model].tolist() == pytest.approx(weights_after(new(), *rows[:, model]))
    state = {name: buffer[0] for name, buffer in states.items()}
    gradient, after = torch.func.grad(lambda losses, state: call(state, losses), has_aux=True)(rows[0, 0], state)
    torch.testing.assert_close(gradient, after["weights"])


# When it updates


def test_a_call_in_training_mode_weighs_with_weights_that_know_its_losses():
    balance = SoftAdapt(2, variant="original", beta=1.0)
    assert balance([1.0, 1.0]).item() == pytest.approx(1.0)
    share = 1 / (1 + math.exp(-0.5))  # the second loss fell by 0.5
    assert balance([1.0, 0.5]).item() == pytest.approx(share + 0.5 * (1 - share))


def test_weights_are_equal_until_the_second_observation():
    balance = SoftAdapt(2)
    assert weights_after(balance, [5.0, 1.0]) == [0.5, 0.5]
    assert weights_after(balance, [5.0, 1.0]) == pytest.approx([5 / 6, 1 / 6])


def test_no_grad_in_training_mode_records():
    balance = SoftAdapt(2)
    with torch.no_grad():
        balance([1.0, 2.0])
    assert balance.observations == 1


def test_evaluation_mode_and_weigh_never_record_and_observe_always_does():
    balance = SoftAdapt(2)
    weights_after(balance, [1.0, 2.0], [0.5, 2.0])
    state, expected = state_of(balance), (balance.weights * torch.tensor([7.0, 3.0])).sum()
    assert balance.weigh([7.0, 3.0]) == expected
    balance.eval()
    assert balance([7.0, 3.0]) == expected
    assert same_state(balance, state)
    assert balance.observe([7.0, 3.0]) is None
    assert balance.observations == 3


def test_weights_stay_within_an_optimiser_step_of_micro_batches():
    balance = SoftAdapt(2, update_every=3, variant="original", beta=1.0)
    micro_batches = torch.tensor([[1.0, 2.0], [2.0, 2.0], [3.0, 2.0], [0.0, 1.0], [0.5, 1.0], [1.0, 1.0]])
    seen = [tuple(weights_after(balance, losses)) for losses in micro_batches]
    assert set(seen[:5]) == {(0.5, 0.5)}
    share = 1 / (1 + math.exp(0.5))  # the means went from (2, 2) to (0.5, 1)
    assert seen[5] == pytest.approx((share, 1 - share))


def test_a_non_finite_micro_batch_moves_the_windows_off_the_steps():
    balance = SoftAdapt(2, update_every=2)
    for losses in ([1.0, 1.0], [math.inf, 1.0], [1.0, 1.0], [1.0, 1.0]):  # two steps of two micro-batches
        balance(losses)
    assert balance.observations == 1  # closed by the first micro-batch of the second step
    assert balance.window_mean.tolist() == [0.5, 0.5]


def test_a_step_of_fewer_micro_batches_moves_the_windows_off_the_steps():
    balance = SoftAdapt(2, update_every=2)
    for losses in ([1.0, 1.0], [1.0, 1.0], [3.0, 3.0], [5.0, 5.0]):  # an epoch of three batches, then the next one
        balance(losses)
    assert balance.history[-1].tolist() == [4.0, 4.0]  # the mean of two epochs' batches


def test_observing_the_mean_keeps_the_windows_on_the_steps():
    balance = SoftAdapt(2)
    steps = torch.tensor([[[1.0, 1.0], [math.inf, 1.0]], [[1.0, 1.0], [1.0, 1.0]]])
    for micro_batches in steps:
        for losses in micro_batches:
            balance.weigh(losses)
        balance.observe(micro_batches.mean(0))
    assert (balance.observations.item(), balance.nonfinite_count.item()) == (1, 1)


def test_refresh_every_records_all_and_refreshes_some():
    balance = SoftAdapt(2, history=5, refresh_every=5)
    rows = torch.rand(10, 2, generator=torch.Generator().manual_seed(0)) + 0.5
    seen = [tuple(weights_after(balance, losses)) for losses in rows]
    assert [seen[i] != seen[i - 1] for i in range(1, 10)] == [False, False, False, True, *[False] * 4, True]
    torch.testing.assert_close(balance.history, rows[5:])
    assert seen[9] == pytest.approx(weights_after(SoftAdapt(2, history=5), *rows))


def test_lbfgs_moves_the_weights_within_a_step_unless_the_closure_weighs():
    def weights_in_the_closure(call):
        point = torch.tensor([-1.0, 2.0], requires_grad=True)
        optimizer = torch.optim.LBFGS([point], max_iter=5)
        balance = SoftAdapt(2)
        seen = [[] for _ in range(3)]

        def losses():
            return torch.stack([(1 - point[0]).square(), (point[1] - point[0] ** 2).square()])

        def closure(step):
            optimizer.zero_grad()
            loss = call(balance)(losses())
            loss.backward()
            seen[step].append(tuple(balance.weights.tolist()))
            return loss

        for step in range(3):
            optimizer.step(partial(closure, step))
            if call is not returned:
                balance.observe(losses())
        return seen, balance

    def returned(balance):
        return balance

    moving, balance = weights_in_the_closure(returned)
    assert balance.observations == sum(map(len, moving)) > 3
    assert any(len(set(step)) > 1 for step in moving)
    still, balance = weights_in_the_closure(lambda balance: balance.weigh)
    assert balance.observations == 3
    assert all(len(set(step)) == 1 for step in still)
    assert still[0][0] == (0.5, 0.5) != still[2][0]


def test_validation_losses_may_set_the_weights_of_training_losses():
    balance, expected = SoftAdapt(2), SoftAdapt(2)
    for validation in ([1.0, 1.0], [0.9, 0.4]):
        for _ in range(3):
            balance.weigh(torch.rand(2))
        balance.eval()
        balance.observe(validation)
        balance.train()
        expected(validation)
    assert torch.equal(balance.weights, expected.weights)


def test_a_copy_and_an_averaged_model_have_a_state_of_their_own():
    model = nn.ModuleDict({"layer": nn.Linear(2, 2), "balance": SoftAdapt(2)})
    averaged = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))
    weights_after(model["balance"], [1.0, 2.0], [0.5, 2.0])
    averaged.update_parameters(model)
    copied = averaged.module["balance"]
    assert same_state(copied, state_of(model["balance"]))  # AveragedModel takes over buffers as they are
    for twin in (copied, copy.deepcopy(model["balance"])):
        twin([1.0, 1.0])
        assert (twin.observations.item(), model["balance"].observations.item()) == (3, 2)


def test_a_recomputed_call_records_twice():
    balance, losses = SoftAdapt(2), torch.tensor([1.0, 2.0], requires_grad=True)
    torch.utils.checkpoint.checkpoint(balance, losses, use_reentrant=False).backward()
    assert balance.observations == 2


def test_a_non_finite_loss_is_returned_counted_and_ignored():
    balance = SoftAdapt(2)
    weights = weights_after(balance, [1.0, 2.0], [0.5, 2.0])
    assert balance([math.nan, 1.0]).isnan()
    assert balance([math.inf, 1.0]).isinf()
    assert (balance.observations.item(), balance.nonfinite_count.item()) == (2, 2)
    assert balance.weights.tolist() == weights


@pytest.mark.parametrize("absent", [{"a": 1.0}, {"a": 1.0, "b": None}], ids=["left out", "None"])
def test_an_absent_loss_adds_nothing_and_keeps_its_history_and_the_others_weights(absent):
    balance = SoftAdapt(["a", "b"], missing="hold", variant="original", beta=1.0)
    balance({"a": 2.0, "b": 4.0})
    balance({"a": 2.0, "b": 3.0})
    share = 1 / (1 + math.exp(0.0))  # of a, if b had not changed
    total = balance(absent)
    # a fell by 1, and b still has its last rate, -1.
    assert balance.weights.tolist() == pytest.approx([share, 1 - share])
    assert total.item() == pytest.approx(share * 1.0)
    assert balance.history[:, 1].tolist() == [4.0, 3.0]
    balance({"a": 1.0, "b": 3.0})
    assert balance.history.tolist() == [[1.0, 3.0], [1.0, 3.0]]


def test_a_zero_in_place_of_an_absent_loss_takes_its_weight_away():
    weights = weights_after(SoftAdapt(2, beta=10.0), [1.0, 1.0], [1.0, 0.0])
    assert weights == [1.0, 0.0]
    assert weights_after(SoftAdapt(2, beta=10.0), [1.0, 1.0], [1.0, 0.0], [1.0, 1.0]) == pytest.approx(
        [0.0, 1.0], abs=1e-4
    )


def test_reset_parameters_forgets_and_keeps_the_names():
    balance = SoftAdapt(2, prior=[1.0, 3.0])
    weights_after(balance, {"a": 1.0, "b": 2.0}, {"a": 0.5, "b": 2.0})
    balance.reset_parameters()
    assert (balance.observations.item(), balance.names) == (0, ("a", "b"))
    assert balance.weights.tolist() == [0.25, 0.75]


def test_the_weighted_sum_can_fall_while_every_loss_rises():
    balance = SoftAdapt(2, variant="original", beta=10.0)
    first, second = (balance(losses).item() for losses in ([10.0, 1.0], [10.01, 1.5]))
    assert second < first
