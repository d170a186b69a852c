"""Command lines: every key an option, one line for every mistake, help at once."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from experiments.analysis import paper, reading

from experiments import command_line
from experiments.data import __main__ as data
from experiments.runs.errors import UserError, run_main
from experiments.runs.room import WEIGHTINGS_FOLDER
from experiments.scale import load
from experiments.weightings import softadapt, softadapt_swapped

SMOKE = ["--config", "config/smoke.yaml"]


def parse(experiment, *arguments, **options):
    [request] = command_line.parse(experiment, "text", arguments=[*SMOKE, *arguments], **options)
    return request


def test_defaults_are_those_of_the_config_file():
    request = parse("sparse_autoencoder", with_methods=True)
    assert request.settings == load("config/smoke.yaml")
    assert request.variant == {"method": "softadapt"}
    assert str(request.output) == "results/smoke/runs/sparse_autoencoder/softadapt/seed-0"
    assert request.threads == 1


def test_every_key_can_be_overridden():
    request = parse("sparse_autoencoder", "--epochs", "7", "--learning-rate", "1e-2", "--seed", "3", with_methods=True)
    assert request.settings.sparse_autoencoder.epochs == 7
    assert request.settings.sparse_autoencoder.learning_rate == 0.01
    assert request.seed == 3
    nested = parse("gradient_descent", "--step-sizes.count", "9", "--betas", "[0.1, 5]")
    assert nested.settings.gradient_descent.step_sizes.count == 9
    assert nested.settings.gradient_descent.betas == [0.1, 5.0]


def test_options_of_the_weighting_rule_reach_the_method():
    request = parse("introvae", "--method", "softadapt", "--beta", "0.5", "--normalize", "true", with_methods=True)
    method = request.settings.introvae.methods["softadapt"]
    assert method.encoder["beta"] == method.generator["beta"] == 0.5
    assert method.encoder["normalize"] is True
    assert request.settings.introvae.methods["fixed"] == load("config/smoke.yaml").introvae.methods["fixed"]


@pytest.mark.parametrize("rule", [softadapt, softadapt_swapped])
def test_the_rules_fields_are_those_of_its_settings(rule):
    name = rule.__name__.rpartition(".")[-1]
    assert command_line._rule_fields(name).keys() == rule.Settings.model_fields.keys()


def test_every_field_of_the_methods_rule_is_an_option():
    options = ["--prior", "[1, 2]", "--mean-over-history", "true", "--rule-method", "least_squares", "--history", "5"]
    request = parse("sparse_autoencoder", *options, with_methods=True)
    weighting = request.settings.sparse_autoencoder.methods["softadapt"].weighting
    expected = {"prior": [1, 2], "mean_over_history": True, "method": "least_squares", "history": 5}
    assert expected.items() <= weighting.items()
    assert request.variant == {"method": "softadapt"}


def test_a_rule_is_offered_though_it_shadows_an_option_and_imports_torch(tmp_path, monkeypatch):
    for path in WEIGHTINGS_FOLDER.glob("*.py"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "fixed.py").write_text("import absent\n\nclass Settings(Strict):\n    rule: str\n    epochs: int = 3\n")
    monkeypatch.setattr(command_line, "WEIGHTINGS_FOLDER", tmp_path)
    request = parse("introvae", "--method", "fixed", "--rule-epochs", "4", with_methods=True)
    assert request.settings.introvae.methods["fixed"].encoder["epochs"] == 4
    assert request.settings.introvae.epochs == load("config/smoke.yaml").introvae.epochs


def test_an_option_goes_to_the_networks_whose_rule_has_it(tmp_path):
    config = tmp_path / "mixed.yaml"
    values = yaml.safe_load(open("config/smoke.yaml", encoding="utf-8"))
    methods = values["introvae"]["methods"]
    methods["softadapt"]["generator"] = methods["fixed"]["generator"]
    config.write_text(yaml.safe_dump(values), encoding="utf-8")
    request = parse("introvae", "--config", str(config), "--beta", "0.5", with_methods=True)
    method = request.settings.introvae.methods["softadapt"]
    assert method.encoder["beta"] == 0.5
    assert method.generator == methods["fixed"]["generator"]


def test_a_lambda_besides_the_grid_is_a_method():
    options = ["--lambdas", "[2e-4]", "--method", "lambda-0.0002"]
    request = parse("sparse_autoencoder", *options, with_methods=True)
    weighting = request.settings.sparse_autoencoder.all_methods()["lambda-0.0002"].weighting
    assert weighting["weights"] == {"reconstruction": 1.0, "sparsity": 2e-4}
    assert request.output.parts[2] == "trials"


def test_the_data_folder_is_an_option_and_no_other_run(tmp_path):
    request = parse("introvae", "--data-dir", str(tmp_path), with_methods=True)
    assert request.settings.data_dir == str(tmp_path)
    assert request.output == parse("introvae", with_methods=True).output


def test_a_false_or_zero_override_is_an_override():
    request = parse("introvae", "--beta", "0", with_methods=True)
    assert request.settings.introvae.methods["softadapt"].encoder["beta"] == 0


def test_trials_do_not_mix_with_the_workflows_runs():
    one = parse("introvae", "--beta", "0.5", with_methods=True).output
    other = parse("introvae", "--beta", "0.6", with_methods=True).output
    assert one.parts[2] == other.parts[2] == "trials"
    assert one != other


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "magic"], "--method magic: not a method of sparse_autoencoder; known are lambda-1e-05"),
        (["--epochs", "0"], "command line: sparse_autoencoder.epochs: Input should be greater than 0"),
        (["--epochs", "[1"], "--epochs [1: not a plain YAML value"),
        (["--method", "lambda-0.001", "--beta", "2"], "takes no options of a method or of a weighting rule"),
        (["--beta", ""], "--beta: is empty; give a value, or null for none"),
        (["--epochs", " "], "--epochs: is empty"),
        (["--reconstruction", ""], "--reconstruction: is empty"),
        (["--lambdas", "[oops]"], "command line: sparse_autoencoder.lambdas.0: Input should be a valid number"),
        (["--seed", "-1"], "--seed -1: must not be negative"),
        (["--threads", "0"], "--threads 0: must be at least 1"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(UserError) as error:
        parse("sparse_autoencoder", *arguments, with_methods=True)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_option_that_no_rule_of_the_method_has_is_one_line():
    message = r"^--beta: not an option of --method fixed, whose weighting rule is fixed$"
    with pytest.raises(UserError, match=message):
        parse("introvae", "--method", "fixed", "--beta", "2", with_methods=True)


def test_a_mistake_in_the_file_is_blamed_on_the_file(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("scale: smoke\n")
    with pytest.raises(UserError, match=r"bad\.yaml: data_dir: key is missing"):
        command_line.parse("introvae", "text", with_methods=True, arguments=["--config", str(path)])


@pytest.mark.parametrize(
    "experiment", ["gradient_descent", "digit_classifier", "sparse_autoencoder", "niqe_collapse", "five_rules"]
)
def test_an_experiment_that_the_scale_leaves_out_is_one_line(faces_config, monkeypatch, experiment):
    message = f"{faces_config}: {experiment}: this scale leaves the experiment out; add the section, or name a scale"
    with pytest.raises(UserError) as run_error:
        command_line.parse(experiment, "text", arguments=["--config", str(faces_config)])
    monkeypatch.setattr(sys, "argv", ["tables", experiment, "--config", str(faces_config)])
    with pytest.raises(UserError) as table_error:
        reading.command_line("tables", "text", what=[experiment])
    for error in (run_error, table_error):
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)


def test_the_manuscript_needs_every_experiment(faces_config, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["paper", "--config", str(faces_config)])
    with pytest.raises(UserError, match="gradient_descent: this scale leaves the experiment out"):
        paper.main()


def test_an_experiment_that_the_scale_has_is_parsed_as_ever(faces_config):
    [request] = command_line.parse("introvae", "text", with_methods=True, arguments=["--config", str(faces_config)])
    assert str(request.output) == "results/faces-only/runs/introvae/softadapt/seed-0"


def test_the_judge_of_the_autoencoder_is_the_scales_unless_named():
    path = "results/smoke/runs/digit_classifier/default/seed-0"
    assert str(parse("sparse_autoencoder", with_methods=True).classifier) == path
    assert str(parse("sparse_autoencoder", "--classifier", "other", with_methods=True).classifier) == "other"


@pytest.mark.parametrize(
    "module",
    [
        "gradient_descent",
        "digit_classifier",
        "sparse_autoencoder",
        "introvae",
        "data",
        "audits.niqe_collapse",
        "audits.five_rules",
        "audits.step_cost",
    ],
)
def test_help_explains_and_loads_no_torch(module):
    code = (
        f"import sys, runpy; sys.argv = ['{module}', '--help']\n"
        f"try: runpy.run_module('experiments.{module}', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage:" in result.stdout
    assert "default:" in result.stdout


@pytest.mark.parametrize("module", ["tables", "figures", "claims", "reference", "paper"])
def test_help_of_the_analysis_loads_neither_statistics_nor_plots(module):
    code = (
        f"import sys, runpy; sys.argv = ['{module}', '--help']\n"
        f"try: runpy.run_module('experiments.analysis.{module}', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "assert not {'scipy.stats', 'matplotlib', 'torch'} & sys.modules.keys()"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "usage:" in result.stdout


def test_a_users_mistake_is_one_line_exit_code_2_and_no_traceback(tmp_path):
    started = time.monotonic()
    command = [sys.executable, "-m", "experiments.introvae", "--config", str(tmp_path / "none.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("below", ["", "run"])
def test_an_error_of_the_file_system_is_one_line(tmp_path, capsys, below):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as exit_:
        run_main(lambda: data.main(["fetch", "mnist", "--data-dir", str(tmp_path / "file" / below)]))
    assert exit_.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith(f"error: {tmp_path / 'file'}")
    assert text.count("\n") == 1


def test_an_error_of_the_file_system_without_a_file_is_one_line_too(capsys):
    def fails():
        raise OSError("cannot\nwrite")

    with pytest.raises(SystemExit):
        run_main(fails)
    assert capsys.readouterr().err == "error: cannot write\n"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, "; name another place, or make this one readable and writable"),
        (errno.EROFS, "; name another place, or make this one readable and writable"),
        (errno.ENOENT, "; name another place, or make this one readable and writable"),
        (errno.EISDIR, "; name another place, or make this one readable and writable"),
        (errno.ENOSPC, "; free some space or name another place"),
        (errno.EDQUOT, "; free some space or name another place"),
        (errno.ENOMEM, ""),
        (errno.EMFILE, ""),
        (errno.EIO, ""),
    ],
)
def test_an_error_of_the_file_system_gets_only_advice_that_fits(capsys, number, remedy):
    def fails():
        raise OSError(number, os.strerror(number), "file")

    with pytest.raises(SystemExit):
        run_main(fails)
    assert capsys.readouterr().err == f"error: file: {os.strerror(number)}{remedy}\n"


def test_interrupt_exits_with_the_customary_code(capsys):
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 75)):
        with pytest.raises(SystemExit) as exit_:
            run_main(lambda number=number: signal.raise_signal(number))
        assert exit_.value.code == code
        message = capsys.readouterr().err
        assert "run the same command again" in message
        assert message.count("\n") == 1


def test_several_seeds_are_several_requests_with_folders_of_their_own(tmp_path):
    arguments = [*SMOKE, "--seed", "3", "5"]
    requests = command_line.parse("sparse_autoencoder", "text", with_methods=True, arguments=arguments)
    assert [request.seed for request in requests] == [3, 5]
    assert [request.output.name for request in requests] == ["seed-3", "seed-5"]
    with pytest.raises(UserError, match=r"--output .*: holds one run; give one --seed"):
        command_line.parse("introvae", "text", with_methods=True, arguments=[*arguments, "--output", str(tmp_path)])
