"""What an audit looks at and what it finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from src.artifacts import STATUS_OK, Manifest, ordered_splits
from src.config_data import DataConfig
from src.data.overrides import Override
from src.tables import rows_where

Severity = Literal["error", "warning", "info"]

CASE_COLUMNS = ("id", "split", "label", "detail")
UNSCORED = "predict"
"""The split of images without a label."""

FACTS = ("format", "mode", "turned", "width", "height")
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601), those by which Pillow makes grey images."""


def no_cases() -> pd.DataFrame:
    """A table of cases without a row."""
    return pd.DataFrame({column: pd.Series(dtype=str) for column in CASE_COLUMNS})


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a person should know about the data, in plain sentences.

    `error`: figures measured on this data mislead; `warning`: look at it before you train; `info`: good to know.
    `text` says what was found, `done` what became of it, `advice` what to do. `count` is of what `text` counts first.
    `cases` has a row per image, or per class of a split, with the columns of `CASE_COLUMNS`; what does not apply
    is empty.
    """

    kind: str
    severity: Severity
    text: str
    done: str
    advice: str
    count: int
    cases: pd.DataFrame = field(default_factory=no_cases)

    @property
    def ids(self) -> list[str]:
        """The images concerned."""
        return [image_id for image_id in self.cases["id"] if image_id]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The data set that is looked at.

    `files` has a row per file found, `images` one per readable image (see `images_of`), `duplicates` one per member
    of a group of images that are the same, with the columns group, kind, id, split, label and status.
    """

    files: pd.DataFrame
    images: pd.DataFrame
    duplicates: pd.DataFrame
    manifest: Manifest
    overrides: Mapping[str, Override]
    cfg: DataConfig

    @cached_property
    def used(self) -> pd.DataFrame:
        """The images that take part in a split."""
        return rows_where(self.images, self.images["status"] == STATUS_OK)

    @cached_property
    def class_counts(self) -> pd.DataFrame:
        """Images in use by class (rows, all classes) and labelled split (columns)."""
        labelled = self.used[(self.used["label"] != "") & (self.used["split"] != UNSCORED)]
        counts = labelled.groupby(["label", "split"]).size().unstack(fill_value=0)
        columns = ordered_splits(set(counts.columns))
        return counts.reindex(index=self.manifest.class_names, columns=columns, fill_value=0)


def images_of(files: pd.DataFrame, manifest: Manifest) -> pd.DataFrame:
    """A row per readable image with its labels and the quantities of its pixels.

    Columns: id, split, label (the class name, empty without one), status, format, mode, turned, width, height, `side`
    (px, of a square of as many pixels), `aspect` (width by height), `brightness` and `contrast` (mean and deviation
    of the pixels, 0..1), `red`, `green` and `blue` (means, 0..1).
    """
    names = np.array([*manifest.class_names, ""], dtype=object)
    images = manifest.table[["id", "split", "status"]].assign(label=names[manifest.table["label"].to_numpy()])
    found = _facts_of(images["id"], files)
    return images.assign(**{name: found[name].array for name in FACTS}, **_quantities(found))


def _facts_of(ids: pd.Series, files: pd.DataFrame) -> pd.DataFrame:
    """The row of `files` of each id, in their order.

    Raises:
        ValueError: one has none.
    """
    rows = pc.index_in(pa.array(ids, pa.large_string()), value_set=pa.array(files["id"], pa.large_string()))
    if rows.null_count:
        raise ValueError(f"files.parquet lacks {rows.null_count} images of the manifest; run make_dataset again")
    positions = np.asarray(rows)
    in_place = len(positions) == len(files) and (positions == np.arange(len(files))).all()
    return files if in_place else files.iloc[positions]


def cases(rows: pd.DataFrame, detail: str | Sequence[str]) -> pd.DataFrame:
    """The rows as cases; a column that they lack is empty."""
    table = rows.assign(detail=detail).reindex(columns=list(CASE_COLUMNS), fill_value="")
    return table.fillna("").reset_index(drop=True)


def _quantities(images: pd.DataFrame) -> dict[str, np.ndarray]:
    width, height = images["width"].to_numpy(dtype=np.float64), images["height"].to_numpy(dtype=np.float64)
    means = images[["mean_r", "mean_g", "mean_b"]].to_numpy(dtype=np.float64)
    stds = images[["std_r", "std_g", "std_b"]].to_numpy(dtype=np.float64)
    return {
        "side": np.sqrt(width * height).astype(np.float32),
        "aspect": (width / height).astype(np.float32),
        "brightness": (means @ np.array(LUMA)).astype(np.float32),
        "contrast": np.sqrt((stds**2).mean(axis=1)).astype(np.float32),
        **{name: means[:, channel].astype(np.float32) for channel, name in enumerate(("red", "green", "blue"))},
    }
