"""Entry point of ``python -m experiments.sparse_autoencoder``."""

from experiments import scale
from experiments.runs.command_line import main

if __name__ == "__main__":
    main(
        scale,
        "sparse_autoencoder",
        "Train a sparse autoencoder on MNIST with one method and classify its reconstructions (paper section 4.3).",
    )
