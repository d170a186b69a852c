"""Entry point of ``python -m experiments.introvae``."""

from experiments import scale
from experiments.runs.command_line import main

if __name__ == "__main__":
    main(
        scale,
        "introvae",
        "Train IntroVAE on faces with one method and measure its reconstructions (paper section 4.2).",
    )
