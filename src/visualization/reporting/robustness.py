"""What the page tells of parts of the split, of damaged images and of changed views."""

from typing import Any

import pandas as pd

from src.paired import share_interval
from src.visualization.reporting.evidence import Evidence
from src.wording import percent

VIEWS = {"flip": "the image and its mirror image", "shift": "the image and four shifts of it"}


def robustness(evidence: Evidence) -> dict[str, Any]:
    """Tables of slices and corruptions, and a sentence on test-time augmentation; empty where not asked for."""
    return {
        "slices": slices(evidence),
        "corruptions": corruptions(evidence.extras.corruptions),
        "views": views_text(evidence),
    }


def slices(evidence: Evidence) -> list[dict[str, Any]]:
    """A table for each slice of the scored split that has more than one group: group, images, accuracy, interval."""
    table, scored = evidence.extras.slices, evidence.scored
    if table.empty or scored is None:
        return []
    table = table[table["split"] == scored.split]
    found = []
    for name, part in table.groupby("slice", sort=False):
        if len(part) > 1:
            rows = [_slice_row(row) for row in part.to_dict("records")]
            found.append({"name": str(name).replace("_", " "), "rows": rows})
    return found


def corruptions(table: pd.DataFrame) -> dict[str, Any] | None:
    """A row for each kind of damage with the accuracy at each strength; None where none was asked for."""
    if table.empty:
        return None
    plain = table[table["strength"] == 0].iloc[0]
    rest = table[table["strength"] > 0]
    rows = [
        {"name": name, "accs": [float(acc) for acc in part.sort_values("strength")["acc"]]}
        for name, part in rest.groupby("corruption", sort=False)
    ]
    mean = rest.groupby("strength")["acc"].mean()
    return {
        "rows": rows,
        "plain": float(plain["acc"]),
        "num_images": int(plain["num_images"]),
        "mean": [float(acc) for acc in mean.sort_index()],
    }


def views_text(evidence: Evidence) -> str:
    """What the mean over changed views makes of the accuracy; empty where it was not asked for."""
    scores = evidence.scores or {}
    found = scores.get("tta")
    if not found:
        return ""
    return (
        f"Mean over {VIEWS[found['views']]}: {percent(found['acc'])} accuracy, loss {found['loss']:.3f}; plain, as "
        f"everywhere on this page, {percent(scores['acc'])} and {scores['loss']:.3f}."
    )


def _slice_row(row: dict[Any, Any]) -> dict[str, Any]:
    low, high = share_interval(row["acc"], row["num_images"], level=0.95)
    group = str(row["group"])
    # groups that have an order begin with their place in it
    name = group[2:] if group[:2] in ("1 ", "2 ", "3 ") else group
    return {"name": name, "num_images": int(row["num_images"]), "acc": float(row["acc"]), "low": low, "high": high}
