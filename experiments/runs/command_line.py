"""The command line of a room: every key of its section is an option, named by its dotted path.

``--epochs 31 --methods.softadapt.weighting.beta 0.5 --seed 3 4`` changes ``epochs`` of the room's section and ``beta`` of one
method's rule. A name without dots, as ``--beta 0.5``, is first looked up in the chosen method, then in the section.
Importing this module does not import torch, so that ``--help`` answers at once.
"""

import argparse
import copy
import difflib
import hashlib
import importlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from experiments.runs.errors import UserError, run_main
from experiments.runs.room import LARGEST_INTEGER, Section, run_folder
from experiments.runs.validation import model_in, validate

CHECKPOINT_INTERVAL = 20.0
"""Seconds of training that a killed process may cost, where the command line does not say."""


@dataclass(frozen=True)
class Request:
    """One run that a command line asks for.

    Attributes:
        room: name of the experiment.
        settings: its section, with the changes of the command line.
        scale: settings of the whole scale, with the same changes.
        variant: the chosen value of each of the section's choices, as ``{"method": "softadapt"}``.
        seed: seed of the run.
        output: run folder.
        overwrite: whether to discard a run with other settings in that folder.
        threads: number of CPU threads.
        checkpoint_interval: seconds between two checkpoints within an epoch.
        classifier: run folder of the digit classifier; only the sparse autoencoder reads it.
    """

    room: str
    settings: Any
    scale: Any
    variant: dict[str, str]
    seed: int
    output: Path
    overwrite: bool
    threads: int
    checkpoint_interval: float
    classifier: Path

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that decide the run's numbers, besides its code."""
        names = {"experiment": self.room, **self.variant, "seed": self.seed}
        return names | self.settings.identity(self.variant, self.scale)


def main(scale: Any, room: str, description: str) -> None:
    """Run the command line of a room and exit: parse it, then call ``run(request)`` of the room's ``run.py`` for each seed.

    Args:
        scale: the module `experiments.scale`.
        room: name of the experiment.
        description: what ``--help`` says first.
    """

    def run_all() -> None:
        requests = parse(scale, room, description)
        run = importlib.import_module(f"experiments.{room}.run").run
        for request in requests:
            run(request)

    run_main(run_all)


def parse(scale: Any, room: str, description: str = "", arguments: list[str] | None = None) -> list[Request]:
    """Parse the command line of a room. There is one request for every seed.

    Args:
        scale: the module `experiments.scale`.
        room: name of the experiment.
        description: what ``--help`` says first.
        arguments: words of the command line; ``None`` is ``sys.argv``.

    Raises:
        UserError: one line naming the option or key.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", default=scale.DEFAULT)
    config = first.parse_known_args(arguments)[0].config
    values = scale.read(config)
    loaded = validate(scale.Settings, values, config)
    section: Section = loaded.section(room)
    options, words = _parser(loaded, scale.DEFAULT, room, description).parse_known_args(arguments)

    variant = {name: getattr(options, name) for name in section.choices()}
    changed = copy.deepcopy(values)
    changed["data_dir"] = options.data_dir
    changes = _set_all(changed[room], section, variant.get("method", ""), words)
    settings = validate(scale.Settings, changed, "command line")
    for name, allowed in settings.section(room).choices().items():
        if variant[name] not in allowed:
            raise UserError(
                f"--{name.replace('_', '-')} {variant[name]}: is none of {room}; choose from {', '.join(allowed)}"
            )
    seeds = options.seed or section.all_seeds()[:1]
    for seed in seeds:
        if seed < 0:
            raise UserError(f"--seed {seed}: must not be negative")
        if seed > LARGEST_INTEGER:
            raise UserError(f"--seed {seed}: must be at most {LARGEST_INTEGER}")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seed {' '.join(map(str, seeds))}: name each seed once")
    if options.output and len(seeds) > 1:
        raise UserError(f"--output {options.output}: holds one run; give one --seed")
    if options.threads < 1:
        raise UserError(f"--threads {options.threads}: must be at least 1")
    if not options.checkpoint_interval >= 0:
        raise UserError(f"--checkpoint-interval {options.checkpoint_interval}: must not be negative")
    name = "-".join(variant.values()) or "default"
    folder = run_folder(loaded.scale, room, name, 0).parent
    if changes:
        digest = hashlib.sha256(json.dumps(changes, sort_keys=True).encode()).hexdigest()
        folder = Path("results", loaded.scale, "trials", room, f"{name}-{digest[:8]}")
    return [
        Request(
            room,
            settings.section(room),
            settings,
            variant,
            seed,
            options.output or folder / f"seed-{seed}",
            options.overwrite,
            options.threads,
            options.checkpoint_interval,
            options.classifier,
        )
        for seed in seeds
    ]


def _parser(loaded: Any, default: str, room: str, description: str) -> argparse.ArgumentParser:
    """The options that are not keys of the section, and a help text that lists the keys."""
    section: Section = loaded.section(room)
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.{room}",
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="settings, each an option (--KEY VALUE; VALUE is YAML: 1e-3, true, [1, 2], null):\n"
        + "\n".join(f"  --{key:<34} {text}" for key, text in _described(type(section), section)),
    )
    parser.add_argument("--config", default=default, help="settings to start from (default: %(default)s)")
    for name, allowed in section.choices().items():
        preferred = "softadapt" if "softadapt" in allowed else allowed[0]
        listed = f"one of {', '.join(allowed)} (default: %(default)s)"
        parser.add_argument(f"--{name.replace('_', '-')}", default=preferred, metavar="NAME", help=listed)
    parser.add_argument(
        "--seed",
        type=int,
        nargs="+",
        help="seed of the run; several seeds run one after another, each into a folder of its own (default: the config "
        "file's first)",
    )
    parser.add_argument("--output", type=Path, help="run folder (default: below results, by what is asked for)")
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads (default: %(default)s); results depend on it"
    )
    parser.add_argument("--overwrite", action="store_true", help="discard a run with other settings in the run folder")
    shown: dict[str, Any] = {} if section.trains else {"help": argparse.SUPPRESS}
    parser.add_argument(
        "--checkpoint-interval",
        type=float,
        metavar="SECONDS",
        default=CHECKPOINT_INTERVAL,
        **{
            "help": "training that a killed process may cost, 0 for one step (default: %(default)s); results do not "
            "depend on it"
        }
        | shown,
    )
    parser.add_argument(
        "--data-dir", metavar="FOLDER", default=loaded.data_dir, help="folder of the data sets (default: %(default)s)"
    )
    judged = "digit_classifier" in section.needs
    seed = loaded.digit_classifier.seed if judged else 0
    parser.add_argument(
        "--classifier",
        type=Path,
        metavar="FOLDER",
        default=run_folder(loaded.scale, "digit_classifier", "default", seed),
        help="run folder of the digit classifier (default: %(default)s)" if judged else argparse.SUPPRESS,
    )
    return parser


def _described(model: Any, section: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key, and description with the present value, of every setting."""
    for name, field in model.model_fields.items():
        value = getattr(section, name)
        if inner := model_in(field.annotation):
            yield from _described(inner, value, f"{prefix}{name}.")
        elif name == "methods":
            yield (
                f"{name}.METHOD.KEY",
                f"{field.description}; keys as in the config file; or --KEY, for the chosen method",
            )
        elif name not in ("seed", "seeds"):
            yield f"{prefix}{name}".replace("_", "-"), f"{field.description} (now {json.dumps(value, default=str)})"


def _set_all(target: dict[str, Any], section: Section, method: str, words: list[str]) -> dict[str, Any]:
    """Set ``--key value`` pairs in the plain values of a section; return what was set, by the key as typed."""
    changes: dict[str, Any] = {}
    remaining = list(words)
    while remaining:
        flag, _, value = remaining.pop(0).partition("=")
        if not flag.startswith("--") or not flag[2:]:
            raise UserError(f"{flag}: expected an option, --KEY VALUE; see --help")
        if not value:
            if not remaining:
                raise UserError(f"{flag}: needs a value")
            value = remaining.pop(0)
        key = flag[2:]
        places = list(_places(target, section, method, key.replace("-", "_") if "." not in key else key))
        if not places:
            known = [flag for flag, _ in _described(type(section), section)]
            close = difflib.get_close_matches(key.replace("_", "-"), known, n=1)
            hint = f", did you mean --{close[0]}?" if close else "; see --help"
            of = f" of --method {method}, its weighting rule, or the settings" if method else " of the settings"
            raise UserError(f"{flag}: is no key{of}{hint}")
        changes[key] = _read_value(flag, value)
        for values, last in places:
            values[last] = changes[key]
    return changes


def _places(target: dict[str, Any], section: Section, method: str, key: str) -> Iterator[tuple[dict[str, Any], str]]:
    """The mappings and keys that an option sets: along a dotted path, or of that name in the method, else in the section."""
    if "." not in key:
        chosen = target.get("methods", {}).get(method, {})
        specs = [value for value in chosen.values() if isinstance(value, dict) and "rule" in value]
        if key in chosen and not isinstance(chosen[key], dict):
            yield chosen, key
        elif ruled := [spec for spec in specs if key in _fields_of_rule(spec["rule"])]:
            yield from ((spec, key) for spec in ruled)
        elif key in type(section).model_fields and key not in ("seed", "seeds", "methods"):
            yield target, key
        return
    *parents, last = key.split(".")
    for parent in parents:
        names = [name for name in (parent, parent.replace("-", "_")) if isinstance(target.get(name), dict)]
        if not names:
            return
        target = target[names[0]]
    yield target, last.replace("-", "_")


def _fields_of_rule(rule: str) -> set[str]:
    """Names of the options of a weighting rule. This imports torch, but only where an option may be a rule's."""
    module = importlib.import_module(f"experiments.weightings.{rule}")
    return set(module.Settings.model_fields) - {"rule", "weights"}


def _read_value(flag: str, text: str) -> Any:
    if not text.strip():
        raise UserError(f"{flag}: is empty; give a value, or null for none")
    try:
        value = yaml.safe_load(text)
        json.dumps(value, sort_keys=True)  # settings are plain values: no dates, no mixed keys, no self-reference
    except Exception as error:  # YAML's own errors, and those of its readers of dates, numbers and deep nesting
        raise UserError(f"{flag} {text}: not a plain YAML value") from error
    if isinstance(value, str):  # YAML 1.1 reads 1e-3 as text, since it has no point
        try:
            return float(value)
        except ValueError:
            return value
    return value
