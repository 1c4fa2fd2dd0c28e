"""Whether what comes to a model differs from what it was tested on: a verdict for each measure and for the classes.

Numbers are compared by the two-sample test of Kolmogorov and Smirnov, predicted classes by the chi-squared statistic,
whose chance is that among answers and reference exchanged at random: its usual approximation fails where classes are
many and rare. An alarm needs both a chance below the level, after Holm's correction over all measures, and a distance
worth telling: in many images the smallest difference is no chance.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from src.config_serve import MonitorConfig
from src.paired import holm
from src.reference import PREDICTED, Reference

CLASSES = "predicted classes"
EXCHANGES, AT_ONCE = 2000, 500
"""Most exchanges at random where the level asks for no more of them, and how many are drawn together."""

ENOUGH = 50
"""Exchanges as far apart as what came after which its chance is known well enough (Besag and Clifford, 1991)."""

Status = Literal["alike", "drift", "too few", "not a number"]
WORST_FIRST: tuple[Status, ...] = ("drift", "not a number", "too few", "alike")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found of one measure.

    Attributes:
        measure: its name.
        status: `too few` images to tell, `not a number` in most of them, `drift`, or `alike`.
        distance: largest distance of the two distribution functions, of classes half the sum of the differences of
            their shares: 0 to 1; None where nothing was compared.
        chance: of a distance so large among images of the reference, corrected; None like `distance`.
        before: median in the reference, of classes the commonest one's share.
        now: the same of what came.
    """

    measure: str
    status: Status
    distance: float | None = None
    chance: float | None = None
    before: float | None = None
    now: float | None = None

    def as_tree(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def verdicts(reference: Reference, came: pd.DataFrame, cfg: MonitorConfig) -> list[Verdict]:
    """A verdict for each measure of the reference and one for the predicted classes, those that differ first.

    Args:
        reference: of the model that answered.
        came: a row per answer, with the columns of the reference.
        cfg: how much evidence is asked for.
    """
    found = [_of_numbers(reference, came, name, cfg) for name in reference.measures]
    found.append(_of_classes(reference, came, cfg))
    tested = [row for row, each in enumerate(found) if each.chance is not None]
    for row, chance in zip(tested, holm([found[row].chance or 0.0 for row in tested]), strict=True):
        found[row] = _judged(found[row], chance, cfg)
    return sorted(found, key=lambda each: (WORST_FIRST.index(each.status), -(each.distance or 0.0)))


def overall(found: Sequence[Verdict]) -> Status:
    """The worst status among the verdicts."""
    return min((each.status for each in found), key=WORST_FIRST.index)


def _of_numbers(reference: Reference, came: pd.DataFrame, name: str, cfg: MonitorConfig) -> Verdict:
    from scipy.stats import ks_2samp

    tables = (reference.table, came)
    before, now = numbers = [numbers_of(table, name) for table in tables]
    if min(map(len, tables)) < cfg.least:
        return Verdict(measure=name, status="too few")
    if any(len(those) < max(cfg.least, len(table) / 2) for those, table in zip(numbers, tables, strict=True)):
        return Verdict(measure=name, status="not a number")
    result = ks_2samp(before, now)
    return Verdict(
        measure=name,
        status="alike",
        distance=float(result.statistic),
        chance=float(result.pvalue),
        before=float(np.median(before)),
        now=float(np.median(now)),
    )


def _of_classes(reference: Reference, came: pd.DataFrame, cfg: MonitorConfig) -> Verdict:
    if len(came) < cfg.least or len(reference.table) < cfg.least:
        return Verdict(measure=CLASSES, status="too few")
    counts = np.stack([_counts(table[PREDICTED], reference.class_names) for table in (reference.table, came)])
    shares = counts / counts.sum(axis=1, keepdims=True)
    # so many that the least chance is below the level after Holm's correction
    most = max(EXCHANGES, math.ceil(2 * (len(reference.measures) + 1) / (cfg.level or 1)))
    commonest = int(shares[0].argmax())
    return Verdict(
        measure=CLASSES,
        status="alike",
        distance=float(np.abs(shares[0] - shares[1]).sum() / 2),
        chance=_chance(*counts, most=most),
        before=float(shares[0, commonest]),
        now=float(shares[1, commonest]),
    )


def numbers_of(table: pd.DataFrame, name: str) -> np.ndarray:
    """The finite numbers of a column; none where there is no such column."""
    values = table[name].to_numpy(dtype=np.float64) if name in table else np.zeros(0)
    found: np.ndarray = values[np.isfinite(values)]
    return found


def _chance(before: np.ndarray, now: np.ndarray, *, most: int) -> float:
    """Of a chi-squared statistic as large where the images of both counts are dealt anew, up to `most` times."""
    total = (before + now)[before + now > 0]
    # with these sums given, the statistic rises with the sum of squares over the totals
    least = (now[before + now > 0] ** 2 / total).sum() * (1 - 1e-12)
    rng = np.random.default_rng(0)
    reached = drawn = 0
    while reached < ENOUGH and drawn < most:
        dealt = rng.multivariate_hypergeometric(total, now.sum(), size=AT_ONCE, method="marginals")
        reached += int(((dealt**2 / total).sum(axis=1) >= least).sum())
        drawn += AT_ONCE
    return (1 + reached) / (1 + drawn)


def _counts(names: "pd.Series[Any]", class_names: list[str]) -> np.ndarray:
    return names.value_counts().reindex(class_names, fill_value=0).to_numpy(dtype=np.int64)


def _judged(verdict: Verdict, chance: float, cfg: MonitorConfig) -> Verdict:
    differs = chance < cfg.level and (verdict.distance or 0.0) >= cfg.min_distance
    return Verdict(**asdict(verdict) | {"chance": chance, "status": "drift" if differs else "alike"})
