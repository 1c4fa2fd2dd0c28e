"""Which pictures the page of the audit shows: groups of copies, outliers, and samples of each class."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from src.visualization.auditing.evidence import AuditEvidence
from src.visualization.galleries import MOST_CLASSES, SAMPLE_SEED

MOST_GROUPS = 12
MOST_MEMBERS = 6
MOST_PICTURED = 24
PICTURED = ("outlier", "blank")


@dataclass(frozen=True, kw_only=True)
class Copies:
    """A group of images that are the same: `why` it is shown, `size` in all, `ids` of those that are shown."""

    name: str
    kind: str
    why: str
    size: int
    ids: list[str]
    labels: list[str]


REASONS = ("conflict", "leak", "near", "exact")
"""Why a group is shown, the gravest first: its labels differ, it stands in two splits, it looks the same, it is."""


def copies(duplicates: pd.DataFrame) -> list[Copies]:
    """Up to `MOST_GROUPS` groups for each reason, the gravest reason first and each group for one only."""
    shown: list[Copies] = []
    reasons = reasons_of(duplicates)
    for why in REASONS:
        names = reasons.index[reasons == why][:MOST_GROUPS]
        members = duplicates[duplicates["group"].isin(names)]
        shown += [_copies(str(name), rows, why) for name, rows in members.groupby("group")]
    return shown


def reasons_of(duplicates: pd.DataFrame) -> pd.Series:
    """The gravest reason to show each group, by its name."""
    by_group = duplicates.assign(label=duplicates["label"].replace("", None)).groupby("group")
    reasons = by_group["kind"].first().astype(object)
    reasons[by_group["split"].nunique() > 1] = "leak"
    reasons[by_group["label"].nunique() > 1] = "conflict"
    return reasons


def pictured(evidence: AuditEvidence) -> dict[str, dict[str, Any]]:
    """The images that findings of the kinds in `PICTURED` are about, each once with all that is said of it."""
    sets = {}
    for kind in PICTURED:
        rows = evidence.cases(kind)
        details = rows.groupby("id", sort=False)["detail"].agg("; ".join)
        cases = [{"id": str(image_id), "detail": detail} for image_id, detail in details.head(MOST_PICTURED).items()]
        if cases:
            sets[kind] = {"cases": cases, "total": len(details)}
    return sets


def samples(evidence: AuditEvidence, per_class: int) -> dict[str, list[str]]:
    """Class name to the ids of images of train drawn from it; of many classes, some are drawn."""
    rng = np.random.default_rng(SAMPLE_SEED)
    used = evidence.used
    train = used[(used["split"] == "train") & (used["label"] != "")].sort_values("id")
    by_class = train.groupby("label").indices
    names = [name for name in evidence.manifest.class_names if name in by_class]
    if len(names) > MOST_CLASSES:
        names = [names[place] for place in sorted(rng.choice(len(names), MOST_CLASSES, replace=False))]
    ids = train["id"].to_numpy()
    return {name: list(ids[_drawn(np.asarray(by_class[name]), per_class, rng)]) for name in names}


def _drawn(places: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    """Up to `most` of the places, in rising order."""
    return np.sort(rng.choice(places, min(most, len(places)), replace=False))


def _copies(name: str, rows: pd.DataFrame, why: str) -> Copies:
    """One of each label and split first, so that what differs is seen even where not all members are shown."""
    repeated = rows.duplicated(["label", "split"])
    order = rows.assign(repeated=repeated).sort_values(["repeated", "split", "label", "id"])
    labels = sorted({label for label in rows["label"] if label})
    return Copies(
        name=name,
        kind=str(rows["kind"].iloc[0]),
        why=why,
        size=len(rows),
        ids=list(order["id"].head(MOST_MEMBERS)),
        labels=labels,
    )
