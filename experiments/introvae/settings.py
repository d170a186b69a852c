"""Settings of IntroVAE on faces (paper section 4.2)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainSerializer, model_validator

from experiments.runs.room import (
    MethodName,
    PlainText,
    ReportEpochs,
    Section,
    Seeds,
    Strict,
    WeightingSpec,
    check_report_epochs,
    rules_of,
)

PIXELS_PER_MINUTE = {"cpu": 4e6, "gpu": 1.4e8}

IMAGES = {"orl-faces": 400, "celeba": 202_599, "folder": 10_000}
"""Images of a data set; where a folder is there, its files are counted instead."""


def _whole_or_share(value: float) -> float:
    if value >= 1 and value != int(value):
        raise ValueError(f"must be a whole number, or a share below 1, got {value}")
    return value if 0 < value < 1 else int(value)


Part = Annotated[float, AfterValidator(_whole_or_share), PlainSerializer(lambda size: size)]
"""Size of a part of the data: a whole number, which is written without a point, or below 1 a share."""


class ImageFolder(Strict):
    """The folder of images that ``dataset: folder`` reads."""

    path: PlainText = Field(default="", description="folder of images, in data_dir or absolute, for dataset folder")
    parts: PlainText | None = Field(
        default=None,
        description="file with a line 'name part' for each image: 0 train, 1 validation, 2 held out; null: the last ones",
    )


class IntroVAEMethod(Strict):
    """How the two updates of IntroVAE weigh their components: L_E and L_G apart, each by a rule of its own."""

    margin: float = Field(gt=0, description="margin m of the encoder's hinge, nats")
    encoder: WeightingSpec = Field(description="rule for kl_real, margin_fake and reconstruction in L_E")
    generator: WeightingSpec = Field(description="rule for kl_fake and reconstruction in L_G")


class IntroVAESettings(Section):
    """IntroVAE on faces (paper section 4.2)."""

    trains = True

    seeds: Seeds = Field(description="seeds of initialisation, data order and latent noise, the same for every method")
    dataset: Literal["orl-faces", "celeba", "folder"] = Field(description="face images")
    folder: ImageFolder = Field(default=ImageFolder(), description="the images of dataset folder")
    crop: int | None = Field(
        default=None,
        gt=0,
        description="side in pixels of the square cut from the middle of each image, for celeba and folder; null: as large "
        "as fits. It is resized to image_size, unless it has that size",
    )
    validation: Part = Field(
        ge=0,
        description="people to choose settings by (orl-faces), or images where no partition or list says which; below 1 a "
        "share of all; may be 0",
    )
    held_out: Part = Field(gt=0, description="people or images held out, counted as for validation")
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
        if self.dataset == "folder" and not self.folder.path:
            raise ValueError("dataset folder needs folder.path, a folder of images")
        if self.dataset != "folder" and self.folder != ImageFolder():
            raise ValueError(f"folder.path and folder.parts are for dataset folder, but dataset is {self.dataset}")
        if self.crop and self.dataset == "orl-faces":
            raise ValueError("crop is for celeba and folder; orl-faces has its own")
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
        pixels = self.epochs * self._images(scale.data_dir) * self.image_size**2
        return pixels / (PIXELS_PER_MINUTE["gpu"] * scale.gpus or PIXELS_PER_MINUTE["cpu"])

    def megabytes(self, scale: Any) -> int:
        """Every GPU has a process of its own, with all images and a third of their bytes to spare."""
        pixels = self._images(scale.data_dir) * self.image_channels * self.image_size**2
        return int(2500 + 1.35e-6 * pixels) * max(1, scale.gpus)

    @property
    def image_channels(self) -> int:
        """Colours of an image. A folder may turn out to be grey."""
        return 1 if self.dataset == "orl-faces" else 3

    def fetch_options(self) -> list[str]:
        """Options of ``python -m experiments.data fetch`` that convert the images of a folder before the runs start."""
        if self.dataset == "orl-faces":
            return []
        given = {"path": self.folder.path, "parts": self.folder.parts, "image-size": self.image_size, "crop": self.crop}
        return [f"--{name}={value}" for name, value in given.items() if value]

    def _images(self, data_dir: str) -> int:
        """The number of images, as far as it is known before they are read."""
        place = {"celeba": "celeba/img_align_celeba", "folder": self.folder.path}.get(self.dataset)
        found = sum(len(names) for _, _, names in os.walk(Path(data_dir, place))) if place else 0
        return found or IMAGES[self.dataset]
