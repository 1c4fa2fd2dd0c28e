"""What the page of the audit is drawn from: the files of make_dataset, and pictures from the raw store."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from src.artifacts import STATUS_OK, Manifest, ordered_splits, read_table
from src.data.archives import open_images
from src.data.auditing.findings import images_of
from src.data.checks import BadImage, decode
from src.files import read_json
from src.layout import DATASET_DIR
from src.logs import progress
from src.visualization.galleries import data_uri
from src.visualization.reporting.evidence import read_quarantine

MADE_BY = "make_dataset"


@dataclass(frozen=True, kw_only=True)
class AuditEvidence:
    """Everything that the page may show.

    `audit` and `summary` are the contents of audit.json and summary.json; `findings`, `duplicates` and `quarantine`
    the tables of those names, all text; `images` has a row per readable image (see `images_of`).
    """

    manifest: Manifest
    summary: dict[str, Any]
    audit: dict[str, Any]
    findings: pd.DataFrame
    duplicates: pd.DataFrame
    quarantine: pd.DataFrame
    images: pd.DataFrame

    @property
    def used(self) -> pd.DataFrame:
        """The images that take part in a split."""
        return self.images[self.images["status"] == STATUS_OK]

    @property
    def splits(self) -> list[str]:
        """Names of the splits in the order in which people read them."""
        return ordered_splits(set(self.used["split"]))

    def cases(self, kind: str) -> pd.DataFrame:
        """The images or classes that a finding is about."""
        return self.findings[self.findings["kind"] == kind]

    def pictures(self, ids: Collection[str]) -> dict[str, str]:
        """The images themselves as addresses, by id; read from the raw store in one pass.

        Raises:
            ValueError: the store is gone or has changed.
        """
        rows = self.manifest.table[self.manifest.table["id"].isin(set(ids))]
        names = dict(zip(rows["path"], rows["id"], strict=True))
        if not names:
            return {}
        store = open_images(Path(self.manifest.location))
        found = {}
        for name, content in progress(store.read(list(names)), what="pictures", total=len(names)):
            try:
                image = decode(content, self.manifest.settings["max_pixels"])
            except BadImage as error:
                raise ValueError(
                    f"{name} in {store.location} has changed since it was checked ({error}); run make_dataset again"
                ) from None
            found[names[name]] = data_uri(np.asarray(image))
        return found


def gather() -> AuditEvidence:
    """The evidence of the data set at hand.

    Raises:
        ValueError: a file is absent or damaged; the message names the verb that writes it.
    """
    manifest = Manifest.load(DATASET_DIR)
    return AuditEvidence(
        manifest=manifest,
        summary=read_json(DATASET_DIR / "summary.json", made_by=MADE_BY),
        audit=read_json(DATASET_DIR / "audit.json", made_by=MADE_BY),
        findings=_read_text(DATASET_DIR / "findings.csv"),
        duplicates=_read_text(DATASET_DIR / "duplicates.csv"),
        quarantine=read_quarantine(DATASET_DIR / "quarantine.csv"),
        images=images_of(read_table(DATASET_DIR / "files.parquet", made_by=MADE_BY), manifest),
    )


def _read_text(path: Path) -> pd.DataFrame:
    """A CSV file whose cells are all text.

    Raises:
        ValueError: it is absent.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist; run {MADE_BY} first")
    return pd.read_csv(path, dtype=str, keep_default_na=False)
