"""Records of what was made from what, and the chain that they give."""

import contextlib
import json
import re
import shutil
import sys
from pathlib import Path

import finished_scale as made
import pytest
from experiments.analysis import claims, figures, lineage, paper, reading, reference, sensitivity, tables, verify

from experiments.provenance.trace import describe, trace
from experiments.runs.errors import UserError
from experiments.runs.files import write_json
from experiments.scale import load

TABLE = "results/made/tables/niqe_collapse.csv"
FIGURE = "figures/made/niqe_collapse.pdf"


opened: list[Path] | None = None


def _note_opening(event, arguments):
    if event == "open" and opened is not None and isinstance(arguments[0], str | Path) and arguments[1] in ("r", "rb"):
        opened.append(Path(arguments[0]))


sys.addaudithook(_note_opening)


@contextlib.contextmanager
def openings():
    """Every file that the interpreter opens for reading inside."""
    global opened
    opened = found = []
    try:
        yield found
    finally:
        opened = None


@pytest.mark.parametrize(
    ("module", "words", "record"),
    [
        (tables, ["niqe_collapse"], "tables-niqe_collapse"),
        (figures, ["niqe_collapse"], "figures-niqe_collapse"),
        (claims, [], "claims"),
        (sensitivity, [], "sensitivity"),
    ],
)
def test_a_record_names_all_that_was_read_and_written_and_nothing_else(analysed, monkeypatch, module, words, record):
    before = {path: path.stat().st_mtime_ns for path in analysed.rglob("*") if path.is_file()}
    with openings() as found:
        made.command(monkeypatch, module, *words)
    places = ("config", "paper", "results", "figures")
    read = {lineage.name_of(path) for path in found if lineage.name_of(path).split("/")[0] in places}
    read = {name for name in read if not Path(name).name.startswith(".")}  # files being written
    written = {path for path in analysed.rglob("*") if path.is_file() and before.get(path) != path.stat().st_mtime_ns}
    entry = json.loads(Path(f"results/made/lineage/{record}.json").read_text())
    of_runs = {name for name in read if Path(name).parent == made.RUN}
    assert read - of_runs - entry["outputs"].keys() == entry["inputs"].keys()
    assert {lineage.name_of(path) for path in written} == {*entry["outputs"], f"results/made/lineage/{record}.json"}
    assert set(entry["runs"]) == ({str(made.RUN)} if of_runs else set())
    for name, digest in [*entry["outputs"].items(), *entry["inputs"].items()]:
        assert digest == made.fingerprint_of(name)
    for run, digest in entry["runs"].items():
        assert digest == made.fingerprint_of(Path(run, "provenance.json"))


def test_the_record_changes_nothing_but_its_time(analysed, monkeypatch):
    path = Path("results/made/lineage/tables-niqe_collapse.json")
    table, record = Path(TABLE).read_bytes(), json.loads(path.read_text())
    made.command(monkeypatch, tables, "niqe_collapse")
    assert Path(TABLE).read_bytes() == table
    assert json.loads(path.read_text()) | {"time": ""} == record | {"time": ""}
    assert record["command"] == "python -m experiments.evidence.tables niqe_collapse --config config/made.yaml"
    assert {"commit", "dirty", "versions"} <= record["made_on"].keys()


def test_a_command_that_fails_leaves_no_record(analysed, monkeypatch):
    Path("results/made/lineage/tables-niqe_collapse.json").unlink()
    (made.RUN / "metrics.json").unlink()
    with pytest.raises(UserError, match="no finished run"):
        made.command(monkeypatch, tables, "niqe_collapse")
    assert not Path("results/made/lineage/tables-niqe_collapse.json").exists()


def test_outside_of_a_recording_nothing_is_noted(analysed):
    before = sorted(Path("results/made/lineage").iterdir())
    assert lineage.noted("paper/claims.yaml") == Path("paper/claims.yaml")
    lineage.wrote("nothing")
    reading.FinishedRun(made.scale(), "niqe_collapse", "default", 0)
    assert sorted(Path("results/made/lineage").iterdir()) == before


def test_a_table_is_traced_to_its_run_code_data_and_machine(analysed):
    chain = trace(TABLE)
    (file,) = chain["files"]
    assert file["state"] == "as recorded"
    assert file["runs"] == {"niqe_collapse": 1}
    (runs,) = chain["runs"]
    assert runs["methods"] == {"default": [0]}
    assert runs["commits"] == {"0123456789abcdef0123456789abcdef01234567": 1}
    assert runs["data"].keys() == {"orl-faces/images.npy"}
    assert runs["minutes"] == pytest.approx(1.5 / 60)
    assert runs["settings"] == {str(made.RUN): made.fingerprint_of(made.RUN / "config.yaml")}
    text = describe(chain)
    assert f"{TABLE}  sha256 {made.fingerprint_of(TABLE)[:12]}, as recorded" in text
    assert "tables niqe_collapse --config config/made.yaml" in text
    assert "1 run of niqe_collapse\n  methods  default; seeds 0\n  commits  0123456789ab (1 run)\n" in text
    assert "a processor (Linux x86_64), GPU none, threads 1" in text


def test_the_chain_shows_what_has_changed_since(analysed):
    made.flip_a_byte(FIGURE)
    made.make_run(seconds=2.5)
    chain = trace(analysed / FIGURE)
    assert chain["file"] == FIGURE
    assert chain["files"][0]["state"] == "changed"
    assert chain["runs"][0]["changed"] == [str(made.RUN)]
    assert "CHANGED since: recorded was" in describe(chain)


def test_the_manuscript_is_traced_through_its_tables_and_figures_to_the_runs(analysed, monkeypatch):
    manuscript = Path("paper/paper.typ")
    manuscript.write_text('#csv("/results/made/tables/niqe_collapse.csv").len() #json("/results/made/numbers.json").a')
    monkeypatch.setattr(paper, "numbers", lambda settings: {"a": 1})
    command = reading.Command("paper", made.scale(), "", made.CONFIG)
    with command.recorded():
        paper.compile_manuscript(command.settings)
    chain = trace("results/made/paper.pdf")
    paths = [file["path"] for file in chain["files"]]
    assert paths[0] == "results/made/paper.pdf"
    assert {TABLE, FIGURE, "results/made/claims.csv", "results/made/tables/sensitivity.csv"} <= set(paths)
    assert [group["experiment"] for group in chain["runs"]] == ["niqe_collapse"]
    assert "paper/paper.typ" in [source["path"] for source in chain["files"][0]["inputs"]]
    made.flip_a_byte(TABLE)
    assert f"from     {TABLE}  sha256 {made.fingerprint_of(TABLE)[:12]}, CHANGED" in describe(
        trace("results/made/paper.pdf")
    )


def test_all_that_the_manuscript_opens_is_of_a_kind_that_its_record_names():
    text = (made.ROOT / "paper" / "paper.typ").read_text(encoding="utf-8")
    opened = re.findall(r"\b(?:csv|json|yaml|toml|xml|read|image|bibliography)\((\w+ \+ \"/|[^)+,]*)", text)
    assert {'results + "/', 'figures + "/', '"published.yaml"'} <= set(opened)
    known = re.compile(r'(results|figures) \+ "/|"published\.yaml|"/results/')
    assert [start for start in opened if not known.match(start)] == []


def test_a_run_folder_is_traced_too_and_an_old_one_says_what_it_lacks(analysed):
    chain = trace(made.RUN)
    assert {file["path"].split("/")[-1]: file["state"] for file in chain["files"]} == dict.fromkeys(
        ["config.yaml", "history.csv", "metrics.json", "samples.npz"], "as recorded"
    )
    provenance = json.loads((made.RUN / "provenance.json").read_text())
    write_json(
        made.RUN / "provenance.json",
        {key: provenance[key] for key in provenance if key not in ("files", "config_hash")},
    )
    text = describe(trace(made.RUN))
    assert text.count("made before files were hashed") == 5


def test_a_committed_file_is_traced_by_the_summary_kept_with_it(analysed, monkeypatch):
    reference.keep(made.scale())
    kept = "results/reference/made/tables/niqe_collapse.csv"
    for name, command in ((kept, "tables"), ("figures/reference/made/niqe_collapse.png", "figures")):
        chain = trace(name)
        assert chain["files"][0]["state"] == "as recorded"
        assert f"python -m experiments.analysis.{command} niqe_collapse" in describe(chain)
        (runs,) = chain["runs"]
        assert runs["methods"] == {"default": [0]}
    made.flip_a_byte(kept)
    assert trace(kept)["files"][0]["state"] == "changed"


@pytest.mark.parametrize(
    "name", ["results/reference/laptop/tables/introvae_train.csv", "results/reference/laptop/claims.csv"]
)
def test_the_committed_reference_can_be_traced(name):
    chain = trace(name)
    assert {"introvae", "gradient_descent"} <= {group["experiment"] for group in chain["runs"]} or chain["files"][0][
        "command"
    ]
    assert "commits" in describe(chain)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("results/made/nothing.csv", r"results/made/nothing\.csv: no such file; name one"),
        (
            "results/made/report.html",
            r"report\.html: no record of how it was made .* snakemake --configfile config/made\.yaml",
        ),
        ("results/made/runs", r"results/made/runs: no output of the analysis nor a run folder"),
        ("paper/claims.yaml", r"paper/claims\.yaml: no output of the analysis"),
    ],
)
def test_what_cannot_be_traced_is_one_line(analysed, name, message):
    Path("results/made/report.html").write_text("report")
    with pytest.raises(UserError, match=message):
        trace(name)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"commit": 1'])
def test_a_damaged_provenance_is_one_line(analysed, content):
    run = next(Path("results/made/runs").glob("*/*/*"))
    (run / "provenance.json").write_text(content)
    with pytest.raises(UserError, match=r"provenance\.json: (damaged|lacks) .* run the workflow again"):
        trace(run)
    report = verify.verify(load("config/made.yaml"), "config/made.yaml")
    assert any("provenance.json: " in line for line in report.drift)


def test_a_run_outside_of_the_workflow_is_traced_by_its_settings(analysed, tmp_path):
    run = next(Path("results/made/runs").glob("*/*/*"))
    shutil.copytree(run, tmp_path / "mine")
    (group,) = trace(tmp_path / "mine")["runs"]
    assert (group["experiment"], group["count"]) == ("niqe_collapse", 1)


def test_a_damaged_record_is_one_line(analysed):
    Path("results/made/lineage/claims.json").write_text("{")
    with pytest.raises(UserError, match=r"lineage/claims\.json: damaged .* remove it and run the analysis again"):
        trace(TABLE)


def test_every_experiment_of_a_scale_has_the_runs_that_the_workflow_makes():
    runs = reading.runs_of(load("config/laptop.yaml"))
    assert (
        len(runs) == len(set(runs)) == json.loads(Path("results/reference/laptop/provenance.json").read_text())["runs"]
    )
    assert ("gradient_descent", "beale-barzilai_borwein", 0) in runs
    assert ("sparse_autoencoder", "lambda-1e-06", 4) in runs
