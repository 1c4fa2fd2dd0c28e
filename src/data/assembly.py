"""From a store of files to a data set: checked, labelled, corrected, split, with duplicates resolved."""

from collections import Counter
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from src.artifacts import MANIFEST_COLUMNS, STATUS_OK, UNLABELLED, Manifest
from src.config_data import DataConfig
from src.data.archives import ImageStore
from src.data.candidates import annotations, candidates_of
from src.data.checks import inspect_all
from src.data.duplicates import duplicates_table, group_duplicates
from src.data.facts import FactsCache, facts_table
from src.data.labels import check_classes, check_label_pattern, class_names_of
from src.data.overrides import Override, apply_overrides, load_overrides
from src.data.placement import placed
from src.data.splits import check_patterns
from src.tables import rows_where

MOST_SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A manifest, and what was found on the way to it.

    `files` has a row per file that may be an image, good or bad, as `facts_table` makes it; `duplicates` a row per
    member of each group of images that are the same; `overrides` are the corrections that were at hand. `ignored`
    counts files that are no candidates by suffix.
    """

    manifest: Manifest
    files: pd.DataFrame
    duplicates: pd.DataFrame
    overrides: dict[str, Override]
    ignored: Counter[str]

    @property
    def quarantine(self) -> dict[str, str]:
        """The reason of each bad file, by its path."""
        bad = self.files[(self.files["reason"] != "").to_numpy()]
        return dict(zip(bad["path"], bad["reason"], strict=True))

    @property
    def modes(self) -> Counter[str]:
        """Readable images by the mode they were found in."""
        counts = self.files["mode"][(self.files["reason"] == "").to_numpy()].value_counts()
        return Counter({str(mode): int(number) for mode, number in counts.items()})


def check_settings(cfg: DataConfig) -> None:
    """Nothing, where the patterns of the data section can be used; before any data is read.

    Raises:
        ValueError: one cannot.
    """
    check_label_pattern(cfg.label_pattern)
    check_patterns(cfg.split_patterns)


def assemble(
    store: ImageStore, cfg: DataConfig, *, workers: int | None = None, cache: FactsCache | None = None
) -> Dataset:
    """The data set of all images in the store; of what the cache knows only the changed files are read.

    Raises:
        ValueError: no image, too many bad ones, no label, one class only, or too few images of a class to split.
    """
    overrides = load_overrides(None if cfg.overrides is None else Path(cfg.overrides).expanduser())
    return dataset_of(_inspected(store, cfg, workers=workers, cache=cache), cfg, store, overrides)


def dataset_of(files: pd.DataFrame, cfg: DataConfig, store: ImageStore, overrides: dict[str, Override]) -> Dataset:
    """The data set of the files in the store, once each was looked at.

    Raises:
        ValueError: too many bad files, no label, one class only, or too few images of a class to split.
    """
    check_bad_share(files, cfg.max_bad_share)
    images = placed(described(files, cfg, store, overrides), cfg)
    return Dataset(
        manifest=_manifest(images, cfg, store.location),
        files=files,
        duplicates=duplicates_table(images.assign(group=images["copies"])),
        overrides=overrides,
        ignored=store.listing.ignored,
    )


def _inspected(store: ImageStore, cfg: DataConfig, *, workers: int | None, cache: FactsCache | None) -> pd.DataFrame:
    """The facts of every file that may be an image, once it is sure that what is said of them can be used."""
    found = candidates_of(store)
    annotations(list(found.ids.values()), cfg, store)
    checked = inspect_all(store, found.to_read, cfg=cfg, workers=workers, cache=cache)
    return facts_table(chain(checked, found.unread), found.ids)


def check_bad_share(files: pd.DataFrame, limit: float) -> None:
    """Nothing, where the share of bad files is within the limit.

    Raises:
        ValueError: it is not, or nothing at all is left.
    """
    bad = files[(files["reason"] != "").to_numpy()]
    share = len(bad) / len(files)
    if share > limit or share == 1:
        first = bad.head(MOST_SHOWN)
        shown = "; ".join(f"{name}: {reason}" for name, reason in zip(first["path"], first["reason"], strict=True))
        raise ValueError(
            f"{len(bad)} of {len(files)} files are not usable images ({share:.1%}, data.max_bad_share={limit}), "
            f"such as {shown}; mend or remove them, or raise data.max_bad_share"
        )


def described(files: pd.DataFrame, cfg: DataConfig, store: ImageStore, overrides: dict[str, Override]) -> pd.DataFrame:
    """A row per readable image in the order of the ids: its facts, and what is said and found out about it.

    Columns: id, path, width, height, sha256; `name` (the label, corrected, or None), `dropped` (whether a correction
    takes it out), `official` (the split it comes in, or None), `user_group` (or None), `copies` (the group of images
    that are the same) and the `kind` of that group.
    """
    good = rows_where(files, files["reason"] == "").reset_index(drop=True)
    said = _said(good["id"], cfg, store, overrides)
    same = group_duplicates(good, cfg.duplicates).rename(columns={"group": "copies"})
    return pd.concat([good[["id", "path", "width", "height", "sha256"]], said, same], axis=1)


def _said(ids: pd.Series, cfg: DataConfig, store: ImageStore, overrides: dict[str, Override]) -> pd.DataFrame:
    """The columns name, dropped, official and user_group of `described`."""
    names = ids.tolist()
    said = annotations(names, cfg, store)
    classes = {*said["name"].dropna(), *(cfg.about.classes or [])}
    corrected, dropped = apply_overrides(names, said["name"].tolist(), overrides=overrides, class_names=classes)
    return said.assign(name=pd.Series(corrected, dtype=object), dropped=dropped)


def _manifest(images: pd.DataFrame, cfg: DataConfig, location: Path) -> Manifest:
    """The described and placed images, their labels as numbers."""
    class_names = _class_names(images.loc[images["status"] == STATUS_OK, ["split", "name"]])
    number = {name: index for index, name in enumerate(class_names)}
    labels = images["name"].map(number).fillna(UNLABELLED).astype(np.int64)
    return Manifest(
        table=images.assign(label=labels)[list(MANIFEST_COLUMNS)],
        class_names=class_names,
        location=location.as_posix(),
        settings=asdict(cfg),
    )


def _class_names(used: pd.DataFrame) -> list[str]:
    """Classes of the images that are trained on or scored; a folder among those to predict makes no class."""
    found = used[(used["split"] != "predict").to_numpy()].drop_duplicates()
    by_split = {str(split): set(rows["name"]) for split, rows in found.groupby("split")}
    class_names = class_names_of(set().union(*by_split.values()))
    train = by_split.pop("train", set())
    check_classes(train, by_split, class_names)
    return class_names
