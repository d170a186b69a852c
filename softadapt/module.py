"""`SoftAdapt`: the loss-weighting rule as a module that is used like a criterion."""

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from inspect import signature
from math import isfinite, log
from typing import TYPE_CHECKING, Any, Self, TypeVar

import torch
from torch import Tensor, nn

from softadapt import options
from softadapt.functional import (
    DEFAULT_ORDER,
    Method,
    Rate,
    check_rounding,
    difference_stencil,
    relative_rates,
    softadapt_weights,
)
from softadapt.host import weights_on_host
from softadapt.options import Missing, Variant
from softadapt.ranks import mean_over_ranks, mean_over_ranks_that_have, ranks_in

if TYPE_CHECKING:  # a torch that was built without distributed lacks it
    from torch.distributed import ProcessGroup

Loss = Tensor | float
Losses = Tensor | Sequence[Loss | None] | Mapping[str, Loss | None]
Number = TypeVar("Number", float, Tensor)

_HOST_LIMIT = 128
"""Largest history, in numbers, that is read as Python floats; above twice as many tensor operations are faster."""


class SoftAdapt(nn.Module):
    """Weighted sum of loss components, the weights set by their recent rates of change (arXiv 1912.12355).

    ``loss = balance(losses)`` returns ``sum_k a_k f_k``. In training mode the call first records the detached losses
    and refreshes `weights`; in evaluation mode it only uses them. No gradient flows through the weights. Until every
    component has two observations, the weights are equal (times `prior`).

    Four things to know before the first run:

    * **The weights sum to 1**, as in the paper. A sum of K losses has weights that sum to K, so with ``total=1`` the
      learning rate is in effect divided by K. ``total=K`` keeps its meaning.
    * **Rates have the units of the losses.** ``beta * s_k`` decides, so beta should be of the order of one over the losses'
      changes from one observation to the next. ``normalize=True`` or ``rate="relative"`` frees beta from the scale.
    * **Equation 4, the default, multiplies by the loss.** It presumes losses that are not negative: a negative one gets the
      weight zero, is counted in `negative_count`, and is warned of once. Subtract a known lower bound, or take
      ``variant="original"``. Components of different units should be brought to one scale first.
    * **A loss that a batch lacks is not zero.** With ``missing="hold"`` leave it out or pass ``None``.

    All state lies in buffers, in single precision at least, and in the extra state of ``state_dict``, which holds the names
    and the options. ``state_dict``, pickle, ``torch.distributed.checkpoint`` and ``to_empty`` with `reset_parameters`
    therefore work. Nothing waits for a device, ``torch.compile(fullgraph=True)`` makes one graph. Where state and losses lie
    on the CPU and nothing traces the call, the weights of a short history are computed in Python floats, which is faster.

    An observation with a non-finite loss is counted in `nonfinite_count` and otherwise ignored: history and weights stay as
    they were. The returned sum is non-finite, as the loss is, so that a gradient scaler or the training loop can see it.

    Args:
        losses: number of components K >= 1, or their K names: distinct texts of at most 64 bytes of UTF-8. Without names the
            first mapping gives them.
        variant: ``"loss_weighted"`` (eq. 4) or ``"original"`` (eq. 3).
        beta: sharpness. Positive favours the worst-performing component, negative the best; 0 ignores the rates.
        normalize: divide the rates by the sum of their absolute values (section 3.1.3).
        rate: ``"difference"`` is the paper's s_k. ``"relative"`` divides it by the absolute value of the previous
            observation, as PhysicsNeMo, neuraloperator and NeuralPDE.jl do; where that is zero, the rate is zero.
        history: number of observations kept, at least 2.
        order: accuracy of the backward difference, 1 to history - 1; ``None`` is the smaller of 4 and history - 1. While the
            history fills, the order is the highest, up to `order`, that the observations allow.
        method: ``"finite_difference"``, or ``"least_squares"`` for a slope that is robust against minibatch noise.
        update_every: the mean of so many consecutive training calls is one observation: 1 for every step,
            ``len(loader)`` for every epoch, the number of micro-batches with gradient accumulation.
        refresh_every: the weights are refreshed at every so many-th observation; all are recorded.
        prior: K positive numbers that multiply the adaptive weights, which are then rescaled to `total`: how a user
            states what the components are worth. ``None`` is all equal.
        total: what the weights sum to. In the range of `dtype`.
        mean_over_history: in eq. 4 use each component's mean over the history as f_k, not its newest value.
        missing: ``"error"``, or ``"hold"`` to accept losses that are absent: a key that a mapping lacks, ``None``, or False in
            the mask of a tensor. An absent component adds nothing to the sum and keeps its history; all weights are
            what they would be, its own included.
        average_over_ranks: in data-parallel training, record the losses' means over the ranks, so that all ranks have the
            same weights, bit for bit; a loss that is non-finite on one rank then counts as such on all, an absent one only
            if all ranks lack it. The returned sum, and its gradient, remain those of the local losses. Each recorded call is
            a collective (one ``all_reduce`` of K numbers, with ``missing="hold"`` of 2K). ``None`` does not average, and
            warns once if there are several ranks; ``False`` does not warn. The group is looked up at the call.
        process_group: of torch.distributed, the ranks to average over; ``None`` is the default group. It is not saved.
        device, dtype: of the state, as for any module of torch.nn; a dtype narrower than float32 becomes float32, also in
            ``.half()`` and ``.bfloat16()``.

    Attributes:
        weights: (K,) buffer, the current weights a_k, without gradient.
        history: (history, K) buffer, the observations, oldest first; rows not yet filled are zero.
        beta, total: as given; they may be changed between calls.

    Raises:
        ValueError: for an argument of a wrong type or out of range, naming the value; for an order so high that the
            rounding of losses to `dtype` would drown their rates.
    """

    weights: Tensor
    history: Tensor
    window_mean: Tensor
    finite_calls: Tensor
    nonfinite_calls: Tensor
    negative_observations: Tensor
    absent_calls: Tensor
    absent_observations: Tensor

    def __init__(
        self,
        losses: int | Sequence[str],
        *,
        variant: Variant = "loss_weighted",
        beta: float = 0.1,
        normalize: bool = False,
        rate: Rate = "difference",
        history: int = 2,
        order: int | None = None,
        method: Method = "finite_difference",
        update_every: int = 1,
        refresh_every: int = 1,
        prior: Sequence[float] | Tensor | None = None,
        total: float = 1.0,
        mean_over_history: bool = False,
        missing: Missing = "error",
        average_over_ranks: bool | None = None,
        process_group: "ProcessGroup | None" = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_losses, self._names = options.number_or_names(losses)
        self._names_given = self._names is not None
        self.variant = options.choice("variant", variant)
        self.beta = options.finite("beta", beta)
        self.normalize = options.boolean("normalize", normalize)
        self.rate = options.choice("rate", rate)
        self.order = None if order is None else options.integer("order", order, at_least=1)
        self.method = options.choice("method", method)
        self.update_every = options.integer("update_every", update_every, at_least=1)
        self.refresh_every = options.integer("refresh_every", refresh_every, at_least=1)
        self.prior = None if prior is None else options.positive_numbers("prior", prior, self.num_losses)
        self.mean_over_history = options.boolean("mean_over_history", mean_over_history)
        self.missing = options.choice("missing", missing)
        self.average_over_ranks = average_over_ranks
        if average_over_ranks is not None:
            options.boolean("average_over_ranks", average_over_ranks)
        self._group = _Group(process_group)
        self._warned: set[str] = set()

        dtype = options.wide(torch.get_default_dtype() if dtype is None else dtype)
        self.total = options.total_within(options.real("total", total), dtype)
        length = options.integer("history", history, at_least=2)
        self._stencils = _stencils_while_filling(length, self.order, self.method)
        if self.method == "finite_difference":
            check_rounding(self._stencils[-1], dtype)
        self._log_prior = self.prior and [log(value) - log(max(self.prior)) for value in self.prior]
        self._on_device: tuple[torch.device, torch.dtype, Tensor, Tensor | None] | None = None

        real = partial(torch.zeros, dtype=dtype, device=device)
        counter = partial(torch.zeros, dtype=torch.int64, device=device)
        self.register_buffer("history", real(length, self.num_losses))
        self.register_buffer("window_mean", real(self.num_losses))
        self.register_buffer("weights", real(self.num_losses))
        for name in ("finite_calls", "nonfinite_calls"):
            self.register_buffer(name, counter(1))
        for name in ("negative_observations", "absent_calls", "absent_observations"):
            self.register_buffer(name, counter(self.num_losses))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Forget all losses: the state is then that of a new module. Learned names stay."""
        for buffer in self.buffers():
            buffer.zero_()
        self.weights.copy_(self._initial_weights())
        self._filled = not self.weights.is_meta

    @property
    def names(self) -> tuple[str, ...] | None:
        """The components' names in the order of the weights; ``None`` while they have none."""
        return self._names

    @property
    def observations(self) -> Tensor:
        """() int64, the number of observations recorded."""
        return (self.finite_calls // self.update_every).squeeze(0)

    @property
    def nonfinite_count(self) -> Tensor:
        """() int64, the number of training calls with a non-finite loss."""
        return self.nonfinite_calls.squeeze(0).clone()

    @property
    def negative_count(self) -> Tensor:
        """() int64, the number of negative losses to which equation 4 gave the weight zero, one per observation."""
        return self.negative_observations.sum()

    @property
    def process_group(self) -> "ProcessGroup | None":
        """The ranks to average over; ``None`` is torch.distributed's default group."""
        return self._group.group

    def named_weights(self, prefix: str = "") -> dict[str, Tensor]:
        """The current weights by name, for a log: () tensors, a copy that later calls leave alone. Waits for no device.

        Args:
            prefix: put before every name. Components without names are "0", "1" and so on.
        """
        self._check_filled()
        names = self._names or map(str, range(self.num_losses))
        return {f"{prefix}{name}": weight for name, weight in zip(names, self.weights.clone().unbind(), strict=True)}

    if TYPE_CHECKING:  # nn.Module's own says Any

        def __call__(self, losses: Losses, mask: Tensor | None = None) -> Tensor:
            """As `forward`."""

    def forward(self, losses: Losses, mask: Tensor | None = None) -> Tensor:
        """Return the weighted sum of `losses`, in training mode after `observe` has refreshed the weights from them.

        Args:
            losses: (K,) floating-point tensor, or a sequence or mapping of K scalars. A mapping is matched by name, so that its
                order is free. Where the constructor got names, a sequence is refused. ``None``, or a key that is
                left out, is an absent loss (``missing="hold"``).
            mask: (K,) bool, for a tensor of losses: False where a loss is absent (``missing="hold"``), whatever it holds.

        Returns:
            () tensor, differentiable with respect to `losses`; of their dtype or the state's, whichever is wider.

        Raises:
            ValueError: if the shape, the number, the type, the device or the names of the losses do not fit.
        """
        values, present = self._as_vector(losses, mask)
        if not self.training:
            return self._weighted_sum(values)
        weights, on_host = self._record(values, present)
        if on_host and weights.dtype == values.dtype:
            # The cheaper graph; but it does not promote types, and under vmap autocast would round its operands.
            return torch.dot(weights, values)
        return (weights * values).sum()

    def observe(self, losses: Losses, mask: Tensor | None = None) -> None:
        """Record `losses` and refresh the weights, in training and in evaluation mode alike; arguments as for `forward`.

        With `weigh` for where recording and weighing fall apart: observe once a step and weigh in the closure of LBFGS, or
        observe validation losses and weigh training losses.
        """
        values, present = self._as_vector(losses, mask)
        self._record(values, present)

    def weigh(self, losses: Losses, mask: Tensor | None = None) -> Tensor:
        """Return the weighted sum of `losses` at the current weights and record nothing; arguments as for `forward`."""
        values, _ = self._as_vector(losses, mask)
        return self._weighted_sum(values)

    def _weighted_sum(self, values: Tensor) -> Tensor:
        weights = self.weights
        self._check_device(values, weights)
        # A fresh tensor, as autograd keeps it, and the buffer may change before backward is called.
        return (weights.clone() * values).sum()

    def _check_device(self, values: Tensor, weights: Tensor) -> None:
        if values.device != weights.device:
            raise ValueError(
                f"the losses are on {values.device}, the state of SoftAdapt on {weights.device}; "
                f"move it: balance.to({str(values.device)!r})"
            )

    def _record(self, values: Tensor, present: Tensor | None) -> tuple[Tensor, bool]:
        """Record one call's losses (K,); return the weights from now on, fresh, and whether Python floats computed them."""
        if self.average_over_ranks:
            if present is None and self.missing == "error":
                values = mean_over_ranks(values, self.process_group)
            else:
                present = torch.ones_like(values, dtype=torch.bool) if present is None else present
                values, present = mean_over_ranks_that_have(values.detach(), present, self.process_group)
        elif self.average_over_ranks is None and not torch.compiler.is_compiling() and ranks_in(self.process_group) > 1:
            self._warn(
                "ranks",
                "every rank has weights of its own, from its own losses, so that the ranks minimise different functions; "
                "take average_over_ranks=True for one set of weights, or False to keep it so",
            )
        if self.missing == "error" and (weights := self._record_on_host(values)) is not None:
            return weights, True
        weights = self._record_as_tensors(values.to(self.weights.dtype), present)
        if self.variant == "loss_weighted" and "negative" not in self._warned and _is_readable(self.history):
            with suppress(RuntimeError):  # under torch.func.vmap a tensor has no numbers of its own
                if any(self.negative_observations.tolist()):
                    self._warn_of_negative(self.history[-1].tolist())
        return weights, False

    def _record_on_host(self, losses: Tensor) -> Tensor | None:
        """Do what `_record_as_tensors` does in Python floats; return ``None``, and change nothing, where that cannot be.

        The weights are those of double precision, rounded once. Reading the CPU's own memory waits for no device.
        """
        if not _is_readable(losses):
            return None
        # Looked up here, as through nn.Module.__getattr__ a buffer costs as much as an operation on it.
        state: dict[str, Tensor] = vars(self)["_buffers"]
        n = self.update_every
        history, weights = state["history"], state["weights"]
        if type(history) is not Tensor or not history.is_cpu or history.numel() > _HOST_LIMIT:
            return None
        dtype = history.dtype
        if losses.dtype != dtype:
            losses = losses.detach().to(dtype)
        try:  # all is read before anything is written
            # The first raises where a tensor has no number of its own: under torch.func.vmap and in a trace of make_fx.
            finite_calls = 1 + int(state["finite_calls"].item())
            values, rows = losses.tolist(), history.tolist()
            window = state["window_mean"].tolist() if n > 1 else []
        except RuntimeError:
            return None
        if not all(map(isfinite, values)):
            state["nonfinite_calls"].add_(1)
            return weights.clone()
        state["finite_calls"].fill_(finite_calls)
        if n > 1:
            shares = [_window_mean(share, value, n) for share, value in zip(window, values, strict=True)]
            mean = torch.tensor(shares, dtype=dtype)
            if finite_calls % n:
                state["window_mean"].copy_(mean)
                return weights.clone()
            state["window_mean"].zero_()
            values = mean.tolist()  # rounded as the history holds it
        rows = [*rows[1:], values]
        history.copy_(torch.tensor(rows, dtype=dtype))
        observations = finite_calls // n
        filled = min(observations, len(rows))
        recent = None
        if self.variant == "loss_weighted":
            recent = values
            if self.mean_over_history:
                # Rows not yet filled are zero and do not count.
                recent = [sum(loss / filled for loss in past) for past in zip(*rows, strict=True)]
            if min(recent) < 0:
                state["negative_observations"].add_(torch.tensor([loss < 0 for loss in recent]))
                self._warn_of_negative(recent)
        if filled < 2 or observations % self.refresh_every:
            return weights.clone()
        shares = weights_on_host(
            rows,
            self._stencils[min(filled, len(self._stencils) - 1)],
            recent,
            self.beta,
            self.normalize,
            self.rate == "relative",
            self._log_prior,
            self.total,
        )
        refreshed = torch.tensor(shares, dtype=dtype)
        weights.copy_(refreshed)
        return refreshed

    @torch.no_grad()
    def _record_as_tensors(self, losses: Tensor, present: Tensor | None) -> Tensor:
        """Record one call's losses (K,), of which those in `present` count; return the weights that hold from now on.

        Small tensors cost their dispatch, not their arithmetic, so this path is written for few operations. None of
        them is a matrix product, whose operands autocast would round to half precision.
        """
        self._check_device(losses, self.weights)
        n = self.update_every
        nonfinite = (losses - losses).any()  # infinity and NaN minus themselves are NaN, which counts as true
        self.nonfinite_calls.add_(nonfinite)
        closes, observation = ~nonfinite, losses
        observations = self.finite_calls.add_(closes)
        if n > 1:
            mean = _window_mean(self.window_mean, torch.where(nonfinite, 0.0, losses), n)
            closes, observation, observations = closes & (observations % n == 0), mean, observations // n
            self.window_mean.copy_(torch.where(closes, 0.0, mean))
        new, filled_by = closes, observations
        if self.missing == "hold":
            absent_calls = self.absent_calls
            if present is not None:
                absent_calls = absent_calls + (~(nonfinite | present))
            whole_window = absent_calls == n
            observation = observation * (n / (n - absent_calls).to(observation.dtype))  # mean of the calls that had it
            self.absent_calls.copy_(torch.where(closes, 0, absent_calls))
            filled_by = observations - self.absent_observations.add_(closes & whole_window)
            new = closes & ~whole_window
        shifted = torch.cat((self.history[1:], observation.unsqueeze(0)))
        history = self.history.copy_(torch.where(new, shifted, self.history))

        stencils, log_prior = self._constants()
        if len(history) == 2:
            rates = history[1] - history[0]
        else:
            rates = (stencils.index_select(1, filled_by.clamp_max(stencils.shape[1] - 1)) * history).sum(0)
        if self.rate == "relative":
            rates = relative_rates(rates, history[-2])
        recent = None
        if self.variant == "loss_weighted":
            recent = observation if self.missing == "error" else history[-1]
            if self.mean_over_history:  # rows not yet filled are zero and do not count
                recent = (history / filled_by.clamp(1, len(history))).sum(0)
            self.negative_observations.add_(new & (recent < 0))
        weights = softadapt_weights(rates, recent, beta=self.beta, normalize=self.normalize)
        if log_prior is not None:
            weights = torch.softmax(weights.log() + log_prior, dim=-1)
        if self.total != 1:
            weights = self.total * weights
        due = closes & (filled_by >= 2)
        if self.missing == "hold":
            due = due.all()
        if self.refresh_every > 1:
            due = due & (observations % self.refresh_every == 0)
        weights = torch.where(due, weights, self.weights)
        self.weights.copy_(weights)
        return weights

    def _constants(self) -> tuple[Tensor, Tensor | None]:
        """Stencils, column m for m observations, and log prior (K,), in the state's dtype and on its device.

        No buffers, which some ways of loading leave uninitialised; kept, since sending them to a device would wait for it.
        """
        device, dtype = self.history.device, self.history.dtype
        if not torch.compiler.is_compiling() and self._on_device is not None and self._on_device[:2] == (device, dtype):
            return self._on_device[2:]
        constant = partial(torch.tensor, dtype=dtype, device=device)
        stencils = constant(self._stencils).t().contiguous()
        log_prior = None if self._log_prior is None else constant(self._log_prior)
        if not torch.compiler.is_compiling() and type(stencils) is Tensor:  # not a tensor of a trace
            self._on_device = (device, dtype, stencils, log_prior)
        return stencils, log_prior

    def _initial_weights(self) -> Tensor:
        """`prior` over its sum, times `total`, in Python floats: in the state's dtype prior, sum or logarithm may overflow."""
        prior = self.prior or [1.0] * self.num_losses
        relative = [value / max(prior) for value in prior]
        shares = [self.total * (value / sum(relative)) for value in relative]
        return torch.tensor(shares, dtype=self.history.dtype, device=self.history.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move or cast the module (`.to()`, `.double()`, `.cuda()`); the state keeps single precision at least.

        Raises:
            ValueError: if the new dtype is not floating point or cannot hold `total`; the module is then as it was.
        """

        def moved(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            if not tensor.is_floating_point():
                return result
            dtype = options.wide(result.dtype)
            options.total_within(self.total, dtype)
            return result if result.dtype == dtype else tensor.to(result.device, dtype)

        before = self.weights.dtype
        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        if self.weights.dtype != before:  # equal weights are derived anew, not rounded twice
            with torch.no_grad():
                few = (self.finite_calls // self.update_every - self.absent_observations).amin() < 2
                self.weights.copy_(torch.where(few, self._initial_weights(), self.weights))
        return self

    def _as_vector(self, losses: Losses, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The losses (K,), zero where absent, and which are present (K,), bool; ``None`` where none is absent."""
        if not self._filled:
            self._check_filled()
        names, present = self._names, None
        # Asking an abstract class is slow, so what needs not be asked is not.
        if not isinstance(losses, (list, Tensor)) and isinstance(losses, (dict, Mapping)):
            names = names or self._learned(losses)
            if losses.keys() != set(names):
                losses = self._with_absent(losses, names)
            losses = [losses[name] for name in names]
        elif self._names_given and not isinstance(losses, Tensor):
            raise ValueError(f"expected a mapping, since the losses have names: {', '.join(self._names or ())}")
        if isinstance(losses, Tensor):
            values = losses
            if mask is not None:
                present = self._checked_mask(mask)
                values = torch.where(present, values, 0.0)
        elif mask is not None:
            raise ValueError("a mask goes with a tensor of losses; in a sequence or a mapping, None is an absent loss")
        elif not isinstance(losses, (list, Collection)):
            raise ValueError(f"losses must be a tensor, a sequence or a mapping, got {losses!r}")
        elif len(losses) != self.num_losses:
            raise ValueError(f"expected {self.num_losses} losses, got {len(losses)}")
        else:
            if self.missing == "hold" and any(loss is None for loss in losses):
                present = torch.tensor([loss is not None for loss in losses])
                present = present.to(self.weights.device, non_blocking=True)
                losses = [0.0 if loss is None else loss for loss in losses]
            # A view of what is a scalar already would cost a node in the graph.
            values = torch.stack([x if isinstance(x, Tensor) and x.dim() == 0 else self._as_scalar(x) for x in losses])
        if values.shape != (self.num_losses,):
            raise ValueError(f"losses must have shape ({self.num_losses},), got {tuple(values.shape)}")
        if not values.is_floating_point():
            raise ValueError(f"losses must be floating point, got {values.dtype}")
        if names is not self._names:  # only now: a call that is refused does not name the components
            self._names = names
        return values, present

    def _check_filled(self) -> None:
        """Refuse memory that was allocated but never written: after the meta device, or where a framework filled gaps."""
        if not (self._filled or self.weights.is_meta):
            raise ValueError(
                "the state of this SoftAdapt was neither initialised nor loaded whole; call its reset_parameters(), and then load "
                "what is to be loaded"
            )

    def _learned(self, losses: Mapping[str, Any]) -> tuple[str, ...]:
        """The components' names, from the first mapping."""
        if len(losses) != self.num_losses:
            raise ValueError(
                f"expected {self.num_losses} losses, got {', '.join(map(str, losses))}: the first mapping names all of them, "
                "an absent one as None; or give the names to the constructor"
            )
        return options.names_of(losses)

    def _with_absent(self, losses: Mapping[str, Loss | None], names: tuple[str, ...]) -> Mapping[str, Loss | None]:
        """`losses` with the keys that they lack as ``None``."""
        if self.missing == "hold" and losses.keys() < set(names):
            return {name: losses.get(name) for name in names}
        hint = "" if self.missing == "hold" or losses.keys() - set(names) else "; missing='hold' accepts absent losses"
        raise ValueError(f"expected losses named {', '.join(names)}, got {', '.join(map(str, losses))}{hint}")

    def _checked_mask(self, mask: Tensor) -> Tensor:
        if self.missing != "hold":
            raise ValueError("a mask of absent losses needs missing='hold'")
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != (self.num_losses,):
            got = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else repr(mask)
            raise ValueError(f"mask must be a bool tensor of shape ({self.num_losses},), got {got}")
        return mask

    def _as_scalar(self, loss: Loss | None) -> Tensor:
        if loss is None:
            raise ValueError("a loss is None; missing='hold' accepts absent losses")
        if not isinstance(loss, Tensor):
            return torch.full((), options.real("each loss", loss), dtype=self.weights.dtype, device=self.weights.device)
        if loss.numel() != 1:
            raise ValueError(f"each loss must be a scalar, got shape {tuple(loss.shape)}")
        return loss.reshape(())

    def _warn_of_negative(self, losses: Sequence[float]) -> None:
        """Warn once of the most negative of the losses (K,), if there is one."""
        if (lowest := min(losses)) < 0:
            name = (self._names or range(self.num_losses))[losses.index(lowest)]
            self._warn(
                "negative",
                f"the loss {name!r} is {lowest:.6g}, and equation 4 gives a negative loss the weight zero; subtract a known "
                "lower bound from it, or take variant='original'",
            )

    def _warn(self, reason: str, message: str) -> None:
        """Warn once for each reason."""
        if reason not in self._warned:
            self._warned.add(reason)
            warnings.warn(f"SoftAdapt: {message}", stacklevel=2)

    def _options(self) -> dict[str, Any]:
        """The options as the constructor takes them, but for those of the place where it runs."""
        given = {name: getattr(self, name) for name in _OPTIONS if name != "history"}
        return given | {"history": self.history.shape[0]}

    def get_extra_state(self) -> Tensor:
        """Options and names, saved with `state_dict`; uint8 bytes, whose number depends on K alone."""
        return options.pack(self._options(), self._names, self.num_losses, self._filled)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over the names saved with the state, so that its history and weights keep their components.

        The options stay those of this module. Where the saved ones differ, one warning names them.

        Raises:
            ValueError: for a state of other components than the constructor named, or of another number of them.
        """
        saved, names, filled = self._unpacked(state)
        ours = self._options()
        self._filled = filled and saved["history"] == ours["history"]  # else a framework made up the history
        self._names = names or self._names
        if changed := [name for name in saved if saved[name] != ours[name]]:
            differences = ", ".join(f"{name}={saved[name]!r} (here {ours[name]!r})" for name in changed)
            warnings.warn(
                f"SoftAdapt: the loaded state was saved with other options: {differences}; those of this module stay",
                stacklevel=2,
            )

    def _unpacked(self, state: Tensor) -> tuple[dict[str, Any], tuple[str, ...] | None, bool]:
        saved, names, filled = options.unpack(state, self.num_losses)
        if self._names_given and names not in (None, self._names):
            raise ValueError(
                f"the state was saved for losses named {', '.join(names or ())}; this SoftAdapt has "
                f"{', '.join(self._names or ())}"
            )
        return saved, names, filled

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """Refuse the state of other components before any of it is copied."""
        if (extra := state_dict.get(f"{prefix}_extra_state")) is not None:
            self._unpacked(extra)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """The constructor's arguments that are not defaults, as they appear in `print(model)`."""
        given = self._options() | {"average_over_ranks": self.average_over_ranks}
        differing = [f"{name}={value!r}" for name, value in given.items() if value != _DEFAULTS[name]]
        return ", ".join(
            [repr(list(self._names) if self._names_given and self._names else self.num_losses), *differing]
        )


_DEFAULTS = {name: parameter.default for name, parameter in signature(SoftAdapt).parameters.items()}
_OPTIONS = [
    name for name in _DEFAULTS if name not in ("losses", "average_over_ranks", "process_group", "device", "dtype")
]


class _Group:
    """A process group, which can neither be copied nor pickled: a copy shares it, an unpickled module has the default."""

    def __init__(self, group: "ProcessGroup | None" = None) -> None:
        self.group = group

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()


def _is_readable(values: Tensor) -> bool:
    """Whether reading waits for no device and no trace would keep the numbers as constants."""
    return type(values) is Tensor and values.is_cpu and not torch.compiler.is_compiling() and not torch.jit.is_tracing()  # type: ignore[no-untyped-call]


def _window_mean(mean: Number, loss: Number, calls: int) -> Number:
    """Add a call to the mean of the open window: each adds its share, as a sum of finite losses may overflow."""
    return mean + loss / calls


def _stencils_while_filling(history: int, order: int | None, method: Method) -> list[list[float]]:
    """Row m is the stencil (history) to use when m observations are recorded, the last row also for more; zero for m < 2."""
    difference_stencil(history, order, method)  # raises for an order that even the full history does not allow
    rows = history if method == "least_squares" else (order or min(DEFAULT_ORDER, history - 1)) + 1
    table = [[0.0] * history, [0.0] * history]
    for filled in range(2, rows + 1):
        possible = None if order is None else min(order, filled - 1)
        table.append([0.0] * (history - filled) + difference_stencil(filled, possible, method))
    return table
