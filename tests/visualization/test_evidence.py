import json
import logging
import shutil

import numpy as np
import pytest

from src.artifacts import Predictions
from src.files import read_json, write_json
from src.layout import DATASET_DIR, PACKED_DIR, PIPELINE_RUN, RunFolder
from src.visualization.reporting.evidence import confusion_of, gather, mistakes_of

RUN = RunFolder(PIPELINE_RUN)


def predictions(labels: list[int], probs: list[list[float]]) -> Predictions:
    ids = [f"image {number}" for number in range(len(labels))]
    table = np.array(probs, dtype=np.float32)
    names = ["ant", "bee", "cat"][: table.shape[1]]
    return Predictions(ids, ids, np.array(labels), table, names, "test", "c0ffee")


def test_mistakes_come_surest_first_and_leave_out_right_and_unlabelled_images():
    scored = predictions([0, 1, 0, -1], [[0.4, 0.6], [0.2, 0.8], [0.1, 0.9], [0.5, 0.5]])
    found = mistakes_of(scored)
    assert [(mistake.id, mistake.label, mistake.pred) for mistake in found] == [
        ("image 2", "ant", "bee"),
        ("image 0", "ant", "bee"),
    ]
    assert (found[0].prob, found[0].label_prob) == pytest.approx((0.9, 0.1))


def test_confusion_counts_labelled_images_only():
    scored = predictions([0, 1, 0, -1], [[0.4, 0.6], [0.2, 0.8], [0.9, 0.1], [0.5, 0.5]])
    assert confusion_of(scored).tolist() == [[1, 1], [0, 1]]


@pytest.mark.parametrize(
    ("absent", "verb"),
    [
        (DATASET_DIR / "manifest.json", "make_dataset"),
        (DATASET_DIR / "summary.json", "make_dataset"),
        (DATASET_DIR / "quarantine.csv", "make_dataset"),
        (PACKED_DIR / "test" / "index.json", "build_features"),
        (RUN.train / "run.json", "train_model"),
        (RUN.metrics_log, "train_model"),
        (RUN.metrics, "predict_model"),
    ],
)
def test_an_absent_artifact_is_answered_with_the_verb_that_writes_it(drawn_run, cfg, absent, verb):
    drawn_run()
    absent.unlink()
    with pytest.raises(ValueError, match=rf"{absent.name} does not exist; run {verb} first"):
        gather(RUN, cfg.report)


def test_absent_predictions_are_answered_with_predict_model(drawn_run, cfg):
    drawn_run()
    shutil.rmtree(RUN.predictions)
    with pytest.raises(ValueError, match=r"predictions holds no predictions; run predict_model first"):
        gather(RUN, cfg.report)


def test_an_absent_run_folder_is_answered_with_both_ways_out(drawn_run, cfg):
    drawn_run()
    with pytest.raises(ValueError, match=r"models/runs/gone does not exist; run train_model first.*run_dir="):
        gather(RunFolder(RUN.path.parent / "runs" / "gone"), cfg.report)


def test_an_empty_log_is_answered_with_train_model(drawn_run, cfg):
    drawn_run()
    RUN.metrics_log.write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match=r"metrics.jsonl tells of no finished epoch; run train_model again"):
        gather(RUN, cfg.report)


def test_a_half_written_line_is_left_out_and_a_repeated_epoch_counts_once(drawn_run, cfg, caplog):
    drawn_run()
    lines = RUN.metrics_log.read_text("utf-8").splitlines()
    again = json.dumps(json.loads(lines[1]) | {"train/loss": 9.0})
    RUN.metrics_log.write_text("\n".join([*lines[:2], lines[2][:20], again, *lines[2:]]) + "\n", encoding="utf-8")
    curves = gather(RUN, cfg.report).curves
    assert curves["epoch"].tolist() == [1, 2, 3, 4]
    assert curves["train/loss"].tolist()[1] == 9.0
    assert "line 3 of" in caplog.text


def test_the_result_is_told_by_test_before_val(drawn_run, cfg):
    drawn_run()
    evidence = gather(RUN, cfg.report)
    assert set(evidence.predictions) == {"test", "val"}
    assert evidence.scored is not None
    assert evidence.scored.split == "test"


def test_the_result_is_told_by_val_where_test_has_no_labels(drawn_run, cfg):
    drawn_run(unlabelled=("test",))
    evidence = gather(RUN, cfg.report)
    assert evidence.scored is not None
    assert evidence.scored.split == "val"
    assert evidence.scores == evidence.metrics["val"]


def test_no_labels_at_all_leave_no_result(drawn_run, cfg):
    drawn_run(unlabelled=("test", "val"))
    assert gather(RUN, cfg.report).scored is None


def test_the_best_epoch_is_the_one_of_highest_val_accuracy_where_the_record_is_silent(drawn_run, cfg):
    drawn_run()
    record = read_json(RUN.train / "run.json", made_by="train_model")
    write_json(RUN.train / "run.json", record | {"best": {}})
    assert gather(RUN, cfg.report).best_epoch == 3


def test_data_that_are_not_the_ones_of_the_run_are_named_and_their_pixels_not_shown(drawn_run, cfg, caplog):
    drawn_run()
    same = gather(RUN, cfg.report)
    ids = same.packed["test"].ids[:2]
    assert [pixels is not None for pixels in same.pixels("test", ids)] == [True, True]
    assert not same.other_data

    record = read_json(RUN.train / "run.json", made_by="train_model")
    write_json(RUN.train / "run.json", record | {"data_digest": "of other data"})
    with caplog.at_level(logging.WARNING):
        other = gather(RUN, cfg.report)
    assert other.other_data
    assert other.pixels("test", ids) == [None, None]
    assert "was trained on other data (digest of other data)" in caplog.text


def test_pixels_are_those_of_the_asked_ids_in_their_order(drawn_run, cfg):
    drawn_run()
    evidence = gather(RUN, cfg.report)
    pack = evidence.packed["test"]
    first, absent, second = evidence.pixels("test", [pack.ids[3], "gone", pack.ids[0]])
    assert np.array_equal(first, pack.shards[0][3])
    assert absent is None
    assert np.array_equal(second, pack.shards[0][0])
