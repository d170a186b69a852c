"""Claims under every combination of what is open, and what all combinations say together."""

import itertools
import math
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from experiments.evidence.specifications import (
    Cell,
    Choice,
    Claim,
    Ledger,
    cells,
    corrected,
    hinge,
    load_ledger,
    main_estimate,
    verdict,
)
from experiments.evidence.statistics import NO_ESTIMATE, Estimate, NotRun
from experiments.runs.errors import UserError

NAN = math.nan

CHOICES = {
    "colour": Choice(open="It is.", options={"red": "as fire", "green": "as grass", "blue": "as the sky"}),
    "size": Choice(open="It is.", options={1: "one", 2: "two"}),
    "step_rule": Choice(open="It is.", options={"a": "so", "b": "so"}),
}


def claim_over(*names, rule=None):
    return Claim(
        id="made",
        family="paper",
        where="here",
        statement="It is so.",
        measure={"room.length": {"of": "tables"}},
        over=list(names),
        rule=rule or {"above": 0.0},
    )


def found(value, low=None, high=None):
    return Estimate(value, value - 1 if low is None else low, value + 1 if high is None else high, 5)


def measured(names, function, **rule):
    """The cells of a claim whose measurement is a function of the options."""

    def length(*, of, **options):
        assert of == "tables"
        return function(**options)

    return cells(claim_over(*names, rule=rule or None), CHOICES, SimpleNamespace(length=length))


# --- cells -------------------------------------------------------------------------------------------------------


def test_a_claim_is_measured_in_every_combination_and_the_first_is_the_main_one():
    values = dict(zip(itertools.product(("red", "green", "blue"), (1, 2)), [5, -3, 0, 7, 9, 11], strict=True))
    made, not_run = measured(["colour", "size"], lambda colour, size: found(values[colour, size]))
    assert [tuple(cell.options.values()) for cell in made] == list(values)
    assert [cell.estimate.value for cell in made] == list(values.values())
    assert [cell.main for cell in made] == [True] + [False] * 5
    assert [cell.decision for cell in made] == ["supports", "contradicts", "undecided", *["supports"] * 3]
    assert not_run == 0
    assert main_estimate(made).value == 5


def test_without_choices_there_is_one_specification():
    made, not_run = measured([], lambda: found(5))
    assert [(cell.options, cell.main) for cell in made] == [({}, True)]
    assert not_run == 0


def test_a_combination_that_means_nothing_is_left_out_and_one_that_was_not_run_is_counted():
    def function(colour, size):
        if colour == "red":
            return None
        if size == 2:
            raise NotRun
        return found({"green": 3, "blue": 4}[colour])

    made, not_run = measured(["colour", "size"], function)
    assert [cell.options for cell in made] == [{"colour": "green", "size": 1}, {"colour": "blue", "size": 1}]
    assert not_run == 2
    assert main_estimate(made).value == 3  # it stands in for what was not run


def test_a_claim_of_which_nothing_was_run_has_no_cells():
    def function(size):
        raise NotRun

    assert measured(["size"], function) == ([], 2)
    assert math.isnan(main_estimate([]).value)
    assert verdict([]).word == "undecided"


def test_the_same_numbers_are_counted_once():
    """Red and green are the same thing; the interval of the last differs in its end alone."""
    estimates = {"red": found(5), "green": found(5), "blue": found(5, high=6.5)}
    made, _ = measured(["colour"], lambda colour: estimates[colour])
    assert [cell.options["colour"] for cell in made] == ["red", "blue"]
    assert made[0].repeated == ({"colour": "green"},)
    assert made[1].repeated == ()


def test_the_same_number_without_an_interval_is_counted_once_too():
    """As with one seed; every NaN is a NaN of its own."""
    made, _ = measured(["colour"], lambda colour: Estimate(5.0, float("nan"), float("nan"), 1))
    assert [cell.options["colour"] for cell in made] == ["red"]


def test_sweeps_that_never_arrive_are_the_same():
    made, _ = measured(["colour"], lambda colour: Estimate(math.inf, math.inf, math.inf, 20, kind="halves"))
    assert len(made) == 1


@pytest.mark.parametrize("nan", [math.nan, float("nan")])
def test_estimates_without_a_value_are_never_the_same(nan):
    """Nor are they that of a number without an interval, whatever it is."""
    estimates = {"red": Estimate(1.0, nan, nan, 1), "green": NO_ESTIMATE, "blue": NO_ESTIMATE}
    made, _ = measured(["colour"], lambda colour: estimates[colour])
    assert [cell.options["colour"] for cell in made] == ["red", "green", "blue"]


def test_the_rule_decides_every_cell():
    made, _ = measured(["size"], lambda size: found(5.0 * size), below=8.0)
    assert [cell.decision for cell in made] == ["supports", "contradicts"]


# --- verdicts ----------------------------------------------------------------------------------------------------


def cell(decision, p=NAN, repeated=(), **options):
    return Cell(options, False, found(0.0), decision, p, tuple(repeated))


S, C, U = "supports", "contradicts", "undecided"


@pytest.mark.parametrize(
    ("decisions", "word", "text"),
    [
        ([S, S, S], "supported", "supported"),
        ([S], "supported", "supported"),
        ([C, C], "contradicted", "contradicted"),
        ([S, U, S, U], "supported", "supported in 2 of 4"),
        ([U, C, U], "contradicted", "contradicted in 1 of 3"),
        ([U, U], "undecided", "undecided"),
        ([], "undecided", "undecided"),
    ],
)
def test_cells_that_agree_are_a_verdict(decisions, word, text):
    made = verdict([cell(decision, colour=str(place)) for place, decision in enumerate(decisions)])
    assert (made.word, made.text) == (word, text)


def table(function, colours=("red", "green", "blue"), sizes=(1, 2), rules=("a", "b")):
    """A cell for every combination of three choices."""
    return [
        cell(function(colour, size, rule), colour=colour, size=size, step_rule=rule)
        for colour, size, rule in itertools.product(colours, sizes, rules)
    ]


def test_a_verdict_hinges_on_the_choice_that_separates():
    made = verdict(table(lambda colour, size, rule: C if rule == "b" else S))
    assert (made.word, made.text) == ("hinges", "hinges on step_rule")


def test_undecided_cells_do_not_matter_to_the_hinge():
    """Colour separates the cells that are decided."""
    made = verdict(table(lambda colour, size, rule: U if size == 2 else C if colour == "green" else S))
    assert made.text == "hinges on colour"


def test_a_verdict_hinges_on_two_choices_where_one_does_not_separate():
    """Red and blue support, and green does with the first size alone."""
    made = verdict(table(lambda colour, size, rule: C if colour == "green" and size == 2 else S))
    assert made.text == "hinges on colour and size"


def test_choices_that_separate_alike_are_joined_by_or():
    """Where only two combinations were run both choices tell them apart."""
    two = [cell(S, colour="red", size=1, step_rule="a"), cell(C, colour="green", size=2, step_rule="a")]
    assert verdict(two).text == "hinges on colour or size"


def test_pairs_that_separate_alike_are_joined_by_or():
    """Size and rule go together, and either of them with the colour decides."""
    made = [
        cell(S, colour="red", size=1, step_rule="a"),
        cell(C, colour="red", size=2, step_rule="b"),
        cell(C, colour="green", size=1, step_rule="a"),
        cell(S, colour="green", size=2, step_rule="b"),
    ]
    assert verdict(made).text == "hinges on colour and size or colour and step_rule"


def test_more_than_two_choices_are_several_with_the_shares():
    """The parity of three bits is in no two of them. Of nine cells four support, and one is undecided."""
    made = table(
        lambda colour, size, rule: S if ((colour == "red") + size + (rule == "b")) % 2 else C, ("red", "green")
    )
    made.append(cell(U, colour="blue", size=1, step_rule="a"))
    assert verdict(made).text == "hinges on several choices: supported in 4, contradicted in 4 of 9"


def test_specifications_that_were_counted_once_still_tell_what_it_hinges_on():
    """Green repeats red with the first size, and contradicts with the second: the colour alone does not separate."""
    values = {("red", 1): found(5), ("green", 1): found(5), ("green", 2): found(-5)}
    made, _ = measured(["colour", "size"], lambda colour, size: values.get((colour, size)))
    assert len(made) == 2
    assert verdict(made).text == "hinges on size"


def separates(names, decisions):
    """Whether no two cells that are decided otherwise share these options, pair by pair."""
    return not any(
        one != other and all(a[name] == b[name] for name in names)
        for (a, one), (b, other) in itertools.combinations(decisions, 2)
    )


@given(st.lists(st.sampled_from([S, C, U]), min_size=12, max_size=12).filter(lambda d: {S, C} <= {*d}))
def test_a_hinge_is_the_smallest_set_that_separates(decisions):
    one_by_one = iter(decisions)
    made = table(lambda *_: next(one_by_one))
    decided = [(cell.options, cell.decision) for cell in made if cell.decision != U]
    names = ("colour", "size", "step_rule")
    for count in (1, 2):
        sets = [subset for subset in itertools.combinations(names, count) if separates(subset, decided)]
        if sets:
            words = " or ".join(" and ".join(subset) for subset in sets)
            assert hinge(made, {}) == f"hinges on {words}"
            return
    assert hinge(made, {}).startswith("hinges on several choices: ")


# --- correction --------------------------------------------------------------------------------------------------


def test_a_verdict_calls_choices_by_their_names():
    ledger = Ledger(choices={"size": Choice(name="how large", open="It is.", options={1: "one", 2: "two"})}, claims=[])
    assert ledger.names == {"size": "how large"}
    two = [cell(S, 0.01, size=1), cell(C, 0.01, size=2)]
    assert verdict(two, ledger.names).text == "hinges on how large"
    assert verdict(two).text == "hinges on size"


def test_a_cell_whose_p_does_not_bear_the_factor_is_undecided():
    """0.01 three times is below 0.05; 0.02 is not. A sweep has no p, and stays as it is."""
    made = [cell(S, 0.01, size=1), cell(C, 0.02, size=2), cell(S, NAN, size=3), cell(U, 0.001, size=4)]
    assert [each.decision for each in corrected(made, 3.0)] == [S, U, S, U]
    assert [each.p for each in corrected(made, 3.0)][:2] == [0.01, 0.02]
    assert [each.decision for each in corrected(made, math.inf)] == [U, U, S, U]
    assert corrected(made, 1.0) == made
    assert verdict(corrected(made, 3.0)).text == "supported in 2 of 4"


# --- the file ----------------------------------------------------------------------------------------------------

ENTRY = {"id": "a", "family": "ours", "where": "b", "statement": "c", "measure": {"x.y": {}}, "rule": {"above": 0}}


def loaded(tmp_path, *entries, choices=None):
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump({"choices": choices or {}, "claims": list(entries)}))
    return load_ledger(str(path))


def without(key):
    return {name: value for name, value in ENTRY.items() if name != key}


def test_a_ledger_is_read(tmp_path):
    choices = {"size": {"open": "It is.", "options": {1: "one", "2": "two"}}}
    ledger = loaded(tmp_path, ENTRY | {"over": ["size"]}, ENTRY | {"id": "b", "family": "paper"}, choices=choices)
    assert list(ledger.choices["size"].options) == [1, "2"]  # numbers and words stay what they are
    claim = ledger.claims[0]
    assert (claim.room, claim.measurement, claim.kind, claim.bound) == ("x", "y", "above", 0.0)
    assert (claim.headline, claim.added, ledger.claims[1].family) == (False, "", "paper")


def test_rules_without_a_bound():
    artefact = Claim(**ENTRY | {"rule": {"artefact": 0.01}})
    assert (artefact.kind, artefact.bound) == ("artefact", None)
    untested = Claim(**without("measure") | {"rule": {"not testable": "needs a cluster"}})
    assert (untested.kind, untested.bound, untested.room, untested.measurement) == ("not testable", None, "", "")


TWO = {"colour": {"open": "It is.", "options": {"red": "a", "green": "b"}}}


@pytest.mark.parametrize(
    ("entries", "choices", "message"),
    [
        ([ENTRY | {"over": ["size"]}], TWO, "settings: a: over: size is no choice; known are colour"),
        ([ENTRY, ENTRY], {}, "settings: claims: a stands there twice; give every claim its own id"),
        ([ENTRY | {"rule": {"above": 0, "below": 1}}], {}, "claims.0.rule: Dictionary should have at most 1 item"),
        ([ENTRY | {"rule": {}}], {}, "claims.0.rule: Dictionary should have at least 1 item"),
        ([ENTRY | {"rule": {"about": 0}}], {}, "claims.0.rule.about: Input should be 'above', 'below', 'within'"),
        ([ENTRY | {"rule": {"above": "much"}}], {}, "claims.0: a: rule: above needs a number, got 'much'"),
        ([ENTRY | {"rule": {"artefact": "so"}}], {}, "claims.0: a: rule: artefact needs a number, got 'so'"),
        ([ENTRY | {"rule": {"within": 0}}], {}, "claims.0: a: rule: within needs a number above 0, got 0"),
        ([without("measure")], {}, "claims.0: a: measure: missing; above 0 decides on a measurement"),
        ([ENTRY | {"measure": {"x.y": {}, "x.z": {}}}], {}, "claims.0.measure: Dictionary should have at most 1 item"),
        ([ENTRY | {"family": "theirs"}], {}, "claims.0.family: Input should be 'paper' or 'ours', got 'theirs'"),
        ([ENTRY | {"added": "before"}], {}, "claims.0.added: Input should be '' or 'after the runs', got 'before'"),
        ([ENTRY | {"quote": "They say so."}], {}, "claims.0.quote: unknown key"),
        ([without("statement")], {}, "claims.0.statement: key is missing"),
        ([ENTRY], {"colour": {"open": "It is.", "options": {"red": "a"}}}, "choices.colour.options: Dictionary should"),
        ([ENTRY], {"colour": {"options": {"red": "a", "green": "b"}}}, "choices.colour.open: key is missing"),
    ],
)
def test_a_mistake_is_one_line_that_names_its_place(tmp_path, entries, choices, message):
    with pytest.raises(UserError) as error:
        loaded(tmp_path, *entries, choices=choices)
    assert str(error.value).startswith(f"{tmp_path / 'claims.yaml'}: {message}")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000
