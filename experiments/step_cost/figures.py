"""Figure of the audit of costs: what SoftAdapt adds to a step, beside the scatter of steps and the published values."""

import numpy as np

from experiments.evidence.reading import Runs
from experiments.evidence.style import BLACK, BLUE, ORANGE, VERMILION, WIDTH, plt
from experiments.step_cost.findings import Findings, published_overhead
from experiments.step_cost.settings import TIMED

TITLES = {
    "gradient_descent": "gradient descent",
    "sparse_autoencoder": "sparse autoencoder",
    "introvae": "IntroVAE",
}


def step_cost(runs: Runs) -> plt.Figure:
    """The time that SoftAdapt adds to a step of each experiment, by whole steps and by its calls alone."""
    findings = Findings(runs)
    figure, panels = plt.subplots(1, len(TIMED), figsize=(WIDTH, 2.3))
    for axes, experiment in zip(panels, TIMED, strict=True):
        ratios = 100 * findings.shares(experiment, "steps")
        by_steps = findings.overhead(experiment=experiment, by="steps")
        by_calls = findings.overhead(experiment=experiment, by="calls")
        quarter, middle, three_quarters = np.percentile(ratios, (25, 50, 75))
        reach = 3 * (three_quarters - quarter)  # steps that were interrupted would stretch the axis
        axes.hist(ratios, bins=30, range=(middle - reach, middle + reach), color=BLUE, alpha=0.35)
        axes.axvspan(
            100 * by_steps.low, 100 * by_steps.high, color=BLUE, alpha=0.5, linewidth=0, label="median of pairs, 95 %"
        )
        axes.axvline(100 * by_calls.value, color=ORANGE, label="calls of SoftAdapt alone")
        axes.axvline(0, color=BLACK, linewidth=0.6)
        if not np.isnan(value := 100 * published_overhead(experiment)):
            axes.axvline(value, color=VERMILION, linestyle="--", label="published")
        axes.set(title=TITLES[experiment], xlabel="added to a step, %", yticks=[])
    panels[0].set_ylabel("pairs of steps")
    figure.legend(*panels[1].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
