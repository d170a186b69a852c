"""`SoftAdapt`: the loss-weighting rule as a module that is used like a criterion."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from math import isfinite, log
from typing import Literal, Self, get_args

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from softadapt.functional import Method, difference_stencil, softadapt_weights
from softadapt.host import weights_on_host
from softadapt.ranks import mean_over_ranks

Variant = Literal["loss_weighted", "original"]
Losses = Tensor | Sequence[Tensor | float] | Mapping[str, Tensor | float]

_HOST_LIMIT = (
    128  # numbers in the history; from about twice as many on, tensor operations cost less than Python's loops
)


class SoftAdapt(nn.Module):
    """Weighted sum of loss components, the weights set by their recent rates of change (arXiv 1912.12355).

    ``loss = balance(losses)`` returns ``sum_k a_k f_k``. In training mode the call first records the detached losses
    and refreshes `weights`; in evaluation mode it only uses them. No gradient flows through the weights. All state
    but the components' names lies in buffers, so ``.to()``, ``torch.compile(fullgraph=True)`` and ``torch.func.vmap``
    work, and nothing on the way waits for the device; ``state_dict`` holds the names too. Where the state and the losses
    lie on the CPU, and nothing traces the call, a short history is read and its weights are computed in Python floats,
    which is faster and, for a narrow dtype, more exact; reading the CPU's own memory waits for no device.

    Until two observations are recorded the weights are equal (times `prior`). While the history fills, the difference
    has the highest order, up to `order`, that the observations allow. An observation with a non-finite loss is counted
    in `nonfinite_count` and otherwise ignored: history and weights stay as they were (the returned sum is non-finite,
    as the loss is, so that a gradient scaler or the training loop can see it).

    Args:
        num_losses: number of components K >= 1.
        variant: ``"loss_weighted"`` (eq. 4) or ``"original"`` (eq. 3).
        beta: sharpness. Positive favours the worst-performing component, negative the best; 0 ignores the rates.
        normalize: divide the rates by the sum of their absolute values (section 3.1.3).
        history: number of observations kept, at least 2.
        order: accuracy of the backward difference, 1 to history - 1; ``None`` is the highest.
        update_every: the mean of so many consecutive calls is one observation, and the weights are refreshed once
            per observation: 1 for per-step updates, ``len(loader)`` for updates per epoch.
        prior: K positive numbers that multiply the adaptive weights, which are then rescaled to `total`: how a user
            states what the components are worth. ``None`` is all equal.
        total: what the weights sum to: 1.0 as in the paper, or ``num_losses`` for the scale of the unweighted sum, so
            that a learning rate tuned without SoftAdapt keeps its meaning. In the range of `dtype`.
        method: ``"finite_difference"``, or ``"least_squares"`` for a slope that is robust against minibatch noise.
        mean_over_history: in eq. 4 use each component's mean over the history as f_k, not its newest value.
        average_over_ranks: in data-parallel training, record the losses' means over the ranks of torch.distributed's default
            process group, so that all ranks have the same weights, bit for bit; a loss that is non-finite on one rank then
            counts as such on all. The returned sum, and its gradient, remain those of the local losses. Each training call is a
            collective (one ``all_reduce`` of K numbers). The group is looked up at the call; without one, or with a single
            rank, nothing is averaged, so that the same script runs on one device.
        device, dtype: of the state, as for any module of torch.nn.

    Attributes:
        weights: (K,) buffer, the current weights a_k, without gradient.

    Raises:
        ValueError: for an argument of a wrong type or out of range, naming the value.
    """

    weights: Tensor
    history: Tensor
    calls: Tensor
    finite_calls: Tensor
    window_mean: Tensor
    stencils: Tensor
    initial_weights: Tensor
    log_prior: Tensor | None

    def __init__(
        self,
        num_losses: int,
        *,
        variant: Variant = "loss_weighted",
        beta: float = 0.1,
        normalize: bool = False,
        history: int = 2,
        order: int | None = None,
        update_every: int = 1,
        prior: Sequence[float] | Tensor | None = None,
        total: float = 1.0,
        method: Method = "finite_difference",
        mean_over_history: bool = False,
        average_over_ranks: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if variant not in get_args(Variant):
            raise ValueError(f"variant must be one of {', '.join(get_args(Variant))}, got {variant!r}")
        self.num_losses = _integer("num_losses", num_losses, at_least=1)
        self.variant = variant
        self.beta = _real("beta", beta)
        self.normalize = _boolean("normalize", normalize)
        self.order = None if order is None else _integer("order", order, at_least=1)
        self.update_every = _integer("update_every", update_every, at_least=1)
        self.prior = None if prior is None else _prior(prior, self.num_losses)
        self.total = _real("total", total)
        self.method = method
        self.mean_over_history = _boolean("mean_over_history", mean_over_history)
        self.average_over_ranks = _boolean("average_over_ranks", average_over_ranks)
        self._names: tuple[str, ...] | None = None
        if not isfinite(self.beta):
            raise ValueError(f"beta must be finite, got {beta!r}")
        _check_dtype(dtype or torch.get_default_dtype(), self.total)

        real = partial(torch.zeros, dtype=dtype, device=device)
        counter = partial(torch.zeros, 1, dtype=torch.int64, device=device)
        self.register_buffer("history", real(_integer("history", history, at_least=2), self.num_losses))
        self.register_buffer("window_mean", real(self.num_losses))
        self.register_buffer("calls", counter())
        self.register_buffer("finite_calls", counter())
        for name in ("stencils", "log_prior", "initial_weights"):
            self.register_buffer(name, None, persistent=False)
        self._stencil_rows = _stencils_while_filling(len(self.history), self.order, self.method)
        self._log_prior = self.prior and [log(value) - log(max(self.prior)) for value in self.prior]
        self._set_constants()
        self.register_buffer("weights", self.initial_weights.clone())

    def _set_constants(self) -> None:
        """Derive the constant buffers from the options, in the dtype and on the device of the state."""
        constant = partial(torch.tensor, dtype=self.history.dtype, device=self.history.device)
        self.stencils = constant(self._stencil_rows).t().contiguous()
        # In Python floats, relative to the largest: in the state's dtype the prior, its sum or its logarithm may overflow.
        prior = self.prior or [1.0] * self.num_losses
        relative = [value / max(prior) for value in prior]
        self.initial_weights = constant([self.total * (value / sum(relative)) for value in relative])
        self.log_prior = None if self._log_prior is None else constant(self._log_prior)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the module (`.to()`, `.double()`, `.cuda()`); constants are derived anew, not rounded twice.

        Raises:
            ValueError: if the new dtype is not floating point or cannot hold `total`; the module is then as it was.
        """
        _check_dtype(fn(self.weights).dtype, self.total)
        super()._apply(fn, recurse)
        self._set_constants()
        self.weights = torch.where(self.observations < 2, self.initial_weights, self.weights)
        return self

    @property
    def nonfinite_count(self) -> Tensor:
        """() int64, the number of calls with a non-finite loss."""
        return (self.calls - self.finite_calls).squeeze(0)

    @property
    def observations(self) -> Tensor:
        """() int64, the number of observations recorded."""
        return (self.finite_calls // self.update_every).squeeze(0)

    def forward(self, losses: Losses) -> Tensor:
        """Return the weighted sum of `losses`, in training mode after refreshing the weights from them.

        Args:
            losses: (K,) tensor, or a sequence or mapping of K scalars. A mapping is matched by name to the first one
                that was passed, before or after the state was saved and loaded, so that its order is free.

        Returns:
            () tensor, differentiable with respect to `losses`; of their dtype or the buffers', whichever is wider.

        Raises:
            ValueError: if the shape, the number, the type or the names of the losses do not fit.
        """
        values = self._as_vector(losses)
        # A fresh tensor on every path: autograd keeps it, and the buffer may change before backward is called.
        if not self.training:
            return (self.weights.clone() * values).sum()
        recorded = mean_over_ranks(values) if self.average_over_ranks else values
        weights = self._refresh_on_host(recorded)
        if weights is None:
            weights = self._refresh(recorded.detach().to(self.weights.dtype))
        elif weights.dtype == values.dtype:
            # The cheaper graph; but it does not promote types, and under vmap autocast would round its operands.
            return torch.dot(weights, values)
        return (weights * values).sum()

    def _refresh_on_host(self, losses: Tensor) -> Tensor | None:
        """Do what `_refresh` does in Python floats; return ``None``, and change nothing, where that is not possible."""
        if torch.compiler.is_compiling() or torch.jit.is_tracing() or _get_current_dispatch_mode() is not None:
            return None  # a trace would keep the numbers as constants
        # Looked up here, as through nn.Module.__getattr__ a buffer costs as much as an operation on it.
        state, n = vars(self)["_buffers"], self.update_every
        history, weights = state["history"], state["weights"]
        if not (type(losses) is type(history) is Tensor and losses.is_cpu and history.is_cpu):
            return None  # reading would wait for the device
        if history.numel() > _HOST_LIMIT:
            return None
        dtype, device = history.dtype, history.device
        if losses.dtype != dtype:
            losses = losses.detach().to(dtype)
        try:  # all is read before anything is written
            values, rows = losses.tolist(), history.tolist()
            (calls,), (finite_calls,) = state["calls"].tolist(), state["finite_calls"].tolist()
            window = state["window_mean"].tolist() if n > 1 else []
        except RuntimeError:  # under torch.func.vmap a tensor has no numbers of its own
            return None
        state["calls"].fill_(calls + 1)
        if not all(map(isfinite, values)):
            return weights.clone()
        finite_calls += 1
        state["finite_calls"].fill_(finite_calls)
        if n > 1:
            # Each call adds its share of the mean: a sum of finite losses may overflow.
            mean = [share + value / n for share, value in zip(window, values, strict=True)]
            observation = torch.tensor(mean, dtype=dtype, device=device)
            if finite_calls % n:
                state["window_mean"].copy_(observation)
                return weights.clone()
            state["window_mean"].zero_()
            values = observation.tolist()  # rounded as the history holds it
        rows = [*rows[1:], values]
        history.copy_(torch.tensor(rows, dtype=dtype, device=device))
        filled = min(finite_calls // n, len(rows))
        if filled < 2:
            return weights.clone()
        recent = values if self.variant == "loss_weighted" else None
        if recent and self.mean_over_history:
            # Rows not yet filled are zero and do not count.
            recent = [sum(loss / filled for loss in past) for past in zip(*rows, strict=True)]
        shares = weights_on_host(
            rows, self._stencil_rows[filled], recent, self.beta, self.normalize, self._log_prior, self.total
        )
        refreshed = torch.tensor(shares, dtype=dtype, device=device)
        weights.copy_(refreshed)
        return refreshed

    @torch.no_grad()
    def _refresh(self, losses: Tensor) -> Tensor:
        """Record one call's losses (K,); return the weights that hold from now on, also kept in the buffer.

        Small tensors cost their dispatch, not their arithmetic, so this path is written for few operations. None of
        them is a matrix product, whose operands autocast would round to half precision.
        """
        finite = (losses - losses).sum() == 0  # infinity and NaN minus themselves are NaN
        self.calls.add_(1)
        observations = self.finite_calls.add_(finite)
        due, observation = finite, losses
        if self.update_every > 1:
            due, observation = self._accumulate(losses, finite)
            observations = observations // self.update_every
        history = torch.cat((self.history[1:], observation.unsqueeze(0)))
        filled = observations.clamp_max(len(history))
        rates = (self.stencils.index_select(1, filled) * history).sum(0)  # column m: m filled
        recent = None
        if self.variant == "loss_weighted":
            # Rows not yet filled are zero and do not count.
            recent = (history / filled.clamp_min(1)).sum(0) if self.mean_over_history else observation
        weights = softadapt_weights(rates, recent, beta=self.beta, normalize=self.normalize)
        if self.log_prior is not None:
            weights = torch.softmax(weights.log() + self.log_prior, dim=-1)
        if self.total != 1:
            weights = self.total * weights
        weights = torch.where(due & (observations >= 2), weights, self.weights)

        self.weights.copy_(weights)
        self.history.copy_(torch.where(due, history, self.history))
        return weights

    def _accumulate(self, losses: Tensor, finite: Tensor) -> tuple[Tensor, Tensor]:
        """Add a call to the open window; return whether that completes the window, and the window's mean."""
        # Each call adds its share of the mean: a sum of finite losses may overflow.
        mean = self.window_mean + torch.where(finite, losses / self.update_every, 0.0)
        due = finite & (self.finite_calls % self.update_every == 0)
        self.window_mean.copy_(torch.where(due, 0.0, mean))
        return due, mean

    def _as_vector(self, losses: Losses) -> Tensor:
        names = self._names
        if isinstance(losses, (dict, Mapping)):  # dict by itself, as asking an abstract class is slow
            names = names or tuple(losses)
            if losses.keys() != set(names):
                raise ValueError(f"expected losses named {', '.join(names)}, got {', '.join(map(str, losses))}")
            losses = [losses[name] for name in names]
        if isinstance(losses, Tensor):
            values = losses
        elif not isinstance(losses, (list, Collection)):
            raise ValueError(f"losses must be a tensor, a sequence or a mapping, got {losses!r}")
        elif len(losses) != self.num_losses:
            raise ValueError(f"expected {self.num_losses} losses, got {len(losses)}")
        else:
            # A view of what is a scalar already would cost a node in the graph.
            values = torch.stack([x if isinstance(x, Tensor) and x.dim() == 0 else self._as_scalar(x) for x in losses])
        if values.shape != (self.num_losses,):
            raise ValueError(f"losses must have shape ({self.num_losses},), got {tuple(values.shape)}")
        if not values.is_floating_point():
            raise ValueError(f"losses must be floating point, got {values.dtype}")
        if names is not self._names:  # only now: a call that is refused does not name the components
            self._names = names
        return values

    def _as_scalar(self, loss: Tensor | float) -> Tensor:
        if not isinstance(loss, Tensor):
            return torch.full((), _real("each loss", loss), dtype=self.weights.dtype, device=self.weights.device)
        if loss.numel() != 1:
            raise ValueError(f"each loss must be a scalar, got shape {tuple(loss.shape)}")
        return loss.reshape(())

    def get_extra_state(self) -> Tensor:
        """The components' names in the order of the weights, saved with `state_dict`; empty if they have none yet.

        As the bytes of one text, so that everything in ``state_dict`` is a tensor.
        """
        return torch.tensor(list("\n".join(map(str, self._names or ())).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the names saved with the state, so that its history and weights keep their components."""
        self._names = tuple(bytes(state.tolist()).decode().split("\n")) if len(state) else None

    def extra_repr(self) -> str:
        """The options, as they appear in `print(model)`."""
        return (
            f"{self.num_losses}, variant={self.variant!r}, beta={self.beta}, normalize={self.normalize}, "
            f"history={self.history.shape[0]}, order={self.order}, update_every={self.update_every}, "
            f"total={self.total}, method={self.method!r}, mean_over_history={self.mean_over_history}, "
            f"average_over_ranks={self.average_over_ranks}"
        )


def _stencils_while_filling(history: int, order: int | None, method: Method) -> list[list[float]]:
    """Row m (of history + 1) is the stencil to use when m observations are recorded; zero for m < 2."""
    difference_stencil(history, order, method)  # raises for an order that even the full history does not allow
    table = [[0.0] * history, [0.0] * history]
    for filled in range(2, history + 1):
        possible = None if order is None else min(order, filled - 1)
        table.append([0.0] * (history - filled) + difference_stencil(filled, possible, method))
    return table


def _integer(name: str, value: int, *, at_least: int) -> int:
    try:
        if not isinstance(value, bool) and value.__index__() >= at_least:
            return value.__index__()
    except (AttributeError, TypeError):
        pass
    raise ValueError(f"{name} must be an integer of at least {at_least}, got {value!r}")


def _real(name: str, value: float) -> float:
    try:
        if not isinstance(value, (bool, str, bytes)):
            return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        pass
    raise ValueError(f"{name} must be a real number, got {value!r}")


def _boolean(name: str, value: bool) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")
    return value


def _prior(prior: Sequence[float] | Tensor, num_losses: int) -> list[float]:
    try:
        values = [_real("each number of prior", value) for value in prior]
    except TypeError:
        raise ValueError(f"prior must hold {num_losses} numbers, got {prior!r}") from None
    if len(values) != num_losses:
        raise ValueError(f"prior must hold {num_losses} numbers, got {values}")
    if not all(isfinite(value) and value > 0 for value in values):
        raise ValueError(f"prior must hold positive finite numbers, got {values}")
    return values


def _check_dtype(dtype: torch.dtype, total: float) -> None:
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"dtype must be a floating point torch.dtype, got {dtype!r}")
    limits = torch.finfo(dtype)
    if not limits.tiny <= total <= limits.max:
        raise ValueError(f"total must be a positive number in the range of {dtype}, got {total!r}")
