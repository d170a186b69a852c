"""SoftAdapt's equations as pure functions (Heydari et al. 2019, arXiv 1912.12355, section 3.1).

All of them broadcast over leading batch dimensions, so that thousands of trajectories can be weighted in one call,
and none of them reads a tensor's value on the host.
"""

from math import comb
from typing import Literal, get_args

import torch
from torch import Tensor

Method = Literal["finite_difference", "least_squares"]
Rate = Literal["difference", "relative"]

NORMALIZE_EPS = 1e-8  # keeps a normalized slope finite when every rate is zero; the value of the authors' 2019 code
DEFAULT_ORDER = 4  # highest order taken by default; that of the authors' 2019 code
ROUNDING_LIMIT = 1e-3  # largest error of a rate, in parts of the losses, that rounding the losses may make


def difference_stencil(
    num_observations: int, order: int | None = None, method: Method = "finite_difference"
) -> list[float]:
    """Coefficients, oldest first, whose product with equally spaced observations is the rate of change.

    ``finite_difference`` is the backward difference of accuracy `order` at the *newest* observation. With
    D = sum_{k=1}^{p} nabla^k / k, the coefficient of the observation j steps back is H_p for j = 0 and
    (-1)^j C(p, j) / j otherwise: (-1, 1) for p = 1, (1/4, -4/3, 3, -4, 25/12) for p = 4. Observations older
    than the newest p + 1 get the coefficient zero.

    ``least_squares`` is the slope of the regression line through all observations: less exact on smooth
    histories, but it damps minibatch noise, which finite differences amplify (the L2 norm of the stencil is
    1.4 for p = 1, 5.6 for p = 4 and 95 for p = 10).

    Args:
        num_observations: number of observations n >= 2.
        order: accuracy order p, 1 <= p <= n - 1; ``None`` is the smaller of 4 and n - 1. Must be ``None`` for least
            squares.
        method: ``"finite_difference"`` or ``"least_squares"``.

    Returns:
        n coefficients, in units of one over the spacing of the observations.

    Raises:
        ValueError: if an argument is out of range.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {', '.join(get_args(Method))}, got {method!r}")
    if num_observations < 2:
        raise ValueError(f"a rate of change needs at least 2 observations, got {num_observations}")
    if method == "least_squares":
        if order is not None:
            raise ValueError(f"order has no meaning for least_squares and must be None, got {order!r}")
        centre = (num_observations - 1) / 2
        spread = sum((i - centre) ** 2 for i in range(num_observations))
        return [(i - centre) / spread for i in range(num_observations)]
    if order is None:
        order = min(DEFAULT_ORDER, num_observations - 1)
    if not 1 <= order <= num_observations - 1:
        raise ValueError(
            f"order must lie between 1 and {num_observations - 1} with {num_observations} observations, got {order}"
        )
    newest_first = [sum(1 / k for k in range(1, order + 1))]
    newest_first += [(-1) ** j * comb(order, j) / j for j in range(1, order + 1)]
    newest_first += [0.0] * (num_observations - order - 1)
    return newest_first[::-1]


def check_rounding(stencil: list[float], dtype: torch.dtype) -> None:
    """Refuse a finite difference of an order so high that it magnifies the rounding of losses until it says nothing.

    The absolute values of the coefficients sum to 11 at order 4, to 9,000 at order 16 and to 4e16 at order 60.

    Raises:
        ValueError: if the order is above the default, and rounding each loss once to `dtype` may change the rate by more
            than a thousandth of the losses.
    """
    order = sum(map(bool, stencil)) - 1
    error = sum(map(abs, stencil)) * torch.finfo(dtype).eps / 2
    if order > DEFAULT_ORDER and error > ROUNDING_LIMIT:
        raise ValueError(
            f"order {order} is too high for {dtype}: the rounding of the losses alone would change a rate of change by "
            f"{error:.1g} times the loss; take a lower order, or method='least_squares'"
        )


def rates_of_change(
    history: Tensor, order: int | None = None, *, method: Method = "finite_difference", rate: Rate = "difference"
) -> Tensor:
    """Rate of change s_k of each loss component at the newest observation (section 3.1).

    Args:
        history: (n, ..., K) floating point, n >= 2 observations of K components, oldest first, equally spaced.
        order: accuracy of the backward difference; ``None`` is the smaller of 4 and n - 1.
            ``order=1`` is the paper's s_k = f_k^i - f_k^(i-1).
        method: ``"finite_difference"`` or ``"least_squares"``, see `difference_stencil`.
        rate: ``"difference"`` is the paper's s_k; ``"relative"`` divides it by the absolute value of the previous
            observation, so that the scale of a component does not matter. Where that value is zero, the rate is zero.

    Returns:
        (..., K), the dtype of `history`; loss units per observation, or parts of the previous loss per observation.

    Raises:
        ValueError: if `history` holds fewer than two observations or is not floating point, or for a bad option, or for
            an order so high that rounding in the dtype of `history` would drown the rate.
    """
    if history.dim() < 2:
        raise ValueError(f"history must have shape (n, ..., K), got {tuple(history.shape)}")
    if not history.is_floating_point():
        raise ValueError(f"history must be floating point, got {history.dtype}")
    if rate not in get_args(Rate):
        raise ValueError(f"rate must be one of {', '.join(get_args(Rate))}, got {rate!r}")
    stencil = difference_stencil(history.shape[0], order, method)
    if method == "finite_difference":
        check_rounding(stencil, history.dtype)
    coefficients = torch.tensor(stencil, dtype=history.dtype, device=history.device)
    # Not a matrix product: autocast would round the losses to half precision before they are subtracted.
    rates = (coefficients.reshape(-1, *[1] * (history.dim() - 1)) * history).sum(0, dtype=history.dtype)
    return relative_rates(rates, history[-2]) if rate == "relative" else rates


def relative_rates(rates: Tensor, previous: Tensor) -> Tensor:
    """s_k over the absolute previous loss, both (..., K); zero where the previous loss is zero."""
    return torch.where(previous == 0, 0.0, rates / previous.abs())


def softadapt_weights(
    rates: Tensor, losses: Tensor | None = None, *, beta: float | Tensor, normalize: bool = False
) -> Tensor:
    """Weights a_k from rates of change: equation 3, equation 4 when `losses` is given, section 3.1.3 to normalize.

    ============  =======================================================
    eq. 3         a_k = exp(beta s_k) / sum_j exp(beta s_j)
    eq. 4         a_k = f_k exp(beta s_k) / sum_j f_j exp(beta s_j)
    sec. 3.1.3    s_k / (sum_j abs(s_j) + 1e-8) in place of s_k
    ============  =======================================================

    Equation 4 is evaluated as a softmax of beta s_k + log f_k, so neither a large beta of either sign nor huge or
    tiny losses overflow. It presumes non-negative losses: a negative one counts as zero, and where all are zero,
    equation 4 is 0/0 and equation 3 takes its place.

    Args:
        rates: (..., K) floating point, rates of change s_k.
        losses: (..., K), the f_k of equation 4 (the newest losses, or their means over the history);
            ``None`` selects equation 3.
        beta: scalar, or tensor that broadcasts against `rates`. Positive favours the component whose loss rises most
            (the worst performing), negative the one that falls most, 0 gives equal weights in equation 3.
        normalize: normalized slopes (section 3.1.3); may be combined with either equation.

    Returns:
        (..., K), non-negative, summing to 1 over the last dimension.
    """
    if normalize:
        rates = torch.nan_to_num(rates)
        # Dividing by the largest rate first keeps the sum of absolute rates from overflowing.
        scale = rates.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(rates.dtype).tiny)
        scaled = rates / scale
        rates = scaled / (scaled.abs().sum(-1, keepdim=True) + NORMALIZE_EPS / scale)
    # beta * s may overflow to infinity, and the softmax would then compute inf - inf.
    logits = torch.nan_to_num(beta * rates)
    if losses is not None:
        positive = losses.clamp_min(0)
        # Relative to the largest loss; 0/0, where all are zero, becomes 1 and leaves equation 3.
        relative = positive / positive.amax(-1, keepdim=True)
        logits = logits + torch.nan_to_num(relative, nan=1.0).log()
    return torch.softmax(logits, dim=-1)
