"""The pure functions against closed forms and independent float64 computations."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from softadapt import difference_stencil, rates_of_change, softadapt_weights

FLOAT64 = {"dtype": torch.float64}
finite = st.floats(-50, 50, allow_nan=False)
vectors = st.integers(2, 6).flatmap(lambda k: st.lists(finite, min_size=k, max_size=k))


def solved_stencil(order: int) -> list[Fraction]:
    """Derivative weights at 0 of the nodes -order..0, from the moment equations in exact arithmetic."""
    nodes = [Fraction(-order + i) for i in range(order + 1)]
    rows = [[node**p for node in nodes] + [Fraction(int(p == 1))] for p in range(order + 1)]
    for i in range(order + 1):
        pivot = next(r for r in range(i, order + 1) if rows[r][i] != 0)
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [value / rows[i][i] for value in rows[i]]
        for r in range(order + 1):
            if r != i:
                rows[r] = [a - rows[r][i] * b for a, b in zip(rows[r], rows[i], strict=True)]
    return [row[-1] for row in rows]


@pytest.mark.parametrize("order", range(1, 11))
def test_backward_difference_solves_the_moment_equations(order):
    expected = [float(x) for x in solved_stencil(order)]
    assert difference_stencil(order + 1, order) == pytest.approx(expected, rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("observations", range(2, 201))
def test_the_default_order_is_at_most_four(observations):
    order = min(4, observations - 1)
    assert difference_stencil(observations) == difference_stencil(observations, order)
    if order == 4:
        assert difference_stencil(observations) == [0.0] * (observations - 5) + difference_stencil(5)


def test_fourth_order_stencil_is_the_textbook_one():
    assert difference_stencil(5) == pytest.approx([1 / 4, -4 / 3, 3, -4, 25 / 12], rel=1e-15)


@pytest.mark.parametrize(("order", "gain"), [(1, 1.4), (2, 2.5), (4, 5.6), (6, 12.6), (10, 95)])
def test_noise_gain_of_high_orders(order, gain):
    assert np.linalg.norm(difference_stencil(order + 1, order)) == pytest.approx(gain, rel=0.02)


def test_lower_order_ignores_old_observations():
    assert difference_stencil(5, 1) == [0, 0, 0, -1, 1]


def test_known_history():
    history = torch.tensor([[150.0], [100], [50], [10], [0.1]], **FLOAT64)
    assert rates_of_change(history).item() == pytest.approx(14.375, abs=1e-12)
    assert rates_of_change(history, 1).item() == pytest.approx(-9.9, abs=1e-12)


@given(order=st.integers(1, 6), coefficients=st.lists(finite, min_size=7, max_size=7))
def test_polynomials_up_to_the_order_are_differentiated_exactly(order, coefficients):
    polynomial = np.polynomial.Polynomial(coefficients[: order + 1])
    times = np.arange(-order, 1, dtype=float)
    history = torch.tensor(polynomial(times)[:, None])
    scale = max(1.0, np.abs(polynomial(times)).max())
    assert rates_of_change(history, order).item() == pytest.approx(polynomial.deriv()(0), abs=1e-10 * scale)


@given(values=st.lists(finite, min_size=2, max_size=20))
def test_least_squares_is_the_regression_slope(values):
    history = torch.tensor(values, **FLOAT64)[:, None]
    slope = np.polyfit(np.arange(len(values)), values, 1)[0]
    assert rates_of_change(history, method="least_squares").item() == pytest.approx(slope, abs=1e-9)


def test_rates_broadcast_over_batches():
    history = torch.randn(4, 7, 3, **FLOAT64)
    together = rates_of_change(history)
    assert together.shape == (7, 3)
    torch.testing.assert_close(together[2], rates_of_change(history[:, 2]))


def test_relative_rates_are_parts_of_the_previous_loss():
    history = torch.tensor([[4.0, -2.0, 0.0], [5.0, -1.0, 3.0]], **FLOAT64)
    assert rates_of_change(history, rate="relative").tolist() == [0.25, 0.5, 0.0]
    longer = torch.tensor([[9.0], [4.0], [2.0]], **FLOAT64)  # slope 9/2 - 4 * 4/2 ... = 0.5 * 9 - 2 * 4 + 1.5 * 2
    assert rates_of_change(longer, 2, rate="relative").item() == pytest.approx(-0.5 / 4)


@given(
    rows=st.lists(st.lists(st.floats(0.1, 10), min_size=3, max_size=3), min_size=2, max_size=6),
    power=st.integers(-6, 6),
)
def test_relative_rates_do_not_know_the_scale(rows, power):
    history = torch.tensor(rows, **FLOAT64)
    scale = torch.tensor([1.0, 10.0**power, -1.0], **FLOAT64)
    rates = rates_of_change(history, rate="relative")
    torch.testing.assert_close(rates_of_change(history * scale, rate="relative"), rates * scale.sign())


@pytest.mark.parametrize(("dtype", "highest"), [(torch.float32, 17), (torch.float64, 47), (torch.bfloat16, 4)])
def test_an_order_whose_stencil_drowns_the_dtype_is_refused(dtype, highest):
    history = torch.linspace(2, 1, 60, dtype=torch.float64).to(dtype).unsqueeze(1)
    rates_of_change(history, highest)
    with pytest.raises(ValueError, match=rf"order {highest + 1} is too high for {dtype}"):
        rates_of_change(history, highest + 1)
    rates_of_change(history, method="least_squares")


@pytest.mark.parametrize("low", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("order", [None, 1])
def test_autocast_changes_nothing(low, order):
    history = torch.tensor([[100.5, 50.1], [100.3, 50.0], [100.1, 50.2]])
    rates = rates_of_change(history, order)
    with torch.autocast("cpu", low):
        cast = rates_of_change(history, order)
        weights = softadapt_weights(cast, history[-1], beta=5.0, normalize=True)
    assert torch.equal(cast, rates)
    assert torch.equal(weights, softadapt_weights(rates, history[-1], beta=5.0, normalize=True))


def independent_weights(rates, losses, beta, normalize):
    """Equations 3 and 4 and section 3.1.3, written out in numpy."""
    rates = np.array(rates, dtype=float)
    if normalize:
        rates = rates / (np.abs(rates).sum() + 1e-8)
    powers = np.exp(beta * rates) * (1 if losses is None else np.array(losses, dtype=float))
    return powers / powers.sum()


@pytest.mark.parametrize("normalize", [False, True])
@given(rates=vectors, beta=st.floats(-5, 5), seed=st.integers(0, 99))
def test_weights_agree_with_the_equations_written_out(normalize, rates, beta, seed):
    losses = np.random.default_rng(seed).uniform(0.01, 10, len(rates))
    s, f = torch.tensor(rates, **FLOAT64), torch.tensor(losses)
    for recent, independent in ((None, None), (f, losses)):
        ours = softadapt_weights(s, recent, beta=beta, normalize=normalize).numpy()
        assert ours == pytest.approx(independent_weights(rates, independent, beta, normalize), rel=1e-9, abs=1e-12)


@given(rates=vectors, beta=st.floats(-10, 10))
def test_weights_are_a_distribution_and_follow_permutations(rates, beta):
    s = torch.tensor(rates, **FLOAT64)
    weights = softadapt_weights(s, s.abs() + 1, beta=beta)
    assert (weights >= 0).all()
    assert weights.sum().item() == pytest.approx(1)
    flipped = softadapt_weights(s.flip(0), s.flip(0).abs() + 1, beta=beta)
    torch.testing.assert_close(flipped, weights.flip(0))


@given(rates=vectors)
def test_beta_zero_is_uniform(rates):
    weights = softadapt_weights(torch.tensor(rates, **FLOAT64), beta=0.0)
    torch.testing.assert_close(weights, torch.full_like(weights, 1 / len(rates)))


@given(rates=vectors, beta=st.floats(0.01, 3))
def test_order_of_weights_is_the_order_of_rates_for_positive_beta(rates, beta):
    s = torch.tensor(rates, **FLOAT64)
    weights = softadapt_weights(s, beta=beta)
    order = s.argsort()
    assert (weights[order].diff() >= 0).all()
    assert (softadapt_weights(s, beta=-beta)[order].diff() <= 0).all()


@given(rates=vectors, shift=finite, factor=st.floats(1e-3, 1e3))
def test_invariances(rates, shift, factor):
    s = torch.tensor(rates, **FLOAT64)
    f = s.abs() + 0.5
    torch.testing.assert_close(softadapt_weights(s + shift, beta=0.5), softadapt_weights(s, beta=0.5))
    torch.testing.assert_close(softadapt_weights(s, factor * f, beta=0.5), softadapt_weights(s, f, beta=0.5))


@pytest.mark.parametrize("normalize", [False, True])
def test_each_row_of_a_batch_is_weighted_by_itself(normalize):
    s, f = 10.0 ** torch.arange(-2, 2)[:, None] * torch.randn(4, 3, **FLOAT64), torch.rand(4, 3, **FLOAT64)
    for losses in (None, f):
        together = softadapt_weights(s, losses, beta=0.7, normalize=normalize)
        for row in range(4):
            own = None if losses is None else losses[row].numpy()
            expected = independent_weights(s[row].numpy(), own, 0.7, normalize)
            assert together[row].numpy() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_beta_may_differ_along_a_batch():
    s, f = torch.randn(5, 3, **FLOAT64), torch.rand(5, 3, **FLOAT64)
    betas = torch.linspace(-1, 1, 5, **FLOAT64)
    together = softadapt_weights(s, f, beta=betas[:, None])
    for row, beta in enumerate(betas.tolist()):
        torch.testing.assert_close(together[row], softadapt_weights(s[row], f[row], beta=beta))


@settings(max_examples=200)
@given(
    values=st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=3, max_size=3),
    losses=st.lists(st.floats(min_value=0, allow_infinity=False, width=32), min_size=3, max_size=3),
    beta=st.sampled_from([-1000.0, -1.0, 0.0, 1.0, 1000.0]),
    normalize=st.booleans(),
)
def test_no_input_makes_the_weights_non_finite(values, losses, beta, normalize):
    s, f = torch.tensor(values), torch.tensor(losses)
    for recent in (None, f):
        weights = softadapt_weights(s, recent, beta=beta, normalize=normalize)
        assert weights.isfinite().all()
        assert weights.sum().item() == pytest.approx(1, abs=1e-5)


def test_a_component_at_zero_gets_no_weight_and_all_at_zero_fall_back_to_equation_3():
    s = torch.tensor([1.0, -2.0], **FLOAT64)
    zero_one = softadapt_weights(s, torch.tensor([0.0, 5.0], **FLOAT64), beta=1000.0)
    assert zero_one.tolist() == [0, 1]
    torch.testing.assert_close(
        softadapt_weights(s, torch.zeros(2, **FLOAT64), beta=0.3), softadapt_weights(s, beta=0.3)
    )


@pytest.mark.parametrize(
    ("call", "offending"),
    [
        (lambda: difference_stencil(1), "1"),
        (lambda: difference_stencil(4, 4), "4"),
        (lambda: difference_stencil(4, 0), "0"),
        (lambda: difference_stencil(4, method="spline"), "spline"),
        (lambda: difference_stencil(4, 2, "least_squares"), "2"),
        (lambda: rates_of_change(torch.zeros(1, 2)), "1"),
        (lambda: rates_of_change(torch.zeros(3)), "(3,)"),
        (lambda: rates_of_change(torch.zeros(3, 2, dtype=torch.int64)), "int64"),
        (lambda: rates_of_change(torch.zeros(3, 2), rate="ratio"), "'ratio'"),
    ],
)
def test_errors_name_the_offending_value(call, offending):
    with pytest.raises(ValueError, match=r".+") as error:
        call()
    assert offending in str(error.value)
