"""Figures of a comparison: accuracies with their intervals, and accuracy against what it costs."""

from collections.abc import Callable

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from src.visualization.comparing.comparison import Comparison, Row
from src.visualization.labels import shortened
from src.visualization.reporting.figures import split_colour
from src.visualization.theme import Theme

Draw = Callable[[Comparison, Theme], Figure]

MOST_CHARACTERS = 34
SHARE = "train.share"
DECADE = 10
NEAR = (0.3, 0.08)
"""Shares of a figure's width and height within which two names would lie over one another."""


def accuracies(comparison: Comparison, theme: Theme) -> Figure:
    """Accuracy of each setting with its interval, the best on top; small dots are single runs."""
    rows = comparison.rows
    figure = Figure(figsize=(7.5, 0.42 * len(rows) + 1.0), layout="constrained")
    axes = figure.subplots()
    best, *_ = rows
    for place, row in enumerate(rows):
        is_level = row is best or comparison.pair(best.group, row.group).is_noise
        colour = theme.first if is_level else theme.quiet
        axes.plot(row.interval, [place, place], color=colour, linewidth=2.4)
        axes.plot(row.acc, place, "o", color=colour, markersize=7)
        if len(row.by_seed) > 1:
            axes.plot(row.by_seed, [place] * len(row.by_seed), "o", color=theme.second, markersize=3)
    axes.axvline(best.acc, color=theme.line, zorder=0)
    axes.set_yticks(range(len(rows)), [shortened(row.name, MOST_CHARACTERS) for row in rows])
    axes.tick_params(axis="y", labelcolor=theme.ink)
    axes.set(
        ylim=(len(rows) - 0.5, -0.5), title=f"Accuracy on {comparison.answers.split}; in colour: level with the best"
    )
    axes.xaxis.set_major_formatter(_percents)
    axes.grid(visible=True, axis="x")
    axes.spines[:].set_visible(False)
    return figure


def by_latency(comparison: Comparison, theme: Theme) -> Figure:
    """Accuracy against the time of one image; the line joins settings that no other one beats in both."""
    return _against(comparison, theme, lambda row: row.latency_ms, what="inference of one image, ms")


def by_share(comparison: Comparison, theme: Theme) -> Figure:
    """Accuracy against the share of the training images that was used, with intervals: the learning curve."""
    figure = Figure(figsize=(7.5, 3.6), layout="constrained")
    axes = figure.subplots()
    lines: dict[str, list[tuple[float, Row]]] = {}
    for row in comparison.rows:
        others = {key: value for key, value in row.group.settings.items() if key != SHARE}
        lines.setdefault(str(others), []).append((float(row.group.settings[SHARE]), row))
    for number, points in enumerate(lines.values()):
        points.sort(key=lambda point: point[0])
        colour = split_colour(theme, number)
        accs = [row.acc for _, row in points]
        label = points[-1][1].name
        axes.plot([share for share, _ in points], accs, "o-", color=colour, markersize=5, label=label)
        for share, row in points:
            axes.plot([share, share], row.interval, color=colour, linewidth=1.4, alpha=0.7)
    axes.set_xscale("log")
    axes.set_xticks(sorted({share for points in lines.values() for share, _ in points}))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(_percents)
    axes.yaxis.set_major_formatter(_percents)
    if len(lines) > 1:
        axes.legend(loc="lower right")
    axes.set(xlabel="share of the training images", title=f"Accuracy on {comparison.answers.split} by training images")
    axes.grid(visible=True)
    return figure


def by_training(comparison: Comparison, theme: Theme) -> Figure:
    """Accuracy against the time of training, but for soups; the line joins settings that no other one beats in both."""
    return _against(comparison, theme, lambda row: row.train_s, what="training, s")


def _against(comparison: Comparison, theme: Theme, cost: Callable[[Row], float | None], *, what: str) -> Figure:
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    known = [(value, row) for row in comparison.rows if (value := cost(row)) is not None]
    front = comparison.front(cost)
    for value, row in known:
        colour = theme.first if row in front else theme.quiet
        axes.plot([value, value], row.interval, color=colour, linewidth=1.4, alpha=0.7)
        axes.plot(value, row.acc, "o", color=colour, markersize=7)
    steps = [(value, row.acc) for value, row in known if row in front]
    steps.sort()
    axes.step(*zip(*steps, strict=True), where="post", color=theme.first, linewidth=1.0, zorder=0)
    values = [value for value, _ in known]
    if max(values) >= DECADE * min(values) > 0:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.margins(x=0.08, y=0.12)
    _name(axes, known, theme)
    axes.set(xlabel=what, title=f"Accuracy on {comparison.answers.split}; line: the Pareto front")
    axes.yaxis.set_major_formatter(_percents)
    axes.grid(visible=True)
    axes.spines["left"].set_visible(False)
    return figure


def _name(axes: Axes, known: list[tuple[float, Row]], theme: Theme) -> None:
    """Names by the points, towards the middle, so that none leaves the figure; below where one above is near."""
    axes.autoscale_view()
    place = axes.transData + axes.transAxes.inverted()
    above: list[tuple[float, float]] = []
    for value, row in sorted(known, key=lambda point: point[0]):
        x, y = place.transform((value, row.acc))
        is_near = any(abs(x - other_x) < NEAR[0] and abs(y - other_y) < NEAR[1] for other_x, other_y in above)
        if not is_near:
            above.append((x, y))
        axes.annotate(
            shortened(row.name, MOST_CHARACTERS),
            (value, row.acc),
            xytext=(3 if x > 0.5 else -3, -8 if is_near else 8),
            textcoords="offset points",
            ha="right" if x > 0.5 else "left",
            va="top" if is_near else "bottom",
            color=theme.ink,
            fontsize=8,
        )


def _percents(value: float, _: object) -> str:
    return f"{100 * value:g} %"


def drawings(comparison: Comparison) -> dict[str, Draw]:
    """The figures for which there are numbers, by name."""
    found: dict[str, Draw] = {"accuracies": accuracies, "latency": by_latency, "training": by_training}
    if SHARE in comparison.rows[0].group.settings:
        found = {"share": by_share} | found
    if all(row.latency_ms is None for row in comparison.rows):
        del found["latency"]
    if all(row.train_s is None for row in comparison.rows):
        del found["training"]
    return found
