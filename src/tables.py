"""Tables of a million rows without a second copy of them in memory."""

import numpy as np
import pandas as pd


def rows_where(table: pd.DataFrame, holds: pd.Series) -> pd.DataFrame:
    """The rows for which it holds; all of them are not copied, as a million take a quarter of a gigabyte."""
    mask = holds.to_numpy(dtype=bool)
    return table.copy(deep=False) if mask.all() else table[mask]


def numbered(names: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """The number of each name in the order of all different ones, and a row for each number.

    What `factorize(sort=True)` finds, by sorting rather than by hash tables of a million names; none may be missing.
    """
    order = np.asarray(names.array.argsort())
    in_order = names.array.take(order)
    is_first = np.ones(len(order), bool)
    is_first[1:] = np.asarray(in_order[1:] != in_order[:-1], dtype=bool)
    codes = np.empty(len(order), np.int64)
    codes[order] = np.cumsum(is_first) - 1
    return codes, order[is_first]
