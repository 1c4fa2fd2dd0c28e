"""What stages hand to each other: typed files whose promises are checked when they are written and when read."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from src.files import read_json, whole_file, write_json
from src.tables import numbered, rows_where

UNLABELLED = -1
MANIFEST_COLUMNS = ("id", "path", "label", "split", "group", "width", "height", "sha256", "status")
STATUS_OK = "ok"
STATUS_DUPLICATE = "duplicate"
STATUS_CONFLICT = "conflict"
STATUS_DROPPED = "dropped"
STATUS_SUBSET = "subset"
STATUSES = {
    STATUS_OK: "it takes part in its split",
    STATUS_DUPLICATE: "a copy of it is used in its place",
    STATUS_CONFLICT: "copies of it carry other labels",
    STATUS_DROPPED: "a person took it out (data.overrides)",
    STATUS_SUBSET: "data.subset leaves it out",
}

ROWS_AT_ONCE = 2**16
SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Manifest:
    """A row per readable image.

    `table` has the columns of `MANIFEST_COLUMNS`: `id` (path below the root that all images share, unique),
    `path` (name inside `location`), `label` (index into `class_names`, -1 when unlabelled), `split`, `group`
    (images that must stay in one split: copies of each other, and groups of the user), `width` and `height` in px
    after the EXIF turn, `sha256` of the bytes, `status` (one of `STATUSES`: `ok`, or why the row is left out).

    `location` is the folder or archive the bytes are read from; `settings` the data section that made it.
    """

    table: pd.DataFrame
    class_names: list[str]
    location: str
    settings: dict[str, Any]

    def __post_init__(self) -> None:
        """Check the promises.

        Raises:
            ValueError: ids repeat, labels are out of range, a status is none, or one image or group stands in two
                splits; copies of one image may where the settings keep duplicates as they are.
        """
        absent = [column for column in MANIFEST_COLUMNS if column not in self.table.columns]
        if absent:
            raise ValueError(f"a manifest without {', '.join(absent)}; run make_dataset again")
        repeated = self.table["id"][self.table["id"].duplicated()]
        if len(repeated):
            raise ValueError(
                f"{len(repeated)} ids stand twice in the manifest, {repeated.iloc[0]!r} first; run make_dataset again"
            )
        labels = self.table["label"]
        if len(labels) and (labels.min() < UNLABELLED or labels.max() >= len(self.class_names)):
            raise ValueError(f"labels outside 0..{len(self.class_names) - 1} in the manifest; run make_dataset again")
        if strange := set(self.table["status"].unique()) - set(STATUSES):
            raise ValueError(f"status {sorted(strange)[0]!r} in the manifest is none; run make_dataset again")
        used = (self.table["status"] == STATUS_OK).to_numpy()
        split_of = pd.factorize(self.table["split"][used])[0]
        for column in ("group",) if self._keeps_duplicates else ("sha256", "group"):
            num_straddling = _num_straddling(numbered(self.table[column])[0][used], split_of)
            if num_straddling:
                raise ValueError(f"{num_straddling} values of {column} stand in two splits; run make_dataset again")

    @property
    def _keeps_duplicates(self) -> bool:
        duplicates = self.settings.get("duplicates", {})
        return duplicates.get("policy") == "keep"

    def used(self, *columns: str) -> pd.DataFrame:
        """The rows that take part in a split; only these columns of them, where some are named."""
        table = self.table[list(columns)] if columns else self.table
        return rows_where(table, self.table["status"] == STATUS_OK)

    def rows(self, split: str) -> pd.DataFrame:
        """The rows of one split, in the order of their ids."""
        used = self.used()
        return used[used["split"] == split].sort_values("id")

    def splits(self) -> list[str]:
        """Names of the splits that have images: train, val, test first, others by name."""
        return ordered_splits(set(self.used("split")["split"]))

    def digest(self) -> str:
        """Sixteen hex digits that change with any image, label or split."""
        content = self.table[["id", "label", "split", "sha256"]]
        order = content["id"].array.argsort()
        order = order[(self.table["status"] == STATUS_OK).to_numpy()[order]]
        digest = hashlib.sha256()
        for start in range(0, max(1, len(order)), ROWS_AT_ONCE):
            part = content.iloc[order[start : start + ROWS_AT_ONCE]]
            digest.update(part.to_csv(index=False, header=not start).encode("utf-8"))
        digest.update(json.dumps(self.class_names).encode("utf-8"))
        return digest.hexdigest()[:16]

    def save(self, folder: Path) -> None:
        """Write `manifest.parquet` and `manifest.json` into the folder."""
        write_table(folder / "manifest.parquet", self.table)
        facts = {
            "class_names": self.class_names,
            "location": self.location,
            "settings": self.settings,
            "digest": self.digest(),
        }
        write_json(folder / "manifest.json", facts)

    @classmethod
    def load(cls, folder: Path) -> "Manifest":
        """The manifest in the folder.

        Raises:
            ValueError: there is none, or it breaks a promise.
        """
        facts = read_json(folder / "manifest.json", made_by="make_dataset")
        table = read_table(folder / "manifest.parquet", made_by="make_dataset")
        manifest = cls(table, facts["class_names"], facts["location"], facts["settings"])
        if manifest.digest() != facts["digest"]:
            raise ValueError(f"manifest.parquet and manifest.json in {folder} do not match; run make_dataset again")
        return manifest


@dataclass(frozen=True)
class Predictions:
    """Probabilities of a checkpoint for the images of one split.

    `labels` is -1 where an image has none. `probs` is float32 of shape (images, classes), rows sum to one. `groups`
    numbers the groups of images that belong together, as in `PackedSplit`; None where each image is one of its own.
    """

    ids: list[str]
    paths: list[str]
    labels: np.ndarray
    probs: np.ndarray
    class_names: list[str]
    split: str
    checkpoint: str
    groups: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check the promises.

        Raises:
            ValueError: lengths differ, a class name or a label is none, a probability is not finite or negative, or
                a row does not sum to one.
        """
        columns = (self.ids, self.paths, self.labels, self.probs, self.groups)
        if len({len(column) for column in columns if column is not None}) > 1:
            raise ValueError(f"predictions of {self.split}: ids, paths, labels, probs and groups differ in length")
        if self.probs.shape[1:] != (len(self.class_names),):
            raise ValueError(
                f"predictions of {self.split}: {self.probs.shape} probs for {len(self.class_names)} classes"
            )
        if len(set(self.class_names)) < len(self.class_names) or "" in self.class_names:
            raise ValueError(f"predictions of {self.split}: class names must differ and not be empty")
        if len(self.labels) and (self.labels.min() < UNLABELLED or self.labels.max() >= len(self.class_names)):
            raise ValueError(f"predictions of {self.split}: labels outside 0..{len(self.class_names) - 1}")
        if not np.isfinite(self.probs).all():
            raise ValueError(f"predictions of {self.split} hold a NaN or an infinity: the weights are broken")
        if len(self.probs) and (self.probs.min() < 0 or np.abs(self.probs.sum(axis=1) - 1).max() > SUM_TOLERANCE):
            raise ValueError(f"predictions of {self.split}: probabilities that are negative or do not sum to one")

    @property
    def preds(self) -> np.ndarray:
        """Index of the most probable class of each image, shape (images,)."""
        return self.probs.argmax(axis=1) if len(self.probs) else np.zeros(0, dtype=np.int64)

    @property
    def known(self) -> tuple[np.ndarray, np.ndarray]:
        """Labels and probabilities of the labelled images."""
        return self.labels[self.labels >= 0], self.probs[self.labels >= 0]

    def table(self) -> pd.DataFrame:
        """A row per image: id, path, label, pred (names) and `prob_<class>` for each class; `group`, if there are."""
        names = np.array([*self.class_names, ""], dtype=object)
        labels, preds = names[self.labels], names[self.preds]
        columns: dict[str, Any] = {"id": self.ids, "path": self.paths, "label": labels, "pred": preds}
        columns |= {} if self.groups is None else {"group": self.groups}
        columns |= {f"prob_{name}": self.probs[:, index] for index, name in enumerate(self.class_names)}
        return pd.DataFrame(columns)

    def save(self, path: Path) -> None:
        """Write one parquet file; what is no column goes into its metadata."""
        table = self.table()
        table.attrs = {"class_names": self.class_names, "split": self.split, "checkpoint": self.checkpoint}
        write_table(path, table)

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """The predictions in a file that `save` wrote.

        Raises:
            ValueError: there is no such file, or it breaks a promise.
        """
        table = read_table(path, made_by="predict_model")
        facts = table.attrs
        if "class_names" not in facts:
            raise ValueError(f"{path} is not a file of predictions; run predict_model again")
        names = facts["class_names"]
        index = {name: number for number, name in enumerate(names)} | {"": UNLABELLED}
        labels = table["label"].map(index).to_numpy(dtype=np.int64)
        probs = table[[f"prob_{name}" for name in names]].to_numpy(dtype=np.float32)
        groups = table["group"].to_numpy() if "group" in table else None
        ids, paths = list(table["id"]), list(table["path"])
        return cls(ids, paths, labels, probs, names, facts["split"], facts["checkpoint"], groups)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What a training run was and what it cost: enough to tell two runs apart.

    `facts` is what no other field holds: how often it went back (`rollbacks`), where its `weights` came
    from and under which licence (empty: from scratch), and the `energy` it took, see `src.energy.Meter`.
    """

    run_id: str
    config: dict[str, Any]
    class_names: list[str]
    data_digest: str
    git: dict[str, str]
    environment: dict[str, str]
    device: str
    num_params: int
    epochs: int
    steps: int
    best: dict[str, float]
    seconds: float
    images_per_s: float
    peak_mib: float
    stopped: str
    facts: dict[str, Any] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `run.json` into the folder."""
        write_json(folder / "run.json", asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "RunRecord":
        """The record in the folder.

        Raises:
            ValueError: there is none, or it has other fields.
        """
        content = read_json(folder / "run.json", made_by="train_model")
        strange = sorted({field.name for field in fields(cls)} ^ set(content))
        if strange:
            raise ValueError(f"{folder / 'run.json'} differs in {', '.join(strange)}; run train_model again")
        return cls(**content)


def _num_straddling(value_of: np.ndarray, split_of: np.ndarray) -> int:
    """How many values stand in more than one split, both given as codes."""
    num_splits = int(split_of.max(initial=0)) + 1
    places = np.unique(value_of * num_splits + split_of)
    return int((np.unique(places // num_splits, return_counts=True)[1] > 1).sum())


def ordered_splits(names: Sequence[str] | set[str]) -> list[str]:
    """Split names as people read them: train, val, test, then the others by name."""
    usual = ("train", "val", "test")
    return [name for name in usual if name in names] + sorted(name for name in names if name not in usual)


def told_by(names: set[str]) -> str | None:
    """The split that a result is told by, of those with labels: test, else val, else any but train; None of none."""
    return next((name for name in ("test", *ordered_splits(names)) if name in names and name != "train"), None)


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write parquet so that the file is either whole or untouched."""
    with whole_file(path, num_bytes=int(table.memory_usage(index=False).sum())) as file:
        table.to_parquet(file, index=False)


def read_table(path: Path, *, made_by: str) -> pd.DataFrame:
    """The table in a parquet file.

    Raises:
        ValueError: the file is absent or damaged; the message names the verb that writes it.
    """
    try:
        return pd.read_parquet(path)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist; run {made_by} first") from None
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} is damaged ({error}); run {made_by} again") from None
