"""Settings of the audit of the rules that public codes call SoftAdapt."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from experiments.runs.room import PlainText, Section, WeightingSpec, rules_of

REFERENCE = "equation 4"
"""The rule of the paper's trainings, with which the other rules are compared."""

ORIGINAL = "equation 3"
"""The paper's first rule."""


def _check_range(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"must be the lowest and the highest value, got {list(bounds)}")
    return bounds


PositiveRange = Annotated[
    tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]], AfterValidator(_check_range)
]


class NamesakesSettings(Section):
    """Audit of the rules that carry the name SoftAdapt in public code."""

    leaves = ("samples.npz",)

    seed: int = Field(ge=0, description="seed of the random histories and of the training whose losses are recorded")
    observations: int = Field(ge=6, description="losses of each component in a named or random history")
    settled: int = Field(ge=2, description="observations after which every rule has the history it needs")
    histories: int = Field(gt=1, description="random histories of two components, exponential decays with noise")
    scales: PositiveRange = Field(description="first losses of the random histories, log-uniform")
    rates: PositiveRange = Field(description="decay per observation of the random histories, log-uniform")
    noise: PositiveRange = Field(description="relative noise of the random histories, standard deviation, log-uniform")
    train_images: int = Field(gt=0, le=60000, description="digits of the autoencoder whose losses are recorded")
    epochs: int = Field(gt=0, description="passes over those digits")
    hidden_units: int = Field(gt=0, description="size of the hidden code")
    batch_size: int = Field(gt=0, description="digits per step")
    learning_rate: float = Field(gt=0, description="learning rate of Adam, constant")
    sparsity_weight: float = Field(ge=0, description="fixed weight of the L1 norm beside the summed squared error")
    rules: dict[PlainText, WeightingSpec] = Field(
        description="rules to compare; equation 3 and equation 4 are the paper's"
    )

    @model_validator(mode="after")
    def _check(self) -> "NamesakesSettings":
        if not {REFERENCE, ORIGINAL} <= self.rules.keys():
            raise ValueError(f"rules must name {ORIGINAL} and {REFERENCE}, got {', '.join(self.rules)}")
        steps = self.epochs * -(-self.train_images // self.batch_size)
        if self.settled > min(self.observations, steps):
            raise ValueError(f"settled {self.settled} exceeds the {self.observations} observations or {steps} steps")
        return self

    def weightings(self, name: str) -> list[str]:
        """All rules that the audit compares."""
        return rules_of(self.rules)

    def data(self) -> list[str]:
        """The digits, on which the losses of a training are recorded."""
        return ["mnist"]
