"""Tables: one tidy CSV per experiment, and the same numbers as Markdown and LaTeX for reading."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.analysis import autoencoder, collapse, cost, descent, five_rules, lineage, reading
from experiments.analysis.statistics import (
    CONFIDENCE,
    Estimate,
    holm,
    mean_over_seeds,
    median_over_starts,
    p_value,
    share,
)
from experiments.config import Settings
from experiments.errors import run_main
from experiments.files import write_text


def columns_of(name: str, estimate: Estimate) -> dict[str, float]:
    """A value and its interval as three columns."""
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}


def gradient_descent(settings: Settings) -> dict[str, pd.DataFrame]:
    """Steps to the minimum, each method at its own best step size and beta, on starts not used to choose them."""
    rows = []
    for function in descent.FUNCTIONS:
        for step_rule in reading.STEP_RULES:
            sweep = descent.Sweep(settings, function, step_rule)
            plain = sweep.tune("plain")
            for method in descent.METHODS:
                tuned = sweep.tune(method)
                steps = median_over_starts(tuned.steps[tuned.judged])
                row: dict[str, object] = {"function": function, "step_rule": step_rule, "method": method}
                row |= {"beta": tuned.beta, "step_size": tuned.step_size}
                row |= columns_of("median_steps", steps)
                row |= columns_of("steps_ratio_to_plain", descent.steps_ratio(tuned, plain))
                row |= columns_of("converged_share", share(tuned.converged[tuned.judged]))
                rows.append(row | {"starts": steps.count})
    return {"gradient_descent": pd.DataFrame(rows)}


def sparse_autoencoder(settings: Settings) -> dict[str, pd.DataFrame]:
    """Table 3, what a single score hides beside it, and every method's place beside the frontier of fixed lambdas."""
    history = reading.histories(settings, "sparse_autoencoder")
    tuned = autoencoder.tuned_lambda(settings, history)
    measures = ["test_pcc", "test_mse", "validation_mse", "train_mse", "test_l1", "test_active_share", "train_seconds"]
    reported = reading.at_epochs(history, settings.sparse_autoencoder.report_epochs, autoencoder.LOSSES)
    return {
        "sparse_autoencoder": _by_method_and_epoch(reported, measures, tuned, ["test_pcc"]),
        "autoencoder_methods": _autoencoder_methods(settings, history, tuned),
    }


def _autoencoder_methods(settings: Settings, history: pd.DataFrame, tuned: str) -> pd.DataFrame:
    """At the end of training: scores, place beside the frontier, and what a method costs, its trials included."""
    places = autoencoder.beside_the_frontier(settings, history)
    last = autoencoder.final(settings, history).merge(places, on=["method", "seed"])
    table = _by_method_and_epoch(
        last, ["test_pcc", "test_mse", "test_l1", "error_ratio", "pcc_gain", "train_seconds"], tuned, ["test_pcc"]
    ).drop(columns="epoch")
    ratios = {str(method): _mean_of_all(rows["error_ratio"]) for method, rows in last.groupby("method")}
    corrected = holm({method: p_value(ratio, 1.0) for method, ratio in ratios.items() if _compared(method)})
    table.insert(1, "group", [autoencoder.group_of(method) for method in table["method"]])
    table["place"] = [
        "diverged" if failed else _place(ratios[method], corrected.get(method))
        for method, failed in zip(table["method"], table["failed"], strict=True)
    ]
    table["trials"] = [len(settings.sparse_autoencoder.lambdas) if method == tuned else 1 for method in table["method"]]
    grid = last[last["method"].str.startswith("lambda-")].groupby("seed")["train_seconds"].sum().mean()
    table["training_bill_seconds"] = [
        grid if method == tuned else seconds
        for method, seconds in zip(table["method"], table["train_seconds"], strict=True)
    ]
    return table


def _compared(method: str) -> bool:
    return autoencoder.group_of(method) != "fixed lambda"


def _place(ratio: Estimate, corrected: float | None) -> str:
    """Better than the frontier, on it, worse, or beyond the grid; p values are corrected over all methods."""
    if corrected is None:
        return "draws it"
    if np.isnan(ratio.value):
        return "beyond the grid"
    if not corrected < 1 - CONFIDENCE or ratio.low <= 1 <= ratio.high:
        return "on it"
    return "better" if ratio.high < 1 else "worse"


INTROVAE_LOSSES = ("reconstruction",)
"""Columns of every epoch of IntroVAE that are finite as long as a run has not diverged."""


def introvae(settings: Settings) -> dict[str, pd.DataFrame]:
    """Tables 1 and 2, reconstructions of training and of held-out images, and how the methods' runs ended."""
    history = reading.histories(settings, "introvae")
    reported = reading.at_epochs(history, settings.introvae.report_epochs, INTROVAE_LOSSES)
    tables = {
        f"introvae_{part}": _by_method_and_epoch(
            reported.rename(columns={f"{part}_{measure}": measure for measure in ("psnr", "ssim", "niqe")}),
            ["psnr", "ssim", "niqe"],
            "fixed",
            ["psnr", "ssim"],
        )
        for part in ("train", "held_out")
    }
    last = reading.at_epochs(history, [settings.introvae.epochs], INTROVAE_LOSSES)
    measures = ["validation_psnr", "validation_ssim", "prior_niqe", "kl_real", "kl_sampled", "beyond_margin_share"]
    measures = [measure for measure in measures if measure in history]
    ends = _by_method_and_epoch(last, [*measures, "train_seconds"])
    ends.insert(2, "margin", [settings.introvae.methods[method].margin for method in ends["method"]])
    verdicts = last.groupby("method", sort=False)["verdict"].agg(lambda column: ", ".join(sorted(set(column))))
    ends["verdict"] = ends["method"].map(verdicts)
    return tables | {"introvae_methods": ends}


def niqe_collapse(settings: Settings) -> dict[str, pd.DataFrame]:
    """The NIQE audit: scores of images with a single block, and the pooled NIQE of the sets it can order."""
    return {"niqe_collapse": collapse.summary(settings, reading.published())}


def rules_of_one_name(settings: Settings) -> dict[str, pd.DataFrame]:
    """The audit of the rules that are called SoftAdapt: their weights, and how often they order otherwise than the paper."""
    audit = five_rules.Audit(settings)
    rows = []
    for rule in audit.rules:
        row = {"rule": rule, **audit.named_weights(rule)}
        row |= columns_of("random_share", share(audit.orders_otherwise(rule)))
        rows.append(row | {"recorded_share": audit.recorded.loc[five_rules.REFERENCE, rule]})
    return {"five_rules": pd.DataFrame(rows)}


def step_cost(settings: Settings) -> dict[str, pd.DataFrame]:
    """What SoftAdapt adds to a step of each experiment, by whole steps and by its calls alone, beside the published."""
    return {"step_cost": cost.summary(settings, reading.published())}


def _by_method_and_epoch(
    rows: pd.DataFrame, measures: list[str], baseline: str = "", compared: Sequence[str] = ()
) -> pd.DataFrame:
    """Mean of every measure over seeds; for those `compared` also the difference from the baseline, paired by seed.

    `rows` holds a row for every run and epoch. ``seeds`` are a method's runs, ``failed`` those of them that diverged; with
    one of these a method has no difference from the baseline, and no mean where the run has no value.
    """
    theirs = rows[rows["method"] == baseline].set_index(["epoch", "seed"])
    baseline_failed = bool((theirs["verdict"] == reading.DIVERGED).any())
    table = []
    for (method, epoch), group in rows.groupby(["method", "epoch"], sort=False):
        failed = int((group["verdict"] == reading.DIVERGED).sum())
        row: dict[str, object] = {"method": method, "epoch": epoch, "seeds": len(group), "failed": failed}
        for measure in measures:
            row |= columns_of(measure, _mean_of_all(group[measure]))
        for measure in compared:
            difference = group.set_index(["epoch", "seed"])[measure] - theirs[measure].reindex(
                pd.MultiIndex.from_frame(group[["epoch", "seed"]])
            )
            if method == baseline or failed or baseline_failed:
                difference = difference[:0]
            row |= columns_of(f"{measure}_minus_fixed", _mean_of_all(difference))
        table.append(row)
    return pd.DataFrame(table)


def _mean_of_all(values: pd.Series) -> Estimate:
    """Mean over seeds; NaN unless every run has a value, since those that have one would speak for the others."""
    return mean_over_seeds(values.to_numpy() if values.notna().all() else [])


EXPERIMENTS: dict[str, Callable[[Settings], dict[str, pd.DataFrame]]] = {
    "gradient_descent": gradient_descent,
    "sparse_autoencoder": sparse_autoencoder,
    "introvae": introvae,
    "niqe_collapse": niqe_collapse,
    "five_rules": rules_of_one_name,
    "step_cost": step_cost,
}


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """Join each value with its interval, ``value [low, high]``, to four significant digits, all as text."""
    shown: dict[str, list[str]] = {}
    for column in table.columns:
        if column.endswith(("_low", "_high")) and column.rsplit("_", 1)[0] in table.columns:
            continue
        texts = [_number(value) for value in table[column]]
        if f"{column}_low" in table.columns:
            bounds = zip(table[f"{column}_low"], table[f"{column}_high"], strict=True)
            texts = [
                text if np.isnan(low) else f"{text} [{_number(low)}, {_number(high)}]"
                for text, (low, high) in zip(texts, bounds, strict=True)
            ]
        shown[column.replace("_", " ")] = texts
    return pd.DataFrame(shown)


def _number(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4g}"
    return str(value)


def write_table(table: pd.DataFrame, folder: Path, name: str) -> None:
    """Write ``name.csv`` with all digits, and ``name.md`` and ``name.tex`` for reading."""
    write_text(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n"))
    shown = readable(table)
    lines = [shown.columns.tolist(), ["---"] * shown.shape[1], *shown.to_numpy().tolist()]
    write_text(folder / f"{name}.md", "".join(f"| {' | '.join(line)} |\n" for line in lines))
    body = [shown.columns.tolist(), *shown.to_numpy().tolist()]
    latex = [" & ".join(_escape(cell) for cell in line) + r" \\" for line in body]
    latex.insert(1, r"\midrule")
    start = rf"\begin{{tabular}}{{{'l' * shown.shape[1]}}}"
    write_text(folder / f"{name}.tex", "\n".join([start, r"\toprule", *latex, r"\bottomrule", r"\end{tabular}", ""]))
    for suffix in ("csv", "md", "tex"):
        lineage.wrote(folder / f"{name}.{suffix}")


def _escape(text: str) -> str:
    for character in "&%_#":
        text = text.replace(character, f"\\{character}")
    return text


def main() -> None:
    """Entry point of ``python -m experiments.analysis.tables``."""
    command = reading.command_line(
        "tables", "Make the tables of one experiment from its run folders.", what=list(EXPERIMENTS)
    )
    with command.recorded():
        for name, table in EXPERIMENTS[command.what](command.settings).items():
            write_table(table, reading.results(command.settings) / "tables", name)


if __name__ == "__main__":
    run_main(main)
