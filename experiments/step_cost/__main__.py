"""Entry point of ``python -m experiments.step_cost``."""

from experiments import scale
from experiments.runs.command_line import main

if __name__ == "__main__":
    main(
        scale,
        "step_cost",
        "Time training steps with fixed weights and with SoftAdapt in pairs. Leave the machine alone meanwhile.",
    )
