"""Figures of the experiments, each written as PDF and PNG, by the function of its name in ``figures_<experiment>.py``."""

from importlib import import_module

from experiments.analysis import reading
from experiments.runs.errors import run_main

EXPERIMENTS = ["gradient_descent", "sparse_autoencoder", "introvae", "niqe_collapse", "five_rules", "step_cost"]


def main() -> None:
    """Entry point of ``python -m experiments.evidence.figures``."""
    command = reading.command_line(
        "figures", "Draw the figures of one experiment from its run folders.", what=EXPERIMENTS
    )
    module = import_module(
        f"experiments.analysis.figures_{command.what}"
    )  # after the help, since Matplotlib takes its time
    with command.recorded():
        getattr(module, command.what)(command.settings)


if __name__ == "__main__":
    run_main(main)
