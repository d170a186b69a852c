"""Draw figures. Each is written as PDF and PNG, and drawn by the function of its name in a room's ``figures.py``."""

from collections.abc import Sequence
from pathlib import Path

from experiments.evidence import reading
from experiments.runs.errors import UserError, run_main
from experiments.runs.jobs import drawn


def make(runs: reading.Runs, folder: Path, names: Sequence[str]) -> None:
    """Draw figures of a room: ``NAME(runs)`` in its ``figures.py`` returns the figure of that name.

    Raises:
        UserError: if there is no such function, or a run that a figure needs is missing.
    """
    module = reading.open_room(runs.room, "figures")  # not at import, since Matplotlib takes its time
    from experiments.evidence import style

    for name in names:
        draw = getattr(module, name, None)
        if draw is None:
            raise UserError(f"experiments/{runs.room}/figures.py: has no function {name}, but a caption has that name")
        style.save(draw(runs), folder, name)


def main() -> None:
    """Entry point of ``python -m experiments.evidence.figures``."""
    command = reading.command_line("figures", "Draw the figures of one experiment.", rooms=True, parts=("figures",))
    with command.recorded():
        runs = reading.Runs(command.settings, command.what)
        make(runs, reading.figures(command.settings), drawn(command.settings, command.what))


if __name__ == "__main__":
    run_main(main)
