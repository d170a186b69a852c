"""The look of the figures: sizes of a journal column, and colours for the colour-blind (Okabe and Ito)."""

import io
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.evidence import lineage
from experiments.runs.files import write_bytes

BLACK, ORANGE, GREEN, BLUE, VERMILION, PURPLE = "#000000", "#E69F00", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
WIDTH = 7.0
"""Width of a full-width figure in inches."""

plt.rcParams.update(
    {
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
        "legend.fontsize": 7,
        "lines.linewidth": 1.2,
        "figure.constrained_layout.use": True,
        "savefig.dpi": 200,
        "pdf.fonttype": 42,
        "image.cmap": "cividis",
    }
)


def save(figure: Figure, folder: Path, name: str) -> None:
    """Write ``name.pdf`` and ``name.png``, without time stamps, and close the figure."""
    for suffix in ("pdf", "png"):
        metadata = {"CreationDate": None} if suffix == "pdf" else {"Software": None}
        content = io.BytesIO()  # Matplotlib does not survive a full disk
        figure.savefig(content, format=suffix, metadata=metadata)
        write_bytes(folder / f"{name}.{suffix}", content.getbuffer())
        lineage.wrote(folder / f"{name}.{suffix}")
    plt.close(figure)


def band(axes: Axes, x: np.ndarray, values: np.ndarray, color: str, label: str, linestyle: str = "-") -> None:
    """Draw the mean over seeds of `values` (seeds, x) and the range from the lowest to the highest seed, if any."""
    if values.size == 0:
        return
    axes.plot(x, values.mean(0), color=color, label=label, linestyle=linestyle)
    axes.fill_between(x, values.min(0), values.max(0), color=color, alpha=0.2, linewidth=0)


def show_images(axes: Axes, images: np.ndarray, label: str) -> None:
    """Draw images (n, C, H, W) in [0, 1] side by side, `label` at their left."""
    strip = np.concatenate(list(images.transpose(0, 2, 3, 1)), axis=1)
    axes.imshow(strip.squeeze(-1) if strip.shape[-1] == 1 else strip, cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_ylabel(label, rotation=0, ha="right", va="center")
