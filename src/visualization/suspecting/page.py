"""The page of suspect labels: one HTML file that needs nothing else, from the evidence and a template."""

import csv
from collections.abc import Mapping
from datetime import datetime
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd

from src.visualization.galleries import data_uri, is_sharp
from src.visualization.pages import render
from src.visualization.suspecting.evidence import TEST, SuspectEvidence, compare

MOST_PAIRS = 12
EXAMPLE = ("who decided", "why")


def page(evidence: SuspectEvidence, *, most: int, written: datetime) -> str:
    """The whole HTML page with up to `most` suspects; every name in it is escaped."""
    shown = chosen(evidence.suspects, most)
    splits = evidence.facts["splits"]
    return render(
        "label_issues.html.j2",
        facts=evidence.facts,
        num_test=splits.get(TEST, {}).get("suspects", 0),
        galleries={name: _gallery(evidence, name, shown) for name in gallery_order(splits)},
        pairs=evidence.facts["pairs"][:MOST_PAIRS],
        comparison=None if evidence.predictions is None else compare(evidence.predictions, evidence.suspects),
        run=evidence.run,
        example=_example(evidence.suspects),
        written=written.strftime("%Y-%m-%d %H:%M"),
    )


def chosen(suspects: pd.DataFrame, most: int) -> pd.DataFrame:
    """Up to `most` suspects in the order of the list: the first of each split, then the second of each, and so on."""
    place = suspects.groupby("split").cumcount()
    return suspects.loc[place.sort_values(kind="stable").index[:most]].sort_values("rank")


def gallery_order(splits: Mapping[str, Any]) -> list[str]:
    """Names of the splits that have suspects: test first, for what is wrong there falsifies the score."""
    found = [name for name, counts in splits.items() if counts["suspects"]]
    return sorted(found, key=lambda name: name != TEST)


def _gallery(evidence: SuspectEvidence, split: str, shown: pd.DataFrame) -> dict[str, Any]:
    """The suspects of one split that are shown, with their pictures."""
    pack = evidence.packed[split]
    position = {image_id: index for index, image_id in enumerate(pack.ids)}
    rows = shown[shown["split"] == split]
    pictures = [data_uri(pack.gather(np.array([position[image_id]]))[0]) for image_id in rows["id"]]
    return {
        **evidence.facts["splits"][split],
        "shown": list(zip(rows.to_dict("records"), pictures, strict=True)),
        "sharp": is_sharp(pack.size),
    }


def _example(suspects: pd.DataFrame) -> str:
    """The overrides file with one row, as a person would write it; empty where there is no suspect."""
    text = StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["id", "label", "who", "why"])
    for row in suspects.head(1).to_dict("records"):
        rows.writerow([row["id"], row["suggested"], *EXAMPLE])
    return text.getvalue() if len(suspects) else ""
