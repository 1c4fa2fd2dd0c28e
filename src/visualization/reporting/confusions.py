"""The confusion matrix as a figure, and the pairs of classes that are confused most."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from src.visualization.labels import shortened, width
from src.visualization.reporting.evidence import Evidence, confusion_of
from src.visualization.theme import Theme

MOST_WITH_SHARES = 12
MOST_WITH_COUNTS = 20
MOST_WITH_NAMES = 60
MOST_AS_SHAPES = 40
MOST_CHARACTERS = 16
NAME_INCHES = 0.075
PALEST_ERROR = 0.18
WHITE_TEXT_FROM = 0.75


def confusion_matrix(evidence: Evidence, theme: Theme) -> Figure:
    """Counts by label (row) and prediction (column); the stronger a colour, the larger the share of its row."""
    scored = evidence.scored
    class_names = evidence.record.class_names if scored is None else scored.class_names
    num_classes = len(class_names)
    longest = max((width(name) for name in _shown_names(class_names)), default=0)
    side = float(np.clip(0.52 * num_classes, 2.6, 9.0)) + NAME_INCHES * longest
    figure = Figure(figsize=(side + 0.8, side + 0.9), layout="constrained")
    axes = figure.subplots()
    if scored is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "No labelled image was scored.", ha="center", va="center", color=theme.muted)
        return figure
    counts = confusion_of(scored)
    _cells(axes, counts, theme)
    if num_classes <= MOST_WITH_COUNTS:
        _numbers(axes, counts, theme)
    _names(axes, class_names, theme)
    axes.set_title(f"Confusion matrix, {scored.split} split")
    return figure


def row_shares(counts: np.ndarray) -> np.ndarray:
    """Counts over the sum of their row; 0 in a row without images."""
    totals = counts.sum(axis=1, keepdims=True)
    return counts / np.maximum(totals, 1)


def confused_pairs(counts: np.ndarray, most: int) -> list[tuple[int, int, int]]:
    """(label, prediction, images) of the wrong cells with the most images, up to `most` of them."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    cells = [divmod(int(cell), counts.shape[1]) for cell in order]
    return [(label, pred, int(wrong[label, pred])) for label, pred in cells if wrong[label, pred]]


def _cells(axes: Axes, counts: np.ndarray, theme: Theme) -> None:
    """A square for each pair of classes: right ones in one colour, wrong ones in another, empty ones faint."""
    num_classes = len(counts)
    shares = row_shares(counts)
    gap = 0.04 if num_classes <= MOST_AS_SHAPES else 0.0
    axes.set(xlim=(-0.5, num_classes - 0.5), ylim=(num_classes - 0.5, -0.5), aspect="equal")
    cells = [divmod(int(cell), num_classes) for cell in np.flatnonzero((counts > 0) | bool(gap))]
    squares = [Rectangle((col - 0.5 + gap, row - 0.5 + gap), 1 - 2 * gap, 1 - 2 * gap) for row, col in cells]
    colours = [_colour(shares[row, col], theme, right=row == col) for row, col in cells]
    axes.add_collection(PatchCollection(squares, facecolor=colours, linewidth=0, rasterized=not gap))
    axes.spines[:].set_visible(not gap)


def _colour(share: float, theme: Theme, *, right: bool) -> tuple[float, float, float, float]:
    if share == 0:
        return to_rgba(theme.empty)
    opacity = share if right else PALEST_ERROR + (1 - PALEST_ERROR) * share
    return to_rgba(theme.right if right else theme.wrong, alpha=opacity)


def _numbers(axes: Axes, counts: np.ndarray, theme: Theme) -> None:
    """The count in each cell that has one, with its share of the row below where there is room."""
    shares = row_shares(counts)
    roomy = len(counts) <= MOST_WITH_SHARES
    place: dict[str, Any] = {"ha": "center", "va": "center", "textcoords": "offset points"}
    for row, col in np.argwhere(counts > 0):
        colour = "#ffffff" if shares[row, col] > WHITE_TEXT_FROM else theme.ink
        axes.annotate(f"{counts[row, col]}", (col, row), (0, 4 if roomy else 0), color=colour, fontsize=9, **place)
        if roomy:
            share = f"{100 * shares[row, col]:.0f} %"
            axes.annotate(share, (col, row), (0, -7), color=colour, fontsize=6, alpha=0.8, **place)


def _shown_names(class_names: list[str]) -> list[str]:
    """Names that stand beside the matrix: none where there are too many to be read."""
    return [shortened(name, MOST_CHARACTERS) for name in class_names] if len(class_names) <= MOST_WITH_NAMES else []


def _names(axes: Axes, class_names: list[str], theme: Theme) -> None:
    shown = _shown_names(class_names)
    ticks = range(len(shown))
    slanted = max((len(name) for name in shown), default=0) > 3
    size = 9 if len(shown) <= MOST_WITH_COUNTS else 6
    axes.set_xticks(ticks, shown, rotation=90 if slanted else 0, fontsize=size)
    axes.set_yticks(ticks, shown, fontsize=size)
    axes.tick_params(labelcolor=theme.ink)
    axes.set(xlabel="predicted", ylabel="label")
