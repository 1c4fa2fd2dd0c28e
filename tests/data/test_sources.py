import json
import os
from pathlib import Path

import numpy as np
import pytest

from src.config import Config, DownloadConfig
from src.data.archives import open_images
from src.data.checks import decode
from src.data.fetch_data import fetch_data
from src.data.fetching.local import DIGITS_FILE
from src.data.fetching.record import SOURCE_FILE
from src.data.labels import label_of_path
from src.data.sources import SOURCES, fetch
from src.data.splits import split_of_path
from src.data.stores.listing import ignored_as
from tests.data.drawn import folder_of, labelled, png, settings, tar_of, zip_of

FILES = labelled({"cat": 2, "dog": 2})
DOWNLOAD = DownloadConfig(retries=0, wait_s=0.0, stall_s=1.0)


def record(raw):
    return json.loads((raw / SOURCE_FILE).read_text())


def fetched_digest(path, raw):
    fetch(settings(path=str(path)), raw, download=DOWNLOAD)
    return record(raw)["digest"]


def test_digits_are_a_zip_of_a_folder_for_each_class_scaled_to_full_range(tmp_path):
    store = open_images(fetch(settings(name="digits"), tmp_path, download=DOWNLOAD))
    files = dict(store.read())
    assert len(files) == 1797
    assert {name.split("/")[0] for name in files} == set("0123456789")
    pixels = np.asarray(decode(files["0/0000.png"], 100))
    assert (pixels.shape, pixels.min(), pixels.max()) == ((8, 8, 3), 0, 239)
    assert max(np.asarray(decode(content, 100)).max() for content in list(files.values())[:20]) == 255


def test_digits_have_the_same_bytes_everywhere_and_are_written_once(tmp_path):
    one, two = (fetch(settings(name="digits"), tmp_path / name, download=DOWNLOAD) for name in ("a", "b"))
    assert one.read_bytes() == two.read_bytes()
    before = one.stat().st_mtime_ns
    fetch(settings(name="digits"), tmp_path / "a", download=DOWNLOAD)
    assert one.stat().st_mtime_ns == before
    assert one.name == DIGITS_FILE


def test_a_folder_is_read_where_it_lies_and_the_record_says_what_is_there(tmp_path):
    folder = folder_of(tmp_path / "images", FILES)
    assert fetch(settings(path=str(folder)), tmp_path / "raw", download=DOWNLOAD) == folder
    found = record(tmp_path / "raw")
    size = sum(map(len, FILES.values()))
    assert found | {"digest": ""} == {
        "name": "folder",
        "location": folder.as_posix(),
        "kind": "folder",
        "files": 4,
        "bytes": size,
        "digest": "",
        "overrides": "",
    }
    assert [path.name for path in (tmp_path / "raw").iterdir()] == [SOURCE_FILE]


def test_the_record_is_left_alone_where_nothing_changed_and_mended_where_damaged(tmp_path):
    folder = folder_of(tmp_path / "images", FILES)
    digest = fetched_digest(folder, tmp_path / "raw")
    before = (tmp_path / "raw" / SOURCE_FILE).stat().st_mtime_ns
    assert fetched_digest(folder, tmp_path / "raw") == digest
    assert (tmp_path / "raw" / SOURCE_FILE).stat().st_mtime_ns == before
    (tmp_path / "raw" / SOURCE_FILE).write_text("{")
    assert fetched_digest(folder, tmp_path / "raw") == digest


def added(folder: Path):
    (folder / "cat/9.png").write_bytes(png(9))


def removed(folder: Path):
    (folder / "cat/0.png").unlink()


def renamed(folder: Path):
    (folder / "cat/0.png").rename(folder / "cat/00.png")


def moved(folder: Path):
    (folder / "cat/0.png").rename(folder / "dog/00.png")


def rewritten(folder: Path):
    path = folder / "cat/0.png"
    after = path.stat().st_mtime_ns + 1
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(after, after))


@pytest.mark.parametrize("change", [added, removed, renamed, moved, rewritten])
def test_every_change_below_the_path_changes_the_digest(tmp_path, change):
    folder = folder_of(tmp_path / "images", FILES)
    before = fetched_digest(folder, tmp_path / "raw")
    change(folder)
    assert fetched_digest(folder, tmp_path / "raw") != before


def test_clutter_of_the_system_does_not_change_the_digest(tmp_path):
    folder = folder_of(tmp_path / "images", FILES)
    before = fetched_digest(folder, tmp_path / "raw")
    (folder / "cat/.DS_Store").write_bytes(b"x")
    (folder / "gone.png").symlink_to("nowhere")
    after = fetched_digest(folder, tmp_path / "raw")
    (folder / "gone.png").unlink()
    assert fetched_digest(folder, tmp_path / "raw") == before != after


def test_a_changed_archive_changes_the_digest(tmp_path):
    path = zip_of(tmp_path / "z.zip", FILES)
    before = fetched_digest(path, tmp_path / "raw")
    zip_of(path, FILES | {"cat/9.png": png(9)})
    assert fetched_digest(path, tmp_path / "raw") != before
    assert fetched_digest(tar_of(tmp_path / "t.tar.gz", FILES), tmp_path / "raw") != before


def test_a_path_that_cannot_be_used_is_told(tmp_path):
    raw = tmp_path / "raw"
    with pytest.raises(ValueError, match=r"nowhere does not exist; give .*, or a list \(\.csv"):
        fetch(settings(path=str(tmp_path / "nowhere")), raw, download=DOWNLOAD)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"data\.path=.*empty is an empty folder; put images there"):
        fetch(settings(path=str(tmp_path / "empty")), raw, download=DOWNLOAD)
    (tmp_path / "one.png").write_bytes(png(0))
    with pytest.raises(ValueError, match=r"data\.path=.*one\.png is a single file and neither archive nor list; give"):
        fetch(settings(path=str(tmp_path / "one.png")), raw, download=DOWNLOAD)
    with pytest.raises(ValueError, match=r"data\.name=digit is unknown; did you mean digits"):
        fetch(settings(name="digit"), raw, download=DOWNLOAD)
    assert not raw.exists()


def test_a_folder_around_the_pipelines_own_output_is_refused(tmp_path):
    folder = folder_of(tmp_path / "data", FILES)
    with pytest.raises(ValueError, match=r"which the pipeline writes; move the images to a folder of their own"):
        fetch(settings(path=str(folder)), folder / "raw/source", download=DOWNLOAD)


def test_a_digest_of_the_corrected_labels_is_part_of_the_record(tmp_path):
    folder, overrides = folder_of(tmp_path / "images", FILES), tmp_path / "overrides.csv"
    digests = []
    for content in (None, "id,label,who,why\n", "id,label,who,why\na,b,c,d\n"):
        if content is not None:
            overrides.write_text(content)
        fetch(settings(path=str(folder), overrides=str(overrides)), tmp_path / "raw", download=DOWNLOAD)
        digests.append(record(tmp_path / "raw")["overrides"])
    assert digests[0] == ""
    assert len(set(digests)) == 3
    fetch(settings(path=str(folder), overrides=None), tmp_path / "raw", download=DOWNLOAD)
    assert record(tmp_path / "raw")["overrides"] == ""


LISTED = "path,label\ncat/0.png,cat\ndog/0.png,dog\ndog/absent.png,dog\n"


@pytest.fixture
def image_list(tmp_path):
    path = folder_of(tmp_path / "images", FILES) / "images.csv"
    path.write_text(LISTED)
    return path


def test_the_location_of_a_list_is_its_folder_and_only_what_it_names_counts(tmp_path, image_list):
    assert fetch(settings(path=str(image_list)), tmp_path / "raw", download=DOWNLOAD) == image_list.parent
    found = record(tmp_path / "raw")
    assert (found["kind"], found["files"]) == ("list", 3)
    assert found["bytes"] == len(LISTED) + len(FILES["cat/0.png"]) + len(FILES["dog/0.png"])
    (image_list.parent / "cat/1.png").write_bytes(b"not listed")
    assert fetched_digest(image_list, tmp_path / "raw") == found["digest"]


def test_a_change_of_the_list_or_of_a_listed_image_changes_the_digest(tmp_path, image_list):
    digests = [fetched_digest(image_list, tmp_path / "raw")]
    rewritten(image_list.parent)
    digests.append(fetched_digest(image_list, tmp_path / "raw"))
    (image_list.parent / "dog/absent.png").write_bytes(png(8))
    digests.append(fetched_digest(image_list, tmp_path / "raw"))
    image_list.write_text(LISTED.replace(",cat", ",dog"))
    digests.append(fetched_digest(image_list, tmp_path / "raw"))
    assert len(set(digests)) == 4


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_has_a_preset_that_says_what_is_known_of_it(composed, name):
    path = ["data.path=images"] if name == "folder" else []
    cfg = composed(f"data={name}", *path).data
    assert cfg.name == name
    if name == "folder":
        return
    about = cfg.about
    assert about.home_page is not None
    assert about.home_page.startswith("https://")
    assert about.classes is not None
    for split, counts in about.expected.items():
        assert split in {"predict", *cfg.split_patterns}
        assert list(counts) == (["(unlabelled)"] if split == "predict" else about.classes)
        assert all(count > 0 for count in counts.values())


def test_the_presets_add_up_to_the_published_totals(composed):
    totals = {
        name: {split: sum(counts.values()) for split, counts in composed(f"data={name}").data.about.expected.items()}
        for name in SOURCES
        if name != "folder"
    }
    assert totals == {
        "digits": {"train": 1797},
        "cifar10": {"train": 50_000, "test": 10_000},
        "landscape": {"train": 10_000, "val": 1500, "test": 500},
        "animals": {"train": 20_000, "val": 1000, "test": 1907, "interesting": 60},
        "intel": {"train": 14_034, "test": 3000, "predict": 7301},
        "cats_dogs": {"train": 25_000, "predict": 12_500},
    }


PUBLISHED_LAYOUTS = {
    "landscape": {
        "Landscape Classification/Landscape Classification/Training Data/Coast/Coast-Train (1).jpeg": (
            "train",
            "Coast",
        ),
        "Landscape Classification/Landscape Classification/Validation Data/Coast/1.jpeg": ("val", "Coast"),
        "Landscape Classification/Landscape Classification/Testing Data/Desert/1.jpeg": ("test", "Desert"),
    },
    "animals": {
        "Animal-Data-V2/Data-V2/Training Data/Cat/1.jpeg": ("train", "Cat"),
        "Animal-Data-V2/Data-V2/Interesting Data/Cat/1.jpeg": ("interesting", "Cat"),
    },
    "intel": {
        "seg_train/seg_train/sea/1.jpg": ("train", "sea"),
        "seg_test/seg_test/sea/1.jpg": ("test", "sea"),
        "seg_pred/seg_pred/1.jpg": ("predict", None),
    },
    "cats_dogs": {
        "train/cat.0.jpg": ("train", "cat"),
        "train/dog.12499.jpg": ("train", "dog"),
        "test1/1.jpg": ("predict", None),
    },
    "cifar10": {"train/cat/00029.png": ("train", "cat"), "test/ship/00001.png": ("test", "ship")},
}


@pytest.mark.parametrize("name", PUBLISHED_LAYOUTS)
def test_the_presets_read_split_and_label_from_the_published_folders(composed, name):
    cfg = composed(f"data={name}").data
    found = {
        path: (
            split_of_path(path, cfg.split_patterns),
            label_of_path(path, cfg.label_pattern, cfg.split_patterns),
        )
        for path in PUBLISHED_LAYOUTS[name]
    }
    assert found == PUBLISHED_LAYOUTS[name]


@pytest.mark.parametrize("name", ["landscape/TFRecords/train.tfrecords", "Data-V2/TFRecords/part-0", "a/x.tfrec"])
def test_records_of_another_framework_are_no_images(name):
    assert ignored_as(name) is not None


def test_fetch_data_writes_where_the_pipeline_looks(tmp_path, monkeypatch, composed):
    monkeypatch.chdir(tmp_path)
    cfg: Config = composed("data=folder", f"data.path={folder_of(tmp_path / 'images', FILES)}")
    fetch_data(cfg)
    assert record(tmp_path / "data/raw/source")["files"] == 4
