"""Figures of a run: each is a pure function of the evidence and a theme.

`FIGURES` are written as PNG files; `PANELS` are the ones that the page draws as SVG.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from src.visualization.galleries import SAMPLE_SEED, class_samples, is_sharp
from src.visualization.labels import shortened
from src.visualization.reporting.cases import embedding_map
from src.visualization.reporting.confusions import confusion_matrix
from src.visualization.reporting.evidence import Evidence, mistakes_of
from src.visualization.reporting.trust import abstention, calibration
from src.visualization.theme import SPLIT_COLOURS, Theme
from src.wording import counted, percent

Draw = Callable[[Evidence, Theme], Figure]

MOST_BARS = 40
MISTAKE_COLUMNS = 6
MISTAKE_PITCH = 1.42


def samples(evidence: Evidence, theme: Theme) -> Figure:
    """A row of training images for each class."""
    per_class = evidence.settings.samples_per_class
    pack = evidence.packed["train"]
    rows = class_samples(pack, per_class, np.random.default_rng(SAMPLE_SEED))
    figure, axes = _canvas(width=per_class * 0.85 + 1.6, height=max(1, len(rows)) * 0.85 + 0.5)
    for row, (name, images) in enumerate(rows.items()):
        axes.text(-0.18, row + 0.5, shortened(name), ha="right", va="center")
        for column, pixels in enumerate(images):
            _picture(axes, pixels, left=column, top=row)
    axes.set(xlim=(0, per_class), ylim=(max(1, len(rows)), 0))
    axes.set_title("Training images by class", color=theme.ink)
    return figure


class Counted(Protocol):
    """What knows of a data set how many images it has."""

    @property
    def summary(self) -> dict[str, Any]:
        """The content of summary.json."""


def class_counts(evidence: Counted, theme: Theme) -> Figure:
    """Images of each class, a bar in a part for each split; a curve by rank where there are too many classes."""
    counts = evidence.summary["counts"]
    names = [*evidence.summary["class_names"]]
    unlabelled = sorted({name for by_class in counts.values() for name in by_class} - set(names))
    names += unlabelled
    figure = Figure(figsize=(7.5, 0.30 * min(len(names), MOST_BARS) + 1.2), layout="constrained")
    axes = figure.subplots()
    if len(names) > MOST_BARS:
        _ranked_counts(axes, counts, theme)
    else:
        _stacked_counts(axes, counts, names, theme)
    axes.set_title("Images by class and split")
    figure.legend(loc="outside lower left", ncols=len(counts))
    return figure


def _stacked_counts(axes: Axes, counts: dict[str, dict[str, int]], names: list[str], theme: Theme) -> None:
    left = np.zeros(len(names))
    for number, (split, by_class) in enumerate(counts.items()):
        widths = np.array([by_class.get(name, 0) for name in names])
        axes.barh(range(len(names)), widths, left=left, height=0.66, label=split, color=split_colour(theme, number))
        left += widths
    for row, total in enumerate(left):
        axes.annotate(
            f"{total:,.0f}", (total, row), xytext=(5, 0), textcoords="offset points", va="center", color=theme.muted
        )
    axes.set_yticks(range(len(names)), [shortened(name) for name in names])
    axes.tick_params(axis="y", labelcolor=theme.ink)
    axes.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, max(1, left.max()) * 1.08), xticks=[])
    axes.spines[:].set_visible(False)


def _ranked_counts(axes: Axes, counts: dict[str, dict[str, int]], theme: Theme) -> None:
    for number, (split, by_class) in enumerate(counts.items()):
        ranked = sorted(by_class.values(), reverse=True)
        axes.plot(range(1, len(ranked) + 1), ranked, label=split, color=split_colour(theme, number))
    axes.set(xlabel="classes, from the largest to the smallest", ylabel="images", ylim=(0, None))
    axes.grid(visible=True)


def training_curves(evidence: Evidence, theme: Theme) -> Figure:
    """Loss, accuracy and learning rate by epoch, side by side."""
    figure = Figure(figsize=(11, 3.2), layout=ConstrainedLayoutEngine(wspace=0.06))
    loss, accuracy, rate = figure.subplots(1, 3, width_ratios=(1, 1, 0.75))
    _loss(loss, evidence, theme)
    _accuracy(accuracy, evidence, theme)
    _learning_rate(rate, evidence, theme)
    return figure


def loss_curve(evidence: Evidence, theme: Theme) -> Figure:
    """Training and validation loss by epoch."""
    return _panel(_loss, evidence, theme)


def accuracy_curve(evidence: Evidence, theme: Theme) -> Figure:
    """Training and validation accuracy by epoch."""
    return _panel(_accuracy, evidence, theme)


def learning_rate_curve(evidence: Evidence, theme: Theme) -> Figure:
    """The learning rate by epoch."""
    return _panel(_learning_rate, evidence, theme)


def _panel(draw: Callable[[Axes, Evidence, Theme], None], evidence: Evidence, theme: Theme) -> Figure:
    figure = Figure(figsize=(3.8, 2.7), layout="constrained")
    draw(figure.subplots(), evidence, theme)
    return figure


def _loss(axes: Axes, evidence: Evidence, theme: Theme) -> None:
    _pair(axes, evidence, theme, metric="loss")
    axes.set_title("Loss")


def _accuracy(axes: Axes, evidence: Evidence, theme: Theme) -> None:
    _pair(axes, evidence, theme, metric="acc")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.set_title("Accuracy")


def _learning_rate(axes: Axes, evidence: Evidence, theme: Theme) -> None:
    if "lr" in evidence.curves:
        _series(axes, evidence, "lr", colour=theme.quiet, label="lr")
    _epochs(axes, len(evidence.curves))
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_title("Learning rate")


def _pair(axes: Axes, evidence: Evidence, theme: Theme, *, metric: str) -> None:
    """The curve of train and, where it was measured, that of val with its best epoch marked."""
    _series(axes, evidence, f"train/{metric}", colour=theme.quiet, label="train")
    if f"val/{metric}" in evidence.curves:
        _series(axes, evidence, f"val/{metric}", colour=theme.first, label="val")
        _mark_best(axes, evidence, theme, column=f"val/{metric}")
    _epochs(axes, len(evidence.curves))
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.2, columnspacing=1.0, handletextpad=0.5
    )


def _series(axes: Axes, evidence: Evidence, column: str, *, colour: str, label: str) -> None:
    if column in evidence.curves:
        marker = "o" if len(evidence.curves) == 1 else ""
        axes.plot(evidence.curves["epoch"], evidence.curves[column], color=colour, label=label, marker=marker)


def _mark_best(axes: Axes, evidence: Evidence, theme: Theme, *, column: str) -> None:
    epoch = evidence.best_epoch
    row = evidence.curves[evidence.curves["epoch"] == epoch]
    if epoch is None or row.empty:
        return
    axes.axvline(epoch, color=theme.muted, linewidth=0.8, linestyle=(0, (2, 3)), zorder=1)
    axes.plot([epoch], row[column], "o", label="best epoch", markersize=6, color=theme.second, zorder=5)


def _epochs(axes: Axes, num_epochs: int) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.margins(x=0.03 if num_epochs > 1 else 0.5)
    axes.grid(visible=True)
    axes.spines["left"].set_visible(False)


def mistakes(evidence: Evidence, theme: Theme) -> Figure:
    """The wrongly predicted images that the model was surest of."""
    scored = evidence.scored
    if scored is None:
        return _sentence("No labelled image was scored.", theme)
    wrong = mistakes_of(scored)
    shown = wrong[: evidence.settings.num_mistakes]
    if not shown:
        return _sentence(f"No mistake on {counted(len(scored.ids), 'image')} of the {scored.split} split.", theme)
    num_rows = -(-len(shown) // MISTAKE_COLUMNS)
    figure, axes = _canvas(width=MISTAKE_COLUMNS * 1.35, height=num_rows * 1.35 * MISTAKE_PITCH + 0.5)
    for number, pixels in enumerate(evidence.pixels(scored.split, [mistake.id for mistake in shown])):
        row, column = divmod(number, MISTAKE_COLUMNS)
        _picture(axes, pixels, left=column, top=row * MISTAKE_PITCH)
        mistake = shown[number]
        words = f"{shortened(mistake.label, 10)} → {shortened(mistake.pred, 10)}"
        below = row * MISTAKE_PITCH + 1.04
        axes.text(column + 0.5, below, words, ha="center", va="top", fontsize=7.5)
        axes.text(
            column + 0.5, below + 0.16, percent(mistake.prob), ha="center", va="top", fontsize=7.5, color=theme.muted
        )
    axes.set(xlim=(0, MISTAKE_COLUMNS), ylim=(num_rows * MISTAKE_PITCH, 0))
    axes.set_title(f"Most confident mistakes: label → prediction ({len(shown)} of {len(wrong)})")
    return figure


def _canvas(*, width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one bare area in whose units pictures and words are placed."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_axis_off()
    return figure, axes


def _picture(axes: Axes, pixels: np.ndarray | None, *, left: float, top: float) -> None:
    """One image in the unit square at (left, top); an empty frame where the image is not at hand."""
    gap = 0.04
    if pixels is None:
        axes.add_patch(Rectangle((left + gap, top + gap), 1 - 2 * gap, 1 - 2 * gap, color="#80808040"))
        return
    extent = (left + gap, left + 1 - gap, top + 1 - gap, top + gap)
    axes.imshow(pixels, extent=extent, interpolation="nearest" if is_sharp(len(pixels)) else "antialiased")


def _sentence(text: str, theme: Theme) -> Figure:
    figure = Figure(figsize=(6, 1.2))
    figure.text(0.5, 0.5, text, ha="center", va="center", color=theme.muted)
    return figure


def split_colour(theme: Theme, number: int) -> str:
    """The colour of the split that stands at this place in the order train, val, test, others."""
    parts: Sequence[str] = SPLIT_COLOURS
    colour: str = getattr(theme, parts[min(number, len(parts) - 1)])
    return colour


FIGURES: dict[str, Draw] = {
    "samples": samples,
    "class_counts": class_counts,
    "training_curves": training_curves,
    "confusion_matrix": confusion_matrix,
    "calibration": calibration,
    "abstention": abstention,
    "embedding_map": embedding_map,
    "mistakes": mistakes,
}

PANELS: dict[str, Draw] = {
    "loss": loss_curve,
    "accuracy": accuracy_curve,
    "learning_rate": learning_rate_curve,
    "confusion_matrix": confusion_matrix,
    "calibration": calibration,
    "abstention": abstention,
    "embedding_map": embedding_map,
}
