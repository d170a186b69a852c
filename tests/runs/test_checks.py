"""The remembered check of the weighting rules."""

import importlib

import pytest

from experiments.runs import checks
from experiments.runs.errors import UserError
from experiments.scale import ROOMS, load

SMOKE = "config/smoke.yaml"


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """Rooms and sources of the checks that were really made; nothing is remembered yet."""
    made = []
    monkeypatch.setattr(checks, "FOLDER", tmp_path / "checked")
    for room in ROOMS:
        run = importlib.import_module(f"experiments.{room}.run")
        if hasattr(run, "check"):
            monkeypatch.setattr(
                run,
                "check",
                lambda scale, source, real=run.check, room=room: (made.append((room, source)), real(scale, source)),
            )
    return made


def test_every_room_with_rules_in_its_settings_is_checked(checked):
    checks.check(load(SMOKE), "here")
    ruled = {name for name, section in load(SMOKE).rooms.items() if any(map(section.weightings, section.names()))}
    assert {room for room, _ in checked} == ruled
    assert {source for _, source in checked} == {"here"}


def test_what_passed_is_checked_once(checked):
    checks.check(load(SMOKE), "first")
    checks.check(load(SMOKE), "second")
    assert {source for _, source in checked} == {"first"}


def test_other_settings_are_checked_anew(checked):
    settings = load(SMOKE)
    checks.check(settings, "first")
    checks.check(settings.model_copy(update={"scale": "other"}), "other")
    assert {source for _, source in checked} == {"first", "other"}


@pytest.mark.parametrize(
    ("place", "key"),
    [
        (lambda scale: scale.introvae.methods["softadapt"].encoder, "introvae.methods.softadapt.encoder"),
        (
            lambda scale: scale.sparse_autoencoder.methods["softadapt"].weighting,
            "sparse_autoencoder.methods.softadapt.weighting",
        ),
        (lambda scale: scale.namesakes.rules["NequIP"], "namesakes.rules.NequIP"),
    ],
    ids=["introvae", "sparse_autoencoder", "namesakes"],
)
def test_what_failed_is_named_and_never_remembered(checked, place, key):
    settings = load(SMOKE)
    place(settings)["betta"] = 3
    counts = []
    for _ in range(2):
        with pytest.raises(UserError, match=rf"{SMOKE}: {key}: betta: unknown key, did you mean beta"):
            checks.check(settings, SMOKE)
        counts.append(len(checked))
    assert counts[1] == 2 * counts[0] > 0


def test_changed_code_is_checked_anew(checked, monkeypatch):
    for code in ("one", "two"):
        monkeypatch.setattr(checks, "fingerprint", lambda files, code=code: code)
        checks.check(load(SMOKE), code)
    assert {source for _, source in checked} == {"one", "two"}


def test_the_code_of_a_check_is_that_of_the_runs_and_of_their_rules(checked, monkeypatch):
    files = []
    monkeypatch.setattr(checks, "fingerprint", lambda paths: files.extend(paths) or "code")
    checks.check(load(SMOKE), "here")
    names = {path.name for path in files}
    assert {"size_and_rate.py", "_previous_losses.py", "warm_up.py", "updates.py", "functional.py"} <= names


def test_a_scale_ends_with_a_report_epoch(checked):
    """The claims judge the last epoch, and measurements are taken at report epochs only."""
    settings = load(SMOKE)
    section = settings.introvae.model_copy(update={"epochs": settings.introvae.epochs + 1})
    with pytest.raises(UserError, match=rf"^here: introvae\.report_epochs: must end with epoch {section.epochs}, "):
        checks.check(settings.model_copy(update={"introvae": section}), "here")
    assert checked == []
