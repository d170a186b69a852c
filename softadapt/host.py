"""SoftAdapt's equations for a few Python floats, where dispatching tensor operations would cost more than the arithmetic.

The counterpart of `rates_of_change` followed by `softadapt_weights`: the same numbers, without a tensor.
"""

from collections.abc import Sequence
from math import copysign, exp, inf, isfinite, log

import torch

from softadapt.functional import NORMALIZE_EPS

_LARGEST, _SMALLEST = torch.finfo(torch.float64).max, torch.finfo(torch.float64).tiny


def weights_on_host(
    history: Sequence[Sequence[float]],
    stencil: Sequence[float],
    losses: Sequence[float] | None,
    beta: float,
    normalize: bool,
    relative: bool,
    log_prior: Sequence[float] | None,
    total: float,
) -> list[float]:
    """Weights a_k = total * p_k f_k exp(beta s_k) / sum_j p_j f_j exp(beta s_j), where s_k is the rate of change.

    Source: Heydari et al. 2019, arXiv 1912.12355, section 3.1, as in `softadapt_weights`: equation 3 when `losses` is
    ``None`` (then f_k = 1), equation 4 otherwise, section 3.1.3 to normalize; the prior p_k is this library's. Everything
    is in double precision, so the weights are those of the equations also where a narrower state would saturate: rates
    beyond its range stay distinct, and a share below its smallest number can still be raised by exp(beta s_k).

    Args:
        history: n rows of K finite losses, oldest first.
        stencil: n coefficients, see `difference_stencil`; s_k = sum_i stencil_i history_ik.
        losses: the K finite f_k of equation 4; negative ones count as zero, and where all are zero, f_k = 1.
        beta: sharpness, finite.
        normalize: use s_k / (sum_j abs(s_j) + 1e-8) in place of s_k.
        relative: divide s_k by the absolute previous loss first; where that is zero, s_k is zero.
        log_prior: the K log p_k, finite, up to a constant; ``None`` is all equal.
        total: what the weights sum to.

    Returns:
        K finite non-negative numbers.
    """
    logits = [sum([c * loss for c, loss in zip(stencil, past, strict=True)]) for past in zip(*history, strict=True)]
    if relative:
        logits = [rate / abs(past) if past else 0.0 for rate, past in zip(logits, history[-2], strict=True)]
    if normalize:
        logits = _normalized(logits)
    logits = [beta * rate for rate in logits]
    if not all(map(isfinite, logits)):
        logits = [_saturated(logit) for logit in logits]
    if losses is not None and max(losses) > 0:
        logits = [logit + log(loss) if loss > 0 else -inf for logit, loss in zip(logits, losses, strict=True)]
    if log_prior is not None:
        largest = max(logits)  # taken off first: huge logits that are equal would absorb the prior
        logits = [logit - largest + log_p for logit, log_p in zip(logits, log_prior, strict=True)]
    largest = max(logits)
    powers = [exp(logit - largest) for logit in logits]
    norm = sum(powers)
    return [total * (power / norm) for power in powers]


def _normalized(rates: Sequence[float]) -> list[float]:
    """Section 3.1.3."""
    rates = [_saturated(rate) for rate in rates]
    # Dividing by the largest rate first keeps the sum of absolute rates from overflowing.
    scale = max(_SMALLEST, *map(abs, rates))
    rates = [rate / scale for rate in rates]
    norm = sum(map(abs, rates)) + NORMALIZE_EPS / scale
    return [rate / norm for rate in rates]


def _saturated(value: float) -> float:
    """`value` within the range of finite numbers, NaN as 0: what `torch.nan_to_num` does."""
    if -_LARGEST <= value <= _LARGEST:
        return value
    return 0.0 if value != value else copysign(_LARGEST, value)
