"""Settings of two audits, the rules called SoftAdapt and the cost of steps, sections of `experiments.config.Settings`."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from experiments.schema import Strict, WeightingSpec


def _check_range(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"must be the lowest and the highest value, got {list(bounds)}")
    return bounds


PositiveRange = Annotated[
    tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]], AfterValidator(_check_range)
]


class FiveRulesSettings(Strict):
    """Audit of the rules that carry the name SoftAdapt in public code."""

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
    rules: dict[str, WeightingSpec] = Field(description="rules to compare; equation 3 and equation 4 are the paper's")

    @model_validator(mode="after")
    def _check(self) -> "FiveRulesSettings":
        if not {"equation 3", "equation 4"} <= self.rules.keys():
            raise ValueError(f"rules must name equation 3 and equation 4, got {', '.join(self.rules)}")
        steps = self.epochs * -(-self.train_images // self.batch_size)
        if self.settled > min(self.observations, steps):
            raise ValueError(f"settled {self.settled} exceeds the {self.observations} observations or {steps} steps")
        return self


class PairsOfSteps(Strict):
    """How often a step with fixed weights and one with SoftAdapt are timed."""

    gradient_descent: int = Field(gt=1, description="pairs of descent steps")
    sparse_autoencoder: int = Field(gt=1, description="pairs of autoencoder steps")
    introvae: int = Field(gt=1, description="pairs of IntroVAE steps")


class StepCostSettings(Strict):
    """Audit of what SoftAdapt adds to a training step."""

    seed: int = Field(ge=0, description="seed of the models, the made images and the order within pairs")
    pairs: PairsOfSteps = Field(description="pairs per experiment")
    warmup_pairs: int = Field(ge=2, description="first pairs of every experiment, not recorded")
    calls_in_a_row: int = Field(gt=0, description="calls of the weighting that are timed as one, once a pair")
