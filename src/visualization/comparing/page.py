"""The page of a comparison: one HTML file that needs nothing else."""

from datetime import datetime
from typing import Any

from markupsafe import Markup

from src.visualization.comparing.comparison import Comparison, Pair, Row
from src.visualization.comparing.figures import drawings
from src.visualization.comparing.tables import COLUMNS, PAIR_HEAD, SHOWN, accuracy_text, cost_text, pair_cells
from src.visualization.comparing.verdicts import verdicts
from src.visualization.pages import render
from src.visualization.rendering import svg


def page(comparison: Comparison, *, written: datetime) -> str:
    """The whole HTML page; every value in it is escaped."""
    best = comparison.rows[0]
    return render(
        "compare.html.j2",
        split=comparison.answers.split,
        num_images=comparison.num_images,
        num_runs=sum(len(row.group.runs) for row in comparison.rows),
        num_settings=len(comparison.rows),
        level=comparison.cfg.level,
        best=best,
        ties=[row.name for row in comparison.rows[1:] if comparison.pair(best.group, row.group).is_noise],
        verdicts=verdicts(comparison),
        figures={
            name: Markup(svg(draw, comparison, name=name, label=(draw.__doc__ or "").partition("\n")[0]))
            for name, draw in drawings(comparison).items()
        },
        head=[name for name, _ in SHOWN.values()],
        rows=[_row(row) for row in comparison.rows],
        pair_head=PAIR_HEAD,
        pairs=[_pair(pair) for pair in comparison.pairs],
        settings=_settings(comparison),
        written=written.strftime("%Y-%m-%d %H:%M"),
    )


def _row(row: Row) -> dict[str, Any]:
    """A setting: name, accuracy, and for each cost the text shown and the number to sort by."""
    costs = [(cost_text(row, column), COLUMNS[column](row)) for column in SHOWN]
    return {"name": row.name, "acc": row.acc, "accuracy": accuracy_text(row), "costs": costs}


def _pair(pair: Pair) -> dict[str, Any]:
    numbers = [None, None, pair.difference, pair.interval[0], pair.p, pair.corrected, float(pair.is_noise)]
    return {"cells": list(zip(pair_cells(pair), numbers, strict=True)), "is_noise": pair.is_noise}


def _settings(comparison: Comparison) -> dict[str, Any]:
    """What differs between the settings, and the runs of each."""
    keys = list(comparison.rows[0].group.settings)
    return {
        "keys": keys,
        "rows": [
            {
                "name": row.name,
                "values": [_text(row.group.settings[key]) for key in keys],
                "runs": [(run.place, acc) for run, acc in zip(row.group.runs, row.by_seed, strict=True)],
            }
            for row in comparison.rows
        ],
    }


def _text(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
