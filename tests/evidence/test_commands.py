"""Command lines of the evidence: what a scale leaves out is one line, and help is there at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.evidence import claims, manuscript, reading
from experiments.runs.errors import UserError
from experiments.scale import ROOMS


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "introvae"])
def test_a_room_that_the_scale_leaves_out_is_one_line(faces_config, monkeypatch, room):
    monkeypatch.setattr(sys, "argv", ["tables", room, "--config", str(faces_config)])
    with pytest.raises(UserError) as error:
        reading.command_line("tables", "text", rooms=True)
    assert f"{room}: this scale leaves the experiment out; add the section, or name a scale" in str(error.value)
    assert "\n" not in str(error.value)


def test_the_manuscript_needs_every_room(faces_config, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["manuscript", "--config", str(faces_config)])
    with pytest.raises(UserError, match="gradient_descent: this scale leaves the experiment out"):
        manuscript.main()


@pytest.mark.parametrize("module", ["evidence.tables", "evidence.figures", "evidence.claims", "evidence.manuscript"])
def test_help_loads_neither_statistics_nor_plots(module):
    code = (
        f"import sys, runpy; sys.argv = ['{module}', '--help']\n"
        f"try: runpy.run_module('experiments.{module}', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'scipy.stats', 'matplotlib', 'torch'} & sys.modules.keys()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage:" in result.stdout


def test_the_ledger_of_a_scale_that_no_claim_is_about_is_empty(tmp_path, monkeypatch, capsys):
    scale = tmp_path / "judge.yaml"
    scale.write_text(f"scale: judge\nbase: {Path('config/smoke.yaml').resolve()}\nonly: [digit_classifier]\n")
    (tmp_path / "paper").symlink_to(Path("paper").resolve())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["claims", "--config", str(scale)])
    claims.main()
    assert "no claim is about the rooms of the scale judge" in capsys.readouterr().out
    assert Path("results/judge/claims.csv").exists()
    assert Path("results/judge/specifications.csv").read_text().startswith("id,")
