"""Figures of monitoring: each measure in the reference and in what came, and the shares of the classes."""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.drift import numbers_of
from src.reference import PREDICTED
from src.visualization.labels import shortened
from src.visualization.monitoring.evidence import Watched
from src.visualization.theme import Theme

NUM_BINS = 30
COLUMNS = 2
MOST_CLASSES = 30


def measures(evidence: Watched, theme: Theme) -> Figure:
    """Share of images by each measure: those the model was tested on, and those that came."""
    names = evidence.reference.measures
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(7.5, 1.9 * rows + 0.4), layout="constrained")
    places = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for axes, name in zip(places, names, strict=False):
        _measure(axes, evidence, name, theme)
    for axes in places[len(names) :]:
        axes.set_visible(False)
    figure.legend(*places[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    return figure


def classes(evidence: Watched, theme: Theme) -> Figure:
    """Share of each predicted class among the images of the reference and among those that came."""
    names = evidence.reference.class_names
    shares = [_shares(table[PREDICTED], names) for table in (evidence.reference.table, evidence.came)]
    order = np.argsort(-np.abs(shares[0] - shares[1]), kind="stable")[:MOST_CLASSES][::-1]
    figure = Figure(figsize=(7.5, 0.42 * len(order) + 1.0), layout="constrained")
    axes = figure.subplots()
    for place, (share, label, colour) in enumerate(zip(shares, _labels(evidence), _colours(theme), strict=True)):
        axes.barh(np.arange(len(order)) + 0.2 - 0.4 * place, 100 * share[order], height=0.36, color=colour, label=label)
    axes.set_yticks(range(len(order)), [shortened(names[row]) for row in order], color=theme.ink)
    axes.grid(visible=True, axis="x")
    axes.set(xlabel="% of the predictions")
    figure.legend(loc="outside lower left", ncols=2)
    return figure


def _measure(axes: Axes, evidence: Watched, name: str, theme: Theme) -> None:
    before, now = (numbers_of(table, name) for table in (evidence.reference.table, evidence.came))
    edges = np.linspace(*_span(np.concatenate([before, now])), NUM_BINS + 1)
    for values, label, colour in zip((before, now), _labels(evidence), _colours(theme), strict=True):
        counts, _ = np.histogram(values, edges)
        axes.stairs(100 * counts / max(1, len(values)), edges, color=colour, label=label, linewidth=1.8)
    axes.grid(visible=True)
    axes.set(title=name, ylabel="% of images")


def _span(values: np.ndarray) -> tuple[float, float]:
    """The least and the largest value, made to differ; 0 and 1 of none."""
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _shares(names: "pd.Series[str]", class_names: list[str]) -> np.ndarray:
    return names.value_counts().reindex(class_names, fill_value=0).to_numpy(float) / max(1, len(names))


def _labels(evidence: Watched) -> tuple[str, str]:
    return evidence.reference.split, "what came"


def _colours(theme: Theme) -> tuple[str, str]:
    return theme.quiet, theme.first


MONITOR_FIGURES: dict[str, Callable[[Watched, Theme], Figure]] = {"measures": measures, "classes": classes}
"""Drawn on the page once anything came."""
