"""SoftAdapt (Heydari et al. 2019, arXiv 1912.12355), the module of this repository."""

from typing import Literal

from experiments.runs.errors import UserError
from experiments.runs.room import Context, Strict
from softadapt import SoftAdapt


class Settings(Strict):
    """Options of the rule ``softadapt``, with the meaning and the defaults of `softadapt.SoftAdapt`."""

    rule: Literal["softadapt"]
    variant: Literal["loss_weighted", "original"] = "loss_weighted"
    beta: float = 0.1
    normalize: bool = False
    rate: Literal["difference", "relative"] = "difference"
    history: int = 2
    order: int | None = None
    method: Literal["finite_difference", "least_squares"] = "finite_difference"
    update_every: int | Literal["epoch"] = 1
    refresh_every: int = 1
    prior: list[float] | None = None
    total: float | Literal["num_losses"] = 1.0
    mean_over_history: bool = False

    def build(self, context: Context) -> SoftAdapt:
        """Return the module for these components."""
        options = self.model_dump(exclude={"rule"})
        options["update_every"] = context.steps_per_epoch if self.update_every == "epoch" else self.update_every
        options["total"] = float(len(context.names)) if self.total == "num_losses" else self.total
        try:
            # The losses that a rule sees are those of the whole batch already.
            return SoftAdapt(context.names, average_over_ranks=False, **options)
        except ValueError as error:
            raise UserError(f"{context.source}: {error}") from error
