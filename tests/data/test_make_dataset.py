import csv
import hashlib
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from src.artifacts import Manifest, read_table
from src.data.make_dataset import make_dataset
from src.data.stores import listing
from src.data.summary import counts_text
from src.layout import DATASET_DIR, FACTS_CACHE
from src.selection import PROJECT_ROOT
from tests.data.drawn import below, drawing, encoded, folder_of, labelled, png, scene, tar_of, zip_of

FILES = below("train", labelled({"cat": 30, "dog": 30})) | below("test", labelled({"cat": 3, "dog": 3}, first_seed=200))
BAD = {
    "train/cat/empty.jpg": b"",
    "train/cat/text.jpg": b"text",
    "train/dog/page.jpg": b"<html></html>",
    'train/dog/cut, or "half".jpg': encoded(drawing(0, (64, 48)), "JPEG")[:900],
    "train/dog/moving.gif": encoded(drawing(1), "GIF", save_all=True, append_images=[drawing(2)]),
}
IGNORED = {"labels.csv": b"x", "train/.DS_Store": b"x", "read me.txt": b"x", "__MACOSX/train/cat/._0.png": b"x"}


@pytest.fixture
def made(tmp_path, monkeypatch, composed):
    """Runs the verb on a location in an empty project folder; what it wrote."""
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")

    def make(location, *overrides):
        make_dataset(composed("data=folder", f"data.path={location}", "data.max_bad_share=0.1", *overrides))
        return Manifest.load(DATASET_DIR)

    return make


def read_summary():
    return json.loads((DATASET_DIR / "summary.json").read_text())


def test_every_file_is_read_quarantined_or_ignored_and_counted(tmp_path, made, monkeypatch, caplog):
    monkeypatch.setattr(listing, "MAX_FILE_BYTES", 20_000)
    large = {"train/cat/large.png": bytes(20_001)}
    with caplog.at_level(logging.INFO):
        manifest = made(folder_of(tmp_path / "images", FILES | BAD | IGNORED | large))
    summary = read_summary()
    assert summary["found"] == len(FILES) + len(BAD) + len(IGNORED) + len(large)
    assert (summary["ok"], summary["quarantined"]) == (len(FILES), len(BAD) + len(large))
    assert summary["ignored"] == {".csv": 1, ".txt": 1, "hidden": 2}
    assert len(manifest.table) == len(FILES)
    with (DATASET_DIR / "quarantine.csv").open(newline="") as file:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    truncated = reasons.pop('train/dog/cut, or "half".jpg')
    assert truncated.startswith("truncated: ")
    assert reasons == {
        "train/cat/empty.jpg": "empty file",
        "train/cat/text.jpg": "not an image",
        "train/cat/large.png": "too large: 20,001 bytes",
        "train/dog/page.jpg": "not an image: an HTML page",
        "train/dog/moving.gif": "animated",
    }
    assert "6 files are left out, listed in data/interim/dataset/quarantine.csv" in caplog.text
    assert "and 1 more" in caplog.text


def test_the_manifest_and_the_summary_agree(tmp_path, made, caplog):
    with caplog.at_level(logging.INFO):
        manifest = made(zip_of(tmp_path / "z.zip", FILES | {"pred/0.png": png(900)}))
    assert manifest.class_names == read_summary()["class_names"] == ["cat", "dog"]
    assert read_summary()["counts"] == {
        "train": {"cat": 26, "dog": 26},
        "val": {"cat": 4, "dog": 4},
        "test": {"cat": 3, "dog": 3},
        "predict": {"(unlabelled)": 1},
    }
    assert manifest.settings["max_bad_share"] == 0.1
    assert all(text in caplog.text for text in ("67 images of 2 classes", "total", "(unlabelled)"))


def test_the_manifest_says_where_each_image_is(tmp_path, made):
    location = tar_of(tmp_path / "t.tar.gz", below("root", FILES))
    manifest = made(location)
    row = manifest.table[manifest.table["id"] == "train/dog/7.png"].iloc[0]
    assert (row["path"], row["width"], row["height"]) == ("root/train/dog/7.png", 12, 10)
    assert row["sha256"] == hashlib.sha256(FILES["train/dog/7.png"]).hexdigest()
    assert manifest.location == location.as_posix()


def test_raw_bytes_are_never_changed(tmp_path, made):
    files = FILES | BAD | IGNORED
    folder = folder_of(tmp_path / "images", files)
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    made(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times
    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in times if path.is_file()} == files


def test_the_same_source_gives_the_same_bytes_again(tmp_path, made):
    folder = folder_of(tmp_path / "images", FILES)
    made(folder)
    before = {path.name: path.read_bytes() for path in DATASET_DIR.iterdir()}
    made(folder, "run.workers=3")
    assert {path.name: path.read_bytes() for path in DATASET_DIR.iterdir()} == before


def test_a_run_that_fails_leaves_the_earlier_data_set(tmp_path, made):
    made(folder_of(tmp_path / "images", FILES))
    before = {path.name: path.read_bytes() for path in DATASET_DIR.iterdir()}
    with pytest.raises(ValueError, match="only one class"):
        made(folder_of(tmp_path / "other", labelled({"cat": 9})))
    assert {path.name: path.read_bytes() for path in DATASET_DIR.iterdir()} == before
    assert {path.name for path in DATASET_DIR.parent.iterdir()} == {DATASET_DIR.name, FACTS_CACHE.name}


def test_many_classes_are_counted_without_a_row_each(tmp_path, made):
    manifest = made(zip_of(tmp_path / "z.zip", labelled({f"class {index}": 3 for index in range(30)})))
    assert counts_text(manifest).splitlines()[0] == "90 images of 30 classes"
    assert len(counts_text(manifest).splitlines()) == 3


def test_digits_come_with_the_project_and_need_no_torch(tmp_path):
    code = (
        "import sys; from src.compose import compose; from src.selection import parse; "
        "from src.data.make_dataset import make_dataset; make_dataset(compose(parse(['data=digits']))); "
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    env = os.environ | {"PYTHONPATH": str(PROJECT_ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    manifest = Manifest.load(tmp_path / DATASET_DIR)
    assert manifest.class_names == list("0123456789")
    assert manifest.splits() == ["train", "val", "test"]
    assert (len(manifest.rows("train")), len(manifest.rows("test"))) == (1169, 359)


@pytest.mark.parametrize(
    ("name", "overrides", "counts"),
    [
        pytest.param(
            "intel-3k.zip", [], {"train": 2037, "val": 360, "test": 600, "predict": 60}, marks=pytest.mark.slow
        ),
        pytest.param(
            "dogs-vs-cats-3k.zip",
            [r"data.label_pattern='^(cat|dog)\.'"],
            {"train": 1302, "val": 300, "test": 400, "predict": 1001},
            marks=pytest.mark.slow,
        ),
        pytest.param("cifar10-jpeg.tar.gz", [], {"train": 42357, "val": 7475, "test": 10000}, marks=pytest.mark.slow),
    ],
)
def test_real_sets_are_taken_as_they_come(made, real_data, name, overrides, counts):
    manifest = made(real_data(name), *overrides)
    assert {split: len(manifest.rows(split)) for split in manifest.splits()} == counts
    assert not read_summary()["quarantined"]


@pytest.mark.slow
def test_leaks_between_the_published_train_and_test_sets_of_intel_leave_train_and_are_told(made, real_data, caplog):
    manifest = made(real_data("intel-3k.zip"))
    copies = pd.read_csv(DATASET_DIR / "duplicates.csv", keep_default_na=False)
    across = copies.groupby("group")["split"].transform(lambda splits: {"train", "test"} <= set(splits))
    leaks = copies[across & (copies["split"] == "train")]
    assert len(leaks) == 2
    assert set(leaks["status"]) == {"duplicate"}
    assert not set(leaks["id"]) & set(manifest.used()["id"])
    assert len(manifest.rows("test")) == 600
    # the third is like an image of those to predict
    told = "3 images of train are left out: they are nearly identical with images of another split, such as seg_train/"
    assert told in caplog.text
    findings = {found["kind"]: found for found in json.loads((DATASET_DIR / "audit.json").read_text())["findings"]}
    assert set(leaks["id"]) <= set(findings["leak"]["ids"])


def test_everything_that_was_found_out_is_written(tmp_path, made):
    files = FILES | BAD | {"train/cat/copy.png": FILES["test/cat/0.png"]}
    manifest = made(folder_of(tmp_path / "images", files))
    assert {path.name for path in DATASET_DIR.iterdir()} == {
        *("manifest.parquet", "manifest.json", "files.parquet", "duplicates.csv", "audit.json", "findings.csv"),
        *("quarantine.csv", "summary.json"),
    }
    table = read_table(DATASET_DIR / "files.parquet", made_by="make_dataset")
    assert list(table["id"]) == sorted(files)
    assert set(table["id"][table["reason"] == ""]) == set(manifest.table["id"])
    copies = pd.read_csv(DATASET_DIR / "duplicates.csv")
    assert list(copies["id"]) == ["test/cat/0.png", "train/cat/copy.png"]
    assert list(copies["status"]) == ["ok", "duplicate"]
    assert read_summary()["duplicates_dropped"] == 1
    findings = pd.read_csv(DATASET_DIR / "findings.csv", keep_default_na=False)
    assert {"leak", "quarantined", "exact_duplicates"} <= set(findings["kind"])


def test_corrections_beside_the_data_are_applied_and_counted(tmp_path, made):
    path = Path("data/external/labels_overrides.csv")
    path.parent.mkdir(parents=True)
    path.write_text("id,label,who,why\ntrain/cat/0.png,dog,me,looked\ntrain/cat/1.png,!drop,me,blurred\n")
    manifest = made(folder_of(tmp_path / "images", FILES))
    assert manifest.table.set_index("id")["label"]["train/cat/0.png"] == 1
    assert read_summary()["overrides_dropped"] == 1
    assert len(manifest.used()) == len(FILES) - 1


def test_a_subset_is_counted_as_such(tmp_path, made):
    manifest = made(folder_of(tmp_path / "images", FILES), "data.subset=3")
    assert {split: len(manifest.rows(split)) for split in manifest.splits()} == {"train": 6, "val": 6, "test": 6}
    assert read_summary()["outside_subset"] == len(FILES) - 18


def test_a_list_of_images_is_a_source(tmp_path, made):
    folder_of(tmp_path / "images", FILES)
    names = list(FILES)
    rows = "".join(f"{name},{name.split('/')[1].upper()},{name.split('/')[0]}\n" for name in names)
    (tmp_path / "images/list.csv").write_text(f"path,label,split\n{rows}gone.png,CAT,train\n")
    manifest = made(tmp_path / "images/list.csv")
    assert manifest.class_names == ["CAT", "DOG"]
    assert set(manifest.table["id"]) == set(names)
    assert read_summary()["found"] == len(names) + 1
    assert "gone.png,listed but absent" in (DATASET_DIR / "quarantine.csv").read_text()


# interrupted and at once


def contents(project):
    """The data set that lies in a project folder, byte for byte; None where there is none."""
    folder = project / DATASET_DIR
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else None


def started(project, images, *overrides):
    project.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "src.data.make_dataset", "data=folder", f"data.path={images}", *overrides]
    env = os.environ | {"PYTHONPATH": str(PROJECT_ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=project, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finished(process):
    said = process.communicate()[1].decode()
    assert process.returncode == 0, said


@pytest.fixture
def some_hundred(tmp_path):
    """A folder of images with bad files and copies among them."""
    seeds = range(300)
    files = {f"train/{'cat' if seed % 2 else 'dog'}/{seed}.png": encoded(scene(seed, (160, 120))) for seed in seeds}
    files |= {f"test/{'cat' if seed % 2 else 'dog'}/{seed}.png": encoded(scene(seed)) for seed in range(295, 310)}
    return folder_of(tmp_path / "images", files | BAD)


@pytest.mark.slow
def test_killed_at_ten_random_moments_and_run_again_gives_the_same_bytes_as_one_run(tmp_path, some_hundred):
    begun = time.monotonic()
    finished(started(tmp_path / "unbroken", some_hundred))
    span = time.monotonic() - begun
    expected = contents(tmp_path / "unbroken")
    moments = random.Random(0)
    project, num_killed = tmp_path / "broken", 0
    for _ in range(100):
        begun = time.monotonic()
        process = started(project, some_hundred)
        try:
            # most of the first third of a run goes into imports
            process.wait(moments.uniform(span / 4, span))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        num_killed += process.returncode == -signal.SIGKILL
        assert process.returncode in (0, -signal.SIGKILL)
        assert contents(project) in (None, expected)
        if process.returncode == 0:
            # begin anew, so that every kill has work to break, and sooner where the first run took longer than others
            span = min(span, time.monotonic() - begun)
            shutil.rmtree(project)
        if num_killed == 10:
            break
    assert num_killed == 10
    finished(started(project, some_hundred))
    assert contents(project) == expected
    left = {path.name for path in (project / DATASET_DIR.parent).iterdir()}
    assert left == {DATASET_DIR.name, FACTS_CACHE.name}


@pytest.mark.slow
def test_of_two_runs_at_once_both_succeed_and_one_of_their_data_sets_is_there_whole(tmp_path, some_hundred):
    expected = []
    for seed in (1, 2):
        finished(started(tmp_path / f"alone {seed}", some_hundred, f"data.seed={seed}"))
        expected.append(contents(tmp_path / f"alone {seed}"))
    runs = [started(tmp_path / "shared", some_hundred, f"data.seed={seed}") for seed in (1, 2)]
    for run in runs:
        finished(run)
    assert expected[0] != expected[1]
    assert contents(tmp_path / "shared") in expected
