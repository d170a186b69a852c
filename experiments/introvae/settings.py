"""Settings of IntroVAE on faces (paper section 4.2)."""

import os
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PlainSerializer, PlainValidator, model_validator

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


LARGEST_MARGIN = 1e30
"""Nats; above it the losses would overflow in float32."""


def _check_margin(value: Any) -> Any:
    """Return a number as a float, ``{times_kl_real: K}`` as it is; ValueError for anything else."""
    number = value["times_kl_real"] if isinstance(value, dict) and list(value) == ["times_kl_real"] else value
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 < number < LARGEST_MARGIN:
        raise ValueError(
            f"must be a positive number of nats, or {{times_kl_real: K}} with a positive K, got {reprlib.repr(value)}"
        )
    return value if isinstance(value, dict) else float(value)


Margin = Annotated[float | dict[str, float], PlainValidator(_check_margin)]
"""Nats, or a multiple of the mean KL of real images in the last epoch of the warm-up."""


class IntroVAEMethod(Strict):
    """How the two updates of IntroVAE weigh their components: L_E and L_G apart, each by a rule of its own."""

    margin: Margin | None = Field(
        default=None,
        description="margin m of the encoder's hinge, nats, or {times_kl_real: K}: K times the mean KL of real images in "
        "the last warm-up epoch; soft-introvae has none",
    )
    encoder: WeightingSpec = Field(description="rule for the components of L_E")
    generator: WeightingSpec = Field(description="rule for the components of L_G")
    unweighted: list[str] = Field(
        default_factory=list, description="components of L_E that the rule leaves out; their weight is 1"
    )


class IntroVAESettings(Section):
    """IntroVAE on faces (paper section 4.2)."""

    leaves = ("samples.npz", "weights.pt")

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
    image_size: int = Field(description="side of the square images in pixels, 4 x 2^n for n channels")
    channels: list[Annotated[int, Field(gt=0)]] = Field(
        min_length=1, max_length=10, description="feature maps of the encoder after each halving of the resolution"
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
    decay_share: float = Field(
        ge=0, le=1, description="share of all steps, at the end, over which the learning rate falls linearly to zero"
    )
    ema_decay: float = Field(
        ge=0,
        lt=1,
        description="decay per step of the moving averages of the weights that are evaluated; 0: no averages",
    )
    epochs: int = Field(gt=0, description="passes over the training images, warm-up included")
    warmup_epochs: int = Field(ge=0, description="first epochs as a plain VAE, before the adversarial terms come in")
    report_epochs: ReportEpochs = Field(description="epochs of Tables 1 and 2 and Figures 3 and 4")
    objective: Literal["introvae", "soft-introvae"] = Field(description="losses of the two networks")
    hinge: Literal["image", "batch"] = Field(
        description="of introvae: the margin holds for the KL of every image, or for their mean"
    )
    beta_rec: float = Field(ge=0, description="of soft-introvae: weight of the error in the exponential of fakes")
    beta_neg: float = Field(ge=0, description="of soft-introvae: weight of the KL in the exponential of fakes")
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
        fitting = 4 << len(self.channels)
        if self.image_size != fitting:
            raise ValueError(
                f"{len(self.channels)} channels halve images of {fitting} px to the published 4 px; change image_size "
                f"{self.image_size}, or the number of channels"
            )
        if self.niqe_block_size > self.image_size or self.niqe_block_size % 2:
            raise ValueError(f"niqe_block_size {self.niqe_block_size} must be even and fit into {self.image_size} px")
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} exceed epochs {self.epochs}")
        for name, method in self.methods.items():
            self._check_margin(f"methods.{name}.margin", method.margin)
        return self

    def _check_margin(self, key: str, margin: float | dict[str, float] | None) -> None:
        if margin is None and self.objective == "introvae":
            raise ValueError(f"{key} is missing; introvae needs one")
        if margin is not None and self.objective == "soft-introvae":
            raise ValueError(f"{key}: soft-introvae has no margin; leave it out")
        if isinstance(margin, dict) and self.warmup_epochs < 1:
            raise ValueError(f"{key}: times_kl_real takes the KL of a warm-up; set warmup_epochs to 1 or more")

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
