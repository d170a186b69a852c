"""A place with made data and a trained judge where experiments are started, and the table of faults."""

import csv
import io
from collections import Counter, defaultdict
from pathlib import Path

import pytest
import yaml
from made_data import make_faces, make_mnist, tiny_settings
from processes import Process
from scenes import RUNS

from experiments.runs.files import write_text


class Place:
    """Where processes are started: a config, made data, a judge; undisturbed runs are made once and kept."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.checksums = (make_mnist(self.data), make_faces(self.data))
        self.config = folder / "tiny.yaml"
        self.config.write_text(yaml.safe_dump(tiny_settings(self.data)), encoding="utf-8")
        self._undisturbed: dict[tuple[str, ...], Path] = {}
        self._seconds: dict[str, float] = {}
        self._logs = 0

    def start(self, what: str, output: Path, *options: str, prepare=None) -> Process:
        """Start one of `RUNS` into a run folder, with a checkpoint at every step unless `options` say otherwise."""
        room, words = RUNS[what]
        words = [*words, "--config", str(self.config), "--output", str(output)]
        if room == "sparse_autoencoder" and "--classifier" not in options:
            words += ["--classifier", str(self.undisturbed("digit classifier"))]
        if room != "gradient_descent" and "--checkpoint-interval" not in options:  # that one saves after every method
            words += ["--checkpoint-interval", "0"]
        return self.command(room, [*words, *options], prepare=prepare)

    def start_training(self, folder: Path, until: str = "checkpoint.pt") -> Process:
        """Start the digit classifier and return once it has written a file, or has ended."""
        process = self.start("digit classifier", folder)
        while process.running and not (folder / until).exists():
            pass
        return process

    def command(self, room: str, words: list[str], prepare=None) -> Process:
        """Start ``python -m experiments.ROOM`` with these words."""
        self._logs += 1
        return Process(room, words, self.folder / f"{self._logs}.log", self.checksums, prepare)

    def undisturbed(self, what: str, *options: str) -> Path:
        """The folder of the same run that nothing disturbed."""
        key = (what, *options)
        if key not in self._undisturbed:
            folder = self.folder / f"undisturbed-{len(self._undisturbed)}"
            self._undisturbed[key] = folder
            process = self.start(what, folder, *options)
            assert process.wait() == 0, process.printed
            self._seconds["\0".join(key)] = process.seconds
        return self._undisturbed[key]

    def seconds(self, what: str, *options: str) -> float:
        """How long the undisturbed run took."""
        self.undisturbed(what, *options)
        return self._seconds["\0".join((what, *options))]


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def number_of_trials(request):
    return request.config.getoption("--trials")


@pytest.fixture
def only_some(number_of_trials):
    """A function that skips the cases that the thorough mode alone has time for."""

    def skip(what, *quick):
        if number_of_trials == 1 and what not in quick:
            pytest.skip("thorough mode only: make faults")

    return skip


@pytest.fixture
def trials(request):
    """Counts what was really tried, by kind: the table of faults is made of these numbers."""
    counted = Counter()
    yield counted
    request.node.user_properties.append(("trials", dict(counted)))


class Table:
    """Collects the outcomes of the tests in tests/faults and writes them as a table."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.outcomes: dict[str, str] = {}
        self.trials: dict[str, dict[str, int]] = {}

    def pytest_runtest_logreport(self, report):
        if "tests/faults/" not in report.nodeid:
            return
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.nodeid] = report.outcome
        if report.when == "teardown":
            self.trials[report.nodeid] = dict(report.user_properties).get("trials", {})

    def rows(self) -> list[dict[str, object]]:
        """One row a test function: what was demanded, how often it was tried, of what kinds, and how it ended."""
        groups = defaultdict(list)
        for node in sorted(self.outcomes):
            file, function = node.split("[")[0].split("::", 1)
            groups[Path(file).stem.removeprefix("test_"), function.removeprefix("test_")].append(node)
        rows = []
        for (theme, function), nodes in groups.items():
            kinds, trials = Counter(), 0
            for node in nodes:
                counted = self.trials.get(node, {})
                kinds.update(counted)
                trials += (sum(counted.values()) or 1) * (self.outcomes[node] != "skipped")
            ends = Counter(self.outcomes[node] for node in nodes)
            rows.append(
                {"fault": theme.replace("_", " "), "demanded": function.replace("_", " "), "trials": trials}
                | {"of which": ", ".join(f"{kind}: {count}" for kind, count in sorted(kinds.items()))}
                | {"cases": len(nodes), "held": ends["passed"], "failed": ends["failed"], "skipped": ends["skipped"]}
            )
        return rows

    @pytest.hookimpl(tryfirst=True)  # before the workers are ended, which may take its time
    def pytest_sessionfinish(self):
        rows = self.rows()
        if not rows:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path.with_suffix(".csv"), text.getvalue())
        lines = [list(rows[0]), ["---"] * len(rows[0]), *([str(cell) for cell in row.values()] for row in rows)]
        write_text(self.path.with_suffix(".md"), "".join(f"| {' | '.join(line)} |\n" for line in lines))


def pytest_configure(config):
    path = config.getoption("--faults-table")
    if path and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(Path(path)), "table of faults")
