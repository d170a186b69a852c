"""Claims judged on measurements whose answers are known, and the ledger that this repository keeps."""

import inspect
import math
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy import stats

from experiments.evidence import claims as judging
from experiments.evidence import reading
from experiments.evidence.claims import answered, judge, judged_by, load_claims, measurements
from experiments.evidence.specifications import Claim, Ledger
from experiments.evidence.statistics import (
    NO_ESTIMATE,
    Estimate,
    Failed,
    NotRun,
    mean_over_seeds,
    over_halves,
    ratio_over_seeds,
)
from experiments.niqe_collapse.findings import Findings
from experiments.runs.errors import UserError
from experiments.runs.validation import read_yaml
from experiments.scale import ROOMS, load

# --- judging -----------------------------------------------------------------------------------------------------

SCATTER = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])


def around(mean):
    """Five seeds with the standard error sqrt(1/2) about a mean."""
    return mean_over_seeds(mean + SCATTER)


def p_of(mean, bound=0.0):
    return stats.ttest_1samp(mean + SCATTER, bound).pvalue


CHOICES = {name: {"open": "It is.", "options": dict.fromkeys(options, "so")} for name, options in
           {"size": [1, 2], "colour": ["red", "green", "blue"], "unused": ["a", "b"]}.items()}  # fmt: skip


def ledger_of(*entries):
    common = {"family": "paper", "where": "here", "statement": "It is so.", "rule": {"above": 0.0}}
    return Ledger.model_validate({"choices": CHOICES, "claims": [common | entry for entry in entries]})


def judged(entries, **measurements):
    """Both tables; a measurement is what it returns, or a function of the options."""
    room = SimpleNamespace()
    for name, value in measurements.items():
        setattr(room, name, value if callable(value) else lambda value=value: value)
    ledger = ledger_of(*({"measure": {f"room.{entry['id']}": {}}} | entry for entry in entries))
    table, specified = judge(ledger.claims, ledger, {"room": room})
    return table.set_index("id"), specified


def test_a_row_says_what_was_measured_and_how_it_was_judged():
    entry = {
        "id": "psnr",
        "where": "Table 1",
        "published": {"softadapt": 23.9272, "fixed": 22.0},
        "unit": "dB",
        "figure": "somewhere",
        "rule": {"above": 1.0},
    }
    table, specified = judged([entry], psnr=around(6.0))
    half = 2.7764451 * math.sqrt(0.5)
    assert table.loc["psnr"].to_dict() == {
        "family": "paper",
        "where": "Table 1",
        "statement": "It is so.",
        "published": "softadapt 23.9272; fixed 22",
        "measured": 6.0,
        "measured_low": pytest.approx(6 - half),
        "measured_high": pytest.approx(6 + half),
        "observations": 5,
        "failed_runs": "",
        "unit": "dB",
        "rule": "above 1.0",
        "specifications": 1,
        "supporting": 1,
        "contradicting": 0,
        "not_run": 0,
        "lowest": 6.0,
        "highest": 6.0,
        "factor": 1.0,
        "verdict": "supported",
        "reading": "supported",
        "figure": "somewhere",
    }
    row = {"id": "psnr", "main": True, "measured": 6.0, "observations": 5, "failed_runs": "", "kind": "mean"}
    row |= {"measured_low": pytest.approx(6 - half), "measured_high": pytest.approx(6 + half)}
    assert specified.to_dict("records") == [row | {"p": pytest.approx(p_of(6.0, 1.0)), "decision": "supports"}]


def test_a_row_sums_up_all_specifications():
    """Red is not run with the second size, green with either size the same, and blue means nothing with the first."""
    values = {("red", 1): 3.0, ("green", 1): 9.0, ("green", 2): 9.0, ("blue", 2): -4.0}

    def length(size, colour):
        if (colour, size) == ("red", 2):
            raise NotRun
        value = values.get((colour, size))
        return None if value is None else around(value)

    table, specified = judged([{"id": "length", "over": ["size", "colour"], "family": "ours"}], length=length)
    row = table.loc["length"]
    assert row[["specifications", "supporting", "contradicting", "not_run"]].tolist() == [3, 2, 1, 1]
    assert row[["measured", "lowest", "highest"]].tolist() == [3.0, -4.0, 9.0]
    assert (row["verdict"], row["reading"]) == ("hinges", "hinges on colour")
    assert specified.columns[:4].tolist() == [
        "id",
        "size",
        "colour",
        "main",
    ]  # a choice that no claim is open to has none
    assert specified[["size", "colour", "main", "measured", "decision"]].to_numpy().tolist() == [
        ["1", "red", True, 3.0, "supports"],
        ["1", "green", False, 9.0, "supports"],
        ["2", "blue", False, -4.0, "contradicts"],
    ]


def test_options_stay_what_they_are_beside_claims_without_the_choice(tmp_path):
    """A column of numbers and gaps would turn 1 into 1.0, which is no option."""
    entries = [{"id": "size", "over": ["size"]}, {"id": "none"}]
    _, specified = judged(entries, size=lambda size: around(float(size)), none=around(1.0))
    specified.to_csv(tmp_path / "specifications.csv", index=False)
    read = reading.specifications_of(tmp_path / "specifications.csv")
    assert read["size"].tolist()[:2] == ["1", "2"]
    assert pd.isna(read["size"].iloc[2])
    assert read["main"].tolist() == [True, False, True]
    assert read["measured"].tolist() == [1.0, 2.0, 1.0]


def test_the_papers_claims_alone_are_corrected():
    """Three of the paper's claims are tested, so that 0.0132 becomes 0.04. Sweeps and claims of ours stand outside."""
    entries = [
        {"id": "weak"},
        {"id": "strong"},
        {"id": "middle"},
        {"id": "sweep"},
        {"id": "ours", "family": "ours"},
        {"id": "untested", "measure": {}, "rule": {"not testable": "no"}},
    ]
    table, _ = judged(
        entries,
        strong=around(9.0),
        middle=around(3.0),
        weak=around(2.0),
        sweep=over_halves([2.0] * 20),
        ours=around(2.0),
    )
    assert p_of(9.0) < p_of(3.0) == pytest.approx(0.0132, abs=1e-4)
    assert p_of(2.0) == pytest.approx(0.0474, abs=1e-4)
    factors = table["factor"]
    assert factors[["strong", "middle", "weak", "sweep"]].tolist() == [3, 3, 3, 1]
    assert factors[["ours", "untested"]].isna().all()
    assert table["verdict"].to_dict() == {
        "weak": "undecided",
        "strong": "supported",
        "middle": "supported",
        "sweep": "supported",
        "ours": "supported",
        "untested": "not testable",
    }


def test_a_claim_that_does_not_survive_the_correction_is_undecided():
    """Three times 0.013 is 0.04, which holds; three times 0.047 and 0.048 are 0.14."""
    entries = [{"id": "one"}, {"id": "two"}, {"id": "three"}, {"id": "ours", "family": "ours"}]
    table, specified = judged(entries, one=around(3.0), two=around(2.0), three=around(-1.99), ours=around(2.0))
    assert table["factor"].tolist()[:3] == [3, 3, 3]
    assert table["verdict"].to_dict() == {
        "one": "supported",
        "two": "undecided",
        "three": "undecided",
        "ours": "supported",
    }
    assert table.loc["two", ["supporting", "contradicting"]].tolist() == [0, 0]
    assert specified["decision"].tolist() == ["supports", "undecided", "undecided", "supports"]
    assert specified["p"].tolist() == pytest.approx([p_of(3.0), p_of(2.0), p_of(-1.99), p_of(2.0)])
    assert table.loc["two", "measured_low"] > 0  # its interval alone would have decided


def test_each_specification_survives_the_correction_or_not():
    """The specifications of a claim do not count against one another: 0.0002 twice is decided, 0.047 twice is not."""
    values = {1: 9.0, 2: 2.0}
    table, specified = judged(
        [{"id": "size", "over": ["size"]}, {"id": "other"}], size=lambda size: around(values[size]), other=around(4.0)
    )
    assert table.loc["size", ["factor", "reading"]].tolist() == [2, "supported in 1 of 2"]
    assert table.loc["other", ["factor", "reading"]].tolist() == [2, "supported"]
    assert specified["decision"].tolist() == ["supports", "undecided", "supports"]


def test_a_failed_method_has_no_number_but_a_verdict():
    failed = Estimate(math.nan, math.nan, math.nan, 0, failed=Failed(2, 0, 5, "above"))
    table, specified = judged([{"id": "lost"}, {"id": "rest"}], lost=failed, rest=around(3.0))
    row = table.loc["lost"]
    assert (row["verdict"], row["failed_runs"], row["observations"]) == ("contradicted", "ours 2 of 5", 0)
    assert row[["measured", "measured_low", "lowest", "highest"]].isna().all()
    assert row["factor"] == 1  # it is not tested, and leaves the others alone
    assert table.loc["rest", "factor"] == 1
    assert specified["failed_runs"].tolist() == ["ours 2 of 5", ""]


def test_equivalence_is_judged_within_a_factor():
    ratios = ratio_over_seeds([0.99, 1.0, 1.01, 1.005, 0.995])
    entries = [{"id": name, "rule": {"within": bound}} for name, bound in (("wide", 1.05), ("narrow", 1.001))]
    table, _ = judged(entries, wide=ratios, narrow=ratios)
    assert table["verdict"].tolist() == ["supported", "undecided"]


def test_artefacts_and_what_nobody_can_test():
    spread = Estimate(0.006, 0.006, 0.006, 16, kind="fact")
    entries = [
        {"id": "artefact", "rule": {"artefact": 0.01}},
        {"id": "sound", "rule": {"artefact": 0.006}},
        {"id": "untested", "rule": {"not testable": "needs a cluster"}, "measure": {}},
    ]
    table, specified = judged(entries, artefact=spread, sound=spread)
    assert table["verdict"].tolist() == table["reading"].tolist() == ["artefact", "undecided", "not testable"]
    assert table["measured"].tolist()[:2] == [0.006, 0.006]
    assert math.isnan(table.loc["untested", "measured"])
    assert table.loc["untested", "rule"] == "not testable needs a cluster"
    assert table[["specifications", "not_run"]].to_numpy().tolist() == [[0, 0]] * 3
    assert specified.empty
    assert {"id", "decision"} <= {*specified.columns}


def test_a_claim_of_which_nothing_was_run_is_no_row():
    def absent():
        raise NotRun

    def meaningless():
        return None

    entries = [{"id": "absent"}, {"id": "there"}, {"id": "meaningless"}, {"id": "without"}]
    table, _ = judged(entries, absent=absent, there=around(3.0), meaningless=meaningless, without=NO_ESTIMATE)
    assert table.loc["absent", ["specifications", "not_run", "verdict"]].tolist() == [0, 1, "undecided"]
    assert answered(table.reset_index())["id"].tolist() == ["there", "meaningless", "without"]


def test_measurements_get_the_arguments_of_the_claim_and_the_options():
    def length(*, of, size):
        return around({"tables": 10.0, "chairs": -10.0}[of] * size)

    entries = [
        {"id": of, "measure": {"room.length": {"of": of}}, "over": ["size"], "family": "ours"}
        for of in ("tables", "chairs")
    ]
    table, _ = judged(entries, length=length)
    assert table["measured"].tolist() == [10.0, -10.0]
    assert table["verdict"].tolist() == ["supported", "contradicted"]


# --- which claims a scale judges ---------------------------------------------------------------------------------


def test_a_scale_judges_the_claims_of_its_experiments(faces_config):
    claims = load_claims().claims
    for scale in ("smoke", "laptop", "paper"):  # those with every experiment
        assert judged_by(load(f"config/{scale}.yaml"), claims) == claims
    full = judged_by(load("config/full.yaml"), claims)
    assert {claim.room for claim in full} == {
        "gradient_descent",
        "sparse_autoencoder",
        "niqe_collapse",
        "namesakes",
    }
    faces = judged_by(load(faces_config), claims)
    assert {claim.room for claim in faces} == {"introvae"}
    assert not any("not testable" in claim.rule for claim in full + faces)


def test_a_ledger_and_its_specifications_are_written(tmp_path, monkeypatch):
    """Without the claims of which nothing was run."""

    def absent(**options):
        raise NotRun

    ledger = ledger_of(
        {"id": "size", "measure": {"introvae.order": {}}, "over": ["size"]},
        {"id": "absent", "measure": {"introvae.difference": {}}},
        {"id": "elsewhere", "measure": {"step_cost.overhead": {}}},
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(judging, "load_claims", lambda: ledger)
    room = SimpleNamespace(order=lambda size: around(10.0 * size), difference=absent)
    settings = SimpleNamespace(rooms={"introvae": None}, complete=False, scale="made")
    table = judging.write(settings, {"introvae": room})
    assert table["id"].tolist() == ["size"]
    folder = Path("results/made")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}.{form}" for name in ("claims", "specifications") for form in ("csv", "md", "tex")
    )
    assert reading.claims_of(folder / "claims.csv")["reading"].tolist() == ["supported"]
    assert reading.specifications_of(folder / "specifications.csv")["size"].tolist() == ["1", "2"]


# --- mistakes in the file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        ("guess", "a: measure: no measurement guess.; known are a room, one of gradient_descent, "),
        ("guess.order", "a: measure: no measurement guess.order; known are a room, one of gradient_descent, "),
        ("digit_classifier.x", "a: measure: no measurement digit_classifier.x; known are a room, one of "),
        ("introvae.rows", "a: measure: no measurement introvae.rows; known are introvae.difference, introvae.without_"),
        ("introvae._last", "a: measure: no measurement introvae._last; known are introvae.difference, introvae.wit"),
    ],
)
def test_a_claim_with_an_unknown_measurement_is_one_line(tmp_path, measure, message):
    path = tmp_path / "claims.yaml"
    entry = {
        "id": "a",
        "family": "ours",
        "where": "b",
        "statement": "c",
        "rule": {"above": 0},
        "measure": {measure: {}},
    }
    path.write_text(yaml.safe_dump({"claims": [entry]}))
    with pytest.raises(UserError) as error:
        load_claims(str(path))
    assert str(error.value).startswith(f"{path}: {message}")
    assert "\n" not in str(error.value)


# --- the ledger of this repository -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept():
    return load_claims()


def test_the_ledger_has_the_papers_claims_and_a_few_of_ours(kept):
    families = Counter(claim.family for claim in kept.claims)
    assert 25 <= families["paper"] <= 31
    assert families["ours"] <= 15
    assert {claim.where for claim in kept.claims if claim.family == "ours"} <= {"beyond the paper", "public code"}
    assert all("section" in claim.where for claim in kept.claims if claim.family == "paper")


def test_every_measurement_is_claimed_and_every_claim_measured(kept):
    known = {f"{room}.{name}" for room in ROOMS for name in measurements(room)}
    assert {name for claim in kept.claims for name in claim.measure} == known
    for claim in kept.claims:
        assert bool(claim.measure) != (claim.kind == "not testable"), claim.id


def test_every_measurement_takes_the_arguments_and_choices_of_its_claims(kept):
    for claim in kept.claims:
        if claim.measure:
            function = getattr(reading.open_room(claim.room, "findings").Findings, claim.measurement)
            inspect.signature(function).bind(
                None, **claim.measure[f"{claim.room}.{claim.measurement}"], **dict.fromkeys(claim.over)
            )


def test_no_two_claims_measure_the_same_by_the_same_rule(kept):
    seen = Counter(str((claim.measure, claim.rule)) for claim in kept.claims)
    assert [what for what, count in seen.items() if count > 1] == []
    assert max(Counter(claim.statement for claim in kept.claims).values()) == 1


def test_every_claim_names_a_figure_that_some_experiment_draws(kept):
    figures = {path.stem for path in Path("experiments").glob("*/captions/figures/*.rst")}
    assert {claim.figure for claim in kept.claims if claim.figure} <= figures
    assert all(claim.figure and claim.unit for claim in kept.claims if claim.measure)


def test_every_choice_is_open_to_some_claim_and_says_why(kept):
    assert {name for claim in kept.claims for name in claim.over} == kept.choices.keys()
    assert all(len(set(claim.over)) == len(claim.over) for claim in kept.claims)
    for name, choice in kept.choices.items():
        place = re.search(r"(section|equation|figure)s? \d", choice.open, re.IGNORECASE)
        assert bool(place) != choice.open.startswith("Ours; "), name


def test_choices_of_our_own_open_none_of_the_papers_claims(kept):
    ours = {name for name, choice in kept.choices.items() if choice.open.startswith("Ours")}
    assert not [claim.id for claim in kept.claims if claim.family == "paper" and ours & {*claim.over}]


def texts(value):
    if isinstance(value, dict):
        return [text for entry in value.values() for text in texts(entry)]
    if isinstance(value, list):
        return [text for entry in value for text in texts(entry)]
    return [value] if isinstance(value, str) else []


def test_the_ledger_quotes_nobody():
    """Claims and choices are told in our words, each in a sentence or two: no quotation marks, no key for quotes."""
    content = read_yaml("paper/claims.yaml")
    assert not [text for text in texts(content) if re.search("[\"“”„«»‘’]|(^| )'|``", text)]
    assert not [key for key in Claim.model_fields if "quot" in key]
    assert max(len(text.split()) for text in texts(content)) < 45


# --- published numbers -------------------------------------------------------------------------------------------


def test_the_published_niqe_values_are_constant_to_the_second_decimal():
    estimate = Findings(None).published_spread()  # it reads no run
    assert estimate.count == 16
    assert estimate.value == pytest.approx(18.8763 - 18.8700)


def test_published_tables_are_complete():
    tables = read_yaml("paper/published.yaml")["introvae"]
    for table in ("table_1", "table_2"):
        for method in ("softadapt", "fixed"):
            assert {name: len(values) for name, values in tables[table][method].items()} == {
                "ssim": 4,
                "psnr": 4,
                "niqe": 4,
            }
    assert tables["table_1"]["softadapt"]["psnr"][3] == 23.9272
    assert tables["table_2"]["fixed"]["ssim"][0] == 0.8042


def test_the_published_numbers_of_claims_are_those_of_the_tables(kept):
    tables = read_yaml("paper/published.yaml")["introvae"]
    checked = 0
    for claim in kept.claims:
        if claim.measurement == "difference" and claim.published:
            ((_, how),) = claim.measure.items()
            table = tables[{"train": "table_1", "held_out": "table_2"}[how["part"]]]
            expected = {method: table[method][how["measure"]][how["report"]] for method in ("softadapt", "fixed")}
            assert claim.published == expected, claim.id
            checked += 1
    assert checked == 5
    minutes = {claim.id: claim.published for claim in kept.claims if claim.measurement == "overhead"}
    assert minutes["vae-cost"] == {f"{name} minutes": round(value, 2) for name, value in tables["minutes"].items()}


def test_seeds_of_the_trials_are_none_of_those_that_judge():
    """Nor are those of the pilots, 0 to 2."""
    trials = load("config/introvae-trials.yaml").introvae.seeds
    for scale in ("laptop", "full"):
        for room, section in load(f"config/{scale}.yaml").rooms.items():
            if room in ("sparse_autoencoder", "introvae"):
                assert not {*section.seeds} & {*trials, 0, 1, 2}, (scale, room)
