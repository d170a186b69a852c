"""Config files and command lines of any content are read, or refused in one line that names file, key or option."""

import copy
import functools
import itertools
import json
import math
import re
from importlib import import_module

import pytest
import torch
import yaml
from fuzzing import fuzzed, success_or_one_line
from hypothesis import given
from hypothesis import strategies as st

from experiments import scale
from experiments.introvae import updates as introvae
from experiments.namesakes import run as namesakes
from experiments.runs import command_line
from experiments.runs.jobs import captions
from experiments.runs.room import known_rules
from experiments.runs.validation import validate
from experiments.scale import DEFAULT, ROOMS, Settings, load
from experiments.sparse_autoencoder import run as sparse_autoencoder
from experiments.weightings import build

pytestmark = pytest.mark.whole

SMOKE = scale.read("config/smoke.yaml")
CHECKS = {room: run.check for room in ROOMS if hasattr(run := import_module(f"experiments.{room}.run"), "check")}


def plan(values, source):
    """Validate settings, ask of them what a plan of the workflow asks, and take a step with every rule that they name."""
    settings = validate(Settings, values, source)
    for room, section in settings.rooms.items():
        if room in CHECKS:
            CHECKS[room](settings, source)
        names = section.names()
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in names), names
        assert {rule for name in names for rule in section.weightings(name)} <= set(known_rules())
        assert len(set(section.all_seeds())) == len(section.all_seeds()) >= 1
        for name in names:
            assert {*section.seeds_of(name)} <= {*section.all_seeds()}
            assert section.seeds_of(name)
            assert {*section.follows(name)} <= {*names} - {name}
        assert section.not_drawn() <= set(captions(room, "figures"))
        assert 0 <= section.minutes(settings) < math.inf
        assert 0 < section.megabytes(settings) < math.inf
        choices = section.choices()
        for values_of_run in itertools.product(*choices.values()):
            identity = section.identity(dict(zip(choices, values_of_run, strict=True)), settings)
            json.dumps(identity, sort_keys=True, allow_nan=False)
    for spec, components in specs_in(settings):
        take_a_step(json.dumps(spec), components)


def specs_in(settings):
    """The weighting rules of all rooms, each with the names of the components that it weighs."""
    if settings.sparse_autoencoder:
        for method in settings.sparse_autoencoder.all_methods().values():
            yield method.weighting, sparse_autoencoder.COMPONENTS
    if settings.introvae:
        for method in settings.introvae.methods.values():
            for network, names in introvae.COMPONENTS[settings.introvae.objective].items():
                left_out = method.unweighted if network == "encoder" else ()
                yield getattr(method, network), tuple(name for name in names if name not in left_out)
    if settings.namesakes:
        yield from ((spec, namesakes.COMPONENTS) for spec in settings.namesakes.rules.values())


@functools.cache  # an input changes few of the rules
def take_a_step(spec, components):
    """Build a rule and train two parameters by it, twice, on losses of the sizes that trainings have."""
    parameters = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    balance = build(json.loads(spec), components, shared=[parameters])
    optimizer = torch.optim.SGD([parameters, *balance.parameters()], lr=1e-3)
    for _ in range(2):
        losses = {name: 10.0**power * (parameters**2).sum() for power, name in enumerate(components)}
        optimizer.zero_grad()
        balance(losses).backward()
        optimizer.step()
    assert balance.get_buffer("weights").shape == (len(components),)


def paths_in(value, path=()):
    """Every place in nested settings."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield from paths_in(part, (*path, key))


PLACES = list(paths_in(SMOKE))

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [-1, 0, 2**31, 2**63, 10**400, math.inf, -math.inf, math.nan, 1e-320, 1e308, "1e-3", "", "x" * 9999]
    )
    | st.floats()
    | st.text()
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.integers() | st.none(), inner, max_size=4)
    ),
    max_leaves=6,
)


@st.composite
def mutated(draw):
    """The smoke scale with one to three places that are missing, unknown, or of another type or size."""
    values = copy.deepcopy(SMOKE)
    for path in draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3)):
        target = values
        try:
            for key in path[:-1]:
                target = target[key]
            what = draw(st.sampled_from(["replace", "replace", "remove", "add", "misspell"]))
            if what == "replace":
                target[path[-1]] = draw(anything)
            elif what == "remove":
                del target[path[-1]]
            elif isinstance(target, dict):
                name = f"{path[-1]}s" if what == "misspell" else draw(st.text() | st.integers())
                target[name] = target.pop(path[-1], None) if what == "misspell" else draw(anything)
        except (KeyError, IndexError, TypeError):  # an earlier change has taken the place away
            continue
    return values


@fuzzed
@given(values=mutated())
def test_changed_values_of_the_smoke_scale_are_valid_or_refused_in_one_line(trials, values):
    with success_or_one_line(trials, "mutated.yaml: "):
        plan(values, "mutated.yaml")


@pytest.mark.parametrize(
    "extreme", [10**400, 2**63, 1e308, 1e-320, -1], ids=["10^400", "2^63", "1e308", "1e-320", "-1"]
)
def test_a_number_beyond_all_bounds_is_planned_with_or_refused_in_one_line(trials, extreme):
    """At every place that holds a number, one after another."""
    for path in PLACES:
        values = copy.deepcopy(SMOKE)
        *parents, last = path
        target = functools.reduce(lambda part, key: part[key], parents, values)
        if isinstance(target[last], int | float):
            target[last] = extreme
            with success_or_one_line(trials, "extreme.yaml: "):
                plan(values, "extreme.yaml")


yaml_like = st.lists(
    st.sampled_from(
        [
            "scale: ",
            "introvae:",
            "\n",
            "\n  ",
            "- ",
            "{",
            "}",
            "[",
            "]",
            ": ",
            "&a ",
            "*a",
            "<<: ",
            "!!int ",
            "!!float ",
            "!!timestamp ",
            "!!python/object/apply:os.system ",
            "!!binary ",
            "!!set ",
            "? ",
            "|",
            ">",
            '"',
            "'",
            "#",
            "%",
            "@",
            "1e3",
            ".nan",
            ".inf",
            "0x",
            "0b",
            "1:99",
            "2001-99-99",
            "9" * 5000,
            "~",
            "x",
            "\t",
            "\x00",
            "\u2028",
            "---\n",
        ]
    ),
    max_size=40,
).map("".join)


@fuzzed
@given(
    content=st.binary(max_size=200)
    | yaml_like.map(str.encode)
    | st.text().map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_as_a_config_file_are_refused_in_one_line(tmp_path, trials, content):
    path = tmp_path / "any.yaml"
    path.write_bytes(content)
    with success_or_one_line(trials, str(path)):
        load(path)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        "scale: 2001-99-99",
        f"scale: {'9' * 5000}",
        "scale: !!timestamp x",
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)) + "scale: *a39",
        "scale: &a [*a]",
        "scale: !!python/object/apply:os.system ['touch hacked']",
    ],
    ids=["deep", "no date", "long number", "no time", "aliases that grow without end", "itself", "code"],
)
def test_malicious_yaml_is_refused_in_one_line(tmp_path, trials, content):
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with success_or_one_line(trials, str(path)):
        load(path)
    assert trials == {"refused in one line": 1}


RULE_OPTIONS = ["--beta", "--history", "--order", "--update-every", "--margin", "--reconstruction"]
RULE_OPTIONS += ["--methods.softadapt", "--methods.softadapt.encoder", "--methods.softadapt.weighting.rule"]


def options_of(room):
    """Every option of a room: its choices, and the keys of its section as its help lists them."""
    section = load("config/smoke.yaml").section(room)
    flags = [flag for flag, _ in command_line._described(section)]
    for general, one in (
        (".METHOD.KEY", ".softadapt.margin"),
        ("--variants.NAME.KEY", "--variants.unit-norm.decoder"),
        ("--component-steps.NAME.KEY", "--component-steps.beale.count"),
    ):
        flags = [flag.replace(general, one) for flag in flags]
    assert not [flag for flag in flags if flag.endswith(".KEY")]
    return [*map(command_line._flag, section.choices()), *flags]


OPTIONS = {room: [*options_of(room), *RULE_OPTIONS] for room in ROOMS}
COMMON = ["--config", "--seed", "--output", "--threads", "--overwrite", "--data-dir", "--epohcs"]

words = (
    anything.map(lambda value: yaml.safe_dump(value).strip())
    | yaml_like
    | st.text()
    | st.sampled_from(
        [
            "softadapt",
            "lambda-0.001",
            "units-0.1",
            "unit-norm.softadapt",
            "1e-3",
            "-1",
            "nan",
            "[1, 2, 3, 4]",
            "null",
            "9" * 5000,
        ]
    )
)


@st.composite
def command_lines(draw):
    experiment = draw(st.sampled_from(sorted(OPTIONS)))
    names = st.sampled_from([*OPTIONS[experiment], *COMMON])
    arguments = []
    for name in draw(st.lists(names, max_size=4)):
        arguments.append(name)
        if draw(st.integers(0, 9)):
            arguments += draw(st.lists(words, min_size=1, max_size=1 + (name == "--seed")))
    return experiment, arguments


@pytest.fixture
def config_read_once(monkeypatch):
    """Spares the reading of the same YAML ten thousand times."""
    read = scale.read
    monkeypatch.setattr(scale, "read", lambda path: copy.deepcopy(SMOKE) if str(path) == DEFAULT else read(path))


@fuzzed
@given(line=command_lines())
def test_any_command_line_is_understood_or_refused_in_one_line(config_read_once, capsys, trials, line):
    """Only a request for help, in the midst of other words, ends the process."""
    room, arguments = line
    try:
        with success_or_one_line(trials):
            for request in command_line.parse(scale, room, arguments=arguments):
                json.dumps(request.identity, sort_keys=True, allow_nan=False)
    except SystemExit as end:
        assert end.code == 0
        assert "usage: " in capsys.readouterr().out
        trials["asked for help"] += 1


@pytest.mark.parametrize("value", [10**6, 2**31, 2.0**31, "2147483648", 2**63, 10**400])
@pytest.mark.parametrize("key", ["history", "update_every"])
def test_a_rule_that_would_take_all_memory_is_refused_in_one_line(trials, key, value):
    values = copy.deepcopy(SMOKE)
    values["sparse_autoencoder"]["methods"]["softadapt"]["weighting"][key] = value
    with success_or_one_line(trials, "smoke.yaml: sparse_autoencoder.methods.softadapt.weighting: "):
        plan(values, "smoke.yaml")
    assert trials == {"refused in one line": 1} or (key, value) == ("update_every", 10**6)
