"""What the relabel page asks about: suspects of wrong labels, and copies of an image whose labels differ."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from src.artifacts import Manifest
from src.data.overrides import DROP, Override

SUSPECT_COLUMNS = ("id", "split", "label", "suggested", "rank", "prob_label", "prob_suggested")
NUMBERS = ["rank", "prob_label", "prob_suggested"]
DUPLICATE_COLUMNS = ("group", "kind", "id", "split", "label")

SHOWN_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class Picture:
    """An image to be judged; `label` is the name of the class it has now, empty where it has none."""

    id: str
    split: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Item:
    """One question: a suspect (one picture), or all copies of an image whose labels differ.

    `origin` says where the question comes from. `suggested` is the class that would be right, None where nothing
    speaks for one; `prob_label` and `prob_suggested` are the probabilities of a suspect's two classes.
    """

    kind: Literal["suspect", "exact", "near"]
    origin: str
    pictures: tuple[Picture, ...]
    suggested: str | None
    prob_label: float | None = None
    prob_suggested: float | None = None

    def why(self, picture: Picture, label: str) -> str:
        """What the override of one picture gives as its reason."""
        change = f"{picture.label or 'no label'} -> {label}"
        if label == DROP:
            change = f"{picture.label or 'no label'} dropped"
        elif label == picture.label:
            change = f"{label} kept"
        if self.prob_suggested is None:
            return f"{self.origin}: {change}"
        named = "" if label == self.suggested else f", suggested {self.suggested}"
        return f"{self.origin}: {change}{named} p={self.prob_suggested:.3g}"

    def is_open(self, overrides: Mapping[str, Override]) -> bool:
        """Whether nobody has decided it: an override is absent, and the labels of copies still differ."""
        if all(picture.id in overrides for picture in self.pictures if picture.label):
            return False
        return self.kind == "suspect" or len(_labels_now(self.pictures, overrides)) > 1


def open_items(
    manifest: Manifest, suspects: pd.DataFrame | None, duplicates: pd.DataFrame, overrides: Mapping[str, Override]
) -> list[Item]:
    """What is still to be decided: copies whose labels differ, identical ones first, then suspects by rank.

    Images that are not in the manifest (any more) are left out.
    """
    known = set(manifest.table["id"])
    labels = _labels(manifest)
    items = [*_conflicts(duplicates[duplicates["id"].isin(known)])]
    if suspects is not None:
        items += _suspects(suspects[suspects["id"].isin(known)], labels)
    return [item for item in items if item.is_open(overrides)]


def read_rows(path: Path, columns: tuple[str, ...], *, made_by: str) -> pd.DataFrame:
    """The CSV file with every cell as text, so that a class called NA or 007 stays one.

    Raises:
        ValueError: the file is absent, damaged, or lacks a column.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; run {made_by} first") from None
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); run {made_by} again") from None
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise ValueError(f"{path} has no column {', '.join(absent)}; run {made_by} again")
    return table


def _labels(manifest: Manifest) -> dict[str, str]:
    """Class name of each labelled image, as the manifest has it."""
    labelled = manifest.table[manifest.table["label"] >= 0]
    names = [manifest.class_names[label] for label in labelled["label"]]
    return dict(zip(labelled["id"], names, strict=True))


def _suspects(table: pd.DataFrame, labels: Mapping[str, str]) -> Iterator[Item]:
    """A question for each suspect whose label is not what is suggested already."""
    for row in _numbered(table).sort_values("rank", kind="stable").to_dict("records"):
        picture = Picture(id=row["id"], split=row["split"], label=labels.get(row["id"], row["label"]))
        if picture.label != row["suggested"]:
            yield Item(
                kind="suspect",
                origin=f"suspect rank {row['rank']:.0f}",
                pictures=(picture,),
                suggested=row["suggested"],
                prob_label=row["prob_label"],
                prob_suggested=row["prob_suggested"],
            )


def _numbered(table: pd.DataFrame) -> pd.DataFrame:
    """The suspects with their numbers as such."""
    numbers = table[NUMBERS].apply(pd.to_numeric, errors="coerce").astype(float)
    if not np.isfinite(numbers).all(axis=None):
        raise ValueError(f"{', '.join(NUMBERS)} of the suspects are not all numbers; run make label-issues again")
    return table.assign(**{column: numbers[column] for column in NUMBERS})


def _conflicts(table: pd.DataFrame) -> Iterator[Item]:
    """A question for each group of copies with more than one label."""
    for _, rows in table.sort_values(["kind", "group", "id"]).groupby(["kind", "group"]):
        found = rows.to_dict("records")
        pictures = tuple(Picture(id=row["id"], split=row["split"], label=row["label"]) for row in found)
        if len(_labels_now(pictures, {})) < 2:
            continue
        kind: Literal["exact", "near"] = "exact" if found[0]["kind"] == "exact" else "near"
        copies = "identical images" if kind == "exact" else "near duplicates"
        listed = ", ".join(sorted({picture.label for picture in pictures if picture.label}))
        yield Item(
            kind=kind,
            origin=f"{copies} {found[0]['group'][:SHOWN_DIGITS]} ({listed})",
            pictures=pictures,
            suggested=_majority(rows["label"]),
        )


def _labels_now(pictures: tuple[Picture, ...], overrides: Mapping[str, Override]) -> set[str]:
    """The different labels after the overrides; images without a label and dropped ones have none."""
    now = {overrides[picture.id].label if picture.id in overrides else picture.label for picture in pictures}
    return now - {"", DROP}


def _majority(labels: "pd.Series[str]") -> str | None:
    """The label of more than half of those that have one, or None."""
    counts = labels[labels != ""].value_counts()
    return str(counts.index[0]) if counts.iloc[0] * 2 > counts.sum() else None
