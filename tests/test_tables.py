import numpy as np
import pandas as pd
import pytest

from src.tables import numbered, rows_where


@pytest.mark.parametrize("dtype", ["str", object])
@pytest.mark.parametrize("names", [["b", "a", "b", "ü", "a"], ["a"], []])
def test_names_are_numbered_as_pandas_numbers_them(names, dtype):
    column = pd.Series(names, dtype=dtype)
    codes, first = numbered(column)
    expected, different = pd.factorize(column, sort=True)
    assert codes.tolist() == expected.tolist()
    assert column.iloc[first].tolist() == list(different)


def test_some_rows_are_chosen_and_all_rows_are_not_copied():
    table = pd.DataFrame({"a": np.arange(3)})
    assert rows_where(table, table["a"] > 0)["a"].tolist() == [1, 2]
    assert np.shares_memory(rows_where(table, table["a"] >= 0)["a"].to_numpy(), table["a"].to_numpy())
