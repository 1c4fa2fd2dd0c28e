"""Findings from distributions: images far from the rest, splits that differ from train, and figures for each split."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from src.artifacts import ordered_splits
from src.data.auditing.findings import Finding, Subject, cases
from src.wording import counted, listed


@dataclass(frozen=True)
class Quantity:
    """One figure of an image: its name for readers, the smallest step that matters, whether ratios count.

    Of a quantity whose ratios count (a size), the logarithm is compared.
    """

    name: str
    step: float
    ratio: bool = False


QUANTITIES: Mapping[str, Quantity] = {
    "brightness": Quantity("brightness", 1 / 255),
    "contrast": Quantity("contrast", 1 / 255),
    "side": Quantity("size", 0.01, ratio=True),
    "aspect": Quantity("width by height", 0.01, ratio=True),
}
"""Those in which an image can be an outlier."""

COMPARED = {name: quantity.name for name, quantity in QUANTITIES.items()} | {
    "red": "red",
    "green": "green",
    "blue": "blue",
}
"""Those in which a split can differ from train."""

FEWEST_FOR_OUTLIERS = 20
"""Of fewer images the median and its deviation say little."""

CHANCE = 0.001
"""How rarely a distance that is called a difference comes about by chance."""


def outlier(subject: Subject) -> Finding | None:
    """Images that are far from the median in some quantity."""
    if len(subject.images) < FEWEST_FOR_OUTLIERS:
        return None
    limit = subject.cfg.audit.outlier_deviations
    parts = [_far(subject.images, column, limit) for column in QUANTITIES]
    found = pd.concat([part for part in parts if len(part)] or parts[:1]).sort_values("deviations", ascending=False)
    if found.empty:
        return None
    by_quantity = found["quantity"].value_counts()
    number = found["id"].nunique()
    return Finding(
        kind="outlier",
        severity="info",
        text=f"{counted(number, 'image')} {'differs' if number == 1 else 'differ'} strongly from the rest: "
        f"{listed([f'{n:,} in {name}' for name, n in by_quantity.items()])}.",
        done="They are kept.",
        advice="Look at them below: they may be scans, logos, screenshots or another camera's. What does not belong "
        "in the data set is dropped by the overrides file (label !drop). An image counts as an outlier from "
        f"{limit:g} robust deviations on (data.audit.outlier_deviations).",
        count=number,
        cases=cases(found, list(found["detail"])),
    )


def deviations(values: np.ndarray, *, step: float) -> tuple[float, np.ndarray]:
    """The median, and how many robust standard deviations each value lies from it, signed.

    The deviation is 1.4826 times the median absolute deviation. Where more than half of the values are the same it is
    zero, and 1.2533 times the mean absolute deviation stands in for it (Iglewicz and Hoaglin, How to Detect and Handle
    Outliers, 1993), so that a few other values are far off and many are not. It is never below `step`.
    """
    median = float(np.median(values))
    distances = np.abs(values - median)
    scale = 1.4826 * float(np.median(distances)) or 1.2533 * float(distances.mean())
    return median, (values - median) / max(scale, step)


def split_shift(subject: Subject) -> Finding | None:
    """Splits whose images or classes are distributed otherwise than train's."""
    limit = subject.cfg.audit.split_difference
    rows = [(*row, limit) for row in _distances(subject) if row[2] > limit >= row[3]]
    if not rows:
        return None
    table = pd.DataFrame(rows, columns=["split", "what", "distance", "by_chance", "limit"])
    sentences = [
        f"{split} differs from train in "
        + listed([f"{what} ({distance:.2f})" for what, distance in zip(part["what"], part["distance"], strict=True)], 8)
        for split, part in table.groupby("split", sort=False)
    ]
    return Finding(
        kind="split_shift",
        severity="warning",
        text=f"{'; '.join(sentences)}. The figure is a distance between 0 (the same distribution) and 1 (nothing in "
        "common).",
        done="Nothing was changed.",
        advice="A network is then scored on other images than it learns from. Find out why (another camera, year, "
        f"place or collector). Warned from {limit:g} on (data.audit.split_difference): Kolmogorov-Smirnov distance, "
        "for classes the total variation; only where so few images do not differ so much by chance.",
        count=len(table),
        cases=cases(table, [f"{what}: {distance:.3f}" for what, distance in table[["what", "distance"]].to_numpy()]),
    )


def not_compared(subject: Subject) -> Finding | None:
    """Splits with too few images to say whether they differ from train."""
    limit = subject.cfg.audit.split_difference
    rows = [row for row in _distances(subject) if row[3] > limit]
    if not rows:
        return None
    table = pd.DataFrame(rows, columns=["split", "what", "distance", "by_chance"])
    sizes = subject.used["split"].value_counts()
    sentences = [
        f"{split} ({counted(int(sizes[split]), 'image')}) in {listed(list(part['what']), 8)}"
        for split, part in table.groupby("split", sort=False)
    ]
    return Finding(
        kind="not_compared",
        severity="info",
        text=f"Too few images to compare with train: {'; '.join(sentences)}.",
        done="Nothing is said about a difference there, as so few images differ from train by more than "
        f"{limit:g} by chance alone.",
        advice="Look at the histograms and the pictures yourself.",
        count=len(table),
        cases=cases(table, [f"{what}: {far:.3f} by chance" for what, far in table[["what", "by_chance"]].to_numpy()]),
    )


def split_statistics(subject: Subject) -> dict[str, Any]:
    """Figures of each split: images, classes, quartiles of size, aspect, brightness and contrast, channel means."""
    used = subject.used[["split", "label", "width", "height", *COMPARED]]
    return {split: _statistics(used[used["split"] == split]) for split in ordered_splits(set(used["split"]))}


def _statistics(rows: pd.DataFrame) -> dict[str, Any]:
    columns = ["width", "height", *QUANTITIES]
    quartiles = rows[columns].quantile([0, 0.25, 0.5, 0.75, 1])
    channels = ["red", "green", "blue"]
    return {
        "images": len(rows),
        "classes": {str(name): int(number) for name, number in rows["label"].value_counts(sort=False).items() if name},
        **{column: [round(float(value), 4) for value in quartiles[column]] for column in columns},
        "channel_means": [round(float(value), 4) for value in rows[channels].mean()],
        "channel_means_std": [round(float(value), 4) for value in rows[channels].std(ddof=0)],
    }


def _far(images: pd.DataFrame, column: str, limit: float) -> pd.DataFrame:
    """The outliers in one quantity with the quantity, the number of deviations and a phrase that tells both."""
    quantity = QUANTITIES[column]
    values = images[column].to_numpy(dtype=np.float64)
    median, far = deviations(np.log(values) if quantity.ratio else values, step=quantity.step)
    median = float(np.exp(median)) if quantity.ratio else median
    found = images.loc[np.abs(far) > limit, ["id", "split", "label"]]
    value = values[np.abs(far) > limit]
    times = np.abs(far[np.abs(far) > limit])
    detail = [
        f"{quantity.name} {v:.4g}, the median is {median:.4g} ({n:.1f} deviations)"
        for v, n in zip(value, times, strict=True)
    ]
    return found.assign(quantity=quantity.name, deviations=times, detail=detail)


def _distances(subject: Subject) -> list[tuple[str, str, float, float]]:
    """Split, quantity, its distance from train, and the distance that chance alone stays below."""
    from scipy.stats import ks_2samp

    by_split = {str(split): rows for split, rows in subject.used[["split", *COMPARED]].groupby("split")}
    train = by_split.pop("train", None)
    if train is None:
        return []
    found = []
    for split in ordered_splits(set(by_split)):
        rows = by_split[split]
        by_chance = np.sqrt(np.log(2 / CHANCE) / 2) * np.sqrt(1 / len(train) + 1 / len(rows))
        for column, name in COMPARED.items():
            distance = ks_2samp(train[column].to_numpy(), rows[column].to_numpy(), method="asymp").statistic
            found.append((split, name, float(distance), float(by_chance)))
    return found + _class_distances(subject)


def _class_distances(subject: Subject) -> list[tuple[str, str, float, float]]:
    """Like `_distances`, the total variation between the shares of the classes.

    By chance it is about the sum of the shares' mean deviations, and hardly ever more than that by the second term
    (McDiarmid's inequality).
    """
    counts = subject.class_counts
    counts = counts.loc[:, counts.sum() > 0]
    if "train" not in counts:
        return []
    shares = counts / counts.sum()
    found = []
    for split in counts.columns.drop("train"):
        rate = 1 / counts["train"].sum() + 1 / counts[split].sum()
        pooled = (counts["train"] + counts[split]) / (counts["train"] + counts[split]).sum()
        expected = np.sqrt(pooled * (1 - pooled) * rate * 2 / np.pi).sum() / 2
        by_chance = expected + np.sqrt(np.log(1 / CHANCE) / 2 * rate)
        distance = (shares[split] - shares["train"]).abs().sum() / 2
        found.append((str(split), "classes", float(distance), float(by_chance)))
    return found
