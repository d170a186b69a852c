"""The documents keep their word: Python blocks run, commands are understood, links lead somewhere."""

import functools
import re
import shlex
import subprocess
import types
from pathlib import Path

import forked
import pandas as pd
import pytest
import torch
import yaml

from experiments import scale
from experiments.runs import command_line
from experiments.runs.room import Context

pytestmark = pytest.mark.whole

DOCUMENTS = [
    Path(name)
    for name in subprocess.run(
        ["git", "ls-files", "*.md", ":!results"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
]

FRAGMENTS = Path("docs/frameworks.md")
"""Its blocks are parts of programs that tests/integrations and tests/examples run."""

NOT_TRIED = ("pip", "conda", "git", ".", "cd", "pre-commit")
"""First words of lines that would change the machine, or that need what the environment lacks."""


def blocks(document, language):
    """The fenced blocks of a document in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands():
    """Every command in the documents, once, with the first document that has it."""
    found = {}
    for document in DOCUMENTS:
        for block in blocks(document, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = tuple(shlex.split(line, comments=True))
                if words:
                    found.setdefault(words, document)
    return [pytest.param(words, id=f"{document}: {' '.join(words)}") for words, document in found.items()]


def succeeds(words):
    """Run a command and return what it printed."""
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{shlex.join(words)}\n{result.stdout}{result.stderr}"
    return result.stdout


@functools.cache
def help_of(module, *positional):
    done = forked.module(module, *positional, "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def plan(*words):
    done = forked.snakemake(*words, "--dry-run", "--nolock", "--quiet", "all")
    assert done.returncode == 0, done.stderr


def understood_by_module(module, words):
    """Parse the words with the parser of the module; nothing runs."""
    room = module.removeprefix("experiments.")
    if room in scale.ROOMS:
        assert command_line.parse(scale, room, arguments=words)
        return
    positional = [word for word, before in zip(words, ["", *words], strict=False) if not (word + before).count("--")]
    text = help_of(module, *positional)
    for word in words:
        if word.startswith("--"):
            assert re.search(rf"{re.escape(word.split('=')[0])}\b", text), f"{module} has no option {word}"


@pytest.mark.parametrize("words", commands())
def test_a_command_of_the_documents_is_understood(words):
    first, *rest = words
    if first in NOT_TRIED:
        pytest.skip(f"{first}: not tried")
    if first == "make":
        succeeds(["make", "--dry-run", *rest])
    elif first == "snakemake":
        if "profiles/slurm" in rest:
            rest = [*rest, "--executor", "local"]  # the executor for SLURM is installed on clusters only
        plan(*(word for word in rest if word != "--dry-run"))
    elif first in ("timeout", "torchrun"):  # what they start is a module
        understood_by_module(rest[rest.index("-m") + 1], rest[rest.index("-m") + 2 :])
    else:
        assert first == "python", f"{first}: no test knows this command"
        assert rest[0] == "-m", f"{rest}: no test knows how to try this"
        understood_by_module(rest[1], rest[2:])


@pytest.mark.parametrize(
    ("document", "position"),
    [
        (document, position)
        for document in DOCUMENTS
        if document != FRAGMENTS
        for position in range(len(blocks(document, "python")))
    ],
    ids=str,
)
def test_a_python_block_runs_as_it_stands(document, position):
    exec(blocks(document, "python")[position], vars(types.ModuleType("example")))


def test_the_example_of_a_method_weighs_as_it_says():
    document = Path("experiments/README.md")
    example = types.ModuleType("example")
    exec(blocks(document, "python")[0], vars(example))
    balance = example.Settings(rule="inverse_losses").build(Context(("a", "b")))
    loss = balance({"a": torch.tensor(1.0), "b": torch.tensor(3.0)})
    assert balance.weights.tolist() == pytest.approx([0.75, 0.25])
    assert loss.item() == pytest.approx(1.5)
    method = yaml.safe_load(blocks(document, "yaml")[0])["inverse-losses"]
    assert set(method["weighting"]) == set(example.Settings.model_fields)


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_the_readme_is_short():
    text = Path("README.md").read_bytes()
    assert len(text) <= 12_000
    assert text.count(b"\n") <= 150


def test_the_summary_of_the_readme_has_at_most_ten_rows():
    summary = re.search(r"<!-- claims: begin -->(.*?)<!-- claims: end -->", Path("README.md").read_text(), re.DOTALL)[1]
    assert 1 <= len(re.findall(r"^\| (?!---)", summary, re.MULTILINE)) - 1 <= 10


def test_the_table_of_celeba_holds_the_committed_numbers():
    text = Path("experiments/introvae/README.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `([\w-]+)` \| (\d) \| (.*) \|$", text, re.MULTILINE)
    committed = {}
    for folder in ("celeba-10k", "celeba-10k-three", "celeba-10k-seed-1"):
        rows = pd.read_csv(f"results/reference/{folder}/runs.csv").sort_values("epoch")
        committed |= {
            (run, str(seed)): row
            for run, seed, row in zip(rows["run"], rows["seed"], rows.to_dict("records"), strict=True)
        }
    assert {(run, seed) for run, seed, _ in lines} == committed.keys()
    for run, seed, cells in lines:
        row = committed[run, seed]
        assert cells.split(" | ") == [
            f"{row['held_out_psnr']:.2f}",
            f"{row['prior_swd']:.3f}",
            f"{row['prior_niqe']:.2f}",
            f"{row['kl_real']:.0f} / {row['kl_sampled']:.0f}",
            row["verdict"],
        ]
