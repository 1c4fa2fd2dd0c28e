"""The curve of a learning-rate range test as a figure."""

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from src.config import ReportConfig
from src.visualization.theme import Theme


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """What a range test left: `curve` has a row per step, `rates` the rates that stand out."""

    curve: pd.DataFrame
    rates: dict[str, float]
    settings: ReportConfig


def lr_curve(test: RangeTest, theme: Theme) -> Figure:
    """Loss over the rate, as measured and smoothed, with the rate of the steepest fall and the one proposed."""
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.curve["lr"], test.curve["loss"], color=theme.quiet, linewidth=0.8, label="each step")
    axes.plot(test.curve["lr"], test.curve["smoothed"], color=theme.first, label="smoothed")
    for name, colour in (("steepest", theme.third), ("proposed", theme.second)):
        rate = test.rates[name]
        axes.axvline(rate, color=colour, linestyle="--", label=f"{name}: {rate:.2g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    lowest, highest = test.curve["smoothed"].min(), test.curve["smoothed"].iloc[0]
    axes.set_ylim(lowest - 0.1 * (highest - lowest), highest + 0.5 * (highest - lowest))
    axes.set(xlabel="learning rate", ylabel="training loss", title="Learning-rate range test")
    axes.grid(visible=True, axis="y")
    axes.legend()
    return figure
