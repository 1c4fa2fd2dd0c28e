import unicodedata

import pandas as pd
import pytest

from src.data.assembly import assemble
from src.data.candidates import ListedStore, store_of
from tests.data.drawn import below, folder_of, labelled, png, settings

FILES = below("photos", labelled({"cat": 10, "dog": 10}))


def table_of(files, **columns):
    """A list of the files, labelled by their folders, with further columns."""
    return pd.DataFrame({"path": list(files), "label": [name.split("/")[-2] for name in files]} | columns)


def assembled(tmp_path, files, table, **changes):
    folder_of(tmp_path / "data", files)
    path = tmp_path / "data/list.csv"
    table.to_csv(path, index=False)
    cfg = settings(name="folder", path=str(path), **changes)
    return assemble(store_of(path.parent, cfg), cfg)


def by_id(dataset, column):
    return dict(zip(dataset.manifest.table["id"], dataset.manifest.table[column], strict=True))


def test_of_a_folder_with_a_list_only_the_listed_images_are_taken_and_labelled_as_it_says(tmp_path):
    table = table_of(FILES).assign(label=["meow"] * 10 + ["woof"] * 10)
    dataset = assembled(tmp_path, FILES | {"photos/cat/other.png": png(99), "notes.txt": b"x"}, table)
    assert list(dataset.manifest.table["id"]) == sorted(FILES)
    assert dataset.manifest.class_names == ["meow", "woof"]
    assert dataset.manifest.location == (tmp_path / "data").as_posix()
    assert not dataset.ignored


def test_a_listed_file_that_cannot_be_read_is_quarantined_with_the_reason(tmp_path):
    more = ["photos/cat/gone.png", "photos/cat/notes.txt", "photos/cat/bad.png"]
    files = FILES | {"photos/cat/notes.txt": b"x", "photos/cat/bad.png": b"x"}
    table = pd.concat([table_of(FILES), pd.DataFrame({"path": more, "label": "cat"})])
    dataset = assembled(tmp_path, files, table, max_bad_share=0.5)
    assert dataset.quarantine == {
        "photos/cat/gone.png": "listed but absent",
        "photos/cat/notes.txt": "listed, but no image by its name (.txt)",
        "photos/cat/bad.png": "not an image",
    }
    assert len(dataset.files) == len(FILES) + 3


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(7))
    folder_of(tmp_path / "data", FILES)
    (tmp_path / "data/photos/cat/link.png").symlink_to(tmp_path / "secret.png")
    table = pd.concat([table_of(FILES), pd.DataFrame({"path": ["photos/cat/link.png"], "label": "cat"})])
    assert assembled(tmp_path, FILES, table, max_bad_share=0.5).quarantine == {
        "photos/cat/link.png": "listed but absent"
    }


def test_names_are_found_however_their_accents_are_stored(tmp_path):
    composed = below("photos", labelled({"été": 6, "dog": 6}))
    apart = {unicodedata.normalize("NFD", name): content for name, content in composed.items()}
    for stored, listed in ((composed, apart), (apart, composed)):
        dataset = assembled(tmp_path / str(len(list(tmp_path.iterdir()))), stored, table_of(listed))
        assert set(dataset.manifest.table["id"]) == set(composed)
        assert set(dataset.manifest.table["path"]) == set(stored)


def test_the_splits_of_a_list_are_kept_and_may_have_names_of_their_own(tmp_path):
    splits = (["Training"] * 6 + ["test", "test", "interesting", "predict"]) * 2
    manifest = assembled(tmp_path, FILES, table_of(FILES, split=splits), val_share=0.0).manifest
    assert {split: len(manifest.rows(split)) for split in manifest.splits()} == {
        "train": 12,
        "test": 4,
        "interesting": 2,
        "predict": 2,
    }


@pytest.mark.parametrize(("split", "told"), [("tets", "names no split; did you mean test"), ("Night", "is no name of")])
def test_a_split_that_cannot_be_meant_is_named_before_any_image_is_read(tmp_path, split, told):
    table = table_of(FILES, split=["train"] * 19 + [split])
    with pytest.raises(ValueError, match=rf"split '{split}' in .*list\.csv {told}"):
        assembled(tmp_path, dict.fromkeys(FILES, b"no image"), table)


def test_splits_never_divide_a_group(tmp_path):
    files = below("photos", labelled({"cat": 40, "dog": 40}))
    patients = [f"patient {index % 16}" for index in range(80)]
    for changes in ({}, {"folds": 4, "fold": 1}):
        folder = tmp_path / str(len(changes))
        manifest = assembled(folder, files, table_of(files, group=patients), **changes).manifest
        table = manifest.table.set_index("id").loc[list(files)]
        assert list(table["group"]) == patients
        assert table.groupby("group")["split"].nunique().max() == 1
        assert set(table["split"]) == {"train", "val", "test"}


def test_a_group_that_shares_a_copy_with_another_stays_with_it(tmp_path):
    files = below("photos", labelled({"cat": 20, "dog": 20}))
    files["photos/cat/0.png"] = files["photos/cat/7.png"]
    patients = [f"patient {index // 4}" for index in range(40)]
    for seed in range(5):
        manifest = assembled(tmp_path / str(seed), files, table_of(files, group=patients), seed=seed).manifest
        table = manifest.table.set_index("id").loc[list(files)]
        assert set(table["group"].iloc[:8]) == {"patient 0"}
        assert table["split"].iloc[:8].nunique() == 1


def test_a_group_in_two_given_splits_is_refused_unless_it_is_to_be_predicted(tmp_path):
    table = table_of(FILES, split=(["train"] * 8 + ["test"] * 2) * 2, group=["p"] + [None] * 8 + ["p"] + [None] * 10)
    with pytest.raises(ValueError, match="group 'p' has images in test and in train"):
        assembled(tmp_path, FILES, table)
    table.loc[9, "label"] = None
    assert by_id(assembled(tmp_path, FILES, table), "split")["photos/cat/9.png"] == "predict"


def test_a_list_without_labels_says_what_to_add(tmp_path):
    with pytest.raises(ValueError, match=r"no image in .*list\.csv has a label; add a column label"):
        assembled(tmp_path, FILES, table_of(FILES).drop(columns="label"))


def test_a_list_of_another_suffix_is_read_the_same(tmp_path):
    folder_of(tmp_path, FILES)
    table_of(FILES).to_parquet(tmp_path / "list.parquet")
    table_of(FILES).to_csv(tmp_path / "list.tsv", sep="\t", index=False)
    digests = set()
    for name in ("list.parquet", "list.tsv"):
        cfg = settings(name="folder", path=str(tmp_path / name))
        store = store_of(tmp_path, cfg)
        assert isinstance(store, ListedStore)
        digests.add(assemble(store, cfg).manifest.digest())
    assert len(digests) == 1


def test_a_folder_is_no_list_whatever_it_is_called(tmp_path):
    folder = folder_of(tmp_path / "images.csv", FILES)
    cfg = settings(name="folder", path=str(folder))
    assert store_of(folder, cfg).kind == "folder"
