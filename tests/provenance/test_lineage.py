"""Records of what was made from what, and the chain that they give."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import finished_scale as made
import pytest
from openings import openings

from experiments.evidence import claims, figures, lineage, manuscript, reading, redraw, rows, tables
from experiments.provenance import reference, verify
from experiments.provenance.trace import trace, tree
from experiments.runs.errors import UserError
from experiments.runs.files import write_json
from experiments.scale import load

TABLE = "results/made/tables/niqe_collapse.csv"
FIGURE = "figures/made/niqe_collapse.pdf"
ROWS = "results/made/rows/niqe_collapse.csv"


@pytest.mark.parametrize(
    ("module", "words", "record"),
    [
        (rows, ["niqe_collapse"], "rows-niqe_collapse"),
        (tables, ["niqe_collapse"], "tables-niqe_collapse"),
        (figures, ["niqe_collapse"], "figures-niqe_collapse"),
        (claims, [], "claims"),
    ],
)
def test_a_record_names_all_that_was_read_and_written_and_nothing_else(analysed, monkeypatch, module, words, record):
    before = {path: path.stat().st_mtime_ns for path in analysed.rglob("*") if path.is_file()}
    with openings() as found:
        made.command(monkeypatch, module, *words)
    places = ("config", "paper", "results", "figures")
    read = {lineage.name_of(path) for path in found if lineage.name_of(path).split("/")[0] in places}
    read = {name for name in read if not Path(name).name.startswith(".")}  # files being written
    read = {name for name in read if Path(name).parent != Path("results/made/lineage")}  # the records themselves
    written = {path for path in analysed.rglob("*") if path.is_file() and before.get(path) != path.stat().st_mtime_ns}
    entry = json.loads(Path(f"results/made/lineage/{record}.json").read_text())
    of_runs = {name for name in read if Path(name).parent == made.RUN}
    assert read - of_runs - entry["outputs"].keys() == entry["inputs"].keys()
    assert {lineage.name_of(path) for path in written} == {*entry["outputs"], f"results/made/lineage/{record}.json"}
    assert set(entry["runs"]) == ({str(made.RUN)} if of_runs else set())
    opened_of_runs = [lineage.name_of(path) for path in found if Path(lineage.name_of(path)).parent == made.RUN]
    assert len(opened_of_runs) == len(set(opened_of_runs))  # each read once
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
    assert record["modules"] == ["experiments.evidence.tables", "experiments.niqe_collapse.findings"]


def test_every_file_of_a_chain_of_settings_is_an_input(analysed, monkeypatch):
    Path("config/base.yaml").write_text(Path(made.CONFIG).read_text())
    Path("config/middle.yaml").write_text("base: base.yaml\n")
    Path(made.CONFIG).write_text("base: middle.yaml\n")
    made.command(monkeypatch, tables, "niqe_collapse")
    inputs = json.loads(Path("results/made/lineage/tables-niqe_collapse.json").read_text())["inputs"]
    assert {made.CONFIG, "config/middle.yaml", "config/base.yaml"} <= inputs.keys()


def test_an_output_has_the_record_of_the_command_that_wrote_it_last(analysed, monkeypatch):
    reference.keep(made.scale())
    shutil.rmtree(made.RUN)
    made.command(monkeypatch, redraw)
    assert lineage.record_of(TABLE).command == f"python -m experiments.evidence.redraw --config {made.CONFIG}"
    assert not Path("results/made/lineage/tables-niqe_collapse.json").exists()
    made.command(monkeypatch, tables, "niqe_collapse")
    assert lineage.record_of(TABLE).command.startswith("python -m experiments.evidence.tables niqe_collapse ")
    assert TABLE not in json.loads(Path("results/made/lineage/redraw.json").read_text())["outputs"]
    assert lineage.record_of("results/made/claims.csv").command.startswith("python -m experiments.evidence.redraw ")


def test_a_command_that_fails_leaves_no_record(analysed, monkeypatch):
    Path("results/made/lineage/rows-niqe_collapse.json").unlink()
    (made.RUN / "metrics.json").unlink()
    with pytest.raises(UserError, match="no finished run"):
        made.command(monkeypatch, rows, "niqe_collapse")
    assert not Path("results/made/lineage/rows-niqe_collapse.json").exists()


def test_outside_of_a_recording_nothing_is_noted(analysed):
    before = sorted(Path("results/made/lineage").iterdir())
    assert lineage.noted("paper/claims.yaml") == Path("paper/claims.yaml")
    lineage.wrote("nothing")
    reading.FinishedRun(made.RUN)
    assert sorted(Path("results/made/lineage").iterdir()) == before


def test_a_table_is_traced_to_its_run_code_data_and_machine(analysed):
    chain = trace(TABLE)
    table, gathered = chain["files"]
    assert (table["path"], gathered["path"]) == (TABLE, ROWS)
    assert (table["state"], gathered["state"]) == ("as recorded", "as recorded")
    assert (table["runs"], gathered["runs"]) == ({}, {"niqe_collapse": 1})
    (runs,) = chain["runs"]
    assert runs["methods"] == {"default": [0]}
    assert runs["commits"] == {"0123456789abcdef0123456789abcdef01234567": 1}
    assert runs["data"].keys() == {"orl-faces/images.npy"}
    assert runs["minutes"] == pytest.approx(1.5 / 60)
    assert runs["settings"] == {str(made.RUN): made.fingerprint_of(made.RUN / "config.yaml")}
    assert runs["machines"] == [
        {"cpu": "a processor", "cpu_capability": "avx avx2", "gpu": None, "threads": 1, "system": "Linux x86_64"}
    ]


def test_the_tree_of_a_table(analysed):
    """Each file, below it the command that made it, below that what the command read."""
    lines = [
        re.sub(r" at commit [0-9a-f]{12}( with uncommitted changes)?, .*", " AT", line) for line in lines_of(TABLE)
    ]
    assert lines == [
        f"{TABLE}  {made.fingerprint_of(TABLE)[:12]} as recorded",
        f"<- python -m experiments.evidence.tables niqe_collapse --config {made.CONFIG} AT",
        f"    {made.CONFIG}, paper/published.yaml",
        f"    {ROWS}  {made.fingerprint_of(ROWS)[:12]} as recorded",
        f"    <- python -m experiments.evidence.rows niqe_collapse --config {made.CONFIG} AT",
        f"        {made.CONFIG}",
        "        1 run of niqe_collapse",
        "1 run of niqe_collapse at commit 0123456789ab",
        '  {"cpu": "a processor", "cpu_capability": "avx avx2", "gpu": null, "threads": 1, "system": "Linux x86_64"}',
    ]


def lines_of(name):
    return tree(trace(name)).splitlines()


def test_the_chain_shows_what_has_changed_since(analysed):
    made.flip_a_byte(FIGURE)
    made.make_run(seconds=2.5)
    chain = trace(analysed / FIGURE)
    assert chain["file"] == FIGURE
    assert chain["files"][0]["state"] == "changed"
    assert chain["runs"][0]["changed"] == [str(made.RUN)]
    text = tree(chain)
    assert f"{FIGURE}  {made.fingerprint_of(FIGURE)[:12]} CHANGED\n" in text
    assert f"  CHANGED since it was read: {made.RUN}" in text


def test_the_manuscript_is_traced_through_its_tables_and_figures_to_the_runs(analysed, monkeypatch):
    Path("paper/paper.typ").write_text(
        '#csv("/results/made/tables/niqe_collapse.csv").len() #json("/results/made/numbers.json").a'
    )
    monkeypatch.setattr(manuscript, "numbers", lambda settings: {"a": 1})
    command = reading.Command("manuscript", made.scale(), "", made.CONFIG)
    with command.recorded():
        manuscript.compile_manuscript(command.settings)
    record = json.loads(Path("results/made/lineage/manuscript.json").read_text())
    read = [*("paper/paper.typ", "paper/published.yaml", "paper/claims.yaml"), TABLE, FIGURE, made.CONFIG]
    read.append("results/made/claims.csv")
    assert sorted(record["inputs"]) == sorted([*read, "results/made/numbers.json"])  # which the words name
    assert sorted(record["outputs"]) == ["results/made/numbers.json", "results/made/paper.pdf"]
    chain = trace("results/made/paper.pdf")
    paths = [file["path"] for file in chain["files"]]
    assert paths[0] == "results/made/paper.pdf"
    assert {TABLE, FIGURE, "results/made/claims.csv"} <= set(paths)
    assert [group["experiment"] for group in chain["runs"]] == ["niqe_collapse"]
    assert "paper/paper.typ" in [source["path"] for source in chain["files"][0]["inputs"]]
    made.flip_a_byte(TABLE)
    text = tree(trace("results/made/paper.pdf"))
    assert f"    {TABLE}  {made.fingerprint_of(TABLE)[:12]} CHANGED\n" in text
    commands = [line.strip() for line in text.splitlines() if "<-" in line]
    opened = [line for line in commands if not line.endswith(" (above)")]
    assert len(opened) == len(set(opened)) == 5  # each command is followed once


def test_all_that_the_manuscript_opens_is_of_a_kind_that_its_record_names():
    text = (made.ROOT / "paper" / "paper.typ").read_text(encoding="utf-8")
    opened = re.findall(r"\b(?:csv|json|yaml|toml|xml|read|image|bibliography)\((\w+ \+ \"/|[^)+,]*)", text)
    assert {'results + "/', 'figures + "/', '"published.yaml"', '"claims.yaml"', '"references.bib"'} <= set(opened)
    known = re.compile(r'(results|figures) \+ "/|"(published|claims)\.yaml"|"references\.bib"|"/results/')
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
    assert {file["state"] for file in trace(made.RUN)["files"]} == {"not recorded"}
    assert trace(made.RUN)["runs"][0]["without_hashes"] == [str(made.RUN)]
    assert tree(trace(made.RUN)).count(" not recorded\n") == 4


def test_a_committed_file_is_traced_by_the_summary_kept_with_it(analysed, monkeypatch):
    reference.keep(made.scale())
    kept = "results/reference/made/tables/niqe_collapse.csv"
    for name, command in ((kept, "tables"), ("figures/reference/made/niqe_collapse.png", "figures")):
        chain = trace(name)
        assert chain["files"][0]["state"] == "as recorded"
        assert f"python -m experiments.evidence.{command} niqe_collapse" in tree(chain)
        (runs,) = chain["runs"]
        assert runs["methods"] == {"default": [0]}
    made.flip_a_byte(kept)
    assert trace(kept)["files"][0]["state"] == "changed"


@pytest.mark.parametrize(
    "name", ["results/reference/full/tables/niqe_collapse.csv", "results/reference/full/claims.csv"]
)
def test_the_committed_reference_can_be_traced(name):
    """To the runs of its summary: all of them where the file does not say, else those that it says."""
    chain = trace(name)
    summary = json.loads(Path("results/reference/full/provenance.json").read_text())
    rooms = summary.get("files", {}).get(name, {}).get("runs", summary["commits"])
    assert [group["experiment"] for group in chain["runs"]] == list(rooms)
    for group in chain["runs"]:
        assert list(group["commits"]) == summary["commits"][group["experiment"]]
        assert f"of {group['experiment']} at commit {next(iter(group['commits']))[:12]}" in tree(chain)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("results/made/nothing.csv", r"results/made/nothing\.csv: no such file; name one"),
        (
            "results/made/report.html",
            r"report\.html: no record of how it was made .* snakemake --configfile config/made\.yaml",
        ),
        ("results/made/runs", r"results/made/runs: neither an output of experiments.evidence nor a run folder"),
        ("paper/claims.yaml", r"paper/claims\.yaml: neither an output of experiments.evidence"),
        # it holds a provenance.json as run folders do, and nobody is told to remove it
        ("results/reference/made", r"^results/reference/made: neither an output of experiments.evidence"),
    ],
)
def test_what_cannot_be_traced_is_one_line(analysed, name, message):
    Path("results/made/report.html").write_text("report")
    reference.keep(made.scale())
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
    with pytest.raises(UserError, match=r"lineage/claims\.json: damaged .* remove it and run the workflow again"):
        trace(TABLE)


def test_every_experiment_of_a_scale_has_the_runs_that_the_workflow_makes():
    runs = reading.runs_of(load("config/laptop.yaml"))
    methods = (
        6 + 5 + 3
    )  # fixed lambdas, others and warm-ups, of five seeds each; IntroVAE has two methods of five seeds
    assert len(runs) == len(set(runs)) == 6 + 1 + 5 * methods + 2 * 5 + 3
    assert ("gradient_descent", "beale-frozen_secant", 10) in runs
    assert ("sparse_autoencoder", "lambda-1e-06", 14) in runs


def test_a_method_of_the_first_few_seeds_has_no_runs_of_the_others():
    runs = {run[1:] for run in reading.runs_of(load("config/full.yaml")) if run[0] == "sparse_autoencoder"}
    seeds = {name: sorted(seed for other, seed in runs if other == name) for name, _ in runs}
    assert seeds["softadapt"] == seeds["softadapt-yoked"] == seeds["warm-up-5.lambda-0.001"] == list(range(10, 20))
    assert seeds["gradnorm"] == seeds["wide.softadapt"] == seeds["units-10"] == [10, 11, 12, 13, 14]


def test_a_redrawn_scale_has_its_specifications_and_a_record_of_them(analysed, monkeypatch):
    reference.keep(made.scale())
    for place in ("results/made", "figures/made"):
        shutil.rmtree(place)
    made.command(monkeypatch, redraw)
    names = {f"results/made/{name}.{form}" for name in ("claims", "specifications") for form in ("csv", "md", "tex")}
    assert all(Path(name).is_file() for name in names)
    record = json.loads(Path("results/made/lineage/redraw.json").read_text())
    assert names <= record["outputs"].keys()
    for name in ("claims", "specifications"):
        kept = Path("results/reference/made", f"{name}.csv")
        assert Path("results/made", f"{name}.csv").read_bytes() == kept.read_bytes()
    assert verify.verify(made.scale(), made.CONFIG).drift == [
        f"{made.RUN}: expected a finished run, found none; run snakemake --configfile {made.CONFIG} --cores 2"
    ]


def test_committed_rows_alone_give_a_row_for_every_specification_that_they_answer(tmp_path, monkeypatch):
    """As by ``make figures SCALE=celeba-10k``: one seed decides nothing, but every claim on two weights is measured."""
    shutil.copytree("paper", tmp_path / "paper")
    shutil.copytree("config", tmp_path / "config")
    shutil.copytree("results/reference/celeba-10k", tmp_path / "results/reference/celeba-10k")
    monkeypatch.chdir(tmp_path)
    redraw.redraw(load("config/celeba-10k.yaml"))
    ledger = reading.claims_of(Path("results/celeba-10k/claims.csv")).set_index("id")
    cells = reading.claims_of(Path("results/celeba-10k/specifications.csv"))
    assert set(cells["id"]) <= set(ledger.index)
    assert ledger["specifications"].sum() == len(cells) > 0
    assert set(cells["weights"].dropna()) <= {"two", "three"}
    assert set(cells["decision"]) == {"undecided"}
    main = cells[cells["main"]].set_index("id")["measured"]
    assert main.index.is_unique
    assert main.to_dict() == pytest.approx(ledger.loc[main.index, "measured"].to_dict(), nan_ok=True)


@pytest.mark.parametrize("target", ["figures", "verify", "compare"])
def test_make_hands_its_scale_on(target):
    words = ["make", "--dry-run", target, "SCALE=celeba-10k"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    module = {"figures": "evidence.redraw"}.get(target, f"provenance.{target}")
    assert f'python -m experiments.{module} --config "config/$SCALE.yaml"' in done.stdout.splitlines()
