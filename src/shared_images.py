"""The images that all compared runs were scored on, and which of them each run answers rightly."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from src.artifacts import Predictions
from src.paired import Differences
from src.runs import Run
from src.wording import counted, listed


@dataclass(frozen=True)
class Answers:
    """`correct` has a row per image and a column per run's folder, `groups` the number of each image's group, 0 and on.

    `notes` are sentences on what was left out, and on groups.
    """

    split: str
    correct: pd.DataFrame
    groups: np.ndarray
    notes: list[str]

    def of(self, runs: Sequence[Run]) -> np.ndarray:
        """Share of these runs that are right, for each image."""
        return self._counts(runs) / len(runs)

    def differences(self, first: Sequence[Run], second: Sequence[Run]) -> Differences:
        """By how much more often the first runs are right than the second ones."""
        unit = math.lcm(len(first), len(second))
        ahead = self._counts(first) * (unit // len(first)) - self._counts(second) * (unit // len(second))
        sums = np.bincount(self.groups, weights=ahead).astype(np.int64)
        return Differences(sums, np.bincount(self.groups), unit)

    def _counts(self, runs: Sequence[Run]) -> np.ndarray:
        """How many of these runs are right on each image."""
        return self.correct[[run.place for run in runs]].to_numpy(dtype=np.int64).sum(axis=1)


def answers_of(runs: Sequence[Run], split: str) -> Answers:
    """The answers of the runs on the labelled images of the split that all of them were scored on.

    Raises:
        ValueError: a run was not scored, knows other classes, or has no image in common with the others.
    """
    scored = {run.place: run.predictions(split) for run in runs}
    unscored = [place for place, found in scored.items() if found is None]
    if unscored:
        raise ValueError(
            f"{len(unscored)} of {counted(len(runs), 'run')} {'has' if len(unscored) == 1 else 'have'} no predictions "
            f"of {split} ({listed(unscored, 3)}); score them: python -m src.models.predict_model -m "
            f"run_dir={','.join(unscored)}, or compare another split: compare.split=val"
        )
    found = {place: predictions for place, predictions in scored.items() if predictions is not None}
    _check_classes(found)
    tables = {place: _labelled(predictions) for place, predictions in found.items()}
    labels, notes = _common(tables, split)
    groups = _groups(found, labels.index)
    notes += _in_groups(groups) + _other_data(runs)
    correct = {place: table["pred"].reindex(labels.index) == labels for place, table in tables.items()}
    return Answers(split, pd.DataFrame(correct), groups, notes)


def _labelled(predictions: Predictions) -> pd.DataFrame:
    """Label and prediction of each labelled image, by its id."""
    names = np.array(predictions.class_names, dtype=object)
    known = predictions.labels >= 0
    columns = {"label": names[predictions.labels[known]], "pred": names[predictions.preds[known]]}
    return pd.DataFrame(columns, index=pd.Index(np.array(predictions.ids, dtype=object)[known], name="id"))


def _check_classes(found: Mapping[str, Predictions]) -> None:
    first = next(iter(found))
    for place, predictions in found.items():
        if set(predictions.class_names) != set(found[first].class_names):
            raise ValueError(
                f"{first} knows the classes {listed(found[first].class_names)}, {place} "
                f"{listed(predictions.class_names)}: runs of different tasks cannot be compared"
            )


def _common(tables: Mapping[str, pd.DataFrame], split: str) -> "tuple[pd.Series[str], list[str]]":
    """The label of each image that all runs have under one label, and sentences on those left out.

    Raises:
        ValueError: there is none.
    """
    first, *others = tables
    labels = tables[first]["label"]
    shared = labels.index
    for place in others:
        shared = shared.intersection(tables[place].index, sort=False)
    sizes = {place: len(table) for place, table in tables.items()}
    if not len(shared):
        other = next((place for place in others if not len(labels.index.intersection(tables[place].index))), others[-1])
        raise ValueError(
            f"{first} and {other} have no image of {split} in common: figures on different images cannot be compared; "
            "give runs that were scored on the same data"
        )
    agreed = np.ones(len(shared), dtype=bool)
    for place in others:
        agreed &= (tables[place]["label"][shared] == labels[shared]).to_numpy()
    notes = []
    if max(sizes.values()) > len(shared):
        notes.append(
            f"The runs were scored on different images of {split} ({min(sizes.values()):,} to "
            f"{max(sizes.values()):,}): they are compared on the {len(shared):,} that all of them have, told by their "
            "ids."
        )
    if not agreed.all():
        notes.append(f"{counted(int((~agreed).sum()), 'image')} with different labels in different runs are left out.")
    if not agreed.any():
        raise ValueError(f"no image of {split} has the same label in all runs: give runs of the same data")
    return labels[shared[agreed]], notes


def _groups(found: Mapping[str, Predictions], ids: pd.Index) -> np.ndarray:
    """The number of each image's group, by the first run that tells it; each image is one of its own if none does."""
    told = next((predictions for predictions in found.values() if predictions.groups is not None), None)
    if told is None:
        return np.arange(len(ids))
    return pd.factorize(pd.Series(told.groups, index=told.ids)[ids])[0]


def _in_groups(groups: np.ndarray) -> list[str]:
    num_groups = int(groups.max()) + 1
    if num_groups == len(groups):
        return []
    return [
        f"The {counted(len(groups), 'image')} are of {counted(num_groups, 'group')} that belong together: tests, and "
        "intervals over images, take each group as a whole."
    ]


def _other_data(runs: Sequence[Run]) -> list[str]:
    digests = {run.record.data_digest for run in runs}
    if len(digests) == 1:
        return []
    return [
        f"The runs were trained on {len(digests)} different data sets by their digests ({', '.join(sorted(digests))}): "
        "part of a difference may be theirs."
    ]
