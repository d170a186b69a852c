"""A number that moved is found; one that did not is not."""

import csv
import json
import shutil
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import made_reference
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.evidence.reading import MACHINE, PROVENANCE
from experiments.provenance import compare
from experiments.provenance.tolerances import Tolerance, Tolerances, Written, judge, load_tolerances
from experiments.runs.errors import UserError
from experiments.runs.files import write_json

REFERENCE = Path("results/reference/laptop")
SCALES = sorted(path.resolve() for path in REFERENCE.parent.iterdir() if path.is_dir())
TOLERANCES = load_tolerances()


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """The folder of fresh results of a scale that equal its reference, made by hand; and the working directory."""
    shutil.copytree("paper", tmp_path / "paper")
    shutil.copytree("config", tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    made_reference.write(REFERENCE)
    return Path(shutil.copytree(REFERENCE, "results/laptop"))


def edit(path, row, column, change):
    """Change one cell of a CSV file; `row` is its number."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[row][column] = change(rows[row][column])
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def run(monkeypatch, capsys):
    """Exit code and lines of the command."""
    monkeypatch.setattr(sys, "argv", ["compare"])
    code = 0
    try:
        compare.main()
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("scale", SCALES, ids=lambda path: path.name)
def test_a_folder_beside_itself_moves_nothing(scale):
    tables = compare.tables_of(scale, TOLERANCES)
    comparisons = compare.compare(tables, tables, TOLERANCES)
    assert {comparison.status for comparison in comparisons} == {"equal"}
    cells = sum(len(columns) for table in tables.values() for columns in table.values())
    assert len(comparisons) == cells > 50


def test_equal_results_exit_with_zero(fresh, monkeypatch, capsys):
    code, lines = run(monkeypatch, capsys)
    assert code == 0
    assert lines[-1].endswith("0 missing, 0 new, 0 moved, 0 verdicts changed")
    with (fresh / "comparison.csv").open() as file:
        assert {row["status"] for row in csv.DictReader(file)} == {"equal"}


def test_a_moved_number_is_named(fresh, monkeypatch, capsys):
    path = fresh / "tables" / "introvae_train.csv"
    for column in ("psnr", "psnr_low", "psnr_high"):
        edit(path, 3, column, lambda text: str(float(text) + 3))
    code, lines = run(monkeypatch, capsys)
    assert code == 1
    (moved,) = [line for line in lines if line.startswith("moved")]
    assert moved.startswith(
        "moved    introvae_train, fixed, 120, psnr: reference 22.0 [21.9, 22.1], fresh 25.0 [24.9, "
    )
    assert moved.endswith("; tolerance widen 2, relative 0.001")
    assert lines[-1].endswith("1 moved, 0 verdicts changed")


def test_a_number_inside_the_widened_interval_is_tolerated(fresh, monkeypatch, capsys):
    path = fresh / "tables" / "introvae_train.csv"
    edit(path, 3, "psnr", lambda text: str(float(text) + 0.02))
    code, lines = run(monkeypatch, capsys)
    assert code == 0
    assert " 1 within tolerance, " in lines[-1]


def test_a_changed_verdict_is_named_though_its_number_is_tolerated(fresh, monkeypatch, capsys):
    edit(fresh / "claims.csv", 0, "verdict", lambda text: "undecided")
    code, lines = run(monkeypatch, capsys)
    assert code == 1
    assert lines[0] == "verdict  claims, gd-rosenbrock-original, verdict: reference contradicted, fresh undecided"
    assert lines[-1].endswith("0 moved, 1 verdicts changed")


def test_times_are_reported_not_judged(fresh, monkeypatch, capsys):
    edit(fresh / "tables" / "introvae_methods.csv", 0, "train_seconds", lambda text: str(3 * float(text)))
    code, lines = run(monkeypatch, capsys)
    assert code == 0
    assert "times    1, fresh over reference: 3 to 3, median 3" in lines


def test_missing_and_new_rows_are_named(fresh, monkeypatch, capsys):
    path = fresh / "tables" / "namesakes.csv"
    path.write_text(path.read_text().replace("\nNeuralPDE,", "\nEquation 5,"))
    code, lines = run(monkeypatch, capsys)
    assert code == 1
    assert "missing  namesakes, NeuralPDE: random_share, recorded_share" in lines
    assert "new      namesakes, Equation 5: random_share, recorded_share" in lines


def test_what_is_new_alone_is_no_failure(fresh, monkeypatch, capsys):
    path = fresh / "tables" / "namesakes.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[1].replace("equation 4", "another") + "\n")
    assert run(monkeypatch, capsys)[0] == 0


# --- the specifications of the claims --------------------------------------------------------------------------------


def test_a_specification_is_named_by_its_options(fresh):
    table = compare.tables_of(fresh, TOLERANCES)["specifications"]
    assert list(table) == [
        "gd-rosenbrock-original, own",
        "gd-rosenbrock-original, plain",
        "sae-validation-loss, best_pcc, total",
        "sae-validation-loss, best_pcc, error",
        "sae-cost",
        "vae-psnr, two",
        "vae-psnr, three",
    ]
    columns = ["main", "measured", "observations", "failed_runs", "p", "decision"]
    assert {tuple(row) for row in table.values()} == {tuple(columns)}


def test_two_specifications_of_the_same_options_are_one_line(fresh):
    path = fresh / "specifications.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    with pytest.raises(UserError, match=r"specifications\.csv: several rows vae-psnr, three; name more columns"):
        compare.tables_of(fresh, TOLERANCES)


def test_a_scale_without_specifications_is_compared_all_the_same(fresh, monkeypatch, capsys):
    """As one whose claims have no bound: its table is empty."""
    for folder in (fresh, REFERENCE):
        (folder / "specifications.csv").write_text("\n")
    assert compare.tables_of(fresh, TOLERANCES)["specifications"] == {}
    assert run(monkeypatch, capsys)[0] == 0


def test_a_specification_that_moved_is_named_though_the_verdict_stands(fresh, monkeypatch, capsys):
    for column in ("measured", "measured_low", "measured_high"):
        edit(fresh / "specifications.csv", 3, column, lambda text: str(float(text) + 0.2))
    code, lines = run(monkeypatch, capsys)
    assert code == 1
    [moved] = [line for line in lines if line.startswith("moved")]
    assert moved.startswith("moved    specifications, sae-validation-loss, best_pcc, error, measured: reference 0.75 [")
    assert moved.endswith("; tolerance widen 0, relative 0.001")


def test_specifications_of_adversarial_training_have_wider_tolerances(fresh, monkeypatch, capsys):
    for row in (5, 3):
        edit(fresh / "specifications.csv", row, "measured", lambda text: str(float(text) + 0.45))
    _, lines = run(monkeypatch, capsys)
    assert [line.split(", measured")[0] for line in lines if line.startswith("moved")] == [
        "moved    specifications, sae-validation-loss, best_pcc, error"
    ]


def test_a_specification_that_is_not_there_is_missing(fresh, monkeypatch, capsys):
    path = fresh / "specifications.csv"
    path.write_text("".join(line for line in path.open() if "plain" not in line))
    code, lines = run(monkeypatch, capsys)
    assert code == 1
    [missing] = [line for line in lines if line.startswith("missing")]
    assert missing.startswith("missing  specifications, gd-rosenbrock-original, plain: main, measured, ")


@pytest.mark.parametrize(
    ("table", "column", "text", "code"),
    [
        ("specifications", "decision", "undecided", 0),  # follows from what is judged
        ("specifications", "p", "0.9", 0),
        ("specifications", "main", "False", 1),
        ("specifications", "observations", "4", 1),
        ("specifications", "failed_runs", "ours 1 of 5", 1),
        ("claims", "reading", "supported in 1 of 2", 0),
        ("claims", "supporting", "1", 0),
        ("claims", "lowest", "0.1", 0),
        ("claims", "not_run", "1", 1),
        ("claims", "observations", "4", 1),
        ("claims", "rule", "below 0.9", 1),
    ],
)
def test_what_is_judged_of_a_claim_and_what_follows(fresh, monkeypatch, capsys, table, column, text, code):
    edit(fresh / f"{table}.csv", 1, column, lambda _: text)
    edit(fresh / f"{table}.csv", 0, column, lambda _: text)
    assert run(monkeypatch, capsys)[0] == code


def test_what_a_step_costs_is_a_time_in_claims_and_specifications(fresh, monkeypatch, capsys):
    for name, row in (("claims", 2), ("specifications", 4)):
        edit(fresh / f"{name}.csv", row, "measured", lambda text: str(4 * float(text)))
    code, lines = run(monkeypatch, capsys)
    assert code == 0
    assert "times    2, fresh over reference: 4 to 4, median 4" in lines


@pytest.mark.parametrize(
    ("row", "column", "factor", "code"),
    [
        (0, "expected_steps", 1.0005, 0),
        (0, "expected_steps", 1.01, 1),  # fixed steps are the same arithmetic everywhere
        (0, "quartile_steps", 1.01, 1),  # though it lies between the quartiles
        (1, "expected_steps", 1.25, 0),  # Barzilai-Borwein steps are chaotic
        (1, "expected_steps", 1.35, 1),
        (1, "quartile_steps", 1.25, 0),
        (1, "quartile_steps", 1.35, 1),
        (1, "arrived_share", 0.95, 0),
        (1, "arrived_share", 0.9, 1),
        (1, "step_size", 1.57, 0),
        (1, "step_size", 2.5, 1),
        (1, "beta", 10, 1),
        (1, "expected_ratio_to_plain", 1.05, 0),
        (1, "expected_ratio_to_plain", 1.1, 1),
        (1, "starts", 2, 1),
    ],
)
def test_steps_of_descent_have_tolerances_of_their_own(fresh, monkeypatch, capsys, row, column, factor, code):
    edit(fresh / "tables/gradient_descent.csv", row, column, lambda text: str(float(text) * factor))
    assert run(monkeypatch, capsys)[0] == code


finite = st.floats(-1e6, 1e6, allow_nan=False)


@given(low=finite, width=st.floats(0, 1e3), shift=finite)
def test_what_lies_in_the_widened_reference_is_tolerated_and_all_else_is_not(low, width, shift):
    high = low + width
    reference = Written(repr((low + high) / 2), repr(low), repr(high))
    fresh = Written(repr((low + high) / 2 + shift), repr(low + shift), repr(high + shift))
    status = judge(Tolerance(widen=1), reference, fresh)
    if abs(shift) < 1.49 * width:
        assert status in ("equal", "within tolerance")
    elif abs(shift) > 1.51 * width + 1e-6:
        assert status == "moved"


def test_a_wide_interval_of_its_own_excuses_no_number():
    """As one broken seed among three gives."""
    assert judge(Tolerance(widen=1), Written("32.9", "32.5", "33.3"), Written("20.0", "5", "35")) == "moved"


@pytest.mark.parametrize(
    ("tolerance", "reference", "fresh", "status"),
    [
        ("exact", "5", "6", "moved"),
        ("exact", "trained", "trained", "equal"),
        ("exact", "trained", "diverged", "moved"),
        ("time", "1.0", "100.0", "time"),
        ("follows", "0.01", "0.9", "follows"),
        (Tolerance(relative=1e-3), "1.0", "1.0009", "within tolerance"),
        (Tolerance(relative=1e-3), "1.0", "1.0011", "moved"),
        (Tolerance(relative=1e-3), "1.0", "nan", "moved"),
        (Tolerance(relative=1e-3), "", "1.0", "moved"),
        (Tolerance(absolute=0.1), "0.0", "-0.1", "within tolerance"),
        (Tolerance(factor=1.6), "1.0", "1.5", "within tolerance"),
        (Tolerance(factor=1.6), "1.5", "1.0", "within tolerance"),
        (Tolerance(factor=1.6), "1.0", "-1.0", "moved"),
        (Tolerance(factor=1.6), "1.0", "1.7", "moved"),
    ],
)
def test_the_kinds_of_tolerance(tolerance, reference, fresh, status):
    assert judge(tolerance, Written(reference), Written(fresh)) == status


def test_the_first_pattern_that_fits_counts():
    table = Tolerances(keys={}, tolerances={"a/*/b": "exact", "*": "time"})
    assert table.of("a/row, with/b") == "exact"
    assert table.of("a/row/c") == "time"
    with pytest.raises(UserError, match=r"no pattern fits x/y; add one"):
        Tolerances(keys={}, tolerances={"a": "exact"}).of("x/y")


def test_every_pattern_fits_something():
    """In the committed reference of the scale that has every room."""
    tables = compare.tables_of(REFERENCE, TOLERANCES)
    names = {
        "/".join(filter(None, (name, row, column)))
        for name in tables
        for row in tables[name]
        for column in tables[name][row]
    }
    patterns = list(TOLERANCES.tolerances)
    used = {next(pattern for pattern in patterns if fnmatchcase(name, pattern)) for name in names}
    assert used == set(patterns)


def test_keys_that_do_not_tell_rows_apart_are_one_line(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("method,epoch,psnr\na,1,2.0\na,2,3.0\n")
    with pytest.raises(UserError, match=r"x\.csv: several rows a; name more columns in keys\.x"):
        compare.read_table(path, ["method"])
    with pytest.raises(UserError, match=r"x\.csv: no column seed; correct keys\.x"):
        compare.read_table(path, ["seed"])
    assert compare.read_table(path, ["method", "epoch"])["a, 2"] == {"psnr": Written("3.0")}


def test_nothing_to_compare_is_one_line(fresh, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["compare", "--reference", "results/nowhere"])
    with pytest.raises(UserError, match=r"results/nowhere: no reference of this scale; name one with --reference"):
        compare.main()
    shutil.rmtree(fresh)
    with pytest.raises(UserError, match=r"results/laptop: no tables to compare"):
        compare.tables_of(Path("results/laptop"), TOLERANCES)


def test_rounding_of_the_closed_form_is_no_move(fresh, monkeypatch, capsys):
    """It is near 2e-10 on every machine, and no two agree in its third digit."""
    numbers = json.loads((fresh / "numbers.json").read_text())
    error = numbers["niqe"]["largest_error_of_closed_form"]
    write_json(fresh / "numbers.json", numbers | {"niqe": numbers["niqe"] | {"largest_error_of_closed_form": 2.02e-10}})
    code, lines = run(monkeypatch, capsys)
    assert (code, error < 2e-10) == (0, True)
    assert " 1 within tolerance, " in lines[-1]
    write_json(fresh / "numbers.json", numbers | {"niqe": numbers["niqe"] | {"largest_error_of_closed_form": 1e-6}})
    assert run(monkeypatch, capsys)[0] == 1


def test_runs_of_several_machines_are_held_each_against_its_own(fresh):
    """GPU, threads and instruction sets are named where they differ."""
    summary = json.loads((REFERENCE / "provenance.json").read_text())
    one = {"cpu": "one", "cpu_capability": "avx", "gpu": None, "threads": 1, "system": "Linux"}
    other = one | {"gpu": "NVIDIA H100", "threads": 4}
    summary |= {"machines": [one, other], "machine_of": {"introvae/seed-0": 0, "introvae/seed-1": 1}}
    write_json(fresh / "provenance.json", summary)
    run = dict.fromkeys(PROVENANCE) | {key: summary[key] for key in ("python", "versions")}
    for seed, machine in ((0, one), (1, other)):
        folder = fresh / "runs" / "introvae" / "fixed" / f"seed-{seed}"
        write_json(folder / "provenance.json", run | machine)
        (folder / "config.yaml").write_text(f"code: {summary['code']['introvae/fixed']}\n")
    assert compare.differences(fresh, fresh) == []
    write_json(folder / "provenance.json", run | other | {"cpu_capability": "avx avx2", "gpu": None, "threads": 8})
    assert compare.differences(fresh, fresh) == [
        "cpu_capability (reference avx, fresh avx avx2)",
        "gpu (reference NVIDIA H100, fresh None)",
        "threads (reference 4, fresh 8)",
    ]
    assert set(one) == set(MACHINE)


def test_the_machine_of_the_runs_is_held_against_the_summary(fresh):
    (fresh / "provenance.json").unlink()
    assert compare.differences(fresh, REFERENCE) is None
    summary = json.loads((REFERENCE / "provenance.json").read_text())
    folder = fresh / "runs" / "introvae" / "fixed" / "seed-0"
    run = dict.fromkeys(PROVENANCE) | {key: summary[key] for key in ("cpu", "system", "python", "versions")}
    write_json(folder / "provenance.json", run)
    (folder / "config.yaml").write_text(f"code: {summary['code']['introvae/fixed']}\n")
    assert compare.differences(fresh, REFERENCE) == []
    write_json(folder / "provenance.json", run | {"cpu": "another", "versions": run["versions"] | {"torch": "1.0"}})
    (folder / "config.yaml").write_text("code: other\n")
    assert compare.differences(fresh, REFERENCE) == [
        f"cpu (reference {summary['cpu']}, fresh another)",
        f"torch (reference {summary['versions']['torch']}, fresh 1.0)",
        "code of 1 methods (such as introvae/fixed)",
    ]
