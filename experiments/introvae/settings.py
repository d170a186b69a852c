"""Settings of IntroVAE on faces (paper section 4.2)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from experiments.runs.room import (
    MethodName,
    ReportEpochs,
    Section,
    Seeds,
    Strict,
    WeightingSpec,
    check_report_epochs,
    rules_of,
)

PIXELS_PER_MINUTE = {"cpu": 4e6, "gpu": 1.4e8}
IMAGES = {"orl-faces": 400, "celeba": 202_599}
FACES_MB = {"orl-faces": 2500, "celeba": 16_000}
"""Data set -> memory of a process that trains on it, in megabytes: CelebA takes 10 GiB to read, 400 small faces little."""


class IntroVAEMethod(Strict):
    """How the two updates of IntroVAE weigh their components: L_E and L_G apart, each by a rule of its own."""

    margin: float = Field(gt=0, description="margin m of the encoder's hinge, nats")
    encoder: WeightingSpec = Field(description="rule for kl_real, margin_fake and reconstruction in L_E")
    generator: WeightingSpec = Field(description="rule for kl_fake and reconstruction in L_G")


class IntroVAESettings(Section):
    """IntroVAE on faces (paper section 4.2)."""

    trains = True

    seeds: Seeds = Field(description="seeds of initialisation, data order and latent noise, the same for every method")
    dataset: Literal["orl-faces", "celeba"] = Field(description="face images")
    validation: int = Field(
        ge=0, description="people to choose settings by (orl-faces), or images where celeba has no partition; may be 0"
    )
    held_out: int = Field(gt=0, description="people held out (orl-faces), or images where celeba has no partition")
    evaluated_images: int = Field(gt=0, description="images of each set that are measured, at most, and samples drawn")
    flip: bool = Field(description="mirror half of the training images, at random")
    shift: int = Field(ge=0, description="shift training images at random, by up to so many pixels along each axis")
    image_size: int = Field(ge=8, description="side of the square images in pixels, a power of two")
    channels: list[Annotated[int, Field(gt=0)]] = Field(
        min_length=1, description="feature maps of the encoder after each halving of the resolution"
    )
    latent_size: int = Field(gt=0, description="dimension of the latent code")
    normalization: Literal["batch", "group"] = Field(description="batch normalisation as published, or per image")
    batch_statistics: Literal["running", "recomputed"] = Field(
        description="what batch normalisation evaluates with: running averages, or means over the training images"
    )
    precision: Literal["float32", "bfloat16"] = Field(description="of convolutions, through autocast")
    compile: bool = Field(description="compile both networks with torch.compile (for a GPU)")
    batch_size: int = Field(gt=1, description="images per step; an incomplete last batch is left out")
    learning_rate: float = Field(gt=0, description="learning rate of Adam, both networks")
    epochs: int = Field(gt=0, description="passes over the training images, warm-up included")
    warmup_epochs: int = Field(ge=0, description="first epochs as a plain VAE, before the adversarial terms come in")
    report_epochs: ReportEpochs = Field(description="epochs of Tables 1 and 2 and Figures 3 and 4")
    hinge: Literal["image", "batch"] = Field(description="the margin holds for the KL of every image, or of the mean")
    reconstruction_scale: float = Field(
        gt=0, description="factor on L_AE, so that small images keep the balance of error and KL of large ones"
    )
    warmup_reconstruction_weight: float = Field(gt=0, description="weight of the scaled L_AE beside the KL in warm-up")
    niqe_block_size: int = Field(
        ge=16, description="side in pixels of the blocks of NIQE; below 96 its model is fitted to training images"
    )
    methods: dict[MethodName, IntroVAEMethod] = Field(min_length=1, description="weighting rules to compare")

    @model_validator(mode="after")
    def _check(self) -> "IntroVAESettings":
        check_report_epochs(self.report_epochs, self.epochs)
        if self.image_size & (self.image_size - 1):
            raise ValueError(f"image_size must be a power of two, got {self.image_size}")
        if self.image_size >> len(self.channels) < 2:
            raise ValueError(f"{len(self.channels)} channels halve {self.image_size} px images below 2 px")
        if self.niqe_block_size > self.image_size or self.niqe_block_size % 2:
            raise ValueError(f"niqe_block_size {self.niqe_block_size} must be even and fit into {self.image_size} px")
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} exceed epochs {self.epochs}")
        return self

    def choices(self) -> dict[str, list[str]]:
        """A run trains one method."""
        return {"method": list(self.methods)}

    def weightings(self, name: str) -> list[str]:
        """The rules of both networks."""
        return rules_of(self.methods[name].model_dump())

    def data(self) -> list[str]:
        """The faces."""
        return [self.dataset]

    def identity(self, variant: Mapping[str, str], scale: Any) -> dict[str, Any]:
        """The method and what all methods share; the other methods are not part of it."""
        method = self.methods[variant["method"]].model_dump(mode="json")
        return method | {"settings": self.model_dump(mode="json", exclude={"seeds", "methods"})}

    def minutes(self, scale: Any) -> float:
        """A quarter of the speed that the laptop scale has on a core, and that docs/paper-scale.md estimates for a GPU."""
        pixels = self.epochs * IMAGES[self.dataset] * self.image_size**2
        return pixels / (PIXELS_PER_MINUTE["gpu"] * scale.gpus or PIXELS_PER_MINUTE["cpu"])

    def megabytes(self, scale: Any) -> int:
        """Every GPU has a process of its own, with all images."""
        return FACES_MB[self.dataset] * max(1, scale.gpus)
