"""Estimate what training IntroVAE costs at a scale, before anyone pays for it.

    python -m benchmarks.cost --config config/paper.yaml

Nothing is trained. The experiment's own update runs on fake tensors, which have shapes and dtypes but no values. The
operations that are counted are therefore those that a GPU would get. The assumptions are printed below the table.
"""

import argparse
import math
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.runs.errors import run_main
from experiments.scale import load

if TYPE_CHECKING:
    from experiments.introvae.settings import IntroVAESettings

CELEBA_TRAIN_IMAGES = 162_770
"""Size of part 0 of CelebA's official partition."""
SUSTAINED_TFLOPS = 100.0
BANDWIDTH = 1.5
"""Default speed of the GPU, below an A100's data sheet: 312 TFLOP/s in dense bfloat16, 1.6 to 2.0 TB/s."""
GIB = 2**30
DAY = 24 * 3600


@dataclass(frozen=True)
class StepCost:
    """One adversarial step of a batch.

    Attributes:
        encoder: number of its parameters.
        generator: the same.
        flops: floating-point operations of convolutions and matrix products.
        moved: bytes that all other operations read and write.
        peak: bytes of all tensors alive at the worst moment, networks and optimisers included.
    """

    encoder: int
    generator: int
    flops: int
    moved: int
    peak: int

    @property
    def state(self) -> int:
        """Bytes of the parameters, their gradients and Adam's two moments, float32."""
        return 4 * 4 * (self.encoder + self.generator)


def measure_step(settings: "IntroVAESettings") -> StepCost:
    """Count one step of the scale's first method at the batch size of `settings`."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode, flop_registry

    from experiments.introvae import updates

    settings = settings.model_copy(update={"compile": False})  # counted operation by operation
    name, method = next(iter(settings.methods.items()))
    # Fake tensors of the device "cpu": its autocast picks the same dtypes, and CUDA's is off where there is no GPU.
    networks = updates.build_networks(settings, settings.image_channels, torch.device("cpu"))
    balances = updates.build_balances(networks, method, f"introvae.methods.{name}", 1, torch.device("cpu"))
    margin = 1.0 if settings.objective == "introvae" else None  # costs do not depend on its value
    encoder = sum(parameter.numel() for parameter in networks.encoder.parameters())
    generator = sum(parameter.numel() for parameter in networks.generator.parameters())
    memory = _memory_mode(flop_registry)
    with FakeTensorMode(allow_non_fake_inputs=True):
        shape = (settings.batch_size, settings.image_channels, settings.image_size, settings.image_size)
        images = torch.empty(shape).contiguous(memory_format=torch.channels_last)
        step = (networks, images, *balances, margin)
        with memory:
            updates.adversarial_step(*step)
            memory.moved = 0
            updates.adversarial_step(*step)  # finds Adam's moments and old gradients, as every step but the first does
        with FlopCounterMode(display=False) as flops:  # apart, since it keeps tensors alive
            updates.adversarial_step(*step)
        made_before = 4 * (encoder + generator + images.numel())
    return StepCost(encoder, generator, flops.get_total_flops(), memory.moved, memory.peak + made_before)


def _memory_mode(products: Any) -> Any:
    """Return a mode that tracks the bytes alive, their peak, and the bytes moved by operations not in `products`."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Memory(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.live = self.peak = self.moved = 0
            self.known: dict[int, weakref.ref[Any]] = {}

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if func.is_view:
                return result
            made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
            if func.overloadpacket not in products:
                used = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
                self.moved += sum(tensor.numel() * tensor.element_size() for tensor in [*used, *made])
            if not func._schema.is_mutable:
                for tensor in made:
                    self.track(tensor.untyped_storage())
            return result

        def track(self, storage: Any) -> None:
            """Count a storage once, until it is freed."""
            key, size = storage._cdata, storage.nbytes()
            if key in self.known:
                return

            def freed(_: Any) -> None:
                self.live -= size
                del self.known[key]

            self.known[key] = weakref.ref(storage, freed)
            self.live += size
            self.peak = max(self.peak, self.live)

    return Memory()


def estimate(
    settings: "IntroVAESettings", step: StepCost, train_images: int, tflops: float, bandwidth: float
) -> dict[str, tuple[float, str]]:
    """Return the rows of the table: name -> (value, unit).

    Args:
        settings: of the scale.
        step: what one step costs.
        train_images: number of training images.
        tflops: sustained TFLOP/s of convolutions and matrix products.
        bandwidth: sustained memory bandwidth, TB/s.
    """
    batch = settings.batch_size
    steps = train_images // batch
    seen = steps * batch * settings.epochs
    runs = len(settings.seeds) * len(settings.methods)
    image = settings.image_channels * settings.image_size**2
    data_set, measured = image * train_images, 3 * 4 * image * settings.evaluated_images  # training, validation, test
    products, rest = step.flops / (tflops * 1e12), step.moved / (bandwidth * 1e12)
    speed = batch / (products + rest)
    return {
        "parameters of the encoder": (step.encoder / 1e6, "million"),
        "parameters of the generator": (step.generator / 1e6, "million"),
        "FLOPs of one step": (step.flops / 1e12, f"TFLOP, batch of {batch}"),
        "FLOPs per image": (step.flops / batch / 1e9, "GFLOP"),
        "memory moved per image": (step.moved / batch / 1e9, "GB"),
        "steps of one run": (steps * settings.epochs, f"{settings.epochs} epochs of {steps} steps"),
        "FLOPs of one run": (step.flops * steps * settings.epochs / 1e18, "EFLOP"),
        "FLOPs of all runs": (step.flops * steps * settings.epochs * runs / 1e18, f"EFLOP, {runs} runs"),
        "parameters, gradients, Adam's moments": (step.state / GIB, "GiB"),
        "activations at the peak": ((step.peak - step.state) / GIB, "GiB"),
        "activations at the peak, per image": ((step.peak - step.state) / batch / 2**20, "MiB"),
        "training images as uint8": (data_set / GIB, "GiB"),
        "measured images as float32": (measured / GIB, "GiB"),
        "peak memory of the GPU": ((step.peak + data_set + measured) / GIB, "GiB"),
        "speed needed for one run in 24 hours": (seen / DAY, "images/s"),
        "estimated speed": (speed, "images/s"),
        "of which convolutions and products": (100 * products / (products + rest), "% of the time"),
        "estimated time of one run": (seen / speed / 3600, "hours"),
        "estimated time of all runs, one after another": (runs * seen / speed / 3600, f"hours, {runs} runs"),
    }


def table(rows: dict[str, tuple[float, str]]) -> str:
    """Markdown of `estimate`'s rows, three significant digits."""
    lines = ["| cost | estimate | unit |", "| --- | ---: | --- |"]
    for name, (value, unit) in rows.items():
        digits = max(0, 2 - math.floor(math.log10(value))) if value else 0
        lines.append(f"| {name} | {value:,.{digits}f} | {unit} |")
    return "\n".join(lines)


def assumptions(settings: "IntroVAESettings", train_images: int, tflops: float, bandwidth: float) -> str:
    """Everything the table takes for granted, as a Markdown list."""
    lines = [
        f"{train_images:,} training images (CelebA's official training part has {CELEBA_TRAIN_IMAGES:,}); an incomplete "
        "last batch is left out, as in training.",
        "Counted on the experiment's own `adversarial_step` with fake tensors at the full batch size; nothing was "
        f"trained, and no GPU was used. Precision: {settings.precision}. The weighting counted is "
        f"{next(iter(settings.methods))}; others differ by operations on a handful of scalars.",
        "FLOPs are those of convolutions and matrix products, forward and backward; a multiplication and an addition "
        "are two.",
        "Every epoch counts as an adversarial one; warm-up epochs are cheaper. Measuring reconstructions at the report "
        "epochs, recomputing batch statistics, checkpoints and the first reading of the JPEG files are left out.",
        "Memory is that of the tensors alive at the worst moment of a step, plus the images to train on and to measure, "
        "which the experiment keeps on the device. Convolution workspaces, the CUDA context and fragmentation come on top: allow 2 to 4 GiB.",
        f"Speed: convolutions and products at {tflops:g} TFLOP/s sustained, and every other operation (normalisation, "
        f"activation, optimiser) bound by memory at {bandwidth:g} TB/s, one kernel after another, none fused. "
        f"The defaults, {SUSTAINED_TFLOPS:g} TFLOP/s and {BANDWIDTH:g} TB/s, are assumed for an A100, whose data "
        "sheet says 312 TFLOP/s (dense bfloat16) and 1.6 to 2.0 TB/s. Nobody has measured either on this code.",
        "Feeding images costs nothing: they are on the device, and flips are a copy.",
        "All runs: every method from every seed, one after another; they are independent, so several GPUs divide the "
        "time.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of ``python -m benchmarks.cost``."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cost",
        description="Estimate what IntroVAE training costs at a scale: FLOPs, memory, time. Trains nothing.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--config", type=Path, default="config/paper.yaml", help="settings of the scale (default: %(default)s)")
    add(
        "--train-images",
        type=_positive_integer,
        default=CELEBA_TRAIN_IMAGES,
        help="training images (default: %(default)s, CelebA's official part)",
    )
    add(
        "--tflops",
        type=_positive,
        default=SUSTAINED_TFLOPS,
        help="TFLOP/s that the GPU sustains in convolutions and matrix products (default: %(default)s, a third of an "
        "A100's nominal 312)",
    )
    add(
        "--bandwidth",
        type=_positive,
        default=BANDWIDTH,
        help="memory bandwidth that the GPU sustains, TB/s (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    settings = load(options.config).section("introvae")
    if options.train_images < settings.batch_size:
        parser.error(f"--train-images {options.train_images}: less than one batch of {settings.batch_size}")
    gpu = (options.train_images, options.tflops, options.bandwidth)
    print(table(estimate(settings, measure_step(settings), *gpu)))
    print()
    print(assumptions(settings, *gpu))


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be positive and finite, got {text}")
    return value


def _positive_integer(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


if __name__ == "__main__":
    run_main(main)
