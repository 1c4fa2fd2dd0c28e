"""Data sets as tables, without a fault unless one is asked for, for the audit and its page."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.artifacts import Manifest, write_table
from src.config_data import DataConfig
from src.data.audit import Audit, audit
from src.data.auditing.findings import Finding
from src.data.overrides import Override
from src.files import write_json
from tests.data.drawn import drawing, encoded, settings

CLASS_NAMES = ["circle", "cross", "square"]
SIZES = {"train": 400, "val": 300, "test": 300}
"""Enough for every comparison between splits."""


@dataclass(kw_only=True)
class DrawnSet:
    """`images` has a row per readable image with all columns of files.parquet and split, label (its name), status.

    `groups` are the ids of images that are the same, by kind; `bad` maps a file to its reason.
    """

    images: pd.DataFrame
    class_names: list[str] = field(default_factory=lambda: list(CLASS_NAMES))
    bad: dict[str, str] = field(default_factory=dict)
    groups: list[tuple[str, list[str]]] = field(default_factory=list)
    overrides: list[Override] = field(default_factory=list)
    cfg: DataConfig = field(default_factory=settings)

    def change(self, rows: Any, **columns: Any) -> "DrawnSet":
        """The same set after those columns of those rows were changed in place."""
        for name, value in columns.items():
            self.images.loc[rows, name] = value
        return self

    def ids(self, split: str, label: str | None = None) -> list[str]:
        rows = self.images[(self.images["split"] == split)]
        return list(rows["id"] if label is None else rows.loc[rows["label"] == label, "id"])

    def of(self, ids: Sequence[str]) -> pd.Series:
        return self.images["id"].isin(ids)

    def configured(self, **changes: Any) -> "DrawnSet":
        self.cfg = replace(self.cfg, **changes)
        return self

    @property
    def files(self) -> pd.DataFrame:
        bad = pd.DataFrame({"id": list(self.bad), "path": list(self.bad), "reason": list(self.bad.values())})
        good = self.images.drop(columns=["split", "label", "status"])
        return pd.concat([good, bad.reindex(columns=good.columns)]) if self.bad else good

    @property
    def manifest(self) -> Manifest:
        index = {name: number for number, name in enumerate(self.class_names)}
        table = self.images[["id", "path", "split", "width", "height", "sha256", "status"]]
        labels = [index.get(name, -1) for name in self.images["label"]]
        return Manifest(
            table.assign(label=labels, group=table["id"]), self.class_names, "data/raw/source", asdict(self.cfg)
        )

    @property
    def duplicates(self) -> pd.DataFrame:
        rows = self.images.set_index("id")[["split", "label", "status"]]
        parts = [
            rows.loc[ids].reset_index().assign(group=f"{number:064d}", kind=kind)
            for number, (kind, ids) in enumerate(self.groups)
        ]
        columns = ["group", "kind", "id", "split", "label", "status"]
        return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)

    def audit(self) -> Audit:
        overrides = {one.id: one for one in self.overrides}
        return audit(self.files, self.manifest, self.duplicates, overrides=overrides, cfg=self.cfg)

    def finding(self, kind: str) -> Finding:
        found = [finding for finding in self.audit().findings if finding.kind == kind]
        assert len(found) == 1, [finding.kind for finding in self.audit().findings]
        return found[0]

    def kinds(self) -> list[str]:
        return [finding.kind for finding in self.audit().findings]

    def write(self, dataset: Path, raw: Path) -> None:
        """Write the files of make_dataset, and an image for each row into the raw folder."""
        manifest = replace(self.manifest, location=raw.as_posix())
        manifest.save(dataset)
        write_table(dataset / "files.parquet", self.files)
        self.duplicates.to_csv(dataset / "duplicates.csv", index=False)
        quarantine = pd.DataFrame({"path": list(self.bad), "reason": list(self.bad.values())})
        quarantine.to_csv(dataset / "quarantine.csv", index=False)
        write_json(dataset / "summary.json", self._summary(manifest))
        self.audit().save(dataset)
        for number, path in enumerate(self.images["path"]):
            (raw / path).parent.mkdir(parents=True, exist_ok=True)
            (raw / path).write_bytes(encoded(drawing(number)))

    def _summary(self, manifest: Manifest) -> dict[str, Any]:
        names = np.array([*self.class_names, "(unlabelled)"], dtype=object)
        counts = {
            split: pd.Series(names[manifest.rows(split)["label"]]).value_counts().to_dict()
            for split in manifest.splits()
        }
        return {
            "source": "folder",
            "location": manifest.location,
            "found": len(self.images) + len(self.bad) + 1,
            "ok": len(self.images),
            "quarantined": len(self.bad),
            "ignored": {".txt": 1},
            "duplicates_dropped": int((self.images["status"] == "duplicate").sum()),
            "conflicts_dropped": int((self.images["status"] == "conflict").sum()),
            "converted": {},
            "class_names": self.class_names,
            "counts": counts,
        }


def drawn_set(sizes: dict[str, int] | None = None, **changes: Any) -> DrawnSet:
    """So many images in each split, spread over the classes, all of one kind, of different brightness and contrast."""
    names = changes.get("class_names", CLASS_NAMES)
    places = [
        (split, names[number % len(names)], f"{split}/{names[number % len(names)]}/{number}.png")
        for split, size in (SIZES if sizes is None else sizes).items()
        for number in range(size)
    ]
    rng = np.random.default_rng(len(places))
    table = pd.DataFrame(places, columns=["split", "label", "id"])
    facts = {"bytes": 100, "format": "PNG", "mode": "RGB", "turned": False, "width": 12, "height": 10, "status": "ok"}
    table = table.assign(
        path=table["id"], sha256=[f"{number:064x}" for number in range(len(table))], reason="", **facts
    )
    for channel in "rgb":
        table[f"mean_{channel}"] = rng.normal(0.5, 0.1, len(table)).clip(0, 1).astype(np.float32)
        table[f"std_{channel}"] = rng.normal(0.2, 0.02, len(table)).clip(0.01, 1).astype(np.float32)
    return DrawnSet(images=table, **changes)
