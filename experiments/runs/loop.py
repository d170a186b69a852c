"""The protocol that training runs share: epochs of shuffled batches, sums over an epoch, checkpoints, resumption, rows.

The training step itself stands in each room's ``run.py``::

    loop = Loop(folder, {"model": model, "optimizer": optimizer}, ...)
    with loop.running():
        for epoch in loop.epochs():
            for batch in loop.batches():
                ...                             # one step on the items with these indices
                loop.add({"loss": loss})
            loop.end_epoch({**loop.means(), ...})

A checkpoint may fall due after any step; the run then goes on from that step to the same bits.
"""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from experiments.runs.folder import Run
from experiments.runs.progress import progress_bar


class Part(Protocol):
    """What training changes: a network, an optimiser, a schedule, a weighting rule."""

    def state_dict(self) -> dict[str, Any]:
        """State as tensors and plain values."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Restore a state."""


class Loop:
    """Trains by epochs of batches, and resumes at any step.

    Args:
        folder: run folder. A checkpoint in it is restored here, into `parts` too; one of other data is refused.
        parts: everything that training changes, by name; saved in checkpoints.
        description: what the progress bar says.
        epochs: number of passes over the items.
        items: number of items.
        batch_size: items per step.
        drop_last: leave an incomplete last batch out.
        device: where indices and sums live.
        shown: whether to show the progress.

    Attributes:
        samples: arrays and tensors to keep for the figures, by name; saved in checkpoints.
        seconds: wall time of training so far, in seconds; evaluation and checkpoints are left out.
        steps: number of steps in an epoch.

    Raises:
        UserError: if a checkpoint cannot be used, or belongs to other settings or data.
    """

    def __init__(
        self,
        folder: Run,
        parts: Mapping[str, Part],
        *,
        description: str,
        epochs: int,
        items: int,
        batch_size: int,
        drop_last: bool = False,
        device: torch.device | str = "cpu",
        shown: bool = True,
    ) -> None:
        self.folder, self.parts = folder, dict(parts)
        self.last_epoch, self.items, self.batch_size, self.device = epochs, items, batch_size, device
        self.steps = items // batch_size if drop_last else -(-items // batch_size)
        self.samples: dict[str, Any] = {}
        self.seconds = 0.0
        self._epoch, self._step, self._order = 1, 0, torch.empty(0)
        self._names: list[str] = []
        self._sums = torch.empty(0)
        self._stopped = False
        if (state := folder.resume()) is not None:
            self._epoch, self._step, self._order = state["epoch"], state["step"], state["order"].to(device)
            self._names, self._sums = state["names"], state["sums"].to(device)
            self.samples, self.seconds = state["samples"], state["seconds"]
            for name, part in self.parts.items():
                part.load_state_dict(state["parts"][name])
        self._progress = progress_bar(epochs * self.steps, description, "step", self.steps_done, shown=shown)

    @property
    def steps_done(self) -> int:
        """Number of steps done so far, in all epochs."""
        return (self._epoch - 1) * self.steps + self._step

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Show the progress, and let SIGTERM and Ctrl-C wait for the end of a step, which then saves a checkpoint."""
        with self.folder.interruptible(), self._progress:
            yield

    def epochs(self) -> Iterator[int]:
        """Yield the numbers of the epochs that are left, the one under way first, until the last or until `stop`."""
        while self._epoch <= self.last_epoch and not self._stopped:
            yield self._epoch

    def batches(self) -> Iterator[Tensor]:
        """Yield the indices (B,) of every batch that is left in the epoch; save a checkpoint after a step where one is due."""
        if self._step == 0:
            self._order = torch.randperm(self.items, device=self.device)
            self._names, self._sums = [], torch.empty(0)
        started = self.folder.seconds
        for batch in self._order.split(self.batch_size)[self._step : self.steps]:
            yield batch
            self._step += 1
            self._progress.update()
            if self.folder.due:
                self.seconds += self.folder.seconds - started
                self.folder.save(self._state())
                started = self.folder.seconds
        self.seconds += self.folder.seconds - started

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add the detached scalars of one step to the sums of the epoch; their names are the same at every step."""
        stacked = torch.stack(list(values.values())).detach()
        if self._names:
            self._sums += stacked
        else:
            self._names, self._sums = list(values), stacked.clone()

    def means(self) -> dict[str, float]:
        """Return the mean over the epoch's steps of every scalar that was added, by name."""
        return dict(zip(self._names, (self._sums / self.steps).tolist(), strict=True))

    def end_epoch(self, row: Mapping[str, Any], *, diverged: bool = False) -> None:
        """Append the epoch's row to the history; save a checkpoint where one is due, and after the last epoch.

        A run that has diverged ends with this row and saves no checkpoint: there is nothing to go on from.
        """
        self.folder.history.append({"epoch": self._epoch, **row})
        self._epoch, self._step, self._stopped = self._epoch + 1, 0, diverged
        if not diverged and (self.folder.due or self._epoch > self.last_epoch):
            self.folder.save(self._state())

    def _state(self) -> dict[str, Any]:
        position = {"epoch": self._epoch, "step": self._step, "order": self._order}
        position |= {"names": self._names, "sums": self._sums, "seconds": self.seconds, "samples": self.samples}
        return position | {"parts": {name: part.state_dict() for name, part in self.parts.items()}}
