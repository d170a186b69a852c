"""Entry point of ``python -m experiments.niqe_collapse``."""

from experiments import scale
from experiments.runs.command_line import main

if __name__ == "__main__":
    main(
        scale,
        "niqe_collapse",
        "Show that NIQE is a constant on images that hold a single block, as in the paper's Tables 1 and 2.",
    )
