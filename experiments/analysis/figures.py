"""Figures of the three experiments, each written as PDF and PNG."""

from collections.abc import Callable

from experiments.analysis import reading
from experiments.analysis.figures_gradient_descent import gradient_descent
from experiments.analysis.figures_introvae import introvae
from experiments.analysis.figures_niqe_collapse import niqe_collapse
from experiments.analysis.figures_sparse_autoencoder import sparse_autoencoder
from experiments.config import Settings
from experiments.errors import run_main

EXPERIMENTS: dict[str, Callable[[Settings], None]] = {
    "gradient_descent": gradient_descent,
    "sparse_autoencoder": sparse_autoencoder,
    "introvae": introvae,
    "niqe_collapse": niqe_collapse,
}


def main() -> None:
    """Entry point of ``python -m experiments.analysis.figures``."""
    settings, experiment = reading.command_line(
        "figures", "Draw the figures of one experiment from its run folders.", what=list(EXPERIMENTS)
    )
    EXPERIMENTS[experiment](settings)


if __name__ == "__main__":
    run_main(main)
