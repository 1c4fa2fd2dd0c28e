"""Figures of how far probabilities can be trusted: calibration, and what answering only the surest images gains."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from src.abstention import risk_coverage
from src.calibration import NUM_BINS, Reliability, at_temperature, reliability
from src.visualization.reporting.evidence import Evidence
from src.visualization.theme import Theme

SIZE = (4.6, 3.9)


def calibration(evidence: Evidence, theme: Theme) -> Figure:
    """Accuracy by confidence, of plain and of calibrated probabilities, above the images of each bin."""
    figure = Figure(figsize=SIZE, layout="constrained")
    scored = evidence.scored
    if scored is None:
        return _empty(figure, theme)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    labels, probs = scored.known
    plain = reliability(labels, probs)
    edges = np.arange(NUM_BINS) / NUM_BINS
    upper.bar(
        edges, plain.acc, width=1 / NUM_BINS, align="edge", color=to_rgba(theme.first, 0.35), edgecolor=theme.first
    )
    upper.plot([0, 1], [0, 1], color=theme.muted, linewidth=1, linestyle=(0, (3, 3)), zorder=3)
    temperature = evidence.calibration.get("temperature")
    if temperature is not None:
        _curve(upper, reliability(labels, at_temperature(probs, temperature)), theme)
        upper.legend(loc="upper left")
    lower.bar(edges, plain.count, width=1 / NUM_BINS, align="edge", color=theme.quiet)
    upper.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy", title=f"Calibration, {scored.split} split")
    lower.set(xlabel="confidence", ylabel="images")
    lower.yaxis.get_major_locator().set_params(nbins=2)
    for axes in (upper, lower):
        axes.grid(visible=True)
        axes.spines["left"].set_visible(False)
    return figure


def abstention(evidence: Evidence, theme: Theme) -> Figure:
    """Share of wrong answers by share of images answered, the surest first; the threshold chosen on val is marked."""
    figure = Figure(figsize=SIZE, layout="constrained")
    scored = evidence.scored
    if scored is None:
        return _empty(figure, theme)
    axes = figure.subplots()
    curve = risk_coverage(*scored.known)
    # as the area under it is summed: each risk holds from the point before to its own
    coverage, risk = np.append(0, curve.coverage), np.append(curve.risk[0], curve.risk)
    axes.plot(coverage, risk, color=theme.first, drawstyle="steps-pre", label="surest first")
    axes.axhline(curve.risk[-1], color=theme.quiet, linewidth=1, linestyle=(0, (3, 3)), label="in any order")
    told = (evidence.scores or {}).get("abstention", {})
    if told.get("risk") is not None:
        axes.plot([told["coverage"]], [told["risk"]], "o", color=theme.second, label="threshold from val", zorder=5)
    highest = max(float(curve.risk.max()), 0.01)
    axes.set(xlim=(0, 1.01), ylim=(-0.02 * highest, 1.08 * highest), xlabel="share answered")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.set_title(f"Wrong answers, {scored.split} split")
    axes.grid(visible=True)
    axes.spines["left"].set_visible(False)
    axes.legend(loc="best")
    return figure


def _curve(axes: Axes, found: Reliability, theme: Theme) -> None:
    used = found.count > 0
    axes.plot(found.confidence[used], found.acc[used], "o-", color=theme.second, markersize=4, label="calibrated")


def _empty(figure: Figure, theme: Theme) -> Figure:
    figure.text(0.5, 0.5, "No labelled image was scored.", ha="center", va="center", color=theme.muted)
    return figure
