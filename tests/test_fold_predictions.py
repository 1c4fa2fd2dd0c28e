from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from src.artifacts import write_table
from src.fold_predictions import FOLD_PREDICTIONS_FILE, KFoldPredictions


@pytest.fixture
def predictions() -> KFoldPredictions:
    """Six images of three classes in three folds."""
    probs = np.full((6, 3), 0.1, dtype=np.float32)
    probs[np.arange(6), [0, 1, 2, 0, 1, 1]] = 0.8
    return KFoldPredictions(
        ids=[f"{number}.png" for number in range(6)],
        splits=["train"] * 4 + ["test"] * 2,
        labels=np.array([0, 1, 2, 0, 1, 2]),
        folds=np.array([0, 1, 2, 0, 1, 2]),
        probs=probs,
        class_names=["a", "a,b", ""],
        features="pixels at 8 px",
        digest="0123456789abcdef",
    )


def test_loaded_predictions_are_those_that_were_saved(predictions, tmp_path):
    predictions.save(tmp_path / "folds")
    loaded = KFoldPredictions.load(tmp_path / "folds")
    for name in ("ids", "splits", "class_names", "features", "digest"):
        assert getattr(loaded, name) == getattr(predictions, name)
    for name in ("labels", "folds", "probs"):
        assert np.array_equal(getattr(loaded, name), getattr(predictions, name))
        assert getattr(loaded, name).dtype == getattr(predictions, name).dtype


def test_accuracy_is_the_share_of_labels_that_are_the_most_probable_class(predictions):
    assert predictions.acc == pytest.approx(5 / 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"splits": ["train"]}, "differ in length"),
        ({"ids": ["same.png"] * 6}, "an id stands twice"),
        ({"class_names": ["a", "b"]}, r"\(6, 3\) probs for 2 classes"),
        ({"labels": np.array([0, 1, 2, 0, 1, -1])}, r"labels outside 0\.\.2"),
        ({"labels": np.array([0, 1, 2, 0, 1, 3])}, r"labels outside 0\.\.2"),
        ({"folds": np.zeros(6, dtype=np.int64)}, r"folds \[0\]"),
        ({"folds": np.array([0, 2, 2, 0, 2, 2])}, r"folds \[0, 2\]"),
        ({"probs": np.full((6, 3), np.nan, dtype=np.float32)}, "NaN"),
        ({"probs": np.tile(np.array([-0.5, 0.5, 1], dtype=np.float32), (6, 1))}, "negative"),
        ({"probs": np.full((6, 3), 0.5, dtype=np.float32)}, "do not sum to one"),
    ],
)
def test_a_broken_promise_is_told(predictions, change, message):
    with pytest.raises(ValueError, match=f"fold predictions: .*{message}.*run predict_folds again"):
        replace(predictions, **change)


def test_absent_damaged_and_foreign_files_name_the_verb_that_writes_them(predictions, tmp_path):
    with pytest.raises(ValueError, match="does not exist; run predict_folds first"):
        KFoldPredictions.load(tmp_path)
    predictions.save(tmp_path)
    path = tmp_path / FOLD_PREDICTIONS_FILE
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"is damaged .* run predict_folds again"):
        KFoldPredictions.load(tmp_path)
    write_table(path, pd.DataFrame({"id": ["0.png"]}))
    with pytest.raises(ValueError, match="is not a file of fold predictions; run predict_folds again"):
        KFoldPredictions.load(tmp_path)
