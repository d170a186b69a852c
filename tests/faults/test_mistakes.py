"""A user's mistakes in a config or on a command line: one line that names the key and the remedy, nothing written."""

import forked
import pytest
import yaml
from processes import one_line

pytestmark = pytest.mark.whole

MISTAKES = {
    "a typo": (lambda v: v["introvae"].update(epohcs=3), "introvae.epohcs: unknown key, did you mean epochs?"),
    "a wrong type": (lambda v: v["introvae"].update(epochs="many"), "introvae.epochs:"),
    "a negative number": (lambda v: v["introvae"].update(epochs=-3), "introvae.epochs:"),
    "an unknown rule": (lambda v: v["introvae"]["methods"]["softadapt"]["encoder"].update(rule="softadpt"), "softadpt"),
    "a missing key": (
        lambda v: v["introvae"].pop("margin" if "margin" in v["introvae"] else "hinge"),
        "key is missing",
    ),
    "no experiment": (lambda v: v.pop("introvae"), "introvae"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_config_is_one_line_of_the_experiment(place, tmp_path, mistake):
    values = yaml.safe_load(place.config.read_text())
    values = {key: values[key] for key in ("scale", "data_dir", "introvae")}
    break_it, message = MISTAKES[mistake]
    break_it(values)
    config = tmp_path / "bad.yaml"
    config.write_text(yaml.safe_dump(values))
    process = place.command("introvae", ["--config", str(config), "--output", str(tmp_path / "run")])
    one_line(process, "bad.yaml", message)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("mistake", ["a negative number", "an unknown rule"])
def test_a_mistake_in_the_config_is_one_line_of_the_workflow(place, tmp_path, only_some, mistake):
    only_some(mistake, "an unknown rule")
    values = yaml.safe_load(place.config.read_text())
    break_it, message = MISTAKES[mistake]
    break_it(values)
    config = tmp_path / "bad.yaml"
    config.write_text(yaml.safe_dump(values))
    result = forked.snakemake("--cores", "1", "--dry-run", "--nolock", "--configfile", str(config))
    said = [line for line in result.stderr.splitlines() if "rror" in line]
    assert result.returncode == 2
    assert len(said) == 1
    assert message in said[0]


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("introvae", ["--method", "softadpt"], "--method softadpt: not known to introvae; choose from"),
        ("introvae", ["--epochs", "-1"], "introvae.epochs"),
        ("sparse_autoencoder", ["--beta", "[}"], "--beta [}: not a plain YAML value"),
        ("digit_classifier", ["--checkpoint-interval", "-1"], "--checkpoint-interval"),
        ("gradient_descent", ["--config", "config/none.yaml"], "config/none.yaml: cannot be read"),
        ("sparse_autoencoder", ["--classifier", "nowhere"], "nowhere: no trained digit classifier"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(place, tmp_path, what, options, message):
    words = ["--output", str(tmp_path / "run"), *options]
    if "--config" not in options:
        words += ["--config", str(place.config)]
    one_line(place.command(what, words), message)
    assert not (tmp_path / "run").exists()
