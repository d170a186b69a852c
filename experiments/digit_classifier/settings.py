"""Settings of the classifier that judges reconstructed digits (paper section 4.3)."""

from typing import Any

from pydantic import Field, model_validator

from experiments.runs.room import Section


class DigitClassifierSettings(Section):
    """The judge of reconstructed digits, trained once on real ones."""

    leaves = ("weights.pt",)

    epochs: int = Field(gt=0, description="passes over the training digits")
    batch_size: int = Field(gt=0, description="digits per step")
    learning_rate: float = Field(gt=0, description="peak of the one-cycle schedule (AdamW)")
    train_images: int = Field(gt=0, le=60000, description="training digits used (60000 is all)")
    seed: int = Field(ge=0, description="seed of initialisation and data order")
    minimum_accuracy: float = Field(ge=0, le=100, description="test accuracy in percent below which the run fails")

    @model_validator(mode="after")
    def _check(self) -> "DigitClassifierSettings":
        if self.batch_size > self.train_images:
            raise ValueError(f"batch_size {self.batch_size} exceeds train_images {self.train_images}; lower batch_size")
        return self

    trains = True

    def data(self) -> list[str]:
        """The digits."""
        return ["mnist"]

    def minutes(self, scale: Any) -> float:
        """A minute holds 100,000 digits."""
        return self.epochs * self.train_images / 1e5
