"""What a person sees of the workflow: a line for every job that ends, how many there are, and about how much time is left.

Snakemake by itself writes a paragraph for every job, most of it names of files. All of that stays in its own log below
``.snakemake/log``. Errors, warnings and plans are shown as Snakemake shows them.
"""

import logging
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.common import LogEvent

SHOWN_OTHERWISE = {LogEvent.JOB_INFO, LogEvent.JOB_STARTED, LogEvent.JOB_FINISHED, LogEvent.PROGRESS}
UNTIMED = 5.0
"""Seconds that a job takes of which nothing is known: tables and figures."""

SPEED = 4.0
"""How many times faster a job is than its room states, before the first job has shown it."""


class JobLines(logging.Handler):
    """Stands before the handler of the screen, and replaces what that would say of jobs that start and end.

    Args:
        screen: Snakemake's own handler.
        counts: rule -> number of its jobs.
        minutes: rule -> minutes of one of its jobs, as its room states them; rules may be missing.
    """

    def __init__(self, screen: logging.StreamHandler, counts: Mapping[str, int], minutes: Mapping[str, float]) -> None:
        super().__init__()
        self.screen, self.minutes = screen, dict(minutes)
        self.waiting = {rule: number for rule, number in counts.items() if rule not in ("all", "total")}
        """Rule -> number of its jobs that have not started."""
        self.running: dict[int, tuple[str, str, float]] = {}
        """Job -> its rule, its name and when it started."""
        self.took: dict[str, list[float]] = {}
        """Rule -> seconds of its jobs that ended."""
        self.ended: list[str] = []
        self.began = time.monotonic()
        self.live = bool(getattr(screen.stream, "isatty", bool)())

    def emit(self, record: logging.LogRecord) -> None:
        """Note what started and ended; write a line for what ended, and leave everything else to the screen's handler."""
        event, fields = getattr(record, "event", None), record.__dict__
        if event == LogEvent.JOB_INFO:
            self._note_start(fields["jobid"], fields["rule_name"], fields["wildcards"])
        elif event == LogEvent.JOB_FINISHED and fields["job_id"] in self.running:
            self._note_end(fields["job_id"])
        elif event == LogEvent.JOB_ERROR and fields["jobid"] in self.running:
            self.waiting[self.running.pop(fields["jobid"])[0]] += 1  # it may be tried again
        if event == LogEvent.PROGRESS:
            self._write("".join(f"{line}\n" for line in self._lines(fields["done"], fields["total"])))
        elif event not in SHOWN_OTHERWISE and record.getMessage() != "Select jobs to execute...":
            self._write("")
            self.screen.handle(record)
        elif event == LogEvent.JOB_INFO:
            self._write("")
        if event in SHOWN_OTHERWISE and self.live:
            self._write_status()

    def seconds_left(self) -> float:
        """Seconds until the last job ends, if jobs go on to run as many at a time as they did so far."""
        now = time.monotonic()
        left = sum(max(0.0, self._expected(rule) - (now - start)) for rule, _, start in self.running.values())
        left += sum(number * self._expected(rule) for rule, number in self.waiting.items())
        done = sum(map(sum, self.took.values())) + sum(now - start for _, _, start in self.running.values())
        return left / max(1.0, done / max(1e-9, now - self.began))

    def _note_start(self, job: int, rule: str, wildcards: Mapping[str, Any]) -> None:
        self.running[job] = rule, " ".join([rule, *map(str, wildcards.values())]), time.monotonic()
        self.waiting[rule] = self.waiting.get(rule, 1) - 1

    def _note_end(self, job: int) -> None:
        rule, name, start = self.running.pop(job)
        seconds = time.monotonic() - start
        self.took.setdefault(rule, []).append(seconds)
        self.ended.append(f"{name:<44} {_duration(seconds):>10}")

    def _expected(self, rule: str) -> float:
        """Seconds of a job: the mean of this rule's; else what the room states, at the speed that others showed."""
        if rule in self.took:
            return sum(self.took[rule]) / len(self.took[rule])
        if rule not in self.minutes:
            return UNTIMED
        stated = sum(
            60 * self.minutes[other] * len(times) for other, times in self.took.items() if other in self.minutes
        )
        shown = sum(sum(times) for other, times in self.took.items() if other in self.minutes)
        return 60 * self.minutes[rule] * (shown / stated if stated else 1 / SPEED)

    def _lines(self, done: int, total: int) -> list[str]:
        width = len(str(total))
        left = f"about {_duration(self.seconds_left())} left" if done < total else ""
        first = done - len(self.ended) + 1
        lines = [f"{first + i:>{width}} of {total}  {text}  {left}".rstrip() for i, text in enumerate(self.ended)]
        self.ended.clear()
        return [f"{time.strftime('%H:%M:%S')}  {line}" for line in lines]

    def _write(self, text: str) -> None:
        self.screen.stream.write(("\r\x1b[K" if self.live else "") + text)
        self.screen.flush()

    def _write_status(self) -> None:
        if self.running:
            text = "running: " + ", ".join(name for _, name, _ in self.running.values())
            self.screen.stream.write(text[: shutil.get_terminal_size().columns - 1])
            self.screen.flush()


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def follow(logger: logging.Logger, counts: Mapping[str, int], minutes: Mapping[str, float]) -> None:
    """Let `JobLines` stand before Snakemake's handler of the screen, where it has one: another logger takes its place."""
    for screen in list(logger.handlers):
        if screen.name != "DefaultStreamHandler" or not isinstance(screen, logging.StreamHandler):
            continue
        logger.removeHandler(screen)
        logger.addHandler(JobLines(screen, counts, minutes))


def there(places: Mapping[str, str]) -> Iterable[str]:
    """Lines that name those of the places that exist."""
    return [f"{what:<10}{path}" for what, path in places.items() if Path(path).exists()]
