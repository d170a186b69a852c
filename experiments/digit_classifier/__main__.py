"""Entry point of ``python -m experiments.digit_classifier``."""

from experiments import scale
from experiments.runs.command_line import main

if __name__ == "__main__":
    main(scale, "digit_classifier", "Train the convolutional network that reads reconstructed digits.")
