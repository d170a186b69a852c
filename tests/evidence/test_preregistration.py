"""Rules and options of a claim were committed before the runs that judge it.

Every run says which commit it was made with. That commit holds its own ``paper/claims.yaml``, which must have the claims
as today's file has them, but for claims and choices that say ``added: after the runs``.
"""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

LEDGER = "paper/claims.yaml"

FIXED = ("measure", "over", "rule", "family")
"""The keys of a claim that decide its verdict. Statements, units and figures may be told better."""

AFTERWARDS = "after the runs"


def git(repository, *words):
    """Return the output of a git command; None where it fails."""
    command = ["git", "-C", str(repository), *words]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    return result.stdout if result.returncode == 0 else None


def references(repository):
    """Records of the committed references that come with their specifications."""
    folders = sorted((repository / "results" / "reference").glob("*"))
    return [folder / "provenance.json" for folder in folders if (folder / "specifications.csv").exists()]


def why_not(repository):
    """Why nothing can be checked; empty if it can."""
    top = git(repository, "rev-parse", "--show-toplevel")
    if top is None or Path(top.strip()).resolve() != repository.resolve():
        return "no git history here, as in a downloaded archive"
    if git(repository, "rev-parse", "--is-shallow-repository").strip() == "true":
        return "a shallow clone lacks the commits of the runs"
    return "" if references(repository) else "no reference with specifications is committed yet"


def broken_promises(repository):
    """List the changes to claims after the runs of the committed references, a line each."""
    today = yaml.safe_load((repository / LEDGER).read_text(encoding="utf-8"))
    broken = []
    for path in references(repository):
        place = path.relative_to(repository).as_posix()
        written = (git(repository, "log", "--format=%H", "--", place) or "").split()
        for room, commits in json.loads(path.read_text(encoding="utf-8"))["commits"].items():
            for commit in commits:
                where = f"{path.parent.name}: {room}: {commit[:7]}"
                if commit in written:
                    broken.append(f"{where}: is the commit that wrote the results")
                text = git(repository, "show", f"{commit}:{LEDGER}")
                if text is None:
                    broken.append(f"{where}: has no {LEDGER} in this history")
                else:
                    broken += [f"{where}: {change}" for change in changes(yaml.safe_load(text), today, room)]
    return broken


def changes(then, today, room):
    """How the claims on a room differ between two ledgers, a line each."""
    before, after = (
        {claim["id"]: claim for claim in ledger["claims"] if room in rooms_of(claim)} for ledger in (then, today)
    )
    found = [f"{name}: was taken out" for name in before if name not in after]
    for name, claim in after.items():
        if claim.get("added") == AFTERWARDS:
            continue
        if name not in before:
            found.append(f"{name}: is new, and does not say added: {AFTERWARDS}")
            continue
        promise, kept = (without_later(each, today) for each in (before[name], claim))
        found += [f"{name}: {key} was changed" for key in FIXED if promise.get(key) != kept.get(key)]
        for choice in kept["over"]:
            # their order counts too, as the first option makes the main specification
            one, other = (
                list(ledger.get("choices", {}).get(choice, {}).get("options", {})) for ledger in (then, today)
            )
            if one != other:
                found.append(f"{name}: the options of {choice} were changed")
    return found


def without_later(claim, today):
    """A claim without the choices that say, in today's ledger, that they were added after the runs."""
    later = {name for name, choice in today.get("choices", {}).items() if choice.get("added") == AFTERWARDS}
    return claim | {"over": [choice for choice in claim.get("over", []) if choice not in later]}


def rooms_of(claim):
    return [name.partition(".")[0] for name in claim.get("measure", {})]


def test_what_decides_a_claim_was_fixed_before_the_runs():
    repository = Path.cwd()
    if reason := why_not(repository):
        pytest.skip(reason)
    assert broken_promises(repository) == []


# --- the check itself, on a small repository ---------------------------------------------------------------------


def commit(repository, message):
    """Commit all there is; return the commit."""
    who = ["-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
    assert git(repository, "add", "--all") is not None
    assert git(repository, *who, "commit", "--quiet", "--no-verify", "--message", message) is not None
    return git(repository, "rev-parse", "HEAD").strip()


def made_ledger():
    return {
        "choices": {
            "size": {"open": "It is.", "options": {"one": "1", "two": "2"}},
            "colour": {"open": "It is.", "options": {"red": "as fire", "green": "as grass"}},
        },
        "claims": [
            {
                "id": "long",
                "family": "paper",
                "where": "section 1",
                "statement": "It is long.",
                "measure": {"room.length": {"of": "tables"}},
                "over": ["size"],
                "rule": {"above": 1.0},
            },
            {
                "id": "wide",
                "family": "ours",
                "where": "section 2",
                "statement": "It is wide.",
                "measure": {"other.width": {}},
                "over": ["colour"],
                "rule": {"within": 1.25},
            },
            {"id": "untested", "family": "paper", "where": "section 3", "rule": {"not testable": "so"}},
        ],
    }


def write_ledger(repository, ledger):
    (repository / "paper").mkdir(exist_ok=True)
    (repository / LEDGER).write_text(yaml.safe_dump(ledger, sort_keys=False), encoding="utf-8")


def write_reference(repository, **commits):
    folder = repository / "results" / "reference" / "made"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "provenance.json").write_text(json.dumps({"commits": commits}))
    (folder / "specifications.csv").write_text("id,measured\n")


@pytest.fixture
def made(tmp_path):
    """A repository whose first commit is the ledger, and whose second has the results of runs made with the first."""
    assert git(tmp_path, "init", "--quiet") is not None
    write_ledger(tmp_path, made_ledger())
    first = commit(tmp_path, "Specifications before the runs")
    write_reference(tmp_path, room=[first])
    commit(tmp_path, "Results")
    return tmp_path


def test_nothing_is_broken_where_nothing_was_changed(made):
    assert why_not(made) == ""
    assert broken_promises(made) == []


def edit(change):
    """The ledger with a change."""
    ledger = made_ledger()
    change(ledger["choices"], ledger["claims"])
    return ledger


def swapped(choices, claims):
    choices["size"]["options"] = {"two": "2", "one": "1"}


def later(choices, claims):
    """A choice that says that it came later."""
    choices["age"] = {"open": "It is.", "added": AFTERWARDS, "options": {"old": "1", "new": "2"}}
    claims[0]["over"].append("age")


def later_in_silence(choices, claims):
    later(choices, claims)
    del choices["age"]["added"]


AFTER = {
    "a choice more": (later_in_silence, "long: over was changed"),
    "a bound": (lambda choices, claims: claims[0].update(rule={"above": 0.9}), "long: rule was changed"),
    "the kind of a rule": (lambda choices, claims: claims[0].update(rule={"below": 1.0}), "long: rule was changed"),
    "an argument": (
        lambda choices, claims: claims[0].update(measure={"room.length": {"of": "chairs"}}),
        "long: measure was changed",
    ),
    "a choice less": (lambda choices, claims: claims[0].pop("over"), "long: over was changed"),
    "the family": (lambda choices, claims: claims[0].update(family="ours"), "long: family was changed"),
    "an option more": (
        lambda choices, claims: choices["size"]["options"].update(three="3"),
        "long: the options of size were changed",
    ),
    "an option less": (
        lambda choices, claims: choices["size"]["options"].pop("two"),
        "long: the options of size were changed",
    ),
    "the main option": (swapped, "long: the options of size were changed"),
    "a claim less": (lambda choices, claims: claims.pop(0), "long: was taken out"),
    "another name": (lambda choices, claims: claims[0].update(id="far"), "long: was taken out"),
    "a claim more": (
        lambda choices, claims: claims.append(claims[0] | {"id": "far"}),
        "far: is new, and does not say added: after the runs",
    ),
}


@pytest.mark.parametrize("what", AFTER)
def test_a_change_after_the_runs_is_found(made, what):
    """Whether it was committed or not."""
    change, message = AFTER[what]
    write_ledger(made, edit(change))
    (run,) = json.loads((made / "results/reference/made/provenance.json").read_text())["commits"]["room"]
    expected = f"made: room: {run[:7]}: {message}"
    assert broken_promises(made)[0] == expected
    commit(made, "A better bound")
    assert broken_promises(made)[0] == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda choices, claims: claims.append(claims[0] | {"id": "far", "added": AFTERWARDS}),
        later,
        lambda choices, claims: claims[0].update(statement="It is rather long.", unit="metres", figure="length"),
        lambda choices, claims: choices["size"].update(open="Section 1 leaves it open."),
        lambda choices, claims: claims.reverse(),
        # of another room, whose runs are not there, and of none
        lambda choices, claims: claims[1].update(rule={"within": 2.0}),
        lambda choices, claims: choices["colour"]["options"].pop("red"),
        lambda choices, claims: claims.pop(2),
    ],
)
def test_other_changes_are_nobodys_loss(made, change):
    write_ledger(made, edit(change))
    assert broken_promises(made) == []


def test_runs_that_knew_of_a_later_choice_keep_the_promise_too(made):
    write_ledger(made, edit(later))
    second = commit(made, "A choice")
    write_reference(made, room=[second])
    assert broken_promises(made) == []


def test_runs_of_the_commit_that_wrote_the_results_are_found(made):
    """Such a record was written by hand: no run can know the commit that its results will have."""
    write_reference(made, room=["0" * 40])
    last = commit(made, "More results")
    write_reference(made, room=[last])
    assert broken_promises(made) == [f"made: room: {last[:7]}: is the commit that wrote the results"]


def test_each_commit_of_each_room_is_checked(made):
    """Runs of a commit that had another bound, among those of one that had this."""
    (first,) = json.loads((made / "results/reference/made/provenance.json").read_text())["commits"]["room"]
    write_ledger(made, edit(lambda choices, claims: claims[1].update(rule={"within": 2.0})))
    second = commit(made, "Wider")
    write_ledger(made, made_ledger())
    commit(made, "As before")
    write_reference(made, room=[first, second], other=[first, second])
    assert broken_promises(made) == [f"made: other: {second[:7]}: wide: rule was changed"]


def test_a_commit_that_the_history_lacks_is_found(made):
    write_reference(made, room=["1" * 40])
    assert broken_promises(made) == ["made: room: 1111111: has no paper/claims.yaml in this history"]


def test_references_without_specifications_are_of_another_time(made):
    (made / "results/reference/made/specifications.csv").unlink()
    write_ledger(made, edit(AFTER["a bound"][0]))
    assert broken_promises(made) == []
    assert why_not(made) == "no reference with specifications is committed yet"


def test_without_the_history_there_is_nothing_to_check(made, tmp_path_factory):
    clone = tmp_path_factory.mktemp("clone") / "shallow"
    assert git(made, "clone", "--quiet", "--depth", "1", made.as_uri(), str(clone)) is not None
    assert why_not(clone) == "a shallow clone lacks the commits of the runs"
    archive = made / "archive"  # unpacked within another repository
    archive.mkdir()
    assert why_not(archive) == "no git history here, as in a downloaded archive"
    assert why_not(tmp_path_factory.mktemp("plain")) == "no git history here, as in a downloaded archive"
