import json

import numpy as np
import pytest

from src.artifacts import Predictions
from src.reference import Reference, reference_of


def predictions(labels: list[int]) -> Predictions:
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], dtype=np.float32)
    names = ["a", "b", "c"]
    return Predictions(names, names, np.array(labels), probs, ["cat", "dog"], "test", "c0ffee")


LOOKS = {"brightness": np.array([0.1, 0.2, 0.3], dtype=np.float32)}


def test_a_reference_comes_back_as_it_was_saved(tmp_path):
    reference = reference_of(predictions([0, 1, 1]), LOOKS)
    reference.save(tmp_path / "reference.json")
    back = Reference.load(tmp_path / "reference.json")
    assert back.acc == pytest.approx(2 / 3)
    assert (back.class_names, back.checkpoint, back.split) == (["cat", "dog"], "c0ffee", "test")
    assert back.measures == ["confidence", "brightness"]
    assert list(back.table["pred"]) == ["cat", "dog", "cat"]
    assert np.allclose(back.table["confidence"], [0.9, 0.8, 0.6], atol=1e-4)


def test_without_labels_there_is_no_accuracy():
    assert reference_of(predictions([-1, -1, -1]), LOOKS).acc is None


@pytest.mark.parametrize("content", [{}, {"columns": {"a": [1]}}, {"columns": {"a": [1], "b": []}}, {"columns": 3}])
def test_another_file_is_no_reference(tmp_path, content):
    (tmp_path / "reference.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"is no reference .*run predict_model again"):
        Reference.load(tmp_path / "reference.json")


def test_an_absent_reference_names_the_verb_that_writes_it(tmp_path):
    with pytest.raises(ValueError, match=r"reference.json does not exist; run predict_model first"):
        Reference.load(tmp_path / "reference.json")
