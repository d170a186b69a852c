"""Figure of the NIQE audit: the collapsed score against the paper's values, and against a NIQE that works."""

from experiments.evidence.reading import Runs
from experiments.evidence.style import BLACK, BLUE, ORANGE, VERMILION, WIDTH, plt
from experiments.niqe_collapse.findings import Findings, published_values


def niqe_collapse(runs: Runs) -> plt.Figure:
    """The collapsed score of every set beside the paper's values, and by blur beside the pooled NIQE."""
    table = Findings(runs).scores
    natural = table[table["set"].str.startswith("natural")]
    blurs = runs.section.blurs
    by_blur = natural.groupby("set", sort=False)
    figure, (sets, collapsed, pooled) = plt.subplots(1, 3, figsize=(WIDTH, 2.8), width_ratios=(2, 1, 1))
    names = table["set"].unique().tolist()
    for position, name in enumerate(names):
        values = table.loc[table["set"] == name, "published_tool"]
        sets.plot(values, [position] * len(values), "|", color=BLUE, markersize=7, alpha=0.5)
    values = published_values()
    sets.plot(values, [len(names)] * len(values), "|", color=VERMILION, markersize=9)
    sets.set_yticks(range(len(names) + 1), [*names, "paper, Tables 1 and 2"])
    sets.set(xlabel="collapsed NIQE, constants of the likely tool")
    sets.ticklabel_format(axis="x", useOffset=False)
    collapsed.plot(blurs, by_blur["published_tool"].mean(), "o-", color=ORANGE)
    collapsed.set(xlabel="blur, sigma in px", ylabel="collapsed NIQE, mean")
    collapsed.ticklabel_format(axis="y", useOffset=False)
    pooled.plot(blurs, by_blur["pooled"].first(), "o-", color=BLACK)
    pooled.set(xlabel="blur, sigma in px", ylabel="pooled NIQE of the set")
    return figure
