"""Fetch or verify the data sets: ``python -m experiments.data``."""

import argparse
from importlib import import_module

from experiments.runs.errors import UserError, run_main

MODULES = {"mnist": "mnist", "orl-faces": "orl_faces", "celeba": "celeba"}
"""Name of a data set on the command line -> module of this package that fetches and verifies it."""


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and fetch or verify the data sets that it names.

    Raises:
        UserError: if a data set cannot be fetched, or is missing or damaged.
    """
    parser = argparse.ArgumentParser(
        prog="python -m experiments.data",
        description="Fetch the data sets once and verify them by SHA-256. A data set that exists and is whole is not "
        "fetched again. CelebA may not be redistributed: lay it out as torchvision does, and fetch checks that it is "
        "complete.",
    )
    parser.add_argument("action", choices=["fetch", "verify"], help="verify only checks the files that exist")
    parser.add_argument("names", nargs="+", choices=list(MODULES), metavar="NAME", help=", ".join(MODULES))
    parser.add_argument("--data-dir", default="data", help="folder of the data sets (default: %(default)s)")
    parser.add_argument(
        "--image-size",
        type=int,
        metavar="PIXELS",
        help="fetch celeba: crop and resize its images now, not in the first run",
    )
    options = parser.parse_args(arguments)
    resize = options.image_size is not None
    if resize and not (options.action == "fetch" and "celeba" in options.names and options.image_size > 0):
        raise UserError(f"--image-size {options.image_size}: goes with fetch celeba, and must be positive")
    for name in options.names:
        module = import_module(f"experiments.data.{MODULES[name]}")
        sizes = [options.image_size] if resize and name == "celeba" else []
        getattr(module, options.action)(options.data_dir, *sizes)
        print(f"{name}: whole, in {options.data_dir}/{name}")


if __name__ == "__main__":
    run_main(main)
