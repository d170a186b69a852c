"""Progress of the workflow: a line for every job that ends, with the number of jobs and about how much time is left.

Snakemake by itself writes a paragraph for every job, most of it names of files. That goes on in its own log, below
``.snakemake/log``. Plans, warnings and errors that are no job's are shown as Snakemake shows them.
"""

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from snakemake_interface_logger_plugins.common import LogEvent

NOT_SHOWN = ("Select jobs to execute...", "Touching output file")
"""How messages start that say nothing to a person."""

LOG_LINES = 20
"""Last lines of the log of a job that failed, which are shown."""

STATED_TO_SHOWN = 4.0
"""How many times faster jobs are than their rooms state, before any job has shown it."""

UNSTATED = 5.0
"""Seconds of a job, as of a table, whose rule states no minutes and has ended none."""


@dataclass
class TimeLeft:
    """Estimates the time until all jobs are done.

    Attributes:
        waiting: rule -> number of its jobs that have not started.
        minutes: rule -> minutes of one of its jobs, as its room states them; rules may be missing.
        running: number of a job -> its rule, and when it started.
        took: rule -> seconds of its jobs that ended.
    """

    waiting: dict[str, int]
    minutes: Mapping[str, float]
    running: dict[int, tuple[str, float]] = field(default_factory=dict)
    took: dict[str, list[float]] = field(default_factory=dict)
    began: float = field(default_factory=lambda: time.monotonic())

    def start(self, job: int, rule: str) -> None:
        """Note that a job starts."""
        self.running[job] = rule, time.monotonic()
        self.waiting[rule] = max(0, self.waiting.get(rule, 0) - 1)

    def end(self, job: int) -> float:
        """Note that a job has ended well, and return its seconds."""
        rule, start = self.running.pop(job)
        seconds = time.monotonic() - start
        self.took.setdefault(rule, []).append(seconds)
        return seconds

    def fail(self, job: int) -> None:
        """Note that a job has failed. It may be tried again."""
        rule, _ = self.running.pop(job)
        self.waiting[rule] += 1

    def seconds(self) -> float:
        """Seconds left, if as many jobs go on to run at a time as did so far."""
        now = time.monotonic()
        left = sum(max(0.0, self._expected(rule) - (now - start)) for rule, start in self.running.values())
        left += sum(number * self._expected(rule) for rule, number in self.waiting.items())
        worked = sum(map(sum, self.took.values())) + sum(now - start for _, start in self.running.values())
        return left / max(1.0, worked / max(1e-9, now - self.began))

    def _expected(self, rule: str) -> float:
        """Seconds of a job: the mean of its rule's; else what its room states, at the speed that other rules showed."""
        if rule in self.took:
            return sum(self.took[rule]) / len(self.took[rule])
        if rule not in self.minutes:
            return UNSTATED
        known = {other: times for other, times in self.took.items() if other in self.minutes}
        stated = sum(60 * self.minutes[other] * len(times) for other, times in known.items())
        factor = sum(map(sum, known.values())) / stated if stated else 1 / STATED_TO_SHOWN
        return 60 * self.minutes[rule] * factor


class JobLines(logging.Handler):
    """Stands before Snakemake's handler of the screen, and replaces what that would say of jobs.

    On a terminal the last line names the jobs that run.

    Args:
        screen: Snakemake's own handler.
        counts: rule -> number of its jobs; ``all`` and ``total`` are passed over.
        minutes: rule -> minutes of one of its jobs, as its room states them; rules may be missing.
    """

    def __init__(self, screen: logging.StreamHandler, counts: Mapping[str, int], minutes: Mapping[str, float]) -> None:
        super().__init__()
        self.screen = screen
        self.left = TimeLeft({rule: count for rule, count in counts.items() if rule not in ("all", "total")}, minutes)
        self.names: dict[int, str] = {}
        """Running job -> its name."""
        self.ended: list[str] = []
        """Lines for the jobs that ended, once it is known how many are done: a group's end together."""
        self.live = bool(getattr(screen.stream, "isatty", bool)())

    def emit(self, record: logging.LogRecord) -> None:
        """Say what a record means for a person, if anything."""
        event, about = getattr(record, "event", None), record.__dict__
        if event == LogEvent.JOB_INFO:
            self.names[about["jobid"]] = " ".join([about["rule_name"], *map(str, about["wildcards"].values())])
            self.left.start(about["jobid"], about["rule_name"])
            self._say()
        elif event == LogEvent.JOB_FINISHED and about["job_id"] in self.names:
            name, seconds = self.names.pop(about["job_id"]), self.left.end(about["job_id"])
            self.ended.append(f"{name:<46} {_duration(seconds):>7}")
        elif event == LogEvent.PROGRESS:
            self._say(*self._ends(about["done"], about["total"]))
        elif event == LogEvent.JOB_ERROR and about["jobid"] in self.names:
            self.left.fail(about["jobid"])
            failure = _failure(self.names.pop(about["jobid"]), about["log"])
            self._say(*([] if about["indent"] else failure))  # Snakemake has told of a group's jobs together
        elif event not in (LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED) and not str(record.msg).startswith(NOT_SHOWN):
            self._clear()
            self.screen.handle(record)

    def _ends(self, done: int, total: int) -> list[str]:
        width, first = len(str(total)), done - len(self.ended) + 1
        left = f"  about {_duration(self.left.seconds())} left" if done < total else ""
        lines = [f"{_clock()}  {number:>{width}} of {total}  {text}" for number, text in enumerate(self.ended, first)]
        self.ended.clear()
        return [f"{line}{left}" for line in lines]

    def _say(self, *lines: str) -> None:
        self._clear()
        self.screen.stream.writelines(f"{line}\n" for line in lines)
        if self.live and self.names:
            running = f"running: {', '.join(self.names.values())}"
            self.screen.stream.write(running[: shutil.get_terminal_size().columns - 1])
        self.screen.flush()

    def _clear(self) -> None:
        if self.live:
            self.screen.stream.write("\r\x1b[K")


def _failure(name: str, logs: list[str]) -> list[str]:
    lines = [f"{_clock()}  failed: {name}"]
    for log in filter(Path.is_file, map(Path, logs)):
        said = log.read_text(encoding="utf-8", errors="replace").splitlines()
        lines += [f"  {log}:", *(f"    {line}" for line in said[-LOG_LINES:])]
    return lines


def _clock() -> str:
    return time.strftime("%H:%M:%S")


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def follow(logger: logging.Logger, counts: Mapping[str, int], minutes: Mapping[str, float]) -> None:
    """Let `JobLines` stand before Snakemake's handler of the screen, unless a logger plugin has taken its place."""
    for screen in list(logger.handlers):
        if screen.name == "DefaultStreamHandler" and isinstance(screen, logging.StreamHandler):
            logger.removeHandler(screen)
            logger.addHandler(JobLines(screen, counts, minutes))


def there(places: Mapping[str, str]) -> list[str]:
    """Lines that name those of the places that exist."""
    return [f"{what:<10}{path}" for what, path in places.items() if Path(path).exists()]
