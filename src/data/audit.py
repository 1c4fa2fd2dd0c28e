"""What is wrong with a data set, in plain words: every check of the table, its findings, and their files.

`audit.json` holds the findings with their sentences and the figures of each split, `findings.csv` a row per image or
class concerned.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from src.artifacts import STATUS_SUBSET, Manifest
from src.config_data import DataConfig
from src.data.auditing import counts, duplicates, files, splits, statistics
from src.data.auditing.findings import CASE_COLUMNS, Finding, Severity, Subject, images_of, no_cases
from src.data.overrides import Override
from src.files import write_atomically, write_json
from src.tables import rows_where
from src.wording import counted

Check = Callable[[Subject], Finding | None]

CHECKS: dict[str, Check] = {
    "leak": duplicates.leak,
    "conflicting_labels": duplicates.conflicting_labels,
    "missing_class": splits.missing_class,
    "expected_counts": counts.expected_counts,
    "quarantined": files.quarantined,
    "blank": files.blank,
    "class_imbalance": splits.class_imbalance,
    "split_shift": statistics.split_shift,
    "small_split": splits.small_split,
    "overrides_unknown": splits.overrides_unknown,
    "exact_duplicates": duplicates.exact_duplicates,
    "near_duplicates": duplicates.near_duplicates,
    "predict_overlap": duplicates.predict_overlap,
    "outlier": statistics.outlier,
    "not_compared": statistics.not_compared,
    "wrong_suffix": files.wrong_suffix,
    "converted": files.converted,
    "turned": files.turned,
    "overrides_applied": splits.overrides_applied,
}
"""Checks by the kind of their finding, the gravest first."""

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
NOUNS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}
MOST_IDS = 20
"""Images named in audit.json; findings.csv names all."""


@dataclass(frozen=True)
class Audit:
    """All findings, the gravest first, and the figures of each split."""

    findings: list[Finding]
    statistics: dict[str, Any]

    @property
    def severities(self) -> dict[str, int]:
        """Number of findings by severity."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in SEVERITIES}

    def save(self, folder: Path) -> None:
        """Write `audit.json` and `findings.csv` into the folder."""
        kinds = {finding.kind for finding in self.findings}
        facts = {
            **self.severities,
            "findings": [_as_json(finding) for finding in self.findings],
            "not_found": [kind for kind in CHECKS if kind not in kinds],
            "splits": self.statistics,
        }
        write_json(folder / "audit.json", facts)
        text = self.table().to_csv(index=False, lineterminator="\n")
        write_atomically(folder / "findings.csv", text.encode("utf-8"))

    def table(self) -> pd.DataFrame:
        """A row per image or class concerned, with the columns kind, severity, id, split, label and detail."""
        parts = [one.cases.assign(kind=one.kind, severity=one.severity) for one in self.findings]
        return pd.concat(parts or [no_cases().assign(kind="", severity="")])[["kind", "severity", *CASE_COLUMNS]]


def audit(
    files: pd.DataFrame,
    manifest: Manifest,
    duplicates: pd.DataFrame,
    *,
    overrides: Mapping[str, Override],
    cfg: DataConfig,
) -> Audit:
    """The findings about a data set.

    `files` has a row per file found with the columns of files.parquet, `duplicates` a row per member of each group of
    images that are the same with those of duplicates.csv; `overrides` are the corrections that were applied. Images
    outside a chosen subset are not looked at.
    """
    images, copies = images_of(files, manifest), duplicates.assign(label=duplicates["label"].fillna("").astype(str))
    copies = copies[copies["status"] != STATUS_SUBSET]
    subject = Subject(
        files=files,
        images=rows_where(images, images["status"] != STATUS_SUBSET),
        duplicates=copies[copies["group"].duplicated(keep=False)],
        manifest=manifest,
        overrides=overrides,
        cfg=cfg,
    )
    found = [finding for check in CHECKS.values() if (finding := check(subject)) is not None]
    found.sort(key=lambda finding: SEVERITIES.index(finding.severity))
    return Audit(found, statistics.split_statistics(subject))


def audit_text(found: Audit) -> str:
    """The findings as lines for the log, those that need no action only counted."""
    grave = [finding for finding in found.findings if finding.severity != "info"]
    lines = [f"  {finding.severity}: {finding.text}" for finding in grave]
    numbers = found.severities
    told = [counted(numbers[severity], noun) for severity, noun in NOUNS.items()]
    head = f"audit: {', '.join(told)}"
    return "\n".join([head, *lines])


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "severity": finding.severity,
        "count": finding.count,
        "text": finding.text,
        "done": finding.done,
        "advice": finding.advice,
        "ids": finding.ids[:MOST_IDS],
    }
