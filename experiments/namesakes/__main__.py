"""Entry point of ``python -m experiments.namesakes``."""

from experiments import scale
from experiments.runs.command_line import main

if __name__ == "__main__":
    main(
        scale,
        "namesakes",
        "Feed the same losses to all rules that public codes call SoftAdapt, and count where their order differs.",
    )
