"""What is kept of a finished scale, and that nothing of the old reference is lost when that fails."""

import json
import shutil
from pathlib import Path

import finished_scale as made
import pytest
import synthetic

from experiments.evidence import reading, rows
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
    tables = [f"tables/{name}{suffix}" for name in ("niqe_collapse", "sensitivity") for suffix in (".csv", ".md")]
    kept = {path.relative_to(KEPT).as_posix() for path in KEPT.rglob("*") if path.is_file()}
    assert kept == {"runs.csv", "claims.csv", "claims.md", "provenance.json", *tables}
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
        (no_rows, r"results/made/rows/niqe_collapse\.csv: missing; run the workflow"),
        (no_picture, r"figures/made/niqe_collapse\.png: missing; run the workflow"),
        (no_marks, r"README\.md: lacks the lines <!-- claims: begin --> and <!-- claims: end -->"),
        (no_runs, r"results/made: no runs to keep; run the workflow"),
    ],
)
def test_an_error_leaves_the_old_reference(analysed, monkeypatch, spoil, message):
    monkeypatch.setattr(reference, "SHOWN_SCALE", "made")
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


def test_no_more_of_celeba_or_of_a_folder_is_kept_than_eight_faces():
    celeba = load("config/celeba-10k.yaml")
    section = celeba.introvae.model_copy(update={"dataset": "folder"})
    folder = reference.pictures_to_keep(celeba.model_copy(update={"introvae": section}))
    celeba = reference.pictures_to_keep(celeba)
    assert celeba == folder == ["figure_4_held_out_faces.png", "introvae_course.png", "introvae_quality.png"]
    assert {"figure_3_train_faces.png", "prior_samples.png"} <= set(
        reference.pictures_to_keep(load("config/laptop.yaml"))
    )


def test_a_scale_with_every_room_keeps_the_numbers_of_the_manuscript():
    assert "numbers.json" in reference.results_to_keep(load("config/laptop.yaml"))
    assert "numbers.json" not in reference.results_to_keep(load("config/celeba-10k.yaml"))


# --- the READMEs -------------------------------------------------------------------------------------------------

LEDGER = ROOT / "results/reference/laptop/claims.csv"


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


def test_the_readme_has_a_row_for_each_experiment(documents):
    texts = reference.readmes(load(ROOT / "config/laptop.yaml"), LEDGER, Path("some/claims.md"))
    assert texts.keys() == {Path("README.md"), documents}  # rooms without a README are passed over
    text = texts[Path("README.md")]
    assert text.startswith(f"before\n{reference.CLAIMS[0]}\n| experiment | ")
    assert text.endswith(f"{reference.CLAIMS[1]}\nafter\n")
    assert "old" not in text
    lines = [line for line in text.splitlines() if line.startswith(("| [", "| not measured"))]
    assert len(lines) == 7 <= 10
    claims = reading.claims_of(LEDGER)
    own = claims[claims["id"].str.startswith("gd-")]["verdict"]
    assert lines[0].startswith("| [gradient_descent](experiments/gradient_descent) | ")
    for verdict, count in own.value_counts().items():
        assert f"{count} {verdict}" in lines[0]
    assert (
        "clearly outperforms plain gradient descent (taken as a tenth fewer steps). **not reproduced**: 1.008 [" in text
    )
    assert "[All claims with their measurements](some/claims.md)" in text


def test_the_readme_of_a_room_lists_its_claims(documents):
    text = reference.readmes(load(ROOT / "config/laptop.yaml"), LEDGER, Path("some/claims.md"))[documents]
    assert text.splitlines() == [
        "before",
        reference.RESULTS[0],
        "| statement | measured | verdict |",
        "| --- | --- | --- |",
        "| SoftAdapt's reconstructions have a better NIQE than those of fixed weights. | 0.0063 [0.0063, 0.0063] "
        "(highest minus lowest of the 16 published values) | artefact |",
        reference.RESULTS[1],
        "after",
    ]


def test_runs_that_diverged_are_named_where_there_is_no_number(documents, tmp_path):
    claims = reading.claims_of(LEDGER)
    claims.loc[claims["id"] == "vae-niqe", ["measured", "measured_low", "measured_high"]] = float("nan")
    claims["failed_runs"] = claims["id"].map({"vae-niqe": "ours 1 of 5"})
    claims.to_csv("claims.csv", index=False)
    assert "| runs that diverged: ours 1 of 5 | artefact |" in reference.room_claims(
        Path("claims.csv"), "niqe_collapse"
    )


def test_only_the_shown_scale_changes_the_readme(analysed, monkeypatch):
    Path("README.md").write_text(README.format(*reference.CLAIMS))
    reference.keep(made.scale())
    assert "old" in Path("README.md").read_text()
    monkeypatch.setattr(reference, "SHOWN_SCALE", "made")
    reference.keep(made.scale())
    text = Path("README.md").read_text()
    assert "old" not in text
    assert "[All claims with their measurements](results/reference/made/claims.md)" in text
