"""The page of a search: one HTML file that needs nothing else, from the evidence and a template."""

from datetime import datetime
from typing import Any

import pandas as pd
from markupsafe import Markup

from src.visualization.pages import render
from src.visualization.rendering import svg
from src.visualization.searching.evidence import SearchEvidence
from src.visualization.searching.figures import SEARCH_FIGURES

COSTS = {
    "epochs": "{:,.0f}",
    "seconds": "{:,.1f} s",
    "images_per_s": "{:,.0f}",
    "num_params": "{:,.0f}",
    "peak_mib": "{:,.0f} MiB",
}


def page(evidence: SearchEvidence, *, written: datetime) -> str:
    """The whole HTML page; every value in it is escaped."""
    return render(
        "search.html.j2",
        name=evidence.name,
        metric=evidence.metric,
        states=evidence.summary["states"],
        best=evidence.summary["best"],
        figures={
            name: Markup(svg(draw, evidence, name=name, label=(draw.__doc__ or "").partition("\n")[0]))
            for name, draw in SEARCH_FIGURES.items()
        },
        head=[evidence.metric, *evidence.dimensions, *COSTS],
        rows=[_cells(row, evidence) for row in evidence.ranked().to_dict("records")],
        failed=evidence.table[evidence.table["state"] == "failed"][["trial", "reason"]].to_dict("records"),
        written=written.strftime("%Y-%m-%d %H:%M"),
    )


def _cells(row: dict[Any, Any], evidence: SearchEvidence) -> dict[str, Any]:
    """A trial's number and, for each further column, the text shown and the number to sort by."""
    names = [evidence.metric, *evidence.dimensions]
    cells = [(_text(row[name]), _rank(row[name], evidence.table[name])) for name in names]
    cells += [(form.format(row[name]), row[name]) for name, form in COSTS.items()]
    return {"trial": row["trial"], "cells": cells}


def _text(value: Any) -> str:
    if pd.isna(value):
        return "null"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _rank(value: Any, column: "pd.Series[Any]") -> float:
    """The number itself, or the place of a text among those of its column."""
    if pd.api.types.is_numeric_dtype(column):
        return float(value)
    return sorted(column.astype(str).unique()).index(str(value))
