"""Figures, tables and final metrics of a run, handed to the views that `run.trackers` names."""

from collections.abc import Mapping
from pathlib import PurePath

import numpy as np
import pandas as pd

from src.config import RunConfig
from src.layout import RunFolder
from src.tracking import open_views
from src.trees import flat
from src.visualization.reporting.evidence import Evidence, confusion_of, mistakes_of


def publish(cfg: RunConfig, run: RunFolder, evidence: Evidence, figures: Mapping[str, bytes]) -> None:
    """Add to the run's views; one that fails costs a warning.

    Args:
        cfg: the section `run`.
        run: the run's folder.
        evidence: what the report stands on.
        figures: PNG files by their names.
    """
    record = evidence.record
    with open_views(cfg, folder=run.path, run_id=record.run_id, config=record.config, step=record.steps) as views:
        pictures = {PurePath(name).stem: content for name, content in figures.items()}
        views.show(pictures, tables_of(evidence), step=record.steps)
        views.summary(final_metrics(evidence))


def final_metrics(evidence: Evidence) -> dict[str, float]:
    """`<split>/<metric>` for every number that a split has."""
    return {
        f"{split}/{name}": value
        for split, found in evidence.metrics.items()
        if isinstance(found, Mapping)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def tables_of(evidence: Evidence) -> dict[str, pd.DataFrame]:
    """Confusion, figures of each class, and the most confident mistakes of the split that was scored."""
    scored, scores = evidence.scored, evidence.scores
    if scored is None or scores is None:
        return {}
    counts, names = confusion_of(scored), np.array(scored.class_names)
    labels, preds = np.nonzero(counts)
    confusion = {"label": names[labels], "prediction": names[preds], "images": counts[labels, preds]}
    classes = [{"class": name, **flat(figures)} for name, figures in scores["per_class"].items()]
    wrong = mistakes_of(scored)[: evidence.settings.num_mistakes]
    columns = ["id", "label", "pred", "prob", "label_prob"]
    mistakes = [{name: getattr(mistake, name) for name in columns} for mistake in wrong]
    return {
        "confusion": pd.DataFrame(confusion),
        "per_class": pd.DataFrame(classes),
        "mistakes": pd.DataFrame(mistakes, columns=columns),
    }
