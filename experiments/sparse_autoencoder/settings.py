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

WARM_UP = "warm-up-"
"""Start of the name of every method whose lambda rises."""

TRAINING = ("hidden_units", "batch_size", "learning_rate", "decoder")
"""Settings that a variant may change."""


def number_in_name(value: float) -> str:
    """A number as names of methods hold it: no plus, and a minus in letters."""
    return f"{value:g}".replace("+", "").replace("-", "minus-", int(value < 0))


def fixed_lambda(value: float) -> str:
    """Name of the method with this lambda."""
    return f"{LAMBDA}{number_in_name(value)}"


def warm_up(epochs: int, value: float) -> str:
    """Name of the method whose lambda rises to this value over so many epochs."""
    return f"{WARM_UP}{epochs}.{fixed_lambda(value)}"


def in_units(factor: float) -> str:
    """Name of SoftAdapt with the reconstruction error times a factor."""
    return f"units-{number_in_name(factor)}"


def size_and_rate(size: float, rate: float) -> str:
    """Name of the rule with this exponent of the size and this sharpness of the rate."""
    return f"size-{number_in_name(size)}-rate-{number_in_name(rate)}"


def in_variant(variant: str, method: str) -> str:
    """Name of a method in a variant; in none, the name of the method itself."""
    return f"{variant}.{method}" if variant else method


Number = Annotated[float, Field(ge=0)]


class SparseAutoencoderMethod(Strict):
    """A weighting rule, and the reading of the two terms that it weighs."""

    reconstruction: Literal["mean", "sum"] = Field(
        description="squared error averaged or summed over an image's pixels"
    )
    sparsity: Literal["mean", "sum"] = Field(
        default="sum", description="absolute value averaged or summed over the hidden units"
    )
    units: float = Field(default=1.0, gt=0, description="factor on the squared error")
    weighting: WeightingSpec = Field(description="rule that weighs reconstruction and sparsity")
    replays: str = Field(
        default="", description="method whose weights the rule replays, step by step, from the run of the next seed"
    )


class Variant(Strict):
    """Training settings in which a variant differs."""

    hidden_units: int | None = Field(default=None, gt=0, description="size of the hidden code")
    batch_size: int | None = Field(default=None, gt=0, description="digits per step")
    learning_rate: float | None = Field(default=None, gt=0, description="learning rate of Adam, constant")
    decoder: Literal["free", "unit_norm"] | None = Field(default=None, description="columns of the decoder")


class Grid(Strict):
    """Points of a plane of two options."""

    sizes: Annotated[list[float], Distinct] = Field(default=[], description="exponents of the losses")
    rates: Annotated[list[float], Distinct] = Field(default=[], description="sharpness of the rates of change")


class SparseAutoencoderSettings(Section):
    """Sparse autoencoder on MNIST (paper section 4.3)."""

    needs = ("digit_classifier",)
    trains = True
    leaves = ("samples.npz", "weights.pt")

    seeds: Seeds = Field(description="seeds of initialisation and data order, the same for every method")
    few_seeds: int = Field(
        ge=1, description="how many of the seeds, the first ones, train the methods that `every_seed` does not name"
    )
    every_seed: list[MethodName] = Field(
        description="methods that train from every seed, as fixed lambdas and warm-ups do"
    )
    epochs: int = Field(gt=0, description="passes over the training digits")
    report_epochs: ReportEpochs = Field(description="epochs at which reconstructions are classified and kept (Table 3)")
    validation_images: int = Field(gt=0, le=30000, description="last training digits, held out to choose lambda")
    train_images: int = Field(gt=0, le=60000, description="first training digits, to train on")
    test_images: int = Field(gt=0, le=10000, description="test digits used (10000 is all)")
    hidden_units: int = Field(gt=0, description="size of the hidden code")
    batch_size: int = Field(gt=0, description="digits per step")
    learning_rate: float = Field(gt=0, description="learning rate of Adam, constant")
    decoder: Literal["free", "unit_norm"] = Field(
        description="columns of the decoder as trained, or scaled to norm 1 after every step"
    )
    lambdas: Annotated[list[Number], Field(min_length=1), Distinct] = Field(
        description="grid of fixed lambdas; each is a method of its own"
    )
    warm_ups: Annotated[list[Annotated[int, Field(gt=0)]], Distinct] = Field(
        description="epochs over which lambda rises linearly; a control of its own each"
    )
    warm_up_lambdas: Annotated[list[Number], Distinct] = Field(description="lambdas that the warm-ups rise to")
    unit_factors: Annotated[list[Annotated[float, Field(gt=0)]], Distinct] = Field(
        description="factors on the squared error that SoftAdapt weighs; each is a method of its own"
    )
    plane: Grid = Field(description="exponents and sharpnesses of the rule size_and_rate; each pair is a method")
    methods: dict[MethodName, SparseAutoencoderMethod] = Field(description="weighting rules besides the fixed lambdas")
    variants: dict[Annotated[str, Field(pattern=r"^[a-z][a-z-]*$")], Variant] = Field(
        description="settings to train with besides those above"
    )
    variant_lambdas: Annotated[list[Number], Distinct] = Field(description="grid of fixed lambdas in every variant")
    variant_methods: Annotated[list[MethodName], Distinct] = Field(description="methods that every variant trains")

    @model_validator(mode="after")
    def _check(self) -> "SparseAutoencoderSettings":
        check_report_epochs(self.report_epochs, self.epochs)
        grids = {key: getattr(self, key) for key in ("lambdas", "warm_up_lambdas", "variant_lambdas", "unit_factors")}
        grids |= {"plane.sizes": self.plane.sizes, "plane.rates": self.plane.rates}
        for key, values in grids.items():
            if len({number_in_name(value) for value in values}) < len(values):
                raise ValueError(f"{key} must differ in their first six digits, got {values}")
        generated = self._generated()
        if taken := sorted(generated.keys() & self.methods.keys()):
            raise ValueError(
                f"methods.{taken[0]}: another part of the settings makes a method of this name; choose another"
            )
        if taken := sorted(name for name in self.methods if name.startswith(LAMBDA)):
            raise ValueError(
                f"methods.{taken[0]}: names that start with {LAMBDA} are those of the grid; choose another"
            )
        for key, names in (("every_seed", self.every_seed), ("variant_methods", self.variant_methods)):
            if unknown := [name for name in names if name not in self.methods]:
                raise ValueError(f"{key}: {unknown[0]} is no method; known are {', '.join(self.methods)}")
        if replaying := [name for name in self.variant_methods if self.methods[name].replays]:
            raise ValueError(f"variant_methods: {replaying[0]} replays weights of the main settings; leave it out")
        for name, method in self.methods.items():
            if (method.weighting["rule"] == "replayed") != bool(method.replays):
                raise ValueError(f"methods.{name}: the rule replayed needs the key replays, and no other rule has it")
            if method.replays and self.methods.get(method.replays, method).replays:
                raise ValueError(f"methods.{name}.replays: {method.replays} must be another method that replays none")
            if method.replays and not set(self.seeds_of(name)) <= set(self.seeds_of(method.replays)):
                raise ValueError(f"methods.{name}: replays {method.replays}, which must train from the same seeds")
            if method.replays and len(self.seeds_of(name)) < 2:
                raise ValueError(
                    f"methods.{name}: replays the run of another seed, and there is one seed; give two, or remove the "
                    f"method ({name}: null)"
                )
        if self.train_images + self.validation_images > 60000:
            raise ValueError("train_images and validation_images exceed the 60000 training digits")
        return self

    def all_methods(self) -> dict[str, SparseAutoencoderMethod]:
        """All methods by name: the grid of fixed lambdas, the rules, and those of the controls and variants."""
        fixed = {fixed_lambda(value): _fixed(value) for value in self.lambdas}
        return fixed | self.methods | self._generated()

    def _generated(self) -> dict[str, SparseAutoencoderMethod]:
        made = {
            warm_up(epochs, value): _fixed(value, epochs) for epochs in self.warm_ups for value in self.warm_up_lambdas
        }
        softadapt: dict[str, Any] = {"rule": "softadapt"}
        for factor in self.unit_factors:
            made[in_units(factor)] = SparseAutoencoderMethod(reconstruction="sum", units=factor, weighting=softadapt)
        for size in self.plane.sizes:
            for rate in self.plane.rates:
                rule = {"rule": "size_and_rate", "size": size, "rate": rate}
                made[size_and_rate(size, rate)] = SparseAutoencoderMethod(reconstruction="sum", weighting=rule)
        for variant in self.variants:
            own = {fixed_lambda(value): _fixed(value) for value in self.variant_lambdas}
            own |= {name: self.methods[name] for name in self.variant_methods if name in self.methods}
            made |= {in_variant(variant, name): method for name, method in own.items()}
        return made

    def training(self, name: str) -> dict[str, Any]:
        """The settings `TRAINING` of a method: those of its variant, where that changes them."""
        variant, _ = self.variant_of(name)
        changed = self.variants[variant].model_dump(exclude_none=True) if variant else {}
        return {key: getattr(self, key) for key in TRAINING} | changed

    def variant_of(self, name: str) -> tuple[str, str]:
        """The variant of a method, empty for the main settings, and the name that the method has there."""
        variant, _, rest = name.partition(".")
        return (variant, rest) if variant in self.variants else ("", name)

    def choices(self) -> dict[str, list[str]]:
        """A run trains one method."""
        return {"method": list(self.all_methods())}

    def seeds_of(self, name: str) -> list[int]:
        """All seeds for the main comparison and its controls, the first few for others."""
        thorough = name in self.every_seed or name.startswith((LAMBDA, WARM_UP))
        return self.seeds if thorough else self.seeds[: self.few_seeds]

    def by_seeds(self) -> dict[tuple[int, ...], list[str]]:
        """The methods that train from the same seeds, by these seeds."""
        groups: dict[tuple[int, ...], list[str]] = {}
        for name in self.names():
            groups.setdefault(tuple(self.seeds_of(name)), []).append(name)
        return groups

    def follows(self, name: str) -> list[str]:
        """The method whose runs a run reads."""
        replayed = self.all_methods()[name].replays
        return [replayed] if replayed else []

    def seed_replayed(self, name: str, seed: int) -> int:
        """The seed whose weights a run replays: the next one, after the last the first."""
        seeds = self.seeds_of(name)
        return seeds[(seeds.index(seed) + 1) % len(seeds)] if seed in seeds else seeds[0]

    def weightings(self, name: str) -> list[str]:
        """The rule of the method."""
        return rules_of(self.all_methods()[name].model_dump())

    def data(self) -> list[str]:
        """The digits."""
        return ["mnist"]

    def identity(self, variant: Mapping[str, str], scale: Any) -> dict[str, Any]:
        """The method and what all methods share. The other methods and the grids are not part of it."""
        name = variant["method"]
        method = self.all_methods()[name].model_dump(mode="json")
        shared = self.model_dump(mode="json", include={"epochs", "report_epochs", *IMAGES})
        return method | {"settings": shared | self.training(name), "replayed": self.is_replayed(name)}

    def is_replayed(self, name: str) -> bool:
        """Whether another method replays the weights of this one, whose runs then keep them."""
        return any(method.replays == name for method in self.methods.values())

    def not_drawn(self) -> set[str]:
        """The figures of other units, and of the plane, where none are trained."""
        needs = {"where_it_lands": self.unit_factors, "autoencoder_plane": self.plane.sizes and self.plane.rates}
        return {figure for figure, trained in needs.items() if not trained}

    def minutes(self, scale: Any) -> float:
        """A minute holds 500,000 digits; a job trains all seeds of a method."""
        return len(self.seeds) * self.epochs * self.train_images / 5e5


IMAGES = ("validation_images", "train_images", "test_images")


def _fixed(value: float, warm_up_epochs: int = 0) -> SparseAutoencoderMethod:
    """A fixed lambda on the mean error, or one that rises over the first epochs."""
    weighting: dict[str, Any] = {"rule": "fixed", "weights": {"reconstruction": 1.0, "sparsity": value}}
    if warm_up_epochs:
        weighting |= {"rule": "warm_up", "warmed": "sparsity", "epochs": warm_up_epochs}
    return SparseAutoencoderMethod(reconstruction="mean", weighting=weighting)
