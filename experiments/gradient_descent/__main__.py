"""Entry point of ``python -m experiments.gradient_descent``."""

from experiments import scale
from experiments.runs.command_line import main

if __name__ == "__main__":
    main(
        scale,
        "gradient_descent",
        "Steepest descent on a test function, plain and with SoftAdapt's weights, from many starts (paper section 4.1).",
    )
