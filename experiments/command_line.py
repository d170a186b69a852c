"""Command lines of the experiments: every key of an experiment's settings is an option.

Kept free of torch, so that ``--help`` answers at once.
"""

import argparse
import ast
import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from experiments.config import Settings, read_yaml, require, run_folder, validate
from experiments.errors import UserError
from experiments.schema import WEIGHTINGS_FOLDER

CHECKPOINT_INTERVAL = 20.0
"""Seconds of training that a killed process may cost, where the command line does not say."""

_KEEP = {"seeds", "seed", "methods"}
"""Keys that ``--seed`` and ``--method`` choose from."""

_CHOSEN_BY_METHOD = {"rule", "weights"}
"""Keys of a weighting rule that make a method what it is; the weights have a name per component of each network."""


@dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Attributes:
        classifier: run folder of the digit classifier, which the sparse autoencoder alone needs.
        checkpoint_interval: seconds between two checkpoints, for what takes them while it trains.
    """

    settings: Settings
    variant: dict[str, str]
    seed: int
    output: Path
    overwrite: bool
    classifier: Path
    threads: int
    checkpoint_interval: float


def parse(
    experiment: str,
    description: str,
    *,
    choices: dict[str, list[str]] | None = None,
    with_methods: bool = False,
    module: str | None = None,
    arguments: list[str] | None = None,
) -> list[Request]:
    """Parse the command line of one experiment; there is one request for every seed.

    Args:
        experiment: key of its settings in the config file.
        description: what ``--help`` says first.
        choices: further options that pick what to run, each with its allowed values (the first is the default).
        with_methods: whether the experiment compares weighting rules: adds ``--method`` and the rules' own options.
        module: module below ``experiments``, where that is not the experiment's name.
        arguments: words of the command line; ``None`` is ``sys.argv``.

    Raises:
        UserError: one line naming the option or key.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", default="config/laptop.yaml")
    config = first.parse_known_args(arguments)[0].config
    values = read_yaml(config)
    scale = validate(Settings, values, config)
    require(scale, experiment, config)
    section = values[experiment]

    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{module or experiment}",
        description=description,
        allow_abbrev=False,
        epilog="Values are read as YAML: 1e-3, true, [1, 2], null. Defaults are those of the config file.",
    )
    run = parser.add_argument_group("the run")
    run.add_argument("--config", default="config/laptop.yaml", help="settings to start from (default: %(default)s)")
    for name, allowed in (choices or {}).items():
        run.add_argument(
            f"--{name.replace('_', '-')}", choices=allowed, default=allowed[0], help="default: %(default)s"
        )
    if with_methods:
        names = ", ".join(scale.methods_of(experiment))
        run.add_argument("--method", default="softadapt", help=f"one of {names} (default: %(default)s)")
    run.add_argument(
        "--seed",
        type=int,
        nargs="+",
        help="seed of the run; several are run one after another, each to a folder of its own (default: the config "
        "file's first)",
    )
    run.add_argument("--output", type=Path, help="run folder (default: below results, by what is asked for)")
    run.add_argument("--threads", type=int, default=1, help="CPU threads (default: %(default)s); results depend on it")
    run.add_argument("--overwrite", action="store_true", help="discard a run with other settings in that folder")
    if experiment in ("digit_classifier", "sparse_autoencoder", "introvae"):
        run.add_argument(
            "--checkpoint-interval",
            type=float,
            metavar="SECONDS",
            default=CHECKPOINT_INTERVAL,
            help="training that a killed process may cost, 0 for one step (default: %(default)s); results do not "
            "depend on it",
        )
    if experiment not in ("gradient_descent", "step_cost"):
        run.add_argument(
            "--data-dir",
            metavar="FOLDER",
            default=scale.data_dir,
            help="folder of the data sets (default: %(default)s)",
        )
    if experiment == "sparse_autoencoder":
        judge = run_folder(scale.scale, "digit_classifier", "default", scale.digit_classifier.seed)
        run.add_argument(
            "--classifier", type=Path, default=judge, help="run folder of the digit classifier (default: %(default)s)"
        )
    model: Any = Settings.model_fields[experiment].annotation
    keys = _add_options(parser.add_argument_group(f"settings ({experiment})"), model, section)
    method_keys = _add_method_options(parser, model) if with_methods else []
    rule_flags = _add_rule_options(parser, section) if with_methods else {}
    options = vars(parser.parse_args(arguments))

    changed = copy.deepcopy(values)
    changed["data_dir"] = options.get("data_dir", scale.data_dir)
    overrides = {key: _read_value(_flag(key), options[key]) for key in keys if options[key] is not None}
    for key, value in overrides.items():
        *parents, last = key.split(".")
        target = changed[experiment]
        for parent in parents:
            target = target[parent]
        target[last] = value
    rule_overrides = {
        key: _read_value(flag, options[f"rule_{key}"])
        for key, flag in rule_flags.items()
        if options[f"rule_{key}"] is not None
    }
    method_overrides = {key: _read_value(_flag(key), options[key]) for key in method_keys if options[key] is not None}
    variant = {name: options[name] for name in choices or {}}
    if with_methods:
        variant["method"] = options["method"]
        method = changed[experiment].get("methods", {}).get(options["method"])
        if (rule_overrides or method_overrides) and method is None:
            raise UserError(f"--method {options['method']}: takes no options of a method or of a weighting rule")
        specs = _specs(method or {})
        for key, value in rule_overrides.items():
            having = [spec for spec in specs if key in _rule_fields(spec["rule"])]
            if not having:
                rules = " and ".join(dict.fromkeys(spec["rule"] for spec in specs))
                raise UserError(
                    f"{rule_flags[key]}: not an option of --method {options['method']}, whose weighting rule is {rules}"
                )
            for spec in having:
                spec[key] = value
        if method is not None:
            method.update(method_overrides)
    settings = validate(Settings, changed, "command line")
    if with_methods:
        known = settings.methods_of(experiment)
        if variant["method"] not in known:
            raise UserError(f"--method {variant['method']}: not a method of {experiment}; known are {', '.join(known)}")

    seeds = options["seed"] or [section.get("seed", section.get("seeds", [0])[0] if section.get("seeds") else 0)]
    for seed in seeds:
        if seed < 0:
            raise UserError(f"--seed {seed}: must not be negative")
    if options["output"] and len(seeds) > 1:
        raise UserError(f"--output {options['output']}: holds one run; give one --seed")
    name = "-".join(variant.values()) or "default"
    if options["threads"] < 1:
        raise UserError(f"--threads {options['threads']}: must be at least 1")
    interval = options.get("checkpoint_interval", CHECKPOINT_INTERVAL)
    if not interval >= 0:
        raise UserError(f"--checkpoint-interval {interval}: must not be negative")
    folder = run_folder(settings.scale, experiment, name, 0).parent
    if overrides or rule_overrides or method_overrides:
        changes = [overrides, rule_overrides, method_overrides]
        digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()
        folder = Path("results", settings.scale, "trials", experiment, f"{name}-{digest[:8]}")
    return [
        Request(
            settings,
            variant,
            seed,
            options["output"] or folder / f"seed-{seed}",
            options["overwrite"],
            options.get("classifier", Path()),
            options["threads"],
            interval,
        )
        for seed in seeds
    ]


def _add_options(group: Any, model: type[BaseModel], section: dict[str, Any], prefix: str = "") -> list[str]:
    """Add an option per leaf of the settings; return their keys."""
    keys = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{name}"
        if key in _KEEP:
            continue
        value = section.get(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _add_options(group, field.annotation, value if isinstance(value, dict) else {}, f"{key}.")
            continue
        text = (field.description or "").replace("%", "%%")
        group.add_argument(_flag(key), dest=key, metavar="VALUE", help=f"{text} (default: {json.dumps(value)})")
        keys.append(key)
    return keys


def _add_method_options(parser: argparse.ArgumentParser, model: type[BaseModel]) -> list[str]:
    """Add an option per setting of a method besides its weighting rules; return the keys."""
    group = parser.add_argument_group("settings of the method")
    fields = get_args(model.model_fields["methods"].annotation)[1].model_fields
    keys = [key for key, field in fields.items() if get_origin(field.annotation) is not dict]
    for key in keys:
        text = (fields[key].description or "").replace("%", "%%")
        group.add_argument(_flag(key), dest=key, metavar="VALUE", help=f"{text} (default: the method's)")
    return keys


def _add_rule_options(parser: argparse.ArgumentParser, section: dict[str, Any]) -> dict[str, str]:
    """Add an option per setting of the methods' weighting rules; return their flags by key."""
    group = parser.add_argument_group(
        "weighting rule of the method",
        "explained by help(softadapt.SoftAdapt) and the files in experiments/weightings; a value goes to every network "
        "whose rule has the option, and the default is the method's, or else as shown. Weights that are fixed stand in the "
        "config file, by component.",
    )
    rules = dict.fromkeys(spec["rule"] for method in section.get("methods", {}).values() for spec in _specs(method))
    fields: dict[str, str] = {}
    for rule in rules:
        fields = _rule_fields(rule) | fields
    flags = {key: _flag(key) for key in fields if key not in _CHOSEN_BY_METHOD}
    for key, flag in flags.items():
        try:
            group.add_argument(flag, dest=f"rule_{key}", metavar="VALUE", help=fields[key])
        except argparse.ArgumentError:  # an option of the experiment has this name
            flags[key] = f"--rule-{flag.removeprefix('--')}"
            group.add_argument(
                flags[key], dest=f"rule_{key}", metavar="VALUE", help=f"{key} of the rule: {fields[key]}"
            )
    return flags


def _rule_fields(rule: str) -> dict[str, str]:
    """The fields of a rule's ``Settings``, each with its type and default as written, inherited ones included.

    They are read from the text of its file, since rules are free to import torch, for which ``--help`` does not wait.
    """
    tree = ast.parse((WEIGHTINGS_FOLDER / f"{rule}.py").read_text(encoding="utf-8"))
    settings = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    fields: dict[str, str] = {}
    for base in settings.bases:
        if isinstance(base, ast.Attribute) and base.attr == "Settings":  # of another rule
            fields |= _rule_fields(ast.unparse(base.value).rsplit(".", 1)[-1])
    for node in settings.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            default = "" if node.value is None else f" (default: {_as_yaml(node.value)})"
            fields[node.target.id] = (ast.unparse(node.annotation) + default).replace("%", "%%")
    return fields


def _as_yaml(value: ast.expr) -> str:
    """A default as the command line takes it, where it is a plain value; else as written."""
    try:
        return json.dumps(ast.literal_eval(value))
    except (ValueError, TypeError):
        return ast.unparse(value)


def _specs(method: dict[str, Any]) -> list[dict[str, Any]]:
    """The weighting specs of a method: itself, or one for each network."""
    return [method] if "rule" in method else [spec for spec in method.values() if isinstance(spec, dict)]


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _read_value(flag: str, text: str) -> Any:
    if not text.strip():
        raise UserError(f"{flag}: is empty; give a value, or null for none")
    try:
        value = yaml.safe_load(text)
        json.dumps(
            value, sort_keys=True
        )  # settings are plain values: no dates, no mixed keys, nothing that holds itself
    except Exception as error:  # YAML's own, or whatever its reader makes of dates, numbers and depths that are none
        raise UserError(f"{flag} {text}: not a plain YAML value") from error
    if isinstance(value, str):  # YAML 1.1 reads 1e-3 as text, for want of a point
        try:
            return float(value)
        except ValueError:
            return value
    return value
