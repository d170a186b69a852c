"""Scales: every config file loads, a base is laid under its differences, and every mistake is one line."""

import copy
from pathlib import Path

import pytest
import yaml

from experiments import scale
from experiments.evidence.specifications import load_ledger
from experiments.namesakes import run as namesakes
from experiments.runs.errors import UserError
from experiments.runs.room import Section, Strict
from experiments.runs.validation import model_in, validate
from experiments.scale import ROOMS, Settings, load

CONFIGS = sorted(Path("config").glob("*.yaml"))
WHOLE = ["smoke", "laptop", "paper"]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_is_valid_named_as_its_file_and_says_what_it_is_for(path):
    assert load(path).scale == path.stem
    assert path.read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", WHOLE)
def test_the_scales_that_make_the_manuscript_have_every_room(name):
    assert list(load(f"config/{name}.yaml").rooms) == ROOMS
    assert load(f"config/{name}.yaml").complete


FULL = load("config/full.yaml")


def test_the_full_scale_leaves_out_what_has_scales_of_its_own_and_what_measures_time():
    assert list(FULL.rooms) == [room for room in ROOMS if room not in ("introvae", "step_cost")]
    assert not FULL.complete


@pytest.mark.parametrize("name", ["laptop", "full"])
def test_no_run_that_judges_a_claim_has_the_seed_of_a_pilot(name):
    settings = load(f"config/{name}.yaml")
    for room in ("gradient_descent", "sparse_autoencoder", "introvae"):
        if room in settings.rooms:
            assert min(settings.section(room).all_seeds()) >= 10


def test_a_variant_of_the_full_scale_changes_one_setting():
    section = FULL.sparse_autoencoder
    main = section.training("softadapt")
    for variant in section.variants:
        changed = section.training(f"{variant}.softadapt")
        assert sum(changed[key] != main[key] for key in main) == 1, variant
        assert section.training(f"{variant}.lambda-0.001") == changed


def test_the_full_scale_trains_the_autoencoder_under_every_specification():
    """Each option of the ledger's choices is a run: one whose runs were missing would silently not be measured."""
    choices = load_ledger().choices
    section = FULL.sparse_autoencoder
    trained = set(section.names())
    for option in {*choices["training"].options, *choices["setting"].options} - {"main"}:
        assert {f"{option}.softadapt", f"softadapt-{option}", option} & trained, option
    assert {f"units-{option}" for option in choices["units"].options} <= trained
    assert set(choices["warm_up"].options) == set(section.warm_ups)
    assert set(section.variants) <= set(choices["training"].options)
    for room, settings in (("full", FULL), ("laptop", load("config/laptop.yaml"))):
        assert settings.sparse_autoencoder.report_epochs[2:] == [15, 30], room  # optimal_lambda names them
        assert {"softadapt", "softadapt-yoked"} <= set(settings.sparse_autoencoder.names())


def test_no_verdict_of_the_full_scale_hangs_on_fewer_than_five_seeds():
    section = FULL.sparse_autoencoder
    assert {len(section.seeds_of(name)) for name in section.names()} == {5, 10}
    assert section.seeds_of("softadapt-yoked") == section.seeds_of("softadapt") == list(range(10, 20))


@pytest.mark.parametrize("path", [path for path in CONFIGS if path.stem != "laptop"], ids=lambda path: path.stem)
def test_every_other_config_holds_only_what_differs_from_its_base(path):
    def repeated(changes, base, place=""):
        for key, value in changes.items():
            if isinstance(value, dict) and "rule" not in value:
                inner = base.get(key)
                yield from repeated(value, inner if isinstance(inner, dict) else {}, f"{place}{key}.")
            elif key in base and value == base[key]:
                yield f"{place}{key}"

    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    base = own.pop("base")
    assert base == ("celeba-10k.yaml" if path.stem.startswith("celeba-10k-") else "laptop.yaml")
    assert list(repeated(own, scale.read(f"config/{base}"))) == []


def test_every_setting_is_described():
    def undescribed(model, place=""):
        for name, field in model.model_fields.items():
            if inner := model_in(field.annotation):
                yield from undescribed(inner, f"{place}{name}.")
            if not field.description and place + name not in ROOMS:
                yield place + name

    assert list(undescribed(Settings)) == []


@pytest.fixture
def write(tmp_path):
    """Writes a file of this content beside the others, and returns its path."""

    def write(name, content):
        path = tmp_path / name
        path.write_text(
            content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False), encoding="utf-8"
        )
        return path

    return write


def refusal(function, *arguments):
    """The one line with which these arguments are refused."""
    with pytest.raises(UserError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


BASE = {
    "scale": "base",
    "room": {
        "epochs": 4,
        "seeds": [0, 1],
        "methods": {"one": {"margin": 1.0, "encoder": {"rule": "softadapt", "beta": 0.5}}, "two": {"margin": 2.0}},
    },
    "audit": {"seed": 0},
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"room": {"epochs": 5}}, lambda base: base["room"].update(epochs=5)),
        ({"room": {"seeds": [7]}}, lambda base: base["room"].update(seeds=[7])),
        ({"room": {"epochs": None}}, lambda base: base["room"].pop("epochs")),
        ({"audit": None}, lambda base: base.pop("audit")),
        ({"absent": None}, lambda base: None),
        ({"room": {"methods": {"two": None}}}, lambda base: base["room"]["methods"].pop("two")),
        ({"new": {"key": 1}}, lambda base: base.update(new={"key": 1})),
        (
            {"room": {"methods": {"one": {"encoder": {"rule": "softadapt"}}}}},
            lambda base: base["room"]["methods"]["one"].update(encoder={"rule": "softadapt"}),
        ),
        ({"only": ["room"]}, lambda base: base.pop("audit")),
        ({"only": "room"}, lambda base: base.pop("audit")),
        (
            {"room": {"methods": {"only": {"margin": 3.0}}}},
            lambda base: base["room"]["methods"].update(only={"margin": 3.0}),
        ),
        (
            {"room": {"methods": {"only": ["one"], "three": {"margin": 3.0}}}},
            lambda base: base["room"].update(methods={"one": base["room"]["methods"]["one"], "three": {"margin": 3.0}}),
        ),
    ],
    ids=[
        "value",
        "list",
        "key",
        "section",
        "nothing",
        "method",
        "section added",
        "rule",
        "only section",
        "one word",
        "named only",
        "only method",
    ],
)
def test_changes_are_laid_over_the_base(write, changes, expected):
    values = copy.deepcopy(BASE)
    expected(values)
    write("base.yaml", BASE)
    assert scale.read(write("own.yaml", {"scale": "own", "base": "base.yaml", **changes})) == values | {"scale": "own"}


def test_a_base_may_have_a_base(write):
    base = write("base.yaml", BASE)
    middle = write("middle.yaml", {"base": "base.yaml", "room": {"epochs": 5, "seeds": [3]}})
    own = write("own.yaml", {"base": "middle.yaml", "room": {"epochs": 6}})
    assert scale.read(own)["room"] == BASE["room"] | {"epochs": 6, "seeds": [3]}
    assert scale.files(own) == [own, middle, base]
    assert scale.files("config/laptop.yaml") == [Path("config/laptop.yaml")]
    assert scale.files("config/smoke.yaml") == [Path("config/smoke.yaml"), Path("config/laptop.yaml")]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ("base: own.yaml", "own.yaml: base: own.yaml is itself based on this file"),
        ("base: base.yaml", "base.yaml: base: ./own.yaml is itself based on this file"),
        ("base: none.yaml", "none.yaml: cannot be read"),
        ("base: [base.yaml]", "own.yaml: base: must be the name of a file beside this one"),
        ('base: "\\0"', "own.yaml: base: must be the name of a file beside this one"),
        ("base: ''", "own.yaml: base: must be the name of a file beside this one"),
        ("{base: whole.yaml, only: [rooom]}", "own.yaml: only: 'rooom' is not in the base; choose from room, audit"),
        ("{base: whole.yaml, room: {methods: {only: [x]}}}", "own.yaml: room: methods: only: 'x' is not in the base"),
        ("{base: whole.yaml, only: 3}", "own.yaml: only: 3 is not in the base; choose from room, audit"),
        ("{only: [introvae]}", "own.yaml: scale: key is missing"),
    ],
)
def test_a_wrong_base_is_one_line(write, own, message):
    write("base.yaml", "base: ./own.yaml")
    write("whole.yaml", BASE)
    assert message in refusal(load, write("own.yaml", own))


SMOKE = scale.read("config/smoke.yaml")


def refuse(values):
    """The line with which values are refused as settings."""
    return refusal(validate, Settings, values, "smoke.yaml")


def changed(*changes):
    """The values of the smoke scale with changes, each a dotted path and a value; None removes."""
    values = copy.deepcopy(SMOKE)
    for path, value in changes:
        target = values
        *parents, last = path.split(".")
        for parent in parents:
            target = target[parent]
        if value is None:
            del target[last]
        else:
            target[last] = value
    return values


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("introvae.epoch", 3, "introvae.epoch: unknown key, did you mean epochs?"),
        ("introvae.epochs", -1, "introvae.epochs: Input should be greater than 0, got -1"),
        ("introvae.epochs", "many", "introvae.epochs: Input should be a valid integer"),
        ("introvae.epochs", None, "introvae.epochs: key is missing"),
        ("introvae.epochs", 10**400, "introvae.epochs: must be at most 2^53"),
        ("introvae.report_epochs", [1, 2, 3, 9], "introvae: report_epochs [1, 2, 3, 9] must increase and end by"),
        ("introvae.image_size", 24, "introvae: 2 channels halve images of 16 px to the published 4 px; change"),
        ("introvae.niqe_block_size", 32, "introvae: niqe_block_size 32 must be even and fit into 16 px"),
        ("introvae.methods.fixed.margin", None, "introvae: methods.fixed.margin is missing; introvae needs one"),
        (
            "introvae.methods.fixed.margin",
            -1,
            "introvae.methods.fixed.margin: must be a positive number of nats, or {times",
        ),
        ("introvae.methods.fixed.margin", {"times": 2}, "must be a positive number of nats, or {times_kl_real: K}"),
        (
            "introvae.warmup_epochs",
            0,
            "introvae: methods.softadapt.margin: times_kl_real takes the KL of a warm-up; set",
        ),
        (
            "introvae.objective",
            "soft-introvae",
            "introvae: methods.fixed.margin: soft-introvae has no margin; leave it",
        ),
        ("introvae.methods.fixed.margn", 1.0, "introvae.methods.fixed.margn: unknown key, did you mean margin?"),
        ("introvae.dataset", "lena", "introvae.dataset: Input should be 'orl-faces', 'celeba' or 'folder', got 'lena'"),
        ("introvae.dataset", "folder", "introvae: dataset folder needs folder.path, a folder of images"),
        ("introvae.folder", {"path": "mine"}, "introvae: folder.path and folder.parts are for dataset folder, but"),
        ("introvae.folder", {"parts": "a.txt"}, "introvae: folder.path and folder.parts are for dataset folder, but"),
        ("introvae.folder", {"pth": "mine"}, "introvae.folder.pth: unknown key, did you mean path?"),
        ("introvae.crop", 16, "introvae: crop is for celeba and folder; orl-faces has its own"),
        ("introvae.crop", 0, "introvae.crop: Input should be greater than 0, got 0"),
        ("introvae.held_out", 1.5, "introvae.held_out: must be a whole number, or a share below 1, got 1.5"),
        ("introvae.held_out", 0, "introvae.held_out: Input should be greater than 0, got 0"),
        ("introvae.validation", -0.1, "introvae.validation: Input should be greater than or equal to 0"),
        (
            "introvae.methods.fixed.encoder",
            {"rule": "magic"},
            "softadapt, softadapt_swapped, uncertainty, warm_up, got 'magic'",
        ),
        ("sparse_autoencoder.train_images", 59900, "sparse_autoencoder: train_images and validation_images exceed"),
        ("digit_classifier.batch_size", 20000, "batch_size 20000 exceeds train_images 12000; lower batch_size"),
        ("gradient_descent.illustrated_beta", 0.3, "illustrated_beta 0.3 must be one of betas"),
        ("gradient_descent.step_sizes.lowest", 100.0, "step_sizes.lowest must be below"),
        ("gradient_descent.step_sizes.hihgest", 1.0, "hihgest: unknown key, did you mean highest?"),
        ("digit_classifier", None, "settings: sparse_autoencoder needs the sections digit_classifier; add digit"),
        ("sparse_autoencoder", None, "settings: step_cost needs the sections gradient_descent, sparse_autoencoder"),
        ("colour", 1, "colour: unknown key; known are scale, data_dir"),
        ("label", r"$\foo$", "label: must be one line of text without $, which begins a formula"),
        ("label", "costs $5", "label: must be one line of text without $"),
        ("label", "a\nb", "label: must be one line of text without $"),
        ("data_dir", "none$(touch PWNED)", "data_dir: must be one line of text without $"),
        ("data_dir", "nul\0", "data_dir: must be one line of text without $"),
        ("scale", "../x", "scale: String should match pattern"),
        ("scale", "-x", "scale: String should match pattern"),
        ("namesakes.rules.$x$", {"rule": "nequip"}, "namesakes.rules.$x$: must be one line of text without $"),
    ],
)
def test_a_mistake_is_one_line_naming_file_and_key(path, value, message):
    line = refuse(changed((path, value)))
    assert line.startswith("smoke.yaml: ")
    assert message in line


def test_a_mistake_in_a_file_names_the_file(write):
    file = write("bad.yaml", "base: whole.yaml\ndata_dir: data\nonly: []\nroom:\n  epochs: .inf\n")
    write("whole.yaml", BASE)
    assert refusal(load, file) == f"{file}: room: unknown key; known are {', '.join(Settings.model_fields)}"


METHOD = SMOKE["introvae"]["methods"]["fixed"]
SOFTADAPT = SMOKE["sparse_autoencoder"]["methods"]["softadapt"]


@pytest.mark.parametrize(
    "name",
    ["../../../../../escape", "a/b", "a b", "x$(touch PWNED)", "brace{x}", "-x", "--overwrite", "_x", ".hidden", "..", "",
     "a\n", "x;y", "é", "x" * 101],
)  # fmt: skip
@pytest.mark.parametrize(("room", "method"), [("introvae", METHOD), ("sparse_autoencoder", None)])
def test_the_name_of_a_method_is_a_plain_word(room, method, name):
    values = copy.deepcopy(SMOKE)
    methods = values[room]["methods"]
    methods[name] = method or methods["softadapt"]
    line = refuse(values)
    assert f"{room}.methods." in line
    assert "String should" in line


@pytest.mark.parametrize("room", ["introvae", "sparse_autoencoder"])
def test_a_seed_counts_once(room):
    line = refuse(changed((f"{room}.seeds", [0, 1, 0])))
    assert f"{room}.seeds: each value may stand once, but 0 is repeated" in line


INFINITE = [
    "introvae.learning_rate",
    "introvae.reconstruction_scale",
    "gradient_descent.tolerance",
    "gradient_descent.step_sizes.highest",
    "gradient_descent.divergence_radius",
    "sparse_autoencoder.learning_rate",
    "namesakes.sparsity_weight",
]


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")], ids=str)
@pytest.mark.parametrize("path", INFINITE)
def test_no_setting_is_infinite_or_no_number(path, number):
    assert "Input should be a finite number" in refuse(changed((path, number)))


@pytest.mark.parametrize("number", [float("inf"), float("nan")], ids=str)
@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("gradient_descent.betas", [0.0, 0.1]),
        ("gradient_descent.illustrated_starts", {"rosenbrock": [0.0], "beale": [1.0, 1.0]}),
        ("sparse_autoencoder.lambdas", [1e-3]),
        ("niqe_collapse.blurs", [0.0, 1.0]),
        ("namesakes.noise", [0.1]),
    ],
)
def test_no_number_in_a_list_is_infinite_or_no_number(path, values, number):
    values = copy.deepcopy(values)
    (values if isinstance(values, list) else values["rosenbrock"]).append(number)
    assert "Input should be a finite number" in refuse(changed((path, values)))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sparse_autoencoder.lambdas", [1e-3, 2e-3, 1e-3], "each value may stand once, but 0.001 is repeated"),
        ("gradient_descent.betas", [0.0, 0.1, 1.0, 1.0], "each value may stand once, but 1.0 is repeated"),
        ("niqe_collapse.blurs", [0.0, 0.7, 0.7], "each value may stand once, but 0.7 is repeated"),
        ("gradient_descent.betas", [-1.0, 0.0], "illustrated_beta 0.1 must be one of betas"),
        ("gradient_descent.betas", [0.1, 1.0], "betas must hold 0.0, 0.1 and another value"),
        ("gradient_descent.betas", [0.0, 0.1], "betas must hold 0.0, 0.1 and another value"),
        ("gradient_descent.betas", [0.0], "illustrated_beta 0.1 must be one of betas"),
        ("sparse_autoencoder.lambdas", [1.0000001e-3, 1.0000002e-3], "lambdas must differ in their first six digits"),
        ("sparse_autoencoder.warm_up_lambdas", [1.0000001, 1.0000002], "warm_up_lambdas must differ in their first"),
        ("sparse_autoencoder.variant_lambdas", [1.0000001, 1.0000002], "variant_lambdas must differ in their first"),
        ("sparse_autoencoder.warm_ups", [5, 5], "each value may stand once, but 5 is repeated"),
        ("sparse_autoencoder.warm_ups", [0], "warm_ups.0: Input should be greater than 0"),
        ("sparse_autoencoder.unit_factors", [0.0], "unit_factors.0: Input should be greater than 0"),
        ("sparse_autoencoder.few_seeds", 0, "few_seeds: Input should be greater than or equal to 1"),
        ("sparse_autoencoder.every_seed", ["softadpt"], "every_seed: softadpt is no method; known are softadapt, soft"),
        ("sparse_autoencoder.variant_methods", ["none"], "variant_methods: none is no method; known are softadapt, "),
        ("sparse_autoencoder.variants.Wide", {"hidden_units": 128}, "variants.Wide: String should match pattern"),
        ("sparse_autoencoder.variants.wide", {"hiden_units": 128}, "hiden_units: unknown key, did you mean hidden_u"),
        ("sparse_autoencoder.variants.wide", {"batch_size": 0}, "batch_size: Input should be greater than 0"),
        (
            "sparse_autoencoder.methods",
            {"softadapt": SOFTADAPT, "softadapt-yoked": SOFTADAPT, "units-0.1": SOFTADAPT},
            "methods.units-0.1: another part of the settings makes a method of this name; choose another",
        ),
        (
            "sparse_autoencoder.methods.softadapt-yoked.replays",
            "",
            "methods.softadapt-yoked: the rule replayed needs the key replays, and no other rule has it",
        ),
        (
            "sparse_autoencoder.methods.softadapt-beta-0.replays",
            "softadapt",
            "methods.softadapt-beta-0: the rule replayed needs the key replays, and no other rule has it",
        ),
        (
            "sparse_autoencoder.methods.softadapt-yoked.replays",
            "softadapt-yoked",
            "methods.softadapt-yoked.replays: softadapt-yoked must be another method that replays none",
        ),
        (
            "sparse_autoencoder.methods.softadapt-yoked.replays",
            "softadpt",
            "methods.softadapt-yoked.replays: softadpt must be another method that replays none",
        ),
        (
            "sparse_autoencoder.every_seed",
            ["softadapt-yoked"],
            "methods.softadapt-yoked: replays softadapt, which must train from the same seeds",
        ),
        (
            "sparse_autoencoder.seeds",
            [10],
            "methods.softadapt-yoked: replays the run of another seed, and there is one seed; give two, or remove the "
            "method (softadapt-yoked: null)",
        ),
        ("gradient_descent.plane_sizes", [0.0], "plane_sizes: 0 is the original rule and 1 the loss-weighted one"),
        ("gradient_descent.plane_sizes", [1.0, 2.0], "plane_sizes: 0 is the original rule and 1 the loss-weighted one"),
        ("gradient_descent.plane_sizes", [2.0, 2.0], "each value may stand once, but 2.0 is repeated"),
        ("gradient_descent.component_steps.beale", None, "component_steps must name rosenbrock and beale"),
        ("gradient_descent.component_steps.beale.starts", 1, "starts: Input should be greater than 1"),
        (
            "sparse_autoencoder.methods",
            {"lambda-0.001": SMOKE["sparse_autoencoder"]["methods"]["softadapt"]},
            "methods.lambda-0.001: names that start with lambda- are those of the grid",
        ),
    ],
)
def test_values_that_would_break_later_are_refused(path, value, message):
    assert message in refuse(changed((path, value)))


@pytest.mark.parametrize("betas", [[0.0, 1.0], [0.0], [1.0, 2.0]])
def test_the_papers_beta_is_swept_whatever_is_illustrated(betas):
    values = changed(("gradient_descent.betas", betas), ("gradient_descent.illustrated_beta", betas[0]))
    assert "betas must hold 0.0, 0.1 and another value" in refuse(values)


@pytest.mark.parametrize("content", ["epochs: 4\nepochs: 400\n", "a: {epochs: 4, epochs: 400}\n"])
def test_a_key_that_is_given_twice_is_refused(write, content):
    assert "bad.yaml: not valid YAML (key epochs is given twice" in refusal(load, write("bad.yaml", content))


def test_the_rules_of_the_namesakes_are_checked():
    values = changed(("namesakes.rules.NequIP", {"rule": "nequip", "betta": 1.0}))
    line = refusal(namesakes.check, validate(Settings, values, "x.yaml"), "x.yaml")
    assert line == "x.yaml: namesakes.rules.NequIP: betta: unknown key, did you mean beta?"


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "many"], ids=str)
def test_the_options_of_a_rule_are_checked_too(value):
    values = changed(("namesakes.rules.NequIP", {"rule": "nequip", "beta": value}))
    line = refusal(namesakes.check, validate(Settings, values, "x.yaml"), "x.yaml")
    assert line.startswith("x.yaml: namesakes.rules.NequIP: beta: Input should be a")


def test_a_scale_may_leave_rooms_out(faces_config):
    settings = load(faces_config)
    assert list(settings.rooms) == ["introvae"]
    assert not settings.complete
    assert refusal(settings.section, "namesakes").startswith("scale faces-only: namesakes: this scale leaves the exp")


def test_a_scale_without_any_room_is_a_mistake(write):
    line = refusal(load, write("empty.yaml", "{scale: empty, data_dir: data}"))
    assert "empty.yaml: settings: no experiment; give at least one section of gradient_descent" in line


@pytest.mark.parametrize("content", ["a: [", "- 1\n- 2\n", "\x00", "introvae: &a {x: *a}", "base: &a [*a]"])
def test_a_file_that_is_no_scale_is_one_line(write, content):
    assert "bad.yaml" in refusal(load, write("bad.yaml", content))


def test_a_missing_file_is_one_line(tmp_path):
    assert "cannot be read" in refusal(load, tmp_path / "none.yaml")


def test_fixed_lambdas_become_methods():
    settings = load("config/laptop.yaml").sparse_autoencoder
    methods = settings.all_methods()
    assert methods["lambda-0.0001"].weighting == {"rule": "fixed", "weights": {"reconstruction": 1.0, "sparsity": 1e-4}}
    warm_ups = len(settings.warm_ups) * len(settings.warm_up_lambdas)
    assert len(methods) == len(settings.lambdas) + len(settings.methods) + warm_ups
    assert max(settings.lambdas) / min(settings.lambdas) == pytest.approx(1e3)


def test_settings_do_not_change_after_loading():
    settings = load("config/smoke.yaml")
    with pytest.raises(ValueError, match="frozen"):
        settings.scale = "other"
    assert copy.deepcopy(settings) == settings


def test_every_room_is_a_section():
    assert all(issubclass(model_in(Settings.model_fields[room].annotation), Section) for room in ROOMS)
    assert issubclass(Settings, Strict)
