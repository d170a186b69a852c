"""Runs an experiment in this process, as ``python -m experiments.ROOM`` does."""

from importlib import import_module

from experiments import scale
from experiments.runs.command_line import parse


def run_room(room: str, *words: object) -> None:
    """Run what the words of a command line ask a room for, one run after another."""
    run = import_module(f"experiments.{room}.run").run
    for request in parse(scale, room, arguments=[str(word) for word in words]):
        run(request)
