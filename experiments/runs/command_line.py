"""The command line of a room: every key of its section is an option, named by its dotted path.

``--epochs 31 --methods.softadapt.weighting.beta 0.5`` changes ``epochs`` of the section and ``beta`` of a method's rule.
Without dots, ``--beta 0.5`` is a key of the section, of the chosen method, or of all its rules that have such an option.
Importing this module does not import torch, so that ``--help`` answers at once.
"""

import argparse
import difflib
import hashlib
import importlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import yaml

from experiments.runs.errors import UserError, run_main
from experiments.runs.room import LARGEST_INTEGER, known_rules, run_folder
from experiments.runs.validation import model_in, validate


@dataclass(frozen=True)
class Request:
    """One run that a command line asks for."""

    room: str  # name of the experiment
    settings: Any  # its section, with the changes of the command line
    scale: Any  # settings of the whole scale, with the same changes
    variant: dict[str, str]  # the chosen value of each of the section's choices, as {"method": "softadapt"}
    seed: int
    output: Path  # run folder
    overwrite: bool  # whether to discard a run with other settings in that folder
    threads: int  # CPU threads
    checkpoint_interval: float  # seconds between two checkpoints within an epoch
    classifier: Path  # run folder of the digit classifier; only the sparse autoencoder reads it

    @property
    def identity(self) -> dict[str, Any]:
        """Plain values that decide the run's numbers, besides its code."""
        names = {"experiment": self.room, **self.variant, "seed": self.seed}
        return names | self.settings.identity(self.variant, self.scale)


def main(scale: Any, room: str, description: str) -> None:
    """Run the command line of a room and exit: check its rules, then call ``run`` of its ``run.py`` for each seed."""

    def run_all() -> None:
        requests = parse(scale, room, description)
        module = importlib.import_module(f"experiments.{room}.run")
        if hasattr(module, "check"):
            module.check(requests[0].scale, "settings")
        for request in requests:
            module.run(request)

    run_main(run_all)


def parse(scale: Any, room: str, description: str = "", arguments: list[str] | None = None) -> list[Request]:
    """Parse the words of a room's command line into one request for every seed; `scale` is the module `experiments.scale`.

    Raises:
        UserError: one line naming the option or key.
    """
    first = _Parser(add_help=False, allow_abbrev=False)
    first.add_argument("--config", default=scale.DEFAULT)
    loaded = scale.load(first.parse_known_args(arguments)[0].config)
    section = loaded.section(room)
    options, words = _parser(scale.DEFAULT, loaded, room, description).parse_known_args(arguments)
    variant = {name: getattr(options, name) for name in section.choices()}
    values = loaded.model_dump() | {"data_dir": options.data_dir}
    _change(values[room], variant.get("method", ""), words)
    changed = validate(scale.Settings, values, "command line")
    settings = changed.section(room)
    for name, known in settings.choices().items():
        if variant[name] not in known:
            raise UserError(f"{_flag(name)} {variant[name]}: not known to {room}; choose from {', '.join(known)}")
    seeds = options.seed or section.all_seeds()[:1]
    limits = [("threads", options.threads, 1, 1024), ("checkpoint-interval", options.checkpoint_interval, 0, 1e6)]
    for key, value, least, most in [*(("seed", seed, 0, LARGEST_INTEGER) for seed in seeds), *limits]:
        if not least <= value <= most:
            raise UserError(f"--{key} {value}: must be from {least} to {most}")
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seed {' '.join(map(str, seeds))}: name each seed once")
    if options.output and len(seeds) > 1:
        raise UserError(f"--output {options.output}: holds one run; give one --seed")
    name = "-".join(variant.values()) or "default"
    folder = run_folder(loaded.scale, room, name, 0).parent
    if settings != section:
        identity = json.dumps(settings.identity(variant, changed), sort_keys=True, default=str)
        digest = hashlib.sha256(identity.encode()).hexdigest()
        folder = Path("results", loaded.scale, "trials", room, f"{name}-{digest[:8]}")
    same = {key: getattr(options, key) for key in ("overwrite", "threads", "checkpoint_interval", "classifier")}
    runs = [(seed, options.output or folder / f"seed-{seed}") for seed in seeds]
    return [Request(room, settings, changed, variant, seed, output, **same) for seed, output in runs]


class _Parser(argparse.ArgumentParser):
    """argparse's parser, whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def _parser(default: str, loaded: Any, room: str, description: str) -> argparse.ArgumentParser:
    """The options that are not keys of the section, and a help text that lists the keys."""
    section = loaded.section(room)
    parser = _Parser(
        prog=f"python -m experiments.{room}",
        description=description,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="settings, each an option (--KEY VALUE; VALUE is YAML: 1e-3, true, [1, 2], null):\n"
        + "\n".join(f"  {flag:<34} {text}" for flag, text in _described(section)),
    )

    def add(name: str, text: str, *, shown: bool = True, **more: Any) -> None:
        if more.get("default") is not None:
            text += " (default: %(default)s)"
        parser.add_argument(_flag(name), help=text if shown else argparse.SUPPRESS, **more)

    add("config", "settings to start from", default=default)
    for name, known in section.choices().items():
        preferred = "softadapt" if "softadapt" in known else known[0]
        add(name, f"one of {', '.join(known)}", default=preferred, metavar="NAME")
    add("seed", "seeds, each a run (default: the config's first)", type=int, nargs="+")
    add("output", "run folder of a single seed (default: below results, by what is asked for)", type=Path)
    add("threads", "CPU threads; results depend on it", type=int, default=1)
    add("overwrite", "discard a run with other settings in the run folder", action="store_true")
    cost = "seconds of training that a killed process may cost, 0 for one step"
    add("checkpoint_interval", cost, shown=section.trains, type=float, metavar="SECONDS", default=20.0)
    add("data_dir", "folder of the data sets", metavar="FOLDER", default=loaded.data_dir)
    judged = "digit_classifier" in section.needs
    judge = run_folder(loaded.scale, "digit_classifier", "default", loaded.digit_classifier.seed if judged else 0)
    add("classifier", "run folder of the digit classifier", shown=judged, type=Path, metavar="FOLDER", default=judge)
    return parser


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"


def _described(section: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """The option of every setting, and its description with the present value."""
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name == "methods":
            yield "--methods.METHOD.KEY", f"{field.description}; --KEY alone is that of the chosen method"
        elif isinstance(value, dict) and model_in(field.annotation):
            yield f"{_flag(prefix + name)}.NAME.KEY", field.description or ""
        elif model_in(field.annotation):
            yield from _described(value, f"{prefix}{name}.")
        elif name not in ("seed", "seeds"):
            yield _flag(prefix + name), f"{field.description} (now {json.dumps(value)})"


def _change(values: dict[str, Any], method: str, words: list[str]) -> None:
    """Set ``--KEY VALUE`` and ``--KEY=VALUE`` in the plain values of a section."""
    waiting = iter(words)
    for word in waiting:
        flag, equals, text = word.partition("=")
        if not flag.startswith("--") or not flag[2:]:
            raise UserError(f"{word}: expected an option, --KEY VALUE; see --help")
        value = _value(flag, text if equals else next(waiting, ""))
        for mapping, key in _at_path(values, flag, flag[2:]) if "." in flag else _named(values, method, flag):
            mapping[key] = value


Places = list[tuple[dict[str, Any], str]]
"""Mappings, each with the key in it that an option sets."""


def _at_path(values: dict[str, Any], flag: str, path: str) -> Places:
    """The place that a dotted path leads to. Keys may hold dots themselves, as names of methods do."""
    wanted = path.replace("-", "_")
    names = {str(key).replace("-", "_"): key for key in values}
    if wanted in names:
        return [(values, names[wanted])]
    for name in sorted(names, key=len, reverse=True):
        if wanted.startswith(f"{name}.") and isinstance(values[names[name]], dict):
            return _at_path(values[names[name]], flag, path[len(name) + 1 :])
    if "rule" in values:  # it may leave options out, and knows their names when it is built
        return [(values, wanted)]
    raise _unknown(flag, f"{path.split('.')[0]} is no key here; known are {', '.join(map(str, values))}", path, values)


def _named(values: dict[str, Any], method: str, flag: str) -> Places:
    """The places that an option without dots sets: in the section, in the chosen method, or in its rules."""
    key = flag[2:].replace("-", "_")
    chosen = values.get("methods", {}).get(method)
    chosen = chosen if isinstance(chosen, dict) else {}
    own = [name for name in values if name not in ("methods", "seed", "seeds")]
    found = [(mapping, key) for mapping, keys in ((values, own), (chosen, chosen)) if key in keys]
    if len(found) > 1:
        raise UserError(f"{flag}: is ambiguous; for the method's, write --methods.{method}.{key}")
    if found:
        return found
    specs = [spec for spec in chosen.values() if isinstance(spec, dict) and spec.get("rule") in known_rules()]
    options = {spec["rule"]: _options_of(spec["rule"]) for spec in specs}
    if places := [(spec, key) for spec in specs if key in options[spec["rule"]]]:
        return places
    rules = "".join(f", nor of its rule {rule} ({', '.join(names)})" for rule, names in options.items())
    what = "no key of the settings" + (f", nor of method {method}{rules}" if method else "")
    raise _unknown(flag, what, key, ["seed", *own, *chosen, *itertools.chain(*options.values())])


def _options_of(rule: str) -> list[str]:
    """Names of the options of a weighting rule. This imports torch, but only where an option can only be a rule's."""
    fields = importlib.import_module(f"experiments.weightings.{rule}").Settings.model_fields
    return [name for name in fields if name != "rule"]


def _unknown(flag: str, what: str, key: str, known: Iterable[Any]) -> UserError:
    close = difflib.get_close_matches(key.split(".")[0], map(str, known), n=1)  # YAML's keys may be numbers
    return UserError(f"{flag}: {what}" + (f"; did you mean {_flag(close[0])[2:]}?" if close else ""))


def _value(flag: str, text: str) -> Any:
    if not text.strip() or text.startswith("--"):
        raise UserError(f"{flag}: needs a value, or null for none")
    try:
        value = yaml.safe_load(text)
        json.dumps(value, sort_keys=True)  # settings are plain values: no dates, no mixed keys, no self-reference
    except Exception as error:  # YAML's own errors, and those of its readers of dates, numbers and deep nesting
        raise UserError(f"{flag} {text}: not a plain YAML value") from error
    try:
        return float(value) if isinstance(value, str) else value  # YAML 1.1 reads 1e-3 as text, since it has no point
    except ValueError:
        return value
