"""The finding about counts: whether a published data set came as its publisher describes it."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from src.data.auditing.findings import Finding, Subject, cases
from src.data.auditing.published import differences
from src.wording import counted, listed

UNLABELLED_NAME = "(unlabelled)"


def expected_counts(subject: Subject) -> Finding | None:
    """Splits and classes that have more or fewer readable images than published; a chosen subset is not compared."""
    cfg = subject.cfg
    if not cfg.about.expected or cfg.subset is not None:
        return None
    counts, about = counts_found(subject.images), cfg.about
    if cfg.folds is not None:
        counts, about = _pooled(counts), replace(about, expected=_pooled(about.expected))
    differing = differences(counts, about)
    if not differing:
        return None
    corrected = " Corrected labels are counted as corrected." if subject.overrides else ""
    return Finding(
        kind="expected_counts",
        severity="warning",
        text=f"{counted(len(differing), 'class')} of a split {'has' if len(differing) == 1 else 'have'} another number "
        f"of readable images than published: {listed(differing, 8)}.",
        done=f"What came is used.{corrected}",
        advice=f"If images are missing, compare what was downloaded with {about.home_page or 'the page of the source'} "
        "and fetch it again; if some could not be read, mend those.",
        count=len(differing),
        cases=cases(pd.DataFrame(index=range(len(differing))), differing),
    )


def counts_found(images: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Readable images by split and class, those included that were left out as copies."""
    labels = images["label"].replace("", UNLABELLED_NAME)
    sizes = {str(split): rows.value_counts() for split, rows in labels.groupby(images["split"])}
    return {split: {str(name): int(number) for name, number in rows.items()} for split, rows in sizes.items()}


def _pooled(counts: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Counts with those of val in train's: folds are dealt from both together."""
    pools: dict[str, Counter[str]] = {}
    for split, by_class in counts.items():
        pools.setdefault("train" if split == "val" else split, Counter()).update(by_class)
    return {split: dict(pool) for split, pool in pools.items()}
