"""Findings about splits and classes: what is rare, absent, too small or not as published, and what was corrected."""

import numpy as np
import pandas as pd

from src.artifacts import ordered_splits
from src.data.auditing.findings import UNSCORED, Finding, Subject, cases
from src.wording import counted, listed

SMALL_SPLIT = 100
"""Fewer images and the 95 % interval of an accuracy is wider than 10 points to either side (1 / sqrt(n))."""


def class_imbalance(subject: Subject) -> Finding | None:
    """Splits whose largest class has far more images than the smallest one that has any."""
    limit = subject.cfg.audit.max_imbalance
    counts = subject.class_counts
    smallest = counts.where(counts > 0)
    ratios = (smallest.max() / smallest.min()).dropna()
    uneven = list(ratios[ratios > limit].index)
    if not uneven:
        return None
    rare = _rare(counts[uneven], limit)
    worst = "train" if "train" in uneven else str(ratios.idxmax())
    most, least = str(smallest[worst].idxmax()), str(smallest[worst].idxmin())
    return Finding(
        kind="class_imbalance",
        severity="warning",
        text=f"Classes are uneven in {listed(uneven)}: in {worst}, {most} has {ratios[worst]:.0f} times as many images "
        f"as {least} ({int(smallest[worst].max()):,} and {int(smallest[worst].min()):,}).",
        done="Nothing was changed.",
        advice="Judge by balanced accuracy and by the recall of each class rather than by accuracy, which a network "
        f"reaches by betting on the large ones; gather more images of {listed(sorted(set(rare['label'])))}.",
        count=len(rare),
        cases=rare,
    )


def missing_class(subject: Subject) -> Finding | None:
    """Classes without an image in a labelled split."""
    counts = subject.class_counts
    absent = [(str(split), str(name)) for split in counts for name in counts.index[counts[split] == 0]]
    if not absent:
        return None
    rows = pd.DataFrame(absent, columns=["split", "label"])
    by_split = [f"{split} has no image of {listed(list(part['label']))}" for split, part in rows.groupby("split")]
    return Finding(
        kind="missing_class",
        severity="error" if "train" in set(rows["split"]) else "warning",
        text=f"{'; '.join(by_split)}.",
        done="Nothing was changed; the class stays in the list of classes.",
        advice="Nothing can be said about such a class on that split. Add images, or hold out a larger share.",
        count=len(rows),
        cases=cases(rows, "no image"),
    )


def small_split(subject: Subject) -> Finding | None:
    """Splits that are scored on too few images."""
    sizes = subject.used["split"].value_counts()
    scored = ordered_splits(set(sizes.index) - {"train", UNSCORED})
    small = [name for name in scored if sizes[name] < SMALL_SPLIT]
    if not small:
        return None
    sentences = [
        f"{name} has only {counted(int(sizes[name]), 'image')}, so an accuracy on it is known to about "
        f"{100 / np.sqrt(sizes[name]):.0f} points only"
        for name in small
    ]
    return Finding(
        kind="small_split",
        severity="warning",
        text=f"{'; '.join(sentences)}.",
        done="Nothing was changed.",
        advice="Do not choose between models by a difference smaller than that; use more images, or data.folds to "
        "score every image once.",
        count=len(small),
        cases=cases(pd.DataFrame({"split": small}), [f"{sizes[name]} images" for name in small]),
    )


def overrides_applied(subject: Subject) -> Finding | None:
    """Labels that people corrected."""
    known = _overridden(subject, known=True)
    if known.empty:
        return None
    dropped = int(known["drops"].sum())
    return Finding(
        kind="overrides_applied",
        severity="info",
        text=f"{counted(len(known), 'image')} {'has' if len(known) == 1 else 'have'} a correction in "
        f"{subject.cfg.overrides}: {len(known) - dropped:,} with another label, {dropped:,} dropped.",
        done="The corrections were applied before duplicates were resolved and splits drawn.",
        advice="Keep that file under version control: it is part of the data set.",
        count=len(known),
        cases=cases(known, list(known["detail"])),
    )


def overrides_unknown(subject: Subject) -> Finding | None:
    """Corrections for images that are not there."""
    unknown = _overridden(subject, known=False)
    if unknown.empty:
        return None
    return Finding(
        kind="overrides_unknown",
        severity="warning",
        text=f"{counted(len(unknown), 'correction')} in {subject.cfg.overrides} {'is' if len(unknown) == 1 else 'are'} "
        f"for images that are not in the data set: {listed(list(unknown['id']))}.",
        done="They were passed over.",
        advice="Remove these lines if the images are gone; if they were moved or renamed, mend the id (the path of the "
        "image as findings.csv and the manifest have it).",
        count=len(unknown),
        cases=cases(unknown, list(unknown["detail"])),
    )


def _overridden(subject: Subject, *, known: bool) -> pd.DataFrame:
    """A row per correction whose image is there, or is not."""
    rows = [
        {"id": one.id, "label": one.label, "drops": one.drops, "detail": f"{one.label} ({one.who}: {one.why})"}
        for one in subject.overrides.values()
    ]
    table = pd.DataFrame(rows, columns=["id", "label", "drops", "detail"])
    if not rows:
        return table
    splits = subject.images.set_index("id")["split"]
    table["split"] = table["id"].map(splits).astype(object)
    return table[table["split"].notna() == known]


def _rare(counts: pd.DataFrame, limit: float) -> pd.DataFrame:
    """Classes with so few images that the largest class of the split has more than `limit` times as many."""
    rare = counts.rename_axis(index="label").reset_index().melt("label", var_name="split", value_name="number")
    most = rare["split"].map(counts.max())
    rare = rare[(rare["number"] > 0) & (most > limit * rare["number"])]
    return cases(rare, [counted(int(number), "image") for number in rare["number"]])
