"""A reference keeps the small results of a finished scale; if keeping fails, the old reference stays whole."""

import json
import re
import shutil
from pathlib import Path

import finished_scale as made
import pandas as pd
import pytest
import synthetic

from experiments.evidence import reading, rows
from experiments.evidence.specifications import load_ledger
from experiments.provenance import reference
from experiments.runs.errors import UserError
from experiments.runs.files import ROOT, write_json
from experiments.scale import load

KEPT = Path("results/reference/made")
README = "before\n{0}\nold\n{1}\nafter\n"


def files_below(*folders):
    """Every file, with its content."""
    return {str(path): path.read_bytes() for folder in folders for path in Path(folder).rglob("*") if path.is_file()}


def test_small_results_are_kept_and_no_latex(analysed):
    reference.keep(made.scale())
    names = ("claims", "specifications", "tables/niqe_collapse")
    tables = [f"{name}{suffix}" for name in names for suffix in (".csv", ".md")]
    kept = {path.relative_to(KEPT).as_posix() for path in KEPT.rglob("*") if path.is_file()}
    assert kept == {"runs.csv", "provenance.json", *tables}
    assert [path.name for path in Path("figures/reference/made").iterdir()] == ["niqe_collapse.png"]
    for name in kept - {"runs.csv", "provenance.json"}:
        assert (KEPT / name).read_bytes() == Path("results/made", name).read_bytes()
    assert (KEPT / "runs.csv").read_text() == rows.concatenated(made.scale())
    summary = json.loads((KEPT / "provenance.json").read_text())
    assert summary["files"].keys() == {
        *(f"{KEPT}/{name}" for name in kept - {"provenance.json"}),
        "figures/reference/made/niqe_collapse.png",
    }
    assert summary["runs"] == 1
    assert summary["commits"] == {"niqe_collapse": ["0123456789abcdef0123456789abcdef01234567"]}
    assert summary["one_thread_minutes"] == 0.0
    assert sorted(path.name for path in KEPT.parent.iterdir()) == ["made"]  # no scratch


def test_a_new_reference_leaves_nothing_of_the_old(analysed):
    for folder in (KEPT, Path("figures/reference/made")):
        folder.mkdir(parents=True)
        (folder / "old.csv").write_text("old")
    reference.keep(made.scale())
    assert not list(KEPT.rglob("old.csv"))
    assert not Path("figures/reference/made/old.csv").exists()


def no_table():
    Path("results/made/tables/niqe_collapse.md").unlink()


def no_specifications():
    Path("results/made/specifications.csv").unlink()


def no_rows():
    Path("results/made/rows/niqe_collapse.csv").unlink()


def no_picture():
    Path("figures/made/niqe_collapse.png").unlink()


def no_marks():
    Path("README.md").write_text("no place for claims\n")


def no_runs():
    shutil.rmtree("results/made/runs")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_table, r"results/made/tables/niqe_collapse\.md: missing; run the workflow"),
        (no_specifications, r"results/made/specifications\.csv: missing; run the workflow"),
        (no_rows, r"results/made/rows/niqe_collapse\.csv: missing; run the workflow"),
        (no_picture, r"figures/made/niqe_collapse\.png: missing; run the workflow"),
        (no_marks, r"README\.md: lacks the lines <!-- claims: begin --> and <!-- claims: end -->"),
        (no_runs, r"results/made: no runs to keep; run the workflow"),
    ],
)
def test_an_error_leaves_the_old_reference(analysed, monkeypatch, spoil, message):
    monkeypatch.setattr(reference, "SHOWN_SCALES", ("made",))
    Path("README.md").write_text(README.format(*reference.CLAIMS))
    reference.keep(made.scale())
    spoil()
    before = files_below("results/reference", "figures/reference", ".")
    with pytest.raises(UserError, match=message):
        reference.keep(made.scale())
    assert files_below("results/reference", "figures/reference", ".") == before


def test_a_disk_that_fails_between_the_two_folders_leaves_both(analysed, monkeypatch):
    reference.keep(made.scale())
    before = files_below(".")
    made.make_run(seconds=3.0)
    rename = Path.rename

    def fail_for_new_figures(path, target):
        if path.name == "new" and Path(target).parts[0] == "figures":
            raise OSError(5, "Input/output error", str(path))
        return rename(path, target)

    changed = files_below(".")
    monkeypatch.setattr(Path, "rename", fail_for_new_figures)
    with pytest.raises(OSError, match="Input/output error"):
        reference.keep(made.scale())
    assert files_below(".") == changed
    assert {name: content for name, content in changed.items() if "reference" in name} == {
        name: content for name, content in before.items() if "reference" in name
    }


# --- one reproducible set of runs --------------------------------------------------------------------------------


@pytest.fixture
def scale(tmp_path, monkeypatch):
    """Settings of the made scale with all rooms; its runs are written."""
    monkeypatch.chdir(tmp_path)
    return synthetic.scale().write("introvae", "step_cost")


def change(room, method, seed, **values):
    path = Path("results/made/runs", room, method, f"seed-{seed}", "provenance.json")
    write_json(path, json.loads(path.read_text()) | values)


def test_runs_that_the_scale_does_not_name_are_not_its_own(scale):
    """As one typed by hand with another seed, which may even be damaged."""
    before = reference.provenance(scale)
    shutil.copytree("results/made/runs/introvae/fixed/seed-12", "results/made/runs/introvae/fixed/seed-99")
    Path("results/made/runs/introvae/fixed/seed-99/provenance.json").write_text("{")
    assert reference.provenance(scale) == before


GPU = {"gpu": "NVIDIA H100", "threads": 64}


def test_rooms_and_seeds_may_come_from_several_machines_and_all_are_named(scale):
    for method in ("fixed", "softadapt", "equal"):
        change("introvae", method, 12, **GPU)
    summary = reference.provenance(scale)
    here = {"cpu": "a processor", "cpu_capability": None, "gpu": None, "threads": 1, "system": "Linux"}
    assert summary["machines"] == [here, here | GPU]
    expected = {f"introvae/seed-{seed}": int(seed == 12) for seed in synthetic.SEEDS}
    assert summary["machine_of"] == expected | {"step_cost/seed-0": 0}
    assert "one_thread_minutes" not in summary
    assert summary["minutes"] == round((15 * 32 + 3) / 60, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (GPU, "gpu, threads differ"),
        ({"cpu": "another"}, "cpu differ"),
        ({"cpu_capability": "avx"}, "cpu_capability differ"),
        ({"system": "Darwin arm64"}, "system differ"),
        ({"python": "3.13"}, "python differ"),
        ({"versions": {"torch": "3"}}, "torch differ"),
        ({"dirty": True}, "made with uncommitted changes"),
    ],
)
def test_a_difference_paired_by_seed_crosses_no_machines(scale, values, message):
    change("introvae", "softadapt", 12, **values)
    with pytest.raises(UserError, match=rf"softadapt/seed-12/provenance\.json: no part .* \({message}\)"):
        reference.provenance(scale)


def test_runs_have_the_same_data(scale):
    change("introvae", "fixed", 12, data={"images.npy": "before"})
    change("introvae", "softadapt", 12, data={"images.npy": "after"})
    with pytest.raises(UserError, match=r"softadapt/seed-12/provenance\.json: no part .* \(images\.npy differ\)"):
        reference.provenance(scale)


def test_runs_of_a_method_have_one_code(scale):
    Path("results/made/runs/introvae/equal/seed-12/config.yaml").write_text("code: other\n")
    with pytest.raises(UserError, match=r"\(code differ\)"):
        reference.provenance(scale)


def test_runs_that_list_different_packages_are_one_set(scale):
    change("introvae", "fixed", 12, versions={"torch": "2", "typst": "1"}, commit="d" * 40)
    summary = reference.provenance(scale)
    assert summary["versions"] == {"torch": "2", "typst": "1"}
    assert summary["commits"]["introvae"] == ["c" * 40, "d" * 40]
    assert summary["one_thread_minutes"] > 0
    assert "minutes" not in summary


def test_with_few_seeds_no_ledger_is_kept():
    """Fewer than five give no verdict."""
    scale = load("config/introvae-rivals.yaml")
    assert {"claims.csv", "specifications.md"} <= {*reference.results_to_keep(scale)}
    section = scale.introvae.model_copy(update={"seeds": scale.introvae.seeds[:4]})
    kept = reference.results_to_keep(scale.model_copy(update={"introvae": section}))
    assert "tables/introvae_methods.csv" in kept
    assert not [name for name in kept if name.startswith(("claims", "specifications"))]


def test_no_more_of_celeba_or_of_a_folder_is_kept_than_six_faces():
    celeba = load("config/celeba-10k.yaml")
    section = celeba.introvae.model_copy(update={"dataset": "folder"})
    folder = reference.pictures_to_keep(celeba.model_copy(update={"introvae": section}))
    celeba = reference.pictures_to_keep(celeba)
    faces = reference.pictures_to_keep(load("config/introvae-rivals.yaml"))
    assert celeba == folder == [name for name in faces if name != "figure_3_train_faces.png"]
    assert {"figure_3_train_faces.png", "figure_4_held_out_faces.png", "prior_samples.png"} < {*faces}


def test_a_scale_with_every_room_keeps_the_numbers_of_the_manuscript():
    assert "numbers.json" in reference.results_to_keep(load("config/laptop.yaml"))
    assert "numbers.json" not in reference.results_to_keep(load("config/celeba-10k.yaml"))


# --- the READMEs -------------------------------------------------------------------------------------------------

VERDICTS = [
    ("supported", "supported"),
    ("supported", "supported in 3 of 4"),
    ("contradicted", "contradicted"),
    ("hinges", "hinges on step size"),
    ("undecided", "undecided"),
]
"""Word and text of what made claims come to, in turn."""


def made_ledger(path="made.csv", **changes):
    """A ``claims.csv`` with every claim of the ledger and made measurements; `changes` by id."""
    rows = []
    for number, claim in enumerate(load_ledger().claims):
        word, text = VERDICTS[number % len(VERDICTS)]
        if claim.bound is None:
            word = text = claim.kind
        row = {"id": claim.id, "family": claim.family, "where": claim.where, "statement": claim.statement}
        row |= {"measured": 1.25, "measured_low": 1.2, "measured_high": 1.3, "failed_runs": "", "unit": claim.unit}
        row |= {"lowest": 1.0, "highest": 1.5, "specifications": 4, "supporting": 2, "contradicting": 2}
        if claim.kind == "not testable":
            row |= dict.fromkeys(("measured", "measured_low", "measured_high"), float("nan"))
        rows.append(row | {"verdict": word, "reading": text} | changes.get(claim.id, {}))
    pd.DataFrame(rows).to_csv(path, index=False)
    return Path(path)


@pytest.fixture
def documents(tmp_path, monkeypatch):
    """A README, and one of a room, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "paper", "paper")
    room = Path("experiments/niqe_collapse/README.md")
    room.parent.mkdir(parents=True)
    Path("README.md").write_text(README.format(*reference.CLAIMS))
    room.write_text(README.format(*reference.RESULTS))
    return room


def shown(documents, ledger):
    return reference.readmes({"made": ledger})


def test_the_readme_counts_the_papers_claims_and_shows_the_headlines(documents):
    ledger = made_ledger()
    texts = shown(documents, ledger)
    assert texts.keys() == {Path("README.md"), documents}  # rooms without a README are passed over
    text = texts[Path("README.md")]
    claims = reading.claims_of(ledger)
    paper = claims[claims["family"] == "paper"]
    counted = paper["verdict"].value_counts()
    assert text.startswith(f"before\n{reference.CLAIMS[0]}\nOf {len(paper)} claims of the paper: ")
    link = "[made](results/reference/made/claims.md)"
    assert text.endswith(f"\nAll claims, by scale: {link}.\n{reference.CLAIMS[1]}\nafter\n")
    assert "old" not in text
    sentence = text.splitlines()[2]
    for word, count in counted.items():
        assert f"{count} {'hinge on a choice' if word == 'hinges' else word}" in sentence
    numbers = [int(number) for number in re.findall(r"\d+ ", sentence)]
    assert numbers[0] == len(paper) == sum(numbers[1:])
    assert numbers[1:] == sorted(numbers[1:], reverse=True)
    headlines = [claim for claim in load_ledger().claims if claim.headline]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[:2] == ["| claim | main specification | all | verdict |", "| --- | --- | --- | --- |"]
    assert len(lines) == 2 + len(headlines)
    for line, claim in zip(lines[2:], headlines, strict=True):
        statement = claim.statement if claim.family == "paper" else f"*Ours:* {claim.statement}"
        row = claims.set_index("id").loc[claim.id]
        assert line == f"| {statement} | 1.25 [1.2, 1.3] ({claim.unit}) | 1 to 1.5 | {row['reading']} |"


def test_the_readme_counts_none_of_our_claims_with_the_papers(documents):
    ours = {claim.id: {"verdict": "supported"} for claim in load_ledger().claims if claim.family == "ours"}
    theirs = {claim.id: {"verdict": "contradicted"} for claim in load_ledger().claims if claim.family == "paper"}
    text = shown(documents, made_ledger(**ours, **theirs))[Path("README.md")]
    assert f"Of {len(theirs)} claims of the paper: {len(theirs)} contradicted.\n" in text


def test_the_readme_counts_apart_what_holds_in_some_specifications_alone(documents):
    """Two supported in all four, one in three of four, the others contradicted in one of four."""
    whole = {"verdict": "supported", "supporting": 4, "contradicting": 0}
    some = {"verdict": "contradicted", "supporting": 0, "contradicting": 1}
    names = [claim.id for claim in load_ledger().claims if claim.family == "paper"]
    verdicts = dict.fromkeys(names, some) | dict.fromkeys(names[:2], whole) | {names[2]: whole | {"supporting": 3}}
    text = shown(documents, made_ledger(**verdicts))[Path("README.md")]
    counts = f"{len(names) - 3} contradicted in part, 2 supported, 1 supported in part"
    assert f"Of {len(names)} claims of the paper: {counts}.\n" in text


def test_the_readme_of_a_room_lists_its_claims(documents):
    [claim] = [claim for claim in load_ledger().claims if claim.room == "niqe_collapse"]
    text = shown(documents, made_ledger())[documents]
    assert text.splitlines() == [
        "before",
        reference.RESULTS[0],
        "| whose | claim | main specification | all | verdict |",
        "| --- | --- | --- | --- | --- |",
        f"| paper | {claim.statement} | 1.25 [1.2, 1.3] ({claim.unit}) | 1 to 1.5 | artefact |",
        reference.RESULTS[1],
        "after",
    ]


@pytest.mark.parametrize("room", ["gradient_descent", "sparse_autoencoder", "introvae"])
def test_a_room_lists_the_claims_of_both_families_and_no_other_rooms(documents, room):
    ledger = made_ledger()
    lines = reference.room_claims({"made": ledger}, room).splitlines()[2:]
    own = [claim for claim in load_ledger().claims if claim.room == room]
    assert len(lines) == len(own)
    assert {line.split(" | ")[0] for line in lines} <= {"| paper", "| ours"}
    for line, claim in zip(lines, own, strict=True):
        assert line.startswith(f"| {claim.family} | {claim.statement} | ")


def test_what_was_not_measured_has_an_empty_cell(documents):
    absent = dict.fromkeys(("measured", "measured_low", "measured_high"), float("nan"))
    ledger = made_ledger(**{"sae-cost": absent | {"reading": "undecided"}})
    assert " |  | 1 to 1.5 | undecided |\n" in reference.room_claims({"made": ledger}, "step_cost")


def test_a_single_specification_has_no_range(documents):
    for ends in ({"lowest": 1.25, "highest": 1.25}, dict.fromkeys(("lowest", "highest"), float("nan"))):
        ledger = made_ledger(**{"vae-niqe-column": ends})
        assert ") |  | artefact |" in reference.room_claims({"made": ledger}, "niqe_collapse")


def test_runs_that_diverged_are_named_where_there_is_no_number(documents):
    absent = dict.fromkeys(("measured", "measured_low", "measured_high"), float("nan"))
    ledger = made_ledger(**{"vae-niqe-column": absent | {"failed_runs": "ours 1 of 5"}})
    assert "| failed runs: ours 1 of 5 | 1 to 1.5 | artefact |" in reference.room_claims(
        {"made": ledger}, "niqe_collapse"
    )


def test_only_the_shown_scale_changes_the_readme(analysed, monkeypatch):
    Path("README.md").write_text(README.format(*reference.CLAIMS))
    reference.keep(made.scale())
    assert "old" in Path("README.md").read_text()
    monkeypatch.setattr(reference, "SHOWN_SCALES", ("made",))
    reference.keep(made.scale())
    text = Path("README.md").read_text()
    assert "old" not in text
    assert "Of 1 claims of the paper: 1 artefact.\n" in text
    assert "[made](results/reference/made/claims.md)" in text


def test_a_claim_is_that_of_the_first_scale_that_judges_it(documents):
    first = made_ledger("first.csv", **{"sae-cost": {"reading": "of the first"}})
    claims = reading.claims_of(first)
    claims[claims["id"] == "sae-cost"].to_csv("first.csv", index=False)
    second = made_ledger("second.csv", **{name: {"reading": "of the second"} for name in ("sae-cost", "vae-cost")})
    lines = reference.room_claims({"first": first, "second": second}, "step_cost").splitlines()[2:]
    assert [line.rsplit(" | ", 1)[1] for line in lines] == ["of the first |", "of the second |"]
