"""What a data set holds, in files and in words."""

import csv
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from src.artifacts import (
    STATUS_CONFLICT,
    STATUS_DROPPED,
    STATUS_DUPLICATE,
    STATUS_SUBSET,
    UNLABELLED,
    Manifest,
    ordered_splits,
    write_table,
)
from src.config_data import DataConfig
from src.data.assembly import Dataset
from src.data.audit import Audit, audit
from src.files import whole_folder, write_atomically, write_json

MOST_REASONS = 5
MOST_CLASSES = 25
UNLABELLED_NAME = "(unlabelled)"

LEFT_OUT = {
    STATUS_DUPLICATE: "duplicates_dropped",
    STATUS_CONFLICT: "conflicts_dropped",
    STATUS_DROPPED: "overrides_dropped",
    STATUS_SUBSET: "outside_subset",
}


def write_dataset(dataset: Dataset, cfg: DataConfig, folder: Path) -> Audit:
    """The audit of the data set, after writing it with all tables; the folder changes only once all are whole."""
    manifest, files, duplicates = dataset.manifest, dataset.files, dataset.duplicates
    found = audit(files, manifest, duplicates, overrides=dataset.overrides, cfg=cfg)
    with whole_folder(folder) as beside:
        manifest.save(beside)
        write_table(beside / "files.parquet", files)
        write_atomically(beside / "duplicates.csv", duplicates.to_csv(index=False, lineterminator="\n").encode("utf-8"))
        write_atomically(beside / "quarantine.csv", _quarantine_csv(dataset.quarantine))
        found.save(beside)
        write_json(beside / "summary.json", summary(dataset, cfg))
    return found


def summary(dataset: Dataset, cfg: DataConfig) -> dict[str, Any]:
    """Counts: `found` = `ok` + `quarantined` + all `ignored`."""
    manifest = dataset.manifest
    ok = len(manifest.table)
    return {
        "source": cfg.name,
        "location": manifest.location,
        "found": len(dataset.files) + dataset.ignored.total(),
        "ok": ok,
        "quarantined": len(dataset.files) - ok,
        "ignored": dict(sorted(dataset.ignored.items())),
        **left_out(manifest),
        "converted": {mode: count for mode, count in sorted(dataset.modes.items()) if mode != "RGB"},
        "class_names": manifest.class_names,
        "counts": counts(manifest),
    }


def left_out(manifest: Manifest) -> dict[str, int]:
    """How many readable images take no part in a split, by the reason."""
    statuses = manifest.table["status"].value_counts()
    return {key: int(statuses.get(status, 0)) for status, key in LEFT_OUT.items()}


def counts(manifest: Manifest) -> dict[str, dict[str, int]]:
    """Images by split and class name, those without a label last."""
    named = [*enumerate(manifest.class_names), (UNLABELLED, UNLABELLED_NAME)]
    found: dict[str, dict[str, int]] = {}
    for split, labels in manifest.used("split", "label").groupby("split")["label"]:
        by_label = labels.value_counts()
        found[str(split)] = {name: int(by_label[label]) for label, name in named if label in by_label.index}
    return {split: found[split] for split in ordered_splits(set(found))}


def counts_text(manifest: Manifest) -> str:
    """A table of images by class and split; of many classes only the totals."""
    found = counts(manifest)
    table = pd.DataFrame(found, dtype="Int64").fillna(0)[ordered_splits(set(found))]
    order = [name for name in (*manifest.class_names, UNLABELLED_NAME) if name in table.index]
    table = table.loc[order] if len(order) <= MOST_CLASSES else table.iloc[:0]
    totals = pd.DataFrame({split: [sum(found[split].values())] for split in found}, index=["total"])
    head = f"{len(manifest.used('id'))} images of {len(manifest.class_names)} classes"
    return f"{head}\n{pd.concat([table, totals]).to_string()}"


def quarantine_text(quarantine: Mapping[str, str], folder: Path) -> str:
    """The number of bad files and the first of them with their reasons."""
    shown = [f"  {name}: {reason}" for name, reason in list(quarantine.items())[:MOST_REASONS]]
    more = [f"  and {len(quarantine) - MOST_REASONS} more"] if len(quarantine) > MOST_REASONS else []
    head = f"{len(quarantine)} files are left out, listed in {(folder / 'quarantine.csv').as_posix()}"
    return "\n".join([head, *shown, *more])


def _quarantine_csv(quarantine: Mapping[str, str]) -> bytes:
    text = StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "reason"])
    rows.writerows(sorted(quarantine.items()))
    return text.getvalue().encode("utf-8")
