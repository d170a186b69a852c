"""Settings of the suite: a YAML file per scale, checked against this schema before anything runs.

Importing this module is cheap (no torch), so that ``--help`` answers at once. Every field carries the description that
``--help`` prints, and every experiment's settings can be overridden on its command line.
"""

import difflib
import reprlib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from experiments.audit_settings import FiveRulesSettings, StepCostSettings
from experiments.errors import UserError
from experiments.schema import Strict, WeightingSpec
from experiments.sources import SOURCES

TIMED = ("gradient_descent", "sparse_autoencoder", "introvae")
"""The experiments whose steps ``step_cost`` times, at the sizes of their own sections."""


Seeds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)]
Epochs = Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=4, max_length=4)]


class StepSizes(Strict):
    """A logarithmic grid of step sizes."""

    lowest: float = Field(gt=0, description="smallest step size of the sweep")
    highest: float = Field(gt=0, description="largest step size of the sweep")
    count: int = Field(ge=2, description="number of step sizes, spaced evenly in the logarithm")
    refined: int = Field(ge=1, description="further step sizes around the best one of every method and beta")


class GradientDescentSettings(Strict):
    """Steepest descent on Rosenbrock and Beale (paper section 4.1)."""

    starts: int = Field(gt=1, description="start points per function, Sobol points of its box")
    seed: int = Field(ge=0, description="seed of the Sobol scrambling")
    step_sizes: StepSizes = Field(
        description="the sweep: the step itself, or the upper bound of the Barzilai-Borwein step"
    )
    barzilai_borwein_lowest: float = Field(gt=0, description="lower bound of the Barzilai-Borwein step, and its first")
    betas: list[float] = Field(min_length=1, description="betas of the SoftAdapt methods")
    tolerance: float = Field(gt=0, description="converged when the distance to the minimiser is at most this")
    max_steps: int = Field(gt=0, description="steps after which a trajectory counts as not converged")
    divergence_radius: float = Field(gt=0, description="distance from the minimiser that counts as diverged")
    illustrated_starts: dict[str, tuple[float, float]] = Field(description="start of the drawn trajectories")
    illustrated_beta: float = Field(description="beta of the drawn trajectories")

    @model_validator(mode="after")
    def _check(self) -> "GradientDescentSettings":
        if self.step_sizes.lowest >= self.step_sizes.highest:
            raise ValueError("step_sizes.lowest must be below step_sizes.highest")
        if self.illustrated_beta not in self.betas:
            raise ValueError(f"illustrated_beta {self.illustrated_beta} must be one of betas {self.betas}")
        if set(self.illustrated_starts) != {"rosenbrock", "beale"}:
            raise ValueError("illustrated_starts must name rosenbrock and beale")
        return self


class DigitClassifierSettings(Strict):
    """The judge of reconstructed digits, trained once on real ones."""

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


class SparseAutoencoderMethod(Strict):
    """A weighting rule, and the reading of the reconstruction error that it weighs."""

    reconstruction: Literal["mean", "sum"] = Field(
        description="squared error averaged or summed over an image's pixels"
    )
    weighting: WeightingSpec = Field(description="rule that weighs reconstruction and sparsity")


class SparseAutoencoderSettings(Strict):
    """Sparse autoencoder on MNIST (paper section 4.3)."""

    seeds: Seeds = Field(description="seeds of initialisation and data order, the same for every method")
    epochs: int = Field(gt=0, description="passes over the training digits")
    report_epochs: Epochs = Field(description="epochs at which reconstructions are classified and kept (Table 3)")
    validation_images: int = Field(gt=0, le=30000, description="last training digits, held out to choose lambda")
    train_images: int = Field(gt=0, le=60000, description="first training digits, to train on")
    test_images: int = Field(gt=0, le=10000, description="test digits used (10000 is all)")
    hidden_units: int = Field(gt=0, description="size of the hidden code")
    batch_size: int = Field(gt=0, description="digits per step")
    learning_rate: float = Field(gt=0, description="learning rate of Adam, constant")
    lambdas: list[Annotated[float, Field(ge=0)]] = Field(
        min_length=1, description="grid of fixed lambdas; each is a method of its own"
    )
    methods: dict[str, SparseAutoencoderMethod] = Field(description="weighting rules besides the fixed lambdas")

    @model_validator(mode="after")
    def _check(self) -> "SparseAutoencoderSettings":
        _check_report_epochs(self.report_epochs, self.epochs)
        if self.train_images + self.validation_images > 60000:
            raise ValueError("train_images and validation_images exceed the 60000 training digits")
        return self

    def all_methods(self) -> dict[str, SparseAutoencoderMethod]:
        """The grid's fixed weights and the other rules, by name."""
        fixed = {
            f"lambda-{value:g}": SparseAutoencoderMethod(
                reconstruction="mean",
                weighting={"rule": "fixed", "weights": {"reconstruction": 1.0, "sparsity": value}},
            )
            for value in self.lambdas
        }
        return fixed | self.methods


class IntroVAEMethod(Strict):
    """How the two updates of IntroVAE weigh their components: L_E and L_G apart, each by a rule of its own."""

    margin: float = Field(gt=0, description="margin m of the encoder's hinge, nats")
    encoder: WeightingSpec = Field(description="rule for kl_real, margin_fake and reconstruction in L_E")
    generator: WeightingSpec = Field(description="rule for kl_fake and reconstruction in L_G")


class IntroVAESettings(Strict):
    """IntroVAE on faces (paper section 4.2)."""

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
    report_epochs: Epochs = Field(description="epochs of Tables 1 and 2 and Figures 3 and 4")
    hinge: Literal["image", "batch"] = Field(description="the margin holds for the KL of every image, or of the mean")
    reconstruction_scale: float = Field(
        gt=0, description="factor on L_AE, so that small images keep the balance of error and KL of large ones"
    )
    warmup_reconstruction_weight: float = Field(gt=0, description="weight of the scaled L_AE beside the KL in warm-up")
    niqe_block_size: int = Field(
        ge=16, description="side in pixels of the blocks of NIQE; below 96 its model is fitted to training images"
    )
    methods: dict[str, IntroVAEMethod] = Field(min_length=1, description="weighting rules to compare")

    @model_validator(mode="after")
    def _check(self) -> "IntroVAESettings":
        _check_report_epochs(self.report_epochs, self.epochs)
        if self.image_size & (self.image_size - 1):
            raise ValueError(f"image_size must be a power of two, got {self.image_size}")
        if self.image_size >> len(self.channels) < 2:
            raise ValueError(f"{len(self.channels)} channels halve {self.image_size} px images below 2 px")
        if self.niqe_block_size > self.image_size or self.niqe_block_size % 2:
            raise ValueError(f"niqe_block_size {self.niqe_block_size} must be even and fit into {self.image_size} px")
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"warmup_epochs {self.warmup_epochs} exceed epochs {self.epochs}")
        return self


class NiqeCollapseSettings(Strict):
    """Audit of the paper's NIQE values."""

    seed: int = Field(ge=0, description="seed of the noise images")
    image_size: int = Field(ge=96, lt=192, description="side of the images in pixels: one block of 96 px, as inferred")
    images: int = Field(gt=0, le=390, description="faces, and noise images")
    crops: int = Field(ge=42, description="crops of natural images; more than the 36 features of NIQE")
    blurs: list[Annotated[float, Field(ge=0)]] = Field(
        min_length=2, description="sigma of the blur of the crops, pixels"
    )


LEFT_OUT: Any = None
"""A section that a scale leaves out. The sections' types do not admit None, since code that reads a section runs or
judges an experiment that the scale has: `Settings.experiments` and `require` say so beforehand."""


class Settings(Strict):
    """Everything one scale of the suite is run with; it may leave experiments out."""

    scale: str = Field(pattern=r"^[a-z0-9-]+$", description="name of the folder below results and figures")
    data_dir: str = Field(description="folder of the data sets")
    gpus: int = Field(default=0, ge=0, description="GPUs that an IntroVAE job asks for; several train data parallel")
    label: str = Field(
        default="", description="what the figures of IntroVAE are labelled with, where their data need it"
    )
    gradient_descent: GradientDescentSettings = LEFT_OUT
    digit_classifier: DigitClassifierSettings = LEFT_OUT
    sparse_autoencoder: SparseAutoencoderSettings = LEFT_OUT
    introvae: IntroVAESettings = LEFT_OUT
    niqe_collapse: NiqeCollapseSettings = LEFT_OUT
    five_rules: FiveRulesSettings = LEFT_OUT
    step_cost: StepCostSettings = LEFT_OUT

    @model_validator(mode="after")
    def _check(self) -> "Settings":
        if not self.experiments:
            raise ValueError(f"no experiment; give at least one of the sections {', '.join(SOURCES)}")
        if ("sparse_autoencoder" in self.experiments) != ("digit_classifier" in self.experiments):
            raise ValueError("sparse_autoencoder needs its judge digit_classifier; give both sections or neither")
        if "step_cost" in self.experiments and (absent := [name for name in TIMED if name not in self.experiments]):
            raise ValueError(f"step_cost times {', '.join(TIMED)}; give the sections {', '.join(absent)} too")
        return self

    @property
    def experiments(self) -> list[str]:
        """The experiments that this scale has, in the order of `SOURCES`."""
        return [name for name in SOURCES if getattr(self, name) is not None]

    def methods_of(self, experiment: str) -> dict[str, Any]:
        """The methods that an experiment compares, by name, the grid of fixed weights included where it has one."""
        section = getattr(self, experiment)
        return section.all_methods() if hasattr(section, "all_methods") else section.methods

    @property
    def complete(self) -> bool:
        """Whether the scale has every experiment, as the manuscript needs."""
        return self.experiments == list(SOURCES)


def _check_report_epochs(report_epochs: list[int], epochs: int) -> None:
    if report_epochs != sorted(set(report_epochs)) or report_epochs[-1] > epochs:
        raise ValueError(f"report_epochs {report_epochs} must increase and end by epoch {epochs}")


def read_yaml(path: Path | str) -> dict[str, Any]:
    """Read a YAML mapping; a missing or malformed file is a `UserError` naming the place."""
    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name an existing config file") from error
    except Exception as error:  # YAML's own, or whatever its reader makes of dates, numbers and depths that are none
        raise UserError(f"{path}: not valid YAML ({_shortened(str(error))})") from error
    if not isinstance(value, dict):
        raise UserError(f"{path}: expected keys and values, found {type(value).__name__}")
    return value


_SHORT = reprlib.Repr()
"""Shows a value within a line: what a few YAML aliases write may be endless."""
_SHORT.maxstring = _SHORT.maxother = 100


def _shortened(text: str) -> str:
    """`text` in one line of at most 400 characters."""
    line = " ".join(text.split())
    return line if len(line) <= 400 else f"{line[:400]}..."


Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], values: dict[str, Any], source: str) -> Model:
    """Check `values` against `model`; the first error becomes a one-line `UserError` naming `source` and the key."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "settings"
        if first["type"] == "extra_forbidden":
            message = "unknown key" + _suggest(str(first["loc"][-1]), model, first["loc"][:-1])
        elif first["type"] == "missing":
            message = "key is missing"
        else:
            message = first["msg"].removeprefix("Value error, ")
            if first["type"] != "value_error":
                message += f", got {_SHORT.repr(first['input'])}"
        raise UserError(f"{source}: {_shortened(key)}: {_shortened(message)}") from error


def _suggest(unknown: str, model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    for part in location:
        annotation = model.model_fields[str(part)].annotation if str(part) in model.model_fields else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ""
        model = annotation
    close = difflib.get_close_matches(unknown, model.model_fields, n=1)
    return f", did you mean {close[0]}?" if close else f"; known are {', '.join(model.model_fields)}"


def run_folder(scale: str, experiment: str, name: str, seed: int) -> Path:
    """Where the workflow keeps a run."""
    return Path("results", scale, "runs", experiment, name, f"seed-{seed}")


def require(settings: Settings, experiment: str, source: Path | str) -> None:
    """Raise a `UserError` that names `source`, the file of the settings, if they leave the experiment out."""
    if experiment not in settings.experiments:
        raise UserError(
            f"{source}: {experiment}: this scale leaves the experiment out; add the section, or name a scale that has "
            f"it, as --config config/laptop.yaml"
        )


def load(path: Path | str) -> Settings:
    """Load and check one scale.

    Raises:
        UserError: one line naming the file and the key.
    """
    return validate(Settings, read_yaml(path), str(path))
