"""What the page of a search stands on: its table of trials and its summary, compared with each other."""

from dataclasses import dataclass
from typing import Any

import pandas as pd

from src.config import ReportConfig
from src.files import read_json
from src.layout import RunFolder

AROUND = ("trial", "state", "best_epoch", "epochs", "seconds", "images_per_s", "num_params", "peak_mib", "reason")
"""Columns of the results that are neither the metric nor a dimension."""


@dataclass(frozen=True, kw_only=True)
class SearchEvidence:
    """`table` has a row per trial; `summary` is that of the search; `settings` the `report` section."""

    name: str
    table: pd.DataFrame
    summary: dict[str, Any]
    settings: ReportConfig

    @property
    def metric(self) -> str:
        """The figure that the search goes by."""
        return str(self.summary["metric"])

    @property
    def maximizes(self) -> bool:
        """Whether more of the metric is better."""
        return bool(self.summary["direction"] == "maximize")

    @property
    def dimensions(self) -> list[str]:
        """Keys of what the search varies."""
        return [name for name in self.table.columns if name not in (*AROUND, self.metric)]

    def ranked(self) -> pd.DataFrame:
        """The finished trials, the best first."""
        finished = self.table[self.table["state"] == "finished"]
        return finished.sort_values(self.metric, ascending=not self.maximizes, kind="stable")


def gather(search: RunFolder, settings: ReportConfig) -> SearchEvidence:
    """The evidence in the folder of a search.

    Raises:
        ValueError: there is no search, or none of its trials is over.
    """
    summary = read_json(search.path / "summary.json", made_by="a search (make sweep)")
    path = search.path / "results.csv"
    if "importances" not in summary or not path.exists():
        raise ValueError(f"{search.path} is not the folder of a search; its name begins with search-")
    # a preset called `none` is no missing value
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return SearchEvidence(name=search.name, table=table, summary=summary, settings=settings)
