"""Fetch or verify the data sets: ``python -m experiments.data``."""

import argparse
from importlib import import_module
from pathlib import Path

from experiments.runs.errors import UserError, run_main

MODULES = {"mnist": "mnist", "orl-faces": "orl_faces", "celeba": "celeba", "folder": "image_folder"}
"""Name of a data set on the command line -> module of this package that fetches and verifies it."""

CONVERTED = ("celeba", "folder")
"""Data sets of image files, which are converted once."""


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and fetch or verify the data sets that it names.

    Raises:
        UserError: if a data set cannot be fetched, or is missing or damaged.
    """
    parser = argparse.ArgumentParser(
        prog="python -m experiments.data",
        description="Fetch the data sets once and verify them by SHA-256. A data set that exists and is whole is not "
        "fetched again. CelebA (1.4 GB) comes through torchvision, which needs gdown; its licence allows research that is "
        "not commercial. A folder of images is only checked and converted.",
    )
    parser.add_argument("action", choices=["fetch", "verify"], help="verify only checks the files that exist")
    parser.add_argument("names", nargs="+", choices=list(MODULES), metavar="NAME", help=", ".join(MODULES))
    parser.add_argument("--data-dir", default="data", help="folder of the data sets (default: %(default)s)")
    parser.add_argument(
        "--path", metavar="FOLDER", help="folder: the images, in the folder of the data sets or absolute"
    )
    parser.add_argument("--parts", metavar="FILE", help="folder: list of the images and their parts")
    convert = "fetch celeba, fetch folder: {} now, not in the first run"
    parser.add_argument("--image-size", type=int, metavar="PIXELS", help=convert.format("crop and resize the images"))
    parser.add_argument(
        "--crop", type=int, metavar="PIXELS", help="with --image-size: side of the square that is cut out"
    )
    options = parser.parse_args(arguments)
    size, crop = options.image_size, options.crop
    converts = options.action == "fetch" and any(name in CONVERTED for name in options.names)
    if size is not None and not (converts and size > 0):
        raise UserError(f"--image-size {size}: goes with fetch celeba or fetch folder, and must be positive")
    if crop is not None and not (size and crop > 0):
        raise UserError(f"--crop {crop}: goes with --image-size, and must be positive")
    if ("folder" in options.names) != bool(options.path) or (options.parts and not options.path):
        raise UserError("--path: names the images of folder; give it with folder, and --parts only beside it")
    for name in options.names:
        module = import_module(f"experiments.data.{MODULES[name]}")
        more = {"path": options.path, "parts": options.parts} if name == "folder" else {}
        if options.action == "fetch" and name in CONVERTED:
            more |= {"image_size": size, "crop": crop}
        getattr(module, options.action)(options.data_dir, **more)
        print(f"{name}: whole, in {Path(options.data_dir, options.path if name == 'folder' else name)}")


if __name__ == "__main__":
    run_main(main)
