"""Compile the manuscript: gather the numbers that its sentences quote, then let Typst inject them and the figures."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from experiments.analysis import autoencoder, lineage, reading
from experiments.config import Settings
from experiments.errors import UserError, run_main
from experiments.files import atomic_path, write_json

MANUSCRIPT = Path("paper/paper.typ")


def numbers(settings: Settings) -> dict[str, Any]:
    """Everything the manuscript's sentences quote, by name."""
    claims = reading.claims_of(reading.results(settings) / "claims.csv")
    history = reading.histories(settings, "sparse_autoencoder")
    tuned = autoencoder.tuned_lambda(settings, history)
    last = autoencoder.final_means(settings, history)
    nearest = _nearest_lambda(last, tuned)
    classifier = reading.FinishedRun(settings, "digit_classifier", "default", settings.digit_classifier.seed)
    audit = reading.FinishedRun(settings, "niqe_collapse", "default", settings.niqe_collapse.seed)
    runs = sorted((reading.results(settings) / "runs").glob("*/*/*/provenance.json"))
    for path in runs:
        lineage.noted_run(path.parent)
    provenances = [reading.read_provenance(path.parent) for path in runs]
    columns = ["measured", "measured_low", "measured_high", "observations", "failed_runs", "verdict"]
    return {
        "scale": settings.scale,
        "settings": settings.model_dump(mode="json"),
        "claims": {row["id"]: {key: _plain(row.get(key)) for key in columns} for row in claims.to_dict("records")},
        "verdicts": Counter(claims["verdict"]),
        "tuned_method": tuned,
        "tuned_lambda": float(tuned.removeprefix("lambda-")),
        "autoencoder": {"trials_to_match": autoencoder.trials_to_match(settings, history, autoencoder.SOFTADAPT)}
        | {
            name: {
                key: _plain(float(last.loc[method, key]))
                for key in ("test_mse", "test_l1", "test_active_share", "test_pcc")
            }
            for name, method in (
                ("tuned", tuned),
                ("softadapt", autoencoder.SOFTADAPT),
                ("mean", autoencoder.SOFTADAPT_MEAN),
                ("nearest", nearest),
            )
        }
        | {"nearest_lambda": float(nearest.removeprefix("lambda-"))},
        "classifier_accuracy": classifier.metrics["test_accuracy"],
        "niqe": audit.metrics | {"images": len(audit.history)},
        "runs": len(runs),
        "training_minutes": sum(p["times"]["total"] for p in provenances) / 60,
        "provenance": {key: classifier.provenance[key] for key in ("commit", "dirty", "cpu", "python", "versions")},
    }


def _nearest_lambda(last: pd.DataFrame, tuned: str) -> str:
    """The fixed method whose L1 norm is nearest to SoftAdapt's, in the logarithm; `last` are means by method.

    If a run of SoftAdapt diverged, nothing is near, and the tuned one stands there.
    """
    if np.isnan(last.loc[autoencoder.SOFTADAPT, "test_l1"]):
        return tuned
    fixed = last[last.index.str.startswith("lambda-") & (last["test_l1"] > autoencoder.DEAD)]["test_l1"]
    return str((np.log(fixed) - np.log(last.loc[autoencoder.SOFTADAPT, "test_l1"])).abs().idxmin())


def _plain(value: Any) -> Any:
    """NaN has no place in JSON; the manuscript reads it as none."""
    return None if isinstance(value, float) and value != value else value


def readable_by_typst(settings: Settings) -> Iterator[Path]:
    """What the manuscript may open. Typst does not say what it opened, so tables and figures of the scale are all named."""
    yield from (MANUSCRIPT, Path("paper/published.yaml"), reading.results(settings) / "claims.csv")
    yield from sorted((reading.results(settings) / "tables").glob("*.csv"))
    yield from sorted(reading.figures(settings).glob("*.pdf"))
    yield from map(Path, sorted(set(re.findall(r'"/(results/[^"]+)"', MANUSCRIPT.read_text(encoding="utf-8")))))


def compile_manuscript(settings: Settings) -> None:
    """Write ``numbers.json`` and ``paper.pdf``.

    Raises:
        UserError: if Typst finds a mistake in the manuscript.
    """
    import typst

    folder = reading.results(settings)
    write_json(folder / "numbers.json", numbers(settings))
    lineage.wrote(folder / "numbers.json")
    for path in readable_by_typst(settings):
        lineage.noted(path)
    inputs = {"results": f"/{folder.as_posix()}", "figures": f"/{reading.figures(settings).as_posix()}"}
    with atomic_path(folder / "paper.pdf") as temporary:
        try:
            typst.compile(str(MANUSCRIPT), output=str(temporary), root=".", sys_inputs=inputs, format="pdf")
        except typst.TypstError as error:
            raise UserError(f"{MANUSCRIPT}: {' '.join(str(error).split())}") from error
    lineage.wrote(folder / "paper.pdf")


def main() -> None:
    """Entry point of ``python -m experiments.analysis.paper``."""
    command = reading.command_line("paper", "Compile the manuscript from a scale's results.", every_experiment=True)
    with command.recorded():
        compile_manuscript(command.settings)


if __name__ == "__main__":
    run_main(main)
