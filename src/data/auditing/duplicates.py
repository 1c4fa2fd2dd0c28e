"""Findings about images that are there more than once: inside a split, across splits, under two labels."""

from collections import Counter
from itertools import combinations
from typing import Literal

import pandas as pd

from src.artifacts import STATUS_OK, ordered_splits
from src.data.auditing.findings import UNSCORED, Finding, Subject, cases
from src.wording import counted, listed

POLICIES = {
    "keep": "Nothing was changed, as data.duplicates.policy=keep",
    "drop": "One image of each group is used, as data.duplicates.policy=drop",
    "group": "A group always stays in one split (data.duplicates.policy=group)",
}


def exact_duplicates(subject: Subject) -> Finding | None:
    """Groups of byte-identical files, wherever they lie."""
    rows = _of_kind(subject, "exact")
    if rows.empty:
        return None
    return Finding(
        kind="exact_duplicates",
        severity="info",
        text=f"{_groups(rows, 'byte-identical copies')}: {_places(rows)}.",
        done=_done(rows, subject),
        advice="Copies inside train weigh double; copies inside test count double. Delete what you do not need at the "
        "source, or set data.duplicates.policy=drop.",
        count=rows["group"].nunique(),
        cases=_cases(rows),
    )


def near_duplicates(subject: Subject) -> Finding | None:
    """Groups of images that look the same but are not the same file."""
    rows = _of_kind(subject, "near")
    if rows.empty:
        return None
    return Finding(
        kind="near_duplicates",
        severity="info",
        text=f"{_groups(rows, 'images that look the same')}, though their files differ (another size or "
        f"compression, the next frame): {_places(rows)}.",
        done=_done(rows, subject),
        advice=f"Look at the pictures below.{_if_near(rows, subject)}",
        count=rows["group"].nunique(),
        cases=_cases(rows),
    )


def leak(subject: Subject) -> Finding | None:
    """Groups that stand in two splits of those that are trained on or scored."""
    rows = _straddling(subject.duplicates[subject.duplicates["split"] != UNSCORED])
    if rows.empty:
        return None
    open_rows = _straddling(rows[rows["status"] == STATUS_OK])
    pairs = [f"{number:,} in {one} and {other}" for (one, other), number in _pairs(rows).items()]
    if open_rows.empty:
        done = f"{_left_out(rows)}; each image is used in one split only, and what is scored stays as published."
        advice = "Published scores on the test split as it came may be too high, as networks have seen part of it."
    else:
        done = f"{_groups(open_rows)} still {_verb(open_rows, 'stands', 'stand')} in two splits."
        advice = (
            "Scores are too high, because the network is asked what it has seen. Set data.duplicates.policy=group, "
            "or split by a group column."
        )
    return Finding(
        kind="leak",
        severity="warning" if open_rows.empty else "error",
        text=f"{_groups(rows)} {_verb(rows, 'stands', 'stand')} in more than one split: {listed(pairs, 8)}.",
        done=done,
        advice=advice,
        count=rows["group"].nunique(),
        cases=_cases(rows),
    )


def predict_overlap(subject: Subject) -> Finding | None:
    """Groups that stand among the images to predict and in a labelled split as well."""
    rows = _straddling(subject.duplicates)
    rows = rows[rows.groupby("group")["split"].transform(lambda splits: UNSCORED in set(splits)).astype(bool)]
    if rows.empty:
        return None
    return Finding(
        kind="predict_overlap",
        severity="info",
        text=f"{_groups(rows)} {_verb(rows, 'stands', 'stand')} among the images to predict and in "
        "a labelled split as well.",
        done=f"{_left_out(rows)}.",
        advice="The label of such an image is known already; its prediction tells nothing new.",
        count=rows["group"].nunique(),
        cases=_cases(rows),
    )


def conflicting_labels(subject: Subject) -> Finding | None:
    """Groups whose members carry different labels."""
    rows = _conflicting(subject.duplicates)
    if rows.empty:
        return None
    used = rows[rows["status"] == STATUS_OK]
    trained, scored = _conflicting(used[used["split"] == "train"]), _conflicting(used[used["split"] != "train"])
    severity: Literal["error", "warning"] = "error" if len(trained) else "warning"
    done = [f"{_left_out(rows)}."]
    if len(trained):
        done.append(f"{_groups(trained)} {_verb(trained, 'is', 'are')} trained on under two labels.")
    if len(scored):
        done.append(
            f"{_groups(scored)} {_verb(scored, 'stays', 'stay')} in {listed(_splits(scored))} as published: at most "
            "one of the labels is right, so no network can be right on all of them."
        )
    return Finding(
        kind="conflicting_labels",
        severity=severity,
        text=f"{_groups(rows)} {_verb(rows, 'carries', 'carry')} different labels: {_label_pairs(rows)}.",
        done=" ".join(done),
        advice="Look at the pictures, decide which label is right and write it into the overrides file "
        f"({subject.cfg.overrides}), by hand or with make relabel.{_if_near(rows, subject)}",
        count=rows["group"].nunique(),
        cases=_cases(rows),
    )


def _of_kind(subject: Subject, kind: str) -> pd.DataFrame:
    return subject.duplicates[subject.duplicates["kind"] == kind]


def _straddling(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of groups that stand in two splits or more."""
    return rows[rows.groupby("group")["split"].transform("nunique") > 1]


def _conflicting(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of groups with two labels or more; no label is no contradiction."""
    labels = rows["label"].replace("", None)
    return rows[labels.groupby(rows["group"]).transform("nunique") > 1]


def _pairs(rows: pd.DataFrame) -> dict[tuple[str, str], int]:
    """Number of groups by pair of splits, most groups first."""
    present = rows.drop_duplicates(["group", "split"]).groupby("group")["split"].agg(list)
    numbers = Counter(pair for splits in present for pair in combinations(ordered_splits(splits), 2))
    return dict(numbers.most_common())


def _label_pairs(rows: pd.DataFrame) -> str:
    labels = rows[rows["label"] != ""].drop_duplicates(["group", "label"]).sort_values(["group", "label"])
    sets = labels.groupby("group")["label"].agg(" and ".join).value_counts()
    return listed([f"{number:,} as {names}" for names, number in sets.items()])


def _groups(rows: pd.DataFrame, of: str = "copies") -> str:
    """As in `3 groups of copies (6 images)`."""
    return f"{counted(rows['group'].nunique(), 'group')} of {of} ({counted(len(rows), 'image')})"


def _verb(rows: pd.DataFrame, one: str, many: str) -> str:
    return one if rows["group"].nunique() == 1 else many


def _splits(rows: pd.DataFrame) -> list[str]:
    return ordered_splits(set(rows["split"]))


def _places(rows: pd.DataFrame) -> str:
    """Where the groups lie: `12 inside train and 3 across splits`."""
    straddling = _straddling(rows)
    inside = rows.drop(straddling.index).drop_duplicates("group")["split"].value_counts()
    parts = [f"{inside[split]:,} inside {split}" for split in ordered_splits(set(inside.index))]
    if len(straddling):
        parts.append(f"{straddling['group'].nunique():,} across splits")
    return listed(parts, 8)


def _left_out(rows: pd.DataFrame) -> str:
    """How many images of each split are left out."""
    out = rows[rows["status"] != STATUS_OK]["split"].value_counts()
    if out.empty:
        return "No image is left out"
    parts = [f"{out[split]:,} of {split}" for split in ordered_splits(set(out.index))]
    return f"Left out: {listed(parts, 8)}"


def _if_near(rows: pd.DataFrame, subject: Subject) -> str:
    """What to do about groups that are none, where some may be; begins with a space."""
    if "near" not in set(rows["kind"]):
        return ""
    now = subject.cfg.duplicates.near_distance
    return f" Where different photographs are taken for the same, lower data.duplicates.near_distance (now {now})."


def _done(rows: pd.DataFrame, subject: Subject) -> str:
    return f"{POLICIES[subject.cfg.duplicates.policy]}. {_left_out(rows)}."


def _cases(rows: pd.DataFrame) -> pd.DataFrame:
    details = [
        f"group {group[:12]}, {'used' if status == STATUS_OK else 'left out: ' + status}"
        for group, status in zip(rows["group"], rows["status"], strict=True)
    ]
    return cases(rows, details)
