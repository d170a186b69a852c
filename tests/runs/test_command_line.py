"""Command lines of rooms: every key an option, one line for every mistake, help at once."""

import errno
import os
import re
import signal
import subprocess
import sys
import time
from importlib import import_module

import pytest
import yaml

from experiments import scale
from experiments.data import __main__ as data
from experiments.runs import command_line
from experiments.runs.errors import UserError, run_main
from experiments.runs.room import known_rules
from experiments.scale import ROOMS, load

SMOKE = load("config/smoke.yaml")


def requests(room, *arguments):
    return command_line.parse(scale, room, arguments=["--config", "config/smoke.yaml", *arguments])


def parse(room, *arguments):
    [request] = requests(room, *arguments)
    return request


def refusal(room, *arguments):
    """The one line with which a command line is refused."""
    with pytest.raises(UserError) as error:
        parse(room, *arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("room", ROOMS)
def test_defaults_are_those_of_the_config_file(room):
    request = parse(room)
    section = SMOKE.section(room)
    assert (request.room, request.scale, request.settings) == (room, SMOKE, section)
    name = "-".join(request.variant.values()) or "default"
    assert name in section.names()
    assert request.seed == section.all_seeds()[0]
    assert str(request.output) == f"results/smoke/runs/{room}/{name}/seed-{request.seed}"
    assert (request.threads, request.overwrite, request.checkpoint_interval) == (1, False, 20.0)


def test_the_default_method_is_the_papers():
    assert parse("introvae").variant == parse("sparse_autoencoder").variant == {"method": "softadapt"}


def test_every_key_is_an_option():
    request = parse("sparse_autoencoder", "--epochs", "7", "--learning-rate", "1e-2", "--seed", "3")
    assert (request.settings.epochs, request.settings.learning_rate, request.seed) == (7, 0.01, 3)
    assert request.scale.sparse_autoencoder == request.settings
    nested = parse("gradient_descent", "--step-sizes.count", "9", "--betas", "[0.1, 0, -5]", "--function", "beale")
    assert nested.settings.step_sizes.count == 9
    assert nested.settings.betas == [0.1, 0.0, -5.0]
    assert nested.variant == {"function": "beale", "step_rule": "fixed"}


@pytest.mark.whole
@pytest.mark.parametrize("room", ROOMS)
def test_every_option_that_the_help_lists_is_understood(room):
    section = SMOKE.section(room)
    for flag, text in command_line._described(section):
        if not flag.endswith(".KEY"):
            value = re.search(r"\(now (.*)\)$", text)[1]
            assert parse(room, flag, value).settings == section, flag
            assert parse(room, f"{flag}={value}").settings == section, flag


def test_a_mapping_of_settings_is_one_line_of_the_help_and_its_keys_are_options():
    flags = [flag for flag, _ in command_line._described(SMOKE.sparse_autoencoder)]
    assert flags.count("--variants.NAME.KEY") == flags.count("--methods.METHOD.KEY") == 1
    assert not [flag for flag in flags if flag.startswith("--variants.unit")]
    assert {"--plane.sizes", "--plane.rates", "--warm-ups", "--few-seeds"} <= set(flags)
    variants = parse("sparse_autoencoder", "--variants.unit-norm.hidden-units", "7").settings.variants
    assert (variants["unit-norm"].hidden_units, variants["unit-norm"].decoder) == (7, "unit_norm")
    assert ("--component-steps.NAME.KEY", "") not in command_line._described(SMOKE.gradient_descent)
    steps = parse("gradient_descent", "--component-steps.beale.count=9").settings.component_steps
    assert (steps["beale"].count, steps["rosenbrock"].count) == (9, 3)


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--variants.wide.hidden-units", "wide is no key here; known are unit-norm"),
        (
            "--variants.unit-norm.hidden",
            "hidden is no key here; known are hidden_units, batch_size, learning_rate, dec",
        ),
        ("--variants.unit-norm.decoder", "variants.unit-norm.decoder: Input should be 'free' or 'unit_norm'"),
        ("--plane.size", "size is no key here; known are sizes, rates; did you mean sizes?"),
    ],
)
def test_a_mistake_within_a_mapping_is_one_line(flag, message):
    assert message in refusal("sparse_autoencoder", flag, "7")


def test_a_method_of_a_variant_is_chosen_by_its_name():
    request = parse("sparse_autoencoder", "--method", "unit-norm.softadapt")
    assert str(request.output) == "results/smoke/runs/sparse_autoencoder/unit-norm.softadapt/seed-10"
    assert request.identity["settings"]["decoder"] == "unit_norm"
    assert parse("sparse_autoencoder").identity["settings"]["decoder"] == "free"


def test_generated_methods_are_chosen_by_their_names():
    for name in ("warm-up-2.lambda-0.001", "units-0.1", "size-0.5-rate-0"):
        assert parse("sparse_autoencoder", "--method", name).output.parts[-2] == name
    request = parse("sparse_autoencoder", "--unit-factors", "[2.5]", "--method", "units-2.5")
    assert request.settings.all_methods()["units-2.5"].units == 2.5
    assert request.output.parts[2] == "trials"


@pytest.mark.parametrize("words", [["--beta", "-1"], ["--beta=-1"], ["--beta", "-1e0"], ["--beta", "-1.0"]])
def test_options_of_the_weighting_rule_reach_the_method(words):
    request = parse("introvae", "--method", "softadapt", *words, "--normalize", "true")
    method = request.settings.methods["softadapt"]
    assert method.encoder["beta"] == method.generator["beta"] == -1.0
    assert method.encoder["normalize"] is True
    assert request.settings.methods["fixed"] == SMOKE.introvae.methods["fixed"]


def test_a_dotted_path_reaches_any_method():
    words = ["--methods.softadapt.encoder.beta", "0.5", "--methods.fixed.generator.weights.kl-fake=2"]
    methods = parse("introvae", "--method", "fixed", *words).settings.methods
    assert (methods["softadapt"].encoder["beta"], methods["softadapt"].generator["beta"]) == (0.5, 0.1)
    assert methods["fixed"].generator["weights"] == {"kl_fake": 2, "reconstruction": 4.0}


def test_names_in_a_path_may_hold_dots_and_spaces():
    name = "softadapt-beta-0.5"
    values = scale.read("config/smoke.yaml")["sparse_autoencoder"]
    values["methods"][name] = {"reconstruction": "sum", "weighting": {"rule": "softadapt", "beta": 0.5}}
    command_line._change(values, "", [f"--methods.{name}.weighting.mean-over-history", "true"])
    assert values["methods"][name]["weighting"] == {"rule": "softadapt", "beta": 0.5, "mean_over_history": True}
    rules = parse("namesakes", "--rules.authors 2023, original.beta", "3").settings.rules
    assert rules["authors 2023, original"] == {"rule": "authors_2023", "variant": "original", "beta": 3}


def test_an_option_of_the_method_itself_needs_no_path():
    assert parse("introvae", "--margin", "7").settings.methods["softadapt"].margin == 7.0
    settings = parse("sparse_autoencoder", "--method", "softadapt-beta-0", "--reconstruction", "mean").settings
    assert settings.methods["softadapt-beta-0"].reconstruction == "mean"
    assert settings.methods["softadapt"].reconstruction == "sum"


def test_an_option_goes_to_the_networks_whose_rule_has_it():
    mixed = ["--methods.softadapt.generator", "{rule: fixed, weights: {kl_fake: 1, reconstruction: 1}}"]
    method = parse("introvae", *mixed, "--beta", "0.5").settings.methods["softadapt"]
    assert method.encoder["beta"] == 0.5
    assert method.generator == {"rule": "fixed", "weights": {"kl_fake": 1, "reconstruction": 1}}


def names_twice(room):
    """Keys of a section, or options of every room, that are keys of a method too."""
    section = SMOKE.section(room)
    taken = {*type(section).model_fields, *section.choices(), "config", "seed", "output", "threads", "overwrite"}
    methods = section.methods if "methods" in type(section).model_fields else {}
    return {name for method in methods.values() for name in type(method).model_fields} & taken


@pytest.mark.parametrize("room", ROOMS)
def test_a_key_of_a_section_is_none_of_its_methods(room):
    assert names_twice(room) == set()


def test_a_name_without_dots_never_means_two_things():
    """But for ``method`` of the rule softadapt and ``epochs`` of a warm-up, which have to be named by their path."""
    for room in ROOMS:
        section = SMOKE.section(room)
        taken = {*type(section).model_fields, *section.choices(), "config", "seed", "output", "threads", "overwrite"}
        for method in (section.methods if "methods" in type(section).model_fields else {}).values():
            names = {*type(method).model_fields}
            assert names & taken == set()
            options = {name for rule in known_rules() for name in command_line._options_of(rule)}
            assert options & (names | taken) <= {"method", "epochs"}


def test_a_name_that_means_two_things_is_refused(monkeypatch):
    values = {"margin": 3, "methods": {"one": {"margin": 1.0}}}
    with pytest.raises(UserError, match=r"^--margin: is ambiguous; for the method's, write --methods.one.margin$"):
        command_line._change(values, "one", ["--margin", "2"])


def test_a_lambda_besides_the_grid_is_a_method():
    request = parse("sparse_autoencoder", "--lambdas", "[2e-4]", "--method", "lambda-0.0002")
    weighting = request.settings.all_methods()["lambda-0.0002"].weighting
    assert weighting["weights"] == {"reconstruction": 1.0, "sparsity": 2e-4}
    assert request.output.parts[2] == "trials"


def test_the_data_folder_is_an_option_and_no_other_run(tmp_path):
    request = parse("introvae", "--data-dir", str(tmp_path))
    assert request.scale.data_dir == str(tmp_path)
    assert request.output == parse("introvae").output


def test_a_false_or_zero_value_is_a_value():
    assert parse("introvae", "--beta", "0").settings.methods["softadapt"].encoder["beta"] == 0
    assert parse("introvae", "--flip", "false").settings.flip is False


def test_trials_do_not_mix_with_the_workflows_runs():
    one, other = (parse("introvae", "--beta", beta).output for beta in ("0.5", "0.6"))
    assert one.parts[2] == other.parts[2] == "trials"
    assert one != other
    assert (
        one == parse("introvae", "--methods.softadapt.encoder.beta=0.5", "--methods.softadapt.generator.beta=.5").output
    )
    assert parse("introvae", "--beta", "0.1").output.parts[2] == "runs"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--method", "magic"],
            "--method magic: not known to sparse_autoencoder; choose from lambda-1e-05, lambda-0.0001, lam",
        ),
        (["--method", "../../../../../escape"], "--method ../../../../../escape: not known to sparse_autoencoder"),
        (["--method"], "argument --method: expected one argument"),
        (["--epochs", "0"], "command line: sparse_autoencoder.epochs: Input should be greater than 0, got 0"),
        (["--epochs", "[1"], "--epochs [1: not a plain YAML value"),
        (["--epochs", "2001-01-01"], "--epochs 2001-01-01: not a plain YAML value"),
        (
            ["--epohcs", "3"],
            "--epohcs: no key of the settings, nor of method softadapt, nor of its rule softadapt (var",
        ),
        (["--epohcs", "3"], "); did you mean epochs?"),
        (["--betta", "3"], "; did you mean beta?"),
        (["--seeds", "3"], "; did you mean seed?"),
        (["--learning_rat=3"], "; did you mean learning-rate?"),
        (
            ["--method", "softadapt-yoked", "--beta", "2"],
            "--beta: no key of the settings, nor of method softadapt-yoked, nor of its rule replayed",
        ),
        (["--method", "lambda-0.001", "--beta", "2"], "--beta: no key of the settings, nor of method lambda-0.001"),
        (
            ["--methods.softadpt.weighting.beta", "2"],
            "softadpt is no key here; known are softadapt, softadapt-mean-error",
        ),
        (
            ["--methods.softadapt.weighing.beta", "2"],
            "weighing is no key here; known are reconstruction, sparsity, units, weighting, replays; did",
        ),
        (["--methods.softadapt", "{0: 1}", "--methods.softadapt.weighting", "2"], "is no key here; known are 0"),
        (["--beta", ""], "--beta: needs a value, or null for none"),
        (["--beta="], "--beta: needs a value, or null for none"),
        (["--epochs", " "], "--epochs: needs a value, or null for none"),
        (["--epochs"], "--epochs: needs a value, or null for none"),
        (["--epochs", "--beta", "3"], "--epochs: needs a value, or null for none"),
        (["epochs=3"], "epochs=3: expected an option, --KEY VALUE; see --help"),
        (["--method", "unit-norm.softadapt", "--beta", "2"], "--beta: no key of the settings, nor of method unit-norm"),
        (["--lambdas", "[oops]"], "command line: sparse_autoencoder.lambdas.0: Input should be a valid number"),
        (["--lambdas", "[1e-3, 1e-3]"], "command line: sparse_autoencoder.lambdas"),
        (["--learning-rate", "inf"], "command line: sparse_autoencoder.learning_rate: Input should be a finite number"),
        (
            ["--learning-rate", ".nan"],
            "command line: sparse_autoencoder.learning_rate: Input should be a finite number",
        ),
        (["--data-dir", "$HOME"], "command line: data_dir: must be one line of text without $"),
        (["--seed", "-1"], "--seed -1: must be from 0 to"),
        (["--seed", str(2**63)], f"--seed {2**63}: must be from 0 to"),
        (["--seed", "x"], "argument --seed: invalid int value: 'x'"),
        (["--seed", "3", "4", "3"], "--seed 3 4 3: name each seed once"),
        (["--threads", "0"], "--threads 0: must be from 1 to"),
        (["--checkpoint-interval", "-1"], "--checkpoint-interval -1.0: must be from 0 to"),
        (["--checkpoint-interval", "nan"], "--checkpoint-interval nan: must be from 0 to"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    assert message in refusal("sparse_autoencoder", *arguments)


def test_a_choice_that_a_room_does_not_know_is_one_line():
    message = "--function sphere: not known to gradient_descent; choose from rosenbrock, beale"
    assert refusal("gradient_descent", "--function", "sphere") == message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--beta", "inf"],
            "settings: introvae.methods.softadapt.encoder: beta: Input should be a finite number, got inf",
        ),
        (["--methods.softadapt.encoder.betta", "1"], "encoder: betta: unknown key, did you mean beta?"),
    ],
)
def test_a_rule_that_refuses_its_options_is_one_line_before_any_run(monkeypatch, capsys, tmp_path, words, message):
    run = import_module("experiments.introvae.run")
    monkeypatch.setattr(run, "run", lambda request: pytest.fail("a run was started"))
    monkeypatch.setattr(sys, "argv", ["introvae", "--config", "config/smoke.yaml", *words, "--output", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_:
        command_line.main(scale, "introvae", "text")
    assert exit_.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_mistake_in_the_file_is_blamed_on_the_file(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("scale: smoke\n")
    assert "bad.yaml: data_dir: key is missing" in refusal("introvae", "--config", str(path))


@pytest.mark.parametrize("room", [room for room in ROOMS if room != "introvae"])
def test_a_room_that_the_scale_leaves_out_is_one_line(faces_config, room):
    line = refusal(room, "--config", str(faces_config))
    assert line.startswith(f"scale faces-only: {room}: this scale leaves the experiment out; add the section, or name")


def test_a_room_that_the_scale_has_is_parsed_as_ever(faces_config):
    request = parse("introvae", "--config", str(faces_config))
    assert str(request.output) == "results/faces-only/runs/introvae/softadapt/seed-10"


def test_aliases_in_the_file_do_not_tie_methods_together(tmp_path, tiny_config):
    values = yaml.safe_load(tiny_config.read_text())
    values["introvae"]["methods"]["twin"] = values["introvae"]["methods"]["softadapt"]
    path = tmp_path / "twins.yaml"
    path.write_text(yaml.safe_dump(values))
    assert "*id" in path.read_text()
    methods = parse("introvae", "--config", str(path), "--beta", "7").settings.methods
    assert (methods["softadapt"].encoder["beta"], methods["twin"].encoder["beta"]) == (7, 0.1)


def test_the_judge_of_the_autoencoder_is_the_scales_unless_named():
    path = "results/smoke/runs/digit_classifier/default/seed-0"
    assert str(parse("sparse_autoencoder").classifier) == path
    assert str(parse("sparse_autoencoder", "--classifier", "other").classifier) == "other"


def test_several_seeds_are_several_requests_with_folders_of_their_own(tmp_path):
    several = requests("sparse_autoencoder", "--seed", "3", "5")
    assert [request.seed for request in several] == [3, 5]
    assert [request.output.name for request in several] == ["seed-3", "seed-5"]
    line = refusal("introvae", "--seed", "3", "5", "--output", str(tmp_path))
    assert line == f"--output {tmp_path}: holds one run; give one --seed"
    assert parse("introvae", "--seed", "5", "--output", str(tmp_path)).output == tmp_path


@pytest.mark.parametrize("module", [*ROOMS, "data"])
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
    if module != "data":
        section = load("config/laptop.yaml").section(module)
        for flag, text in command_line._described(section):
            assert re.search(rf"^  {re.escape(flag)} +{re.escape(text)}$", result.stdout, re.MULTILINE), flag
        assert ("--checkpoint-interval" in result.stdout) == section.trains
        assert ("--classifier" in result.stdout) == (module == "sparse_autoencoder")


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
