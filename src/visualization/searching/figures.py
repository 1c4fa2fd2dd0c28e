"""Figures of a search: its history, the share of each dimension, and the trials as lines through their settings."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.visualization.labels import shortened
from src.visualization.searching.evidence import SearchEvidence
from src.visualization.theme import Theme
from src.wording import percent

NUM_BEST = 3
"""Trials that are drawn in colour."""


def history(evidence: SearchEvidence, theme: Theme) -> Figure:
    """The metric of each trial in their order, and the best so far."""
    figure, axes = _canvas(7.5, 3.0)
    table, metric = evidence.table, evidence.metric
    for state, colour in (("finished", theme.first), ("pruned", theme.quiet)):
        rows = table[table["state"] == state]
        axes.scatter(rows["trial"], rows[metric], s=22, color=colour, label=state)
    finished = table[table["state"] == "finished"]
    best = finished[metric].cummax() if evidence.maximizes else finished[metric].cummin()
    axes.step(finished["trial"], best, where="post", color=theme.second, label="best so far")
    for trial in table.loc[table["state"] == "failed", "trial"]:
        axes.axvline(trial, color=theme.line, linestyle=":")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True)
    axes.set(xlabel="trial (dotted: failed)", title=metric)
    figure.legend(loc="outside lower left", ncols=3)
    return figure


def importance(evidence: SearchEvidence, theme: Theme) -> Figure:
    """A bar for each dimension: its share in the differences between the finished trials."""
    shares = dict(sorted(evidence.summary["importances"].items(), key=lambda item: item[1]))
    figure, axes = _canvas(7.5, 0.34 * max(1, len(shares)) + 0.9)
    axes.barh(range(len(shares)), list(shares.values()), height=0.62, color=theme.first)
    for row, share in enumerate(shares.values()):
        axes.annotate(percent(share), (share, row), xytext=(5, 0), textcoords="offset points", va="center")
    if not shares:
        axes.text(0.5, 0.5, "too few finished trials to tell", ha="center", transform=axes.transAxes)
    axes.set_yticks(range(len(shares)), list(shares), color=theme.ink)
    axes.set(xlim=(0, 1.1 * max(shares.values(), default=1)), xticks=[], title="What makes a difference")
    axes.spines[:].set_visible(False)
    return figure


def parallel(evidence: SearchEvidence, theme: Theme) -> Figure:
    """Each finished trial as a line through its settings to its metric; the best ones in colour."""
    ranked = evidence.ranked()
    columns = [*evidence.dimensions, evidence.metric]
    figure, axes = _canvas(max(5.0, 1.9 * len(columns)), 3.6)
    heights = np.array([_scaled(axes, at, ranked[name], theme) for at, name in enumerate(columns)])
    for place in reversed(range(len(ranked))):
        is_best = place < NUM_BEST
        look: dict[str, Any] = (
            {"color": theme.first, "linewidth": 2.0} if is_best else {"color": theme.quiet, "alpha": 0.5}
        )
        axes.plot(range(len(columns)), heights[:, place], **look)
    axes.set_xticks(range(len(columns)), columns, color=theme.ink)
    axes.set(yticks=[], ylim=(-0.08, 1.08), title=f"Settings of the finished trials; the best {NUM_BEST} in colour")
    axes.spines[:].set_visible(False)
    return figure


def _scaled(axes: Axes, at: int, column: "pd.Series[Any]", theme: Theme) -> list[float]:
    """Places from 0 to 1 on the axis of one column, whose ticks are drawn; logarithmic where values span decades."""
    axes.axvline(at, color=theme.line)
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column) or column.hasnans:
        texts = ["null" if pd.isna(value) else str(value) for value in column]
        names = sorted(set(texts))
        ticks = {name: (row + 0.5) / len(names) for row, name in enumerate(names)}
        places = [ticks[text] for text in texts]
    else:
        low, high = float(column.min()), float(column.max())
        scale: Callable[[Any], Any] = np.log10 if low > 0 and high / low >= 20 else np.asarray
        span = float(scale(high) - scale(low)) or 1.0
        places = [float(scale(value) - scale(low)) / span for value in column]
        ticks = {f"{low:.3g}": 0.0, f"{high:.3g}": (float(scale(high)) - float(scale(low))) / span}
    for name, height in ticks.items():
        axes.text(at + 0.03, height, shortened(name), va="center", color=theme.muted)
    return places


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


SEARCH_FIGURES: dict[str, Callable[[SearchEvidence, Theme], Figure]] = {
    "history": history,
    "importance": importance,
    "parallel": parallel,
}
"""Written as PNG files, and drawn on the page as SVG."""
