"""Figures of the data audit: how sizes, shapes and pixels are distributed in each split."""

from collections.abc import Callable
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from src.visualization.auditing.evidence import AuditEvidence
from src.visualization.reporting.figures import split_colour
from src.visualization.theme import Theme

NUM_BINS = 24
EDGE_SHARE = 0.001
"""Share of the images at each end that is drawn in the outermost bin, so that one outlier does not squeeze the rest."""

TITLES = {
    "side": "Size: side of a square of as many pixels, px",
    "aspect": "Width by height",
    "brightness": "Brightness: mean of the pixels",
    "contrast": "Contrast: standard deviation of the pixels",
}
MOST_EVEN = 4
"""Up to this ratio of the largest to the smallest value, evenly spaced ticks are read best."""

RATIOS = ("side", "aspect")
"""Drawn on a logarithmic axis: half and double are equally far."""


def histogram(evidence: AuditEvidence, theme: Theme, *, column: str) -> Figure:
    """The share of each split's images by one quantity."""
    used = evidence.used
    edges = bin_edges(used[column].to_numpy(dtype=np.float64), ratio=column in RATIOS)
    figure = Figure(figsize=(3.8, 2.5), layout="constrained")
    axes = figure.subplots()
    for number, split in reversed(list(enumerate(evidence.splits))):
        values = used.loc[used["split"] == split, column].to_numpy(dtype=np.float64)
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        colour = split_colour(theme, number)
        axes.stairs(counts / max(1, len(values)), edges, color=colour, linewidth=1.5, baseline=None)
        if split == "train":
            axes.stairs(counts / max(1, len(values)), edges, color=colour, fill=True, alpha=0.14)
    axes.set_title(TITLES[column])
    _dress(axes, ratio=column in RATIOS)
    return figure


def bin_edges(values: np.ndarray, *, ratio: bool) -> np.ndarray:
    """Edges of `NUM_BINS` bins over all but the outermost images; equal in ratio where ratios count."""
    low, high = np.quantile(values, [EDGE_SHARE, 1 - EDGE_SHARE])
    if low == high:
        low, high = values.min(), values.max()
    if low == high:
        low, high = (low / 1.5, high * 1.5) if ratio else (low - 0.1, high + 0.1)
    return np.geomspace(low, high, NUM_BINS + 1) if ratio else np.linspace(low, high, NUM_BINS + 1)


def _dress(axes: Axes, *, ratio: bool) -> None:
    if ratio:
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        wide = high > MOST_EVEN * low
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)) if wide else MaxNLocator(nbins=5))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    axes.set_ylim(bottom=0)
    axes.grid(visible=True, axis="y")
    axes.spines["left"].set_visible(False)


HISTOGRAMS: dict[str, Callable[[AuditEvidence, Theme], Figure]] = {
    column: partial(histogram, column=column) for column in TITLES
}
