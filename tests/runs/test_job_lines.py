"""The lines that a person follows the workflow by."""

import io
import logging

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from experiments.runs import job_lines
from experiments.runs.job_lines import JobLines, TimeLeft, follow


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(job_lines.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def lines_on(stream, **counts):
    return JobLines(logging.StreamHandler(stream), counts, {})


def tell(handler, event, message="", level=logging.INFO, **about):
    record = logging.LogRecord("snakemake", level, "", 0, message, None, None)
    record.__dict__.update(about, event=event)
    handler.handle(record)


def start(handler, job, rule, **wildcards):
    tell(handler, LogEvent.JOB_INFO, jobid=job, rule_name=rule, wildcards=wildcards)


def test_before_any_job_has_ended_the_rooms_own_minutes_count(clock):
    left = TimeLeft({"introvae": 4}, {"introvae": 2.0})
    assert left.seconds() == pytest.approx(4 * 2 * 60 / job_lines.STATED_TO_SHOWN)


def test_the_time_left_is_that_of_jobs_of_the_same_rule(clock):
    left = TimeLeft({"introvae": 3}, {"introvae": 2.0})
    left.start(1, "introvae")
    clock.now += 50
    assert left.end(1) == 50
    assert left.seconds() == pytest.approx(100)


def test_a_rule_without_ended_jobs_is_as_fast_as_others_showed(clock):
    left = TimeLeft({"descent": 1, "introvae": 1}, {"descent": 1.0, "introvae": 10.0})
    left.start(1, "descent")
    clock.now += 6  # a tenth of what it states
    left.end(1)
    assert left.seconds() == pytest.approx(60)


def test_two_jobs_at_a_time_halve_it(clock):
    left = TimeLeft({"introvae": 4}, {})
    left.start(1, "introvae")
    left.start(2, "introvae")
    clock.now += 50
    left.end(1)
    left.end(2)
    assert left.seconds() == pytest.approx(50)


def test_a_failed_job_waits_again(clock):
    left = TimeLeft({"introvae": 1}, {})
    left.start(1, "introvae")
    assert left.waiting["introvae"] == 0
    left.fail(1)
    assert left.waiting["introvae"] == 1


def test_a_log_has_a_line_for_every_job_and_nothing_else(clock):
    log = io.StringIO()
    handler = lines_on(log, introvae=2, all=1, total=3)
    start(handler, 1, "introvae", method="fixed", seed="0")
    tell(handler, LogEvent.JOB_STARTED, "Execute 1 jobs...")
    tell(handler, None, "Select jobs to execute...")
    clock.now += 130
    tell(handler, LogEvent.JOB_FINISHED, job_id=1)
    tell(handler, LogEvent.PROGRESS, done=1, total=3)
    (line,) = log.getvalue().splitlines()
    assert line.split(maxsplit=1)[1] == f"{'1 of 3  introvae fixed 0':<54} {'2 min':>7}  about 2 min left"


def test_jobs_of_a_group_are_numbered_one_by_one(clock):
    log = io.StringIO()
    handler = lines_on(log, rows=2)
    for job in (1, 2):
        start(handler, job, "rows", room=str(job))
    for job in (1, 2):
        tell(handler, LogEvent.JOB_FINISHED, job_id=job)
    tell(handler, LogEvent.PROGRESS, done=12, total=40)
    assert [line.split()[1:4] for line in log.getvalue().splitlines()] == [["11", "of", "40"], ["12", "of", "40"]]


def test_a_failure_shows_the_end_of_its_log(clock, tmp_path):
    said = tmp_path / "introvae.log"
    said.write_text("".join(f"line {number}\n" for number in range(100)))
    log = io.StringIO()
    handler = lines_on(log, introvae=1)
    start(handler, 1, "introvae", method="fixed")
    logs = [str(said), str(tmp_path / "absent.log")]
    tell(handler, LogEvent.JOB_ERROR, jobid=1, log=logs, indent=False, level=logging.ERROR)
    lines = log.getvalue().splitlines()
    assert lines[0].endswith("failed: introvae fixed")
    assert lines[1].strip() == f"{said}:"
    assert lines[2:] == [f"    line {number}" for number in range(100 - job_lines.LOG_LINES, 100)]


def test_a_group_that_fails_is_told_of_once(clock):
    log = io.StringIO()
    handler = lines_on(log, rows=2)
    start(handler, 1, "rows")
    handler.screen.setFormatter(logging.Formatter("%(message)s"))
    tell(handler, LogEvent.GROUP_ERROR, "Error in group analysis", level=logging.ERROR)
    tell(handler, LogEvent.JOB_ERROR, jobid=1, log=[], indent=True, level=logging.ERROR)
    assert log.getvalue() == "Error in group analysis\n"
    assert handler.left.waiting["rows"] == 2


def test_what_is_no_jobs_is_shown_as_snakemake_shows_it(clock):
    log = io.StringIO()
    tell(lines_on(log), None, "a warning of {braces} and %s", level=logging.WARNING)
    assert log.getvalue() == "a warning of {braces} and %s\n"


def test_a_terminal_names_the_running_jobs_in_its_last_line(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "30")
    terminal = Terminal()
    handler = lines_on(terminal, introvae=2)
    start(handler, 1, "introvae", method="a-method-of-a-long-name")
    assert terminal.getvalue().endswith("running: introvae a-method-of-a-long-name"[:29])
    tell(handler, LogEvent.JOB_FINISHED, job_id=1)
    tell(handler, LogEvent.PROGRESS, done=1, total=2)
    *_, rest = terminal.getvalue().split("\r\x1b[K")
    assert "1 of 2" in rest
    assert rest.endswith("\n")  # nothing runs


def test_another_logger_is_left_alone():
    logger = logging.Logger("snakemake")
    other = logging.StreamHandler(io.StringIO())
    logger.addHandler(other)
    follow(logger, {}, {})
    assert logger.handlers == [other]
    other.name = "DefaultStreamHandler"
    follow(logger, {}, {})
    assert [type(handler) for handler in logger.handlers] == [JobLines]
