"""Make tables, claims and figures of a scale from its committed rows alone, ``results/reference/<scale>/runs.csv``.

Figures of images, trajectories and whole courses need the run folders, which are not committed. Such figures are left
out and named.
"""

import sys

from experiments.evidence import claims, figures, reading, tables
from experiments.runs.errors import UserError, run_main
from experiments.runs.jobs import drawn
from experiments.scale import Settings


def redraw(settings: Settings) -> list[str]:
    """Write everything that needs no run folder. Return the names of the figures that need one.

    Raises:
        UserError: if the scale has no committed rows.
    """
    table = reading.REFERENCE / settings.scale / "runs.csv"
    if not table.exists():
        raise UserError(f"{table}: missing; no rows of this scale are committed, so run the workflow")
    rooms = {room: reading.Runs(settings, room, table) for room in settings.rooms if reading.has_part(room, "findings")}
    findings = {room: reading.open_room(room, "findings").Findings(runs) for room, runs in rooms.items()}
    claims.write(settings, findings)  # first, since figures of specifications read the ledger
    left_out = []
    for room, runs in rooms.items():
        tables.make(runs, reading.results(settings) / "tables")
        for name in drawn(settings, room):
            try:
                figures.make(runs, reading.figures(settings), [name])
            except reading.Missing:
                left_out.append(name)
    return left_out


def main() -> None:
    """Entry point of ``python -m experiments.evidence.redraw``."""
    command = reading.command_line(
        "redraw", "Make tables, claims and figures of a scale from its committed rows.", parts=("findings", "figures")
    )
    with command.recorded():
        left_out = redraw(command.settings)
    print(f"tables and claims: {reading.results(command.settings)}; figures: {reading.figures(command.settings)}")
    if left_out:
        print(f"not drawn, since they need the run folders: {', '.join(left_out)}", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)
