"""Settings of the sparse autoencoder on MNIST (paper section 4.3), and the names of its methods."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from experiments.runs.room import (
    Distinct,
    MethodName,
    ReportEpochs,
    Section,
    Seeds,
    Strict,
    WeightingSpec,
    check_report_epochs,
    rules_of,
)

LAMBDA = "lambda-"
"""Start of the name of every method with a fixed lambda."""


def fixed_lambda(value: float) -> str:
    """Name of the method with this lambda."""
    return f"{LAMBDA}{value:g}".replace("+", "")  # 1e06, since names of methods hold no plus


class SparseAutoencoderMethod(Strict):
    """A weighting rule, and the reading of the reconstruction error that it weighs."""

    reconstruction: Literal["mean", "sum"] = Field(
        description="squared error averaged or summed over an image's pixels"
    )
    weighting: WeightingSpec = Field(description="rule that weighs reconstruction and sparsity")


class SparseAutoencoderSettings(Section):
    """Sparse autoencoder on MNIST (paper section 4.3)."""

    needs = ("digit_classifier",)
    trains = True

    seeds: Seeds = Field(description="seeds of initialisation and data order, the same for every method")
    epochs: int = Field(gt=0, description="passes over the training digits")
    report_epochs: ReportEpochs = Field(description="epochs at which reconstructions are classified and kept (Table 3)")
    validation_images: int = Field(gt=0, le=30000, description="last training digits, held out to choose lambda")
    train_images: int = Field(gt=0, le=60000, description="first training digits, to train on")
    test_images: int = Field(gt=0, le=10000, description="test digits used (10000 is all)")
    hidden_units: int = Field(gt=0, description="size of the hidden code")
    batch_size: int = Field(gt=0, description="digits per step")
    learning_rate: float = Field(gt=0, description="learning rate of Adam, constant")
    lambdas: Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1), Distinct] = Field(
        description="grid of fixed lambdas; each is a method of its own"
    )
    methods: dict[MethodName, SparseAutoencoderMethod] = Field(description="weighting rules besides the fixed lambdas")

    @model_validator(mode="after")
    def _check(self) -> "SparseAutoencoderSettings":
        check_report_epochs(self.report_epochs, self.epochs)
        names = [fixed_lambda(value) for value in self.lambdas]
        if len(set(names)) < len(names):
            raise ValueError(f"lambdas must differ in their first six digits, got {self.lambdas}")
        if taken := sorted(name for name in self.methods if name.startswith(LAMBDA)):
            raise ValueError(
                f"methods.{taken[0]}: names that start with {LAMBDA} are those of the grid; choose another"
            )
        if self.train_images + self.validation_images > 60000:
            raise ValueError("train_images and validation_images exceed the 60000 training digits")
        return self

    def all_methods(self) -> dict[str, SparseAutoencoderMethod]:
        """The grid's fixed weights and the other rules, by name."""
        fixed = {
            fixed_lambda(value): SparseAutoencoderMethod(
                reconstruction="mean",
                weighting={"rule": "fixed", "weights": {"reconstruction": 1.0, "sparsity": value}},
            )
            for value in self.lambdas
        }
        return fixed | self.methods

    def choices(self) -> dict[str, list[str]]:
        """A run trains one method."""
        return {"method": list(self.all_methods())}

    def weightings(self, name: str) -> list[str]:
        """The rule of the method."""
        return rules_of(self.all_methods()[name].model_dump())

    def data(self) -> list[str]:
        """The digits."""
        return ["mnist"]

    def identity(self, variant: Mapping[str, str], scale: Any) -> dict[str, Any]:
        """The method and what all methods share. The other methods and the grid are not part of it."""
        method = self.all_methods()[variant["method"]].model_dump(mode="json")
        return method | {"settings": self.model_dump(mode="json", exclude={"seeds", "lambdas", "methods"})}

    def minutes(self, scale: Any) -> float:
        """A minute holds 500,000 digits; a job trains all seeds of a method."""
        return len(self.seeds) * self.epochs * self.train_images / 5e5
