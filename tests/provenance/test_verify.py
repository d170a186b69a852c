"""What has changed since it was made is named, and nothing else is."""

import json
import shutil
from pathlib import Path

import finished_scale as made
import pytest
import yaml

from experiments.evidence import lineage
from experiments.provenance import reference, verify
from experiments.runs.errors import UserError
from experiments.runs.files import write_json
from experiments.scale import load

OUTPUTS = [
    "results/made/tables/niqe_collapse.csv",
    "results/made/tables/niqe_collapse.tex",
    "results/made/claims.csv",
    "results/made/specifications.md",
    "figures/made/niqe_collapse.png",
    "results/made/rows/niqe_collapse.csv",
]
RUN_FILES = [f"{made.RUN}/{name}" for name in ("config.yaml", "history.csv", "metrics.json", "samples.npz")]


pytestmark = pytest.mark.usefixtures("analysed")


def report():
    return verify.verify(made.scale(), made.CONFIG)


def names(lines):
    return {line.split(":")[0] for line in lines}


def notices():
    """Notices besides those on the state of this repository."""
    return [line for line in report().notices if "uncommitted" not in line]


def test_what_is_whole_is_clean():
    assert report().drift == []
    assert notices() == []


@pytest.mark.parametrize(
    "path", [*OUTPUTS, *RUN_FILES, "data/orl-faces/images.npy", "paper/published.yaml", made.CONFIG]
)
def test_a_flipped_byte_is_named(path):
    settings = made.scale()
    expected = made.fingerprint_of(path)
    made.flip_a_byte(path)
    drift = verify.verify(settings, made.CONFIG).drift
    assert names(drift) == {path}
    assert any(f"expected {expected[:12]}, found {made.fingerprint_of(path)[:12]}; " in line for line in drift)


@pytest.mark.parametrize("path", [OUTPUTS[0], RUN_FILES[3], "data/orl-faces/images.npy"])
def test_a_missing_file_is_named(path):
    Path(path).unlink()
    (line,) = report().drift
    assert line.startswith(f"{path}: missing (expected ")


def test_a_missing_run_is_named():
    (made.RUN / "metrics.json").unlink()
    assert (
        f"{made.RUN}: expected a finished run, found none; run snakemake --configfile {made.CONFIG} --cores 2"
        in report().drift
    )


def test_a_run_that_the_scale_does_not_name_is_a_notice():
    shutil.copytree(made.RUN, made.RUN.with_name("seed-7"))
    assert report().drift == []
    made.flip_a_byte(made.RUN.with_name("seed-7") / "history.csv")
    assert names(report().drift) == {f"{made.RUN.with_name('seed-7')}/history.csv"}
    (made.RUN.with_name("seed-7") / "metrics.json").unlink()
    found = report()
    assert found.drift == []
    assert any("runs that config/made.yaml does not name: 1; " in line for line in found.notices)


def test_a_run_made_anew_after_its_table_is_drift_of_the_table():
    made.make_run(seconds=99.0)
    (line, *others) = report().drift
    assert line.startswith(f"{made.RUN}/provenance.json: expected ")
    assert all("changed since it was read, so run python -m experiments.evidence." in line for line in (line, *others))


def test_a_scale_is_held_against_its_own_data_sets_alone():
    assert verify.known_data(made.scale()).keys() == {"orl-faces/images.npy"}
    celeba = load(made.ROOT / "config" / "celeba-10k.yaml")
    assert verify.data_sets(celeba) == ["celeba"]
    assert verify.known_data(celeba) == {}  # what its runs recorded counts


def test_the_data_sets_of_a_scale_are_those_that_its_rooms_name():
    assert verify.data_sets(load(made.ROOT / "config" / "laptop.yaml")) == ["mnist", "orl-faces"]


def test_data_without_a_published_checksum_is_held_against_what_the_runs_saw():
    cache = Path("data/celeba/images-64.npy")
    cache.parent.mkdir()
    cache.write_bytes(b"celebrities")
    provenance = json.loads((made.RUN / "provenance.json").read_text())
    provenance["data"]["celeba/images-64.npy"] = made.fingerprint_of(cache)
    write_json(made.RUN / "provenance.json", provenance)
    assert "data/celeba/images-64.npy" not in names(report().drift)
    made.flip_a_byte(cache)
    assert "data/celeba/images-64.npy" in names(report().drift)


def test_settings_that_are_not_those_that_were_run():
    config = yaml.safe_load((made.RUN / "config.yaml").read_text())
    (made.RUN / "config.yaml").write_text(yaml.safe_dump(config | {"seed": 1}))
    drift = report().drift
    assert names(drift) == {f"{made.RUN}/config.yaml"}
    assert any("expected settings " in line for line in drift)


def test_a_run_on_other_data_is_named():
    provenance = json.loads((made.RUN / "provenance.json").read_text())
    write_json(made.RUN / "provenance.json", provenance | {"data": {"orl-faces/images.npy": "f" * 64}})
    assert any("expected orl-faces/images.npy" in line and "found ffffffffffff" in line for line in report().drift)


def test_other_code_is_a_notice(monkeypatch):
    verify._fingerprint.cache_clear()
    monkeypatch.setattr(verify, "code_fingerprint", lambda room, rules: "0" * 16)
    found = report()
    verify._fingerprint.cache_clear()
    assert found.drift == []
    assert any("runs made by other code" in line and f"here is {'0' * 16}): 1; " in line for line in found.notices)


def test_records_of_other_code_are_a_notice_each_by_its_own_modules(monkeypatch):
    """A change in what the figures alone import is no news for tables and claims."""
    known = lineage.code_fingerprint
    monkeypatch.setattr(
        lineage,
        "code_fingerprint",
        lambda modules: "0" * 16 if "experiments.niqe_collapse.figures" in modules else known(modules),
    )
    (line,) = [line for line in notices() if "records of other code" in line]
    assert f"here is {'0' * 16}): 1; " in line


def test_a_run_from_before_files_were_hashed_is_a_notice():
    provenance = json.loads((made.RUN / "provenance.json").read_text())
    provenance = {key: value for key, value in provenance.items() if key not in ("files", "config_hash")}
    write_json(made.RUN / "provenance.json", provenance)
    assert any("runs made before files were hashed, not to be verified: 1; " in line for line in report().notices)


def test_outputs_without_a_record_are_a_notice():
    for record in Path("results/made/lineage").iterdir():
        record.unlink()
    assert report().drift == []
    assert {line.split(";")[0] for line in notices()} == {
        "results/made: files without a record of how they were made: 6",
        "results/made/rows: files without a record of how they were made: 1",
        "results/made/tables: files without a record of how they were made: 3",
        "figures/made: files without a record of how they were made: 2",
    }


def test_leftovers_and_files_of_nobody_are_notices(tmp_path):
    from experiments.runs.files import atomic_path

    with atomic_path("results/made/tables/x.csv") as temporary:
        temporary.write_text("half")
        (made.RUN / "extra.txt").write_text("mine")
        found = notices()
    assert [line.split(":")[0] for line in found if "cut off" in line] == [f"results/made/tables/{temporary.name}"]
    assert any("runs with extra.txt, which is not in their provenance: 1" in line for line in found)


def test_the_committed_reference_is_hashed_too():
    reference.keep(made.scale())
    assert report().drift == []
    made.flip_a_byte("results/reference/made/claims.csv")
    (line,) = report().drift
    assert line.startswith("results/reference/made/claims.csv: expected ")
    assert line.endswith("run git checkout -- results/reference/made/claims.csv")


def test_the_exit_code_says_it(monkeypatch, capsys):
    made.command(monkeypatch, verify)
    assert ": 0 drifted, " in capsys.readouterr().out
    made.flip_a_byte(OUTPUTS[0])
    with pytest.raises(SystemExit) as stop:
        made.command(monkeypatch, verify)
    assert stop.value.code == 1
    out = capsys.readouterr().out
    assert out.startswith(f"drift   {OUTPUTS[0]}: expected ")
    assert ": 1 drifted, " in out


def test_a_scale_that_was_never_run_is_one_line(tmp_path, monkeypatch):
    settings = made.scale()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"results/made: no results to verify; run snakemake"):
        verify.verify(settings, made.CONFIG)
