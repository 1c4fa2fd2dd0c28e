"""The model card of a run: what it is for, how good it is and where it ends, as Markdown (Mitchell et al., 2019)."""

from pathlib import Path
from typing import Any

from src.visualization.pages import render
from src.visualization.reporting import results
from src.visualization.reporting.evidence import Evidence
from src.wording import listed, percent

MARK = "<!-- What stands below this line is yours: it is kept when the card is written again. -->"

FEW_IMAGES = 1000
WEAK_CLASSES = 3
WIDE_GAP = 0.05
TOLD = ("acc", "balanced_acc", "macro_f1", "mcc", "roc_auc", "loss", "brier", "ece")
UNKNOWN = ("not stated", "unknown", "")
NO_COMMERCE = ("-nc", "noncommercial", "non-commercial", "amlr")


def model_card(evidence: Evidence, *, kept: str) -> str:
    """The card as Markdown; `kept` is what people wrote below the mark of an earlier one."""
    record = evidence.record
    about = record.config["data"].get("about", {})
    text = render(
        "model_card.md.j2",
        record=record,
        weights=record.facts.get("weights", {}),
        class_names=[" ".join(name.split()) for name in record.class_names],
        run=evidence.run,
        source=place_of(evidence),
        licence={"data": about.get("licence") or "not stated", "page": about.get("home_page") or ""},
        splits=list(evidence.metrics),
        rows=_rows(evidence),
        scored=evidence.scored.split if evidence.scored else None,
        level=results.level_text(evidence.scores) if evidence.scores else "",
        calibration=results.calibration_text(evidence),
        abstention=results.abstention_text(evidence),
        limits=limits(evidence),
        mark=MARK,
        kept=kept,
    )
    # outside of attributes, quotes need no escaping
    return text.replace("&#39;", "'").replace("&#34;", '"').rstrip() + "\n"


def notes_of(path: Path) -> str:
    """What people wrote below the mark of the card there; a place to write where there is no card, or no mark."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return (
        text.partition(MARK)[2].strip() or "Intended users, uses that are ruled out, who answers for it: not told yet."
    )


def place_of(evidence: Evidence) -> str:
    """The source of the images by its name, a path of this machine left out."""
    summary = evidence.summary
    if summary["source"] != "folder":
        return str(summary["source"])
    return str(summary["location"]).replace("\\", "/").rstrip("/").rpartition("/")[2]


def limits(evidence: Evidence) -> list[str]:
    """Sentences on where the result ends, from the figures themselves."""
    found = ["An image that shows none of the classes gets one of them all the same."]
    scores, scored = evidence.scores, evidence.scored
    if scores is None or scored is None:
        return [*found, "No labelled image was scored: how good it is is not known."]
    found.append(
        f"The figures are of images from the same source as those it was trained on ({place_of(evidence)}); images of "
        "another camera, place or time can fare worse."
    )
    if scores["num_images"] < FEW_IMAGES:
        found.append(f"{scored.split.capitalize()} has {scores['num_images']:,} images: the intervals are wide.")
    recalls = {name: row["recall"] for name, row in scores["per_class"].items() if row["support"]}
    weakest = sorted(recalls, key=lambda name: recalls[name])[:WEAK_CLASSES]
    shown = listed([f"{name} ({percent(recalls[name])} of its images)" for name in weakest if recalls[name] < 1])
    if shown:
        found.append(f"It finds least of these classes: {shown}.")
    absent = [name for name, row in scores["per_class"].items() if not row["support"]]
    if absent:
        found.append(f"Not measured, as {scored.split} has no image of them: {listed(absent)}.")
    gap = scores.get("gap", {}).get("acc", 0.0)
    if gap > WIDE_GAP:
        found.append(f"It is {100 * gap:.1f} points better on the images it was trained on: it knows them by heart.")
    return [*found, *_licence_limits(evidence)]


def _licence_limits(evidence: Evidence) -> list[str]:
    licence = evidence.record.facts.get("weights", {}).get("licence")
    if licence is None:
        return []
    if any(mark in licence.lower() for mark in NO_COMMERCE):
        return [f"The weights it started from ({licence}) allow no commercial use."]
    return ["The licence of the weights it started from is not known."] if licence.lower() in UNKNOWN else []


def _rows(evidence: Evidence) -> list[dict[str, Any]]:
    """A row for each figure that is told, a cell for each split."""
    rows = []
    for name in TOLD:
        cells = [results.cell(figures, name) for figures in evidence.metrics.values()]
        shown = [f"{cell.value} ({cell.interval})" if cell.interval else cell.value for cell in cells]
        rows.append({"name": results.ROWS[name], "cells": shown})
    return rows
