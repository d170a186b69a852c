"""The remembered check of the weighting rules."""

import pytest

from experiments import checks, weightings
from experiments.runs.errors import UserError
from experiments.scale import load

SMOKE = "config/smoke.yaml"


@pytest.fixture
def checked(tmp_path, monkeypatch):
    """Sources of the checks that were really made; nothing is remembered yet."""
    made = []
    real = weightings.check
    monkeypatch.setattr(checks, "FOLDER", tmp_path / "checked")
    monkeypatch.setattr(weightings, "check", lambda settings, source: (made.append(source), real(settings, source)))
    return made


def test_what_passed_is_checked_once(checked):
    checks.check_weightings(load(SMOKE), "first")
    checks.check_weightings(load(SMOKE), "second")
    assert checked == ["first"]


def test_other_settings_are_checked_anew(checked):
    settings = load(SMOKE)
    checks.check_weightings(settings, "first")
    checks.check_weightings(settings.model_copy(update={"scale": "other"}), "other")
    assert checked == ["first", "other"]


def test_what_failed_is_never_remembered(checked):
    settings = load(SMOKE)
    settings.introvae.methods["softadapt"].encoder["betta"] = 3
    for _ in range(2):
        with pytest.raises(UserError, match="betta: unknown key, did you mean beta"):
            checks.check_weightings(settings, SMOKE)
    assert len(checked) == 2


def test_changed_code_is_checked_anew(checked, tmp_path, monkeypatch):
    (tmp_path / "experiments" / "weightings").mkdir(parents=True)
    rule = tmp_path / "experiments" / "weightings" / "rule.py"
    monkeypatch.setattr(checks, "__file__", str(tmp_path / "experiments" / "checks.py"))
    for code in ("one", "two"):
        rule.write_text(code)
        checks.check_weightings(load(SMOKE), code)
    assert checked == ["one", "two"]
