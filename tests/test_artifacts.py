import resource
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from src.artifacts import (
    MANIFEST_COLUMNS,
    STATUSES,
    Manifest,
    Predictions,
    RunRecord,
    ordered_splits,
    read_json,
    read_table,
    told_by,
    write_json,
)
from src.files import write_atomically

PROJECT_ROOT = Path(__file__).resolve().parents[1]


def manifest_table(**columns) -> pd.DataFrame:
    rows = {
        "id": ["cat/b.png", "cat/a.png", "dog/ü.png", "dog/d.png"],
        "path": ["x/cat/b.png", "x/cat/a.png", "x/dog/ü.png", "x/dog/d.png"],
        "label": [0, 0, 1, -1],
        "split": ["train", "train", "val", "test"],
        "group": ["g0", "g0", "g1", "g2"],
        "width": [8, 9, 10, 11],
        "height": [8, 8, 8, 8],
        "sha256": ["0", "1", "2", "3"],
        "status": ["ok", "ok", "ok", "ok"],
    }
    return pd.DataFrame(rows | columns)


def manifest(**columns) -> Manifest:
    return Manifest(manifest_table(**columns), ["cat", "dog"], "data/raw/source", {"seed": 0})


def predictions(**changes) -> Predictions:
    values = {
        "ids": ["a", "b", "c"],
        "paths": ["a.png", "b.png", "c.png"],
        "labels": np.array([1, 0, -1]),
        "probs": np.array([[0.25, 0.75], [0.5, 0.5], [1, 0]], dtype=np.float32),
        "class_names": ["cat", "dog"],
        "split": "test",
        "checkpoint": "0123abcd",
    }
    return Predictions(**(values | changes))


# manifest


def test_a_manifest_comes_back_as_it_was_saved(tmp_path):
    saved = manifest()
    saved.save(tmp_path / "dataset")
    loaded = Manifest.load(tmp_path / "dataset")
    pd.testing.assert_frame_equal(loaded.table, saved.table)
    assert (loaded.class_names, loaded.location, loaded.settings) == (saved.class_names, saved.location, saved.settings)
    assert loaded.digest() == saved.digest()


def test_an_empty_manifest_is_allowed(tmp_path):
    empty = Manifest(manifest_table().iloc[:0], [], "somewhere", {})
    empty.save(tmp_path)
    assert len(Manifest.load(tmp_path).table) == 0
    assert empty.splits() == []


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"id": ["a", "b", "a", "c"]}, "1 ids stand twice in the manifest, 'a' first; run make_dataset again"),
        ({"label": [0, 0, 2, -1]}, r"labels outside 0\.\.1 in the manifest"),
        ({"label": [0, 0, 1, -2]}, r"labels outside 0\.\.1 in the manifest"),
        ({"sha256": ["0", "1", "0", "3"]}, "1 values of sha256 stand in two splits"),
        ({"group": ["g0", "g1", "g1", "g0"]}, "2 values of group stand in two splits"),
        ({"status": ["ok", "ok", "lost", "ok"]}, "status 'lost' in the manifest is none; run make_dataset again"),
    ],
)
def test_a_manifest_that_breaks_a_promise_is_refused(columns, told):
    with pytest.raises(ValueError, match=told):
        manifest(**columns)


@pytest.mark.parametrize("column", MANIFEST_COLUMNS)
def test_a_manifest_without_a_column_is_refused(column):
    with pytest.raises(ValueError, match=f"a manifest without {column}; run make_dataset again"):
        Manifest(manifest_table().drop(columns=column), ["cat", "dog"], "", {})


def test_a_row_left_out_may_repeat_an_image_of_another_split():
    left_out = manifest(sha256=["0", "1", "0", "3"], status=["ok", "ok", "duplicate", "ok"])
    assert list(left_out.used()["id"]) == ["cat/b.png", "cat/a.png", "dog/d.png"]
    assert left_out.splits() == ["train", "test"]


def test_copies_may_stand_in_two_splits_where_the_settings_keep_them_and_groups_never():
    kept = {"seed": 0, "duplicates": {"policy": "keep"}}
    table = manifest_table(sha256=["0", "1", "0", "3"])
    assert Manifest(table, ["cat", "dog"], "", kept).splits() == ["train", "val", "test"]
    with pytest.raises(ValueError, match="1 values of sha256 stand in two splits"):
        Manifest(table, ["cat", "dog"], "", {"duplicates": {"policy": "group"}})
    with pytest.raises(ValueError, match="1 values of group stand in two splits"):
        Manifest(manifest_table(group=["g0", "g1", "g1", "g2"]), ["cat", "dog"], "", kept)


@pytest.mark.parametrize("status", sorted(set(STATUSES) - {"ok"}))
def test_a_row_that_is_not_ok_takes_no_part(status):
    assert list(manifest(status=["ok", status, "ok", "ok"]).rows("train")["id"]) == ["cat/b.png"]


def test_the_digest_of_many_rows_is_that_of_their_text(monkeypatch):
    once = manifest().digest()
    monkeypatch.setattr("src.artifacts.ROWS_AT_ONCE", 3)
    assert manifest().digest() == once


def test_rows_of_a_split_come_in_the_order_of_their_ids():
    assert list(manifest().rows("train")["id"]) == ["cat/a.png", "cat/b.png"]
    assert len(manifest().rows("no such split")) == 0


@pytest.mark.parametrize(
    "columns",
    [{"label": [0, 1, 1, -1]}, {"split": ["train", "train", "val", "val"]}, {"sha256": ["0", "1", "2", "9"]}],
)
def test_the_digest_changes_with_image_label_and_split(columns):
    assert manifest(**columns).digest() != manifest().digest()


def test_the_digest_does_not_depend_on_the_order_of_rows():
    backwards = Manifest(manifest_table().iloc[::-1], ["cat", "dog"], "elsewhere", {})
    assert backwards.digest() == manifest().digest()


def test_a_manifest_whose_files_are_of_two_runs_is_refused(tmp_path):
    manifest().save(tmp_path)
    manifest(label=[0, 1, 1, -1]).save(tmp_path / "other")
    (tmp_path / "other" / "manifest.parquet").replace(tmp_path / "manifest.parquet")
    with pytest.raises(ValueError, match=r"do not match; run make_dataset again"):
        Manifest.load(tmp_path)


@pytest.mark.parametrize("name", ["manifest.json", "manifest.parquet"])
def test_an_absent_or_damaged_manifest_names_the_verb_to_run(tmp_path, name):
    manifest().save(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:40])
    with pytest.raises(ValueError, match=rf"{name} is damaged .*; run make_dataset again"):
        Manifest.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} does not exist; run make_dataset first"):
        Manifest.load(tmp_path)


# predictions


@pytest.mark.parametrize("groups", [None, np.array([0, 1, 0])])
def test_predictions_come_back_as_they_were_saved(tmp_path, groups):
    saved = predictions(groups=groups)
    saved.save(tmp_path / "predictions" / "test.parquet")
    loaded = Predictions.load(tmp_path / "predictions" / "test.parquet")
    assert loaded.probs.dtype == np.float32
    for key, value in vars(saved).items():
        assert np.array_equal(getattr(loaded, key), value), key


def test_predictions_of_no_image_are_allowed(tmp_path):
    none = predictions(ids=[], paths=[], labels=np.zeros(0, dtype=int), probs=np.zeros((0, 2), dtype=np.float32))
    none.save(tmp_path / "test.parquet")
    assert Predictions.load(tmp_path / "test.parquet").preds.shape == (0,)


def test_the_table_of_predictions_is_read_by_people():
    table = predictions().table()
    assert list(table.columns) == ["id", "path", "label", "pred", "prob_cat", "prob_dog"]
    assert list(table["label"]) == ["dog", "cat", ""]
    assert list(table["pred"]) == ["dog", "cat", "cat"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ids": ["a", "b"]}, "predictions of test: ids, paths, labels, probs and groups differ in length"),
        ({"groups": np.array([0, 1])}, "predictions of test: ids, paths, labels, probs and groups differ in length"),
        ({"class_names": ["cat", "dog", "cow"]}, r"\(3, 2\) probs for 3 classes"),
        ({"class_names": ["cat", "cat"]}, "class names must differ and not be empty"),
        ({"class_names": ["cat", ""]}, "class names must differ and not be empty"),
        ({"labels": np.array([0, 1, 2])}, r"labels outside 0\.\.1"),
        ({"labels": np.array([0, 1, -2])}, r"labels outside 0\.\.1"),
        ({"probs": np.array([[0.5, np.nan]] * 3)}, "a NaN or an infinity: the weights are broken"),
        ({"probs": np.array([[0.5, np.inf]] * 3)}, "a NaN or an infinity: the weights are broken"),
        ({"probs": np.array([[0.5, 0.4]] * 3)}, "negative or do not sum to one"),
        ({"probs": np.array([[1.5, -0.5]] * 3)}, "negative or do not sum to one"),
    ],
)
def test_predictions_that_break_a_promise_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        predictions(**changes)


def test_absent_damaged_or_foreign_predictions_name_the_verb_to_run(tmp_path):
    path = tmp_path / "test.parquet"
    with pytest.raises(ValueError, match=r"test\.parquet does not exist; run predict_model first"):
        Predictions.load(path)
    path.write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r"test\.parquet is damaged .*; run predict_model again"):
        Predictions.load(path)
    pd.DataFrame({"id": ["a"]}).to_parquet(path)
    with pytest.raises(ValueError, match=r"test\.parquet is not a file of predictions; run predict_model again"):
        Predictions.load(path)


# record of a run


def record() -> RunRecord:
    return RunRecord(
        run_id="r1",
        config={"optimizer": {"lr": 0.1}},
        class_names=["cat", "dog"],
        data_digest="ab",
        git={},
        environment={"python": "3.11"},
        device="cpu",
        num_params=10,
        epochs=2,
        steps=20,
        best={"val/acc": 0.5},
        seconds=1.5,
        images_per_s=100.0,
        peak_mib=0.0,
        stopped="done",
    )


def test_a_run_record_comes_back_as_it_was_saved(tmp_path):
    record().save(tmp_path)
    assert RunRecord.load(tmp_path) == record()


def test_a_run_record_of_another_version_names_the_fields(tmp_path):
    content = asdict(record()) | {"colour": "red"}
    del content["steps"]
    write_json(tmp_path / "run.json", content)
    with pytest.raises(ValueError, match=r"run\.json differs in colour, steps; run train_model again"):
        RunRecord.load(tmp_path)


def test_an_absent_run_record_names_the_verb_to_run(tmp_path):
    with pytest.raises(ValueError, match=r"run\.json does not exist; run train_model first"):
        RunRecord.load(tmp_path)


# files


def test_splits_come_in_the_usual_order_then_by_name():
    assert ordered_splits({"test", "zoo", "val", "train", "extra"}) == ["train", "val", "test", "extra", "zoo"]


def test_json_keeps_letters_of_all_languages(tmp_path):
    write_json(tmp_path / "a.json", {"class": "Übergröße"})
    assert "Übergröße" in (tmp_path / "a.json").read_text(encoding="utf-8")
    assert read_json(tmp_path / "a.json", made_by="x") == {"class": "Übergröße"}


@pytest.mark.parametrize("content", [b"", b'{"a": 1', b"\xff\xfe"])
def test_damaged_json_names_the_verb_to_run(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json is damaged .*; run make_dataset again"):
        read_json(tmp_path / "a.json", made_by="make_dataset")


def test_a_full_disk_leaves_the_old_file_and_names_path_and_bytes(tmp_path):
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match=r"File too large \(1000 bytes were to be written\): '.*a\.bin'"):
            write_atomically(path, b"n" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == b"old"
    assert [found.name for found in tmp_path.iterdir()] == ["a.bin"]


def test_a_kill_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.bin"
    write_atomically(path, b"old")
    code = (
        "import os, signal; from pathlib import Path; from src.files import write_atomically\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"write_atomically(Path({str(path)!r}), b'new')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        write_json(tmp_path / "file" / "a.json", {})


def test_an_empty_file_is_no_table(tmp_path):
    (tmp_path / "a.parquet").touch()
    with pytest.raises(ValueError, match=r"a\.parquet is damaged .*; run build_features again"):
        read_table(tmp_path / "a.parquet", made_by="build_features")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (["train", "val", "test", "interesting"], "test"),
        (["interesting", "val", "train"], "val"),
        (["train", "z", "interesting"], "interesting"),
        (["train"], None),
    ],
)
def test_a_result_is_told_by_test_else_val_else_another_but_never_by_train(names, told):
    assert told_by(set(names)) == told
