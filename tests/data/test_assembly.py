import logging
import unicodedata
from dataclasses import replace

import pytest

from src.data.archives import open_images
from src.data.assembly import assemble, check_settings
from src.data.duplicates import STATUS_CONFLICT
from tests.data.drawn import (
    below,
    drawing,
    encoded,
    folder_of,
    labelled,
    png,
    scene,
    settings,
    shuffled,
    tar_of,
    zip_of,
)

CATS_AND_DOGS = labelled({"cat": 10, "dog": 10})
OFFICIAL = below("train", CATS_AND_DOGS) | below("test", labelled({"cat": 3, "dog": 3}, first_seed=100))


def assembled(tmp_path, files, **changes):
    return assemble(open_images(zip_of(tmp_path / "z.zip", files)), settings(**changes))


def split_counts(dataset):
    return {split: len(dataset.manifest.rows(split)) for split in dataset.manifest.splits()}


def by_id(dataset, column):
    return dict(zip(dataset.manifest.table["id"], dataset.manifest.table[column], strict=True))


@pytest.mark.parametrize("files", [CATS_AND_DOGS, OFFICIAL], ids=["drawn splits", "official splits"])
def test_folder_and_archives_of_the_same_images_give_the_same_data_set(tmp_path, files):
    locations = [
        folder_of(tmp_path / "folder", files),
        folder_of(tmp_path / "outer", below("inner", files)),
        zip_of(tmp_path / "z.zip", shuffled(files, 1)),
        zip_of(tmp_path / "rooted.zip", below("some/root", shuffled(files, 2))),
        tar_of(tmp_path / "t.tar.gz", shuffled(files, 3)),
        tar_of(tmp_path / "dotted.tar.xz", {f"./{name}": content for name, content in files.items()}, "w:xz"),
    ]
    found = [assemble(open_images(location), settings()).manifest for location in locations]
    assert len({manifest.digest() for manifest in found}) == 1
    assert [list(manifest.table["id"]) for manifest in found] == [sorted(files)] * len(found)


def test_another_image_label_or_seed_gives_another_data_set(tmp_path):
    def digest(files, **changes):
        return assembled(tmp_path, files, **changes).manifest.digest()

    moved = {("dog/c.png" if name == "cat/0.png" else name): content for name, content in CATS_AND_DOGS.items()}
    digests = {
        digest(CATS_AND_DOGS),
        digest(CATS_AND_DOGS | {"cat/0.png": png(99)}),
        digest(moved),
        digest(CATS_AND_DOGS, seed=1),
    }
    assert len(digests) == 4


def test_without_split_folders_all_splits_are_cut(tmp_path):
    assert split_counts(assembled(tmp_path, CATS_AND_DOGS)) == {"train": 12, "val": 4, "test": 4}
    assert split_counts(assembled(tmp_path, CATS_AND_DOGS, val_share=0.0)) == {"train": 16, "test": 4}


def test_an_official_test_set_is_kept_and_val_is_cut_from_train(tmp_path):
    dataset = assembled(tmp_path, OFFICIAL)
    assert split_counts(dataset) == {"train": 16, "val": 4, "test": 6}
    assert set(dataset.manifest.rows("test")["id"]) == {name for name in OFFICIAL if name.startswith("test/")}


def test_a_source_of_train_alone_is_cut_like_one_without_splits(tmp_path):
    assert split_counts(assembled(tmp_path, below("train", CATS_AND_DOGS))) == {"train": 12, "val": 4, "test": 4}


def test_labels_in_file_names_and_an_unlabelled_folder(tmp_path):
    files = {f"train/{name.replace('/', '.')}": content for name, content in CATS_AND_DOGS.items()}
    files |= {f"test1/{index}.png": png(200 + index) for index in range(3)}
    dataset = assembled(tmp_path, files, label_pattern=r"^(cat|dog)\.")
    assert dataset.manifest.class_names == ["cat", "dog"]
    assert split_counts(dataset) == {"train": 12, "val": 4, "test": 4, "predict": 3}
    assert set(dataset.manifest.rows("predict")["label"]) == {-1}


def test_a_folder_among_those_to_predict_makes_no_class(tmp_path):
    dataset = assembled(tmp_path, OFFICIAL | {"seg_pred/batch 1/0.png": png(300), "seg_pred/cat/1.png": png(301)})
    assert dataset.manifest.class_names == ["cat", "dog"]
    labels = by_id(dataset, "label")
    assert (labels["seg_pred/batch 1/0.png"], labels["seg_pred/cat/1.png"]) == (-1, 0)


def test_twins_across_official_splits_leave_train(tmp_path, caplog):
    twins = {"train/cat/twin.png": OFFICIAL["test/cat/0.png"], "train/dog/x.png": png(400), "train/cat/x.png": png(400)}
    with caplog.at_level(logging.WARNING):
        dataset = assembled(tmp_path, OFFICIAL | twins)
    status = by_id(dataset, "status")
    assert {name: status[name] for name in twins} == {
        "train/cat/twin.png": "duplicate",
        "train/dog/x.png": "conflict",
        "train/cat/x.png": "conflict",
    }
    assert status["test/cat/0.png"] == "ok"
    assert "train/cat/twin.png = test/cat/0.png" in caplog.text
    assert split_counts(dataset) == {"train": 16, "val": 4, "test": 6}


def test_twins_within_train_go_to_one_split(tmp_path):
    twins = {f"cat/twin {index}.png": content for index, content in enumerate([png(0), png(1), png(2)] * 2)}
    dataset = assembled(tmp_path, CATS_AND_DOGS | twins)
    table = dataset.manifest.used()
    assert len(table) == 26
    assert table.groupby("sha256")["split"].nunique().max() == 1


def test_labelled_strays_beside_split_folders_are_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        assembled(tmp_path, OFFICIAL | {"extra/cat/0.png": png(500)})
    assert "1 labelled images are in no split of their own; they count as train" in caplog.text


def test_unicode_names_are_composed_whatever_wrote_them(tmp_path):
    files = labelled({"Été 犬": 10, "b": 10})
    apart = {unicodedata.normalize("NFD", name): content for name, content in files.items()}
    assert set(apart) != set(files)
    one, two = assembled(tmp_path, files), assembled(tmp_path, apart)
    assert one.manifest.class_names == two.manifest.class_names == ["b", "Été 犬"]
    assert one.manifest.digest() == two.manifest.digest()
    assert set(two.manifest.table["path"]) == set(apart)


def test_names_that_read_the_same_are_refused(tmp_path):
    twice = {"cat/\u00e9.png": png(0), "cat/e\u0301.png": png(1)}
    with pytest.raises(ValueError, match="which read the same; rename one of them"):
        assembled(tmp_path, CATS_AND_DOGS | twice)


def test_a_name_that_is_not_utf8_is_refused(tmp_path):
    folder = folder_of(tmp_path / "folder", CATS_AND_DOGS)
    try:
        (folder / "cat/\udcff.png").write_bytes(png(0))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(ValueError, match=r"'cat/\\udcff.png', a name that is not UTF-8; rename it"):
        assemble(open_images(folder), settings())


def test_converted_images_are_counted_by_mode(tmp_path):
    odd = {
        "cat/grey.png": encoded(drawing(600).convert("L")),
        "cat/cmyk.jpg": encoded(drawing(601).convert("CMYK"), "JPEG"),
        "cat/clear.png": encoded(drawing(602).convert("RGBA")),
    }
    modes = assembled(tmp_path, CATS_AND_DOGS | odd).modes
    assert modes == {"RGB": 20, "L": 1, "CMYK": 1, "RGBA": 1}


def test_width_and_height_are_those_after_the_turn(tmp_path):
    exif = drawing(0).getexif()
    exif[0x0112] = 6
    turned = encoded(drawing(700, (20, 10)), "JPEG", exif=exif)
    dataset = assembled(tmp_path, CATS_AND_DOGS | {"cat/turned.jpg": turned})
    assert (by_id(dataset, "width")["cat/turned.jpg"], by_id(dataset, "height")["cat/turned.jpg"]) == (10, 20)


def test_too_many_bad_files_stop_the_run_and_name_some(tmp_path):
    bad = {f"cat/bad {index}.jpg": b"text" for index in range(5)}
    with pytest.raises(
        ValueError,
        match=r"5 of 25 files are not usable images \(20\.0%, data\.max_bad_share=0\.1\), such as cat/bad 0\.jpg: not",
    ):
        assembled(tmp_path, CATS_AND_DOGS | bad, max_bad_share=0.1)
    assert len(assembled(tmp_path, CATS_AND_DOGS | bad, max_bad_share=0.2).quarantine) == 5


def test_no_image_at_all_is_told_with_what_was_there(tmp_path):
    with pytest.raises(ValueError, match=r"no image in .*z\.zip \(ignored: 2 \.zip, 1 hidden\); .*unpack archives"):
        assembled(tmp_path, {"train.zip": b"x", "test1.zip": b"x", ".DS_Store": b"x"})
    with pytest.raises(ValueError, match=r"no image in .* \(ignored: nothing\)"):
        assembled(tmp_path, {})


def test_images_without_any_label_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"no image in .* has a label: they lie in no folder named after a class"):
        assembled(tmp_path, {"train/0.png": png(0), "test/1.png": png(1)})
    with pytest.raises(ValueError, match=r"has a label: data\.label_pattern=\^\(x\) is found in no file name"):
        assembled(tmp_path, CATS_AND_DOGS, label_pattern="^(x)")


def test_one_class_or_a_class_of_test_alone_stops_the_run(tmp_path):
    with pytest.raises(ValueError, match="only one class found, 'cat'"):
        assembled(tmp_path, labelled({"cat": 9}))
    with pytest.raises(ValueError, match="test has classes that train lacks: 'cow'"):
        assembled(tmp_path, OFFICIAL | {"test/cow/0.png": png(800)})
    with pytest.raises(ValueError, match="class 'cow' has 2 images, but test, val, train need one each"):
        assembled(tmp_path, CATS_AND_DOGS | labelled({"cow": 2}, first_seed=900))


def test_a_class_that_test_lacks_is_in_the_list_of_classes(tmp_path):
    dataset = assembled(tmp_path, OFFICIAL | below("train", labelled({"cow": 5}, first_seed=950)))
    assert dataset.manifest.class_names == ["cat", "cow", "dog"]
    assert set(dataset.manifest.rows("test")["label"]) == {0, 2}


def test_patterns_are_checked_before_any_data_is_read():
    with pytest.raises(ValueError, match=r"data\.label_pattern=cat has no group"):
        check_settings(settings(label_pattern="cat"))
    with pytest.raises(ValueError, match=r"data\.split_patterns\.tets names no split"):
        check_settings(settings(split_patterns={"tets": "x"}))


# copies


def scenes(classes, first_seed=0):
    seeds = iter(range(first_seed, first_seed + sum(classes.values())))
    return {f"{name}/{i}.png": encoded(scene(next(seeds))) for name, count in classes.items() for i in range(count)}


def again(files, name):
    """A near duplicate of one of the files: the same picture, smaller and as a JPEG."""
    seed = list(files).index(name)
    return encoded(scene(seed, (48, 36)), "JPEG", quality=85)


TRAIN = below("train", scenes({"cat": 12, "dog": 12}))
LEAKY = (
    TRAIN
    | below("test", scenes({"cat": 3, "dog": 3}, first_seed=100))
    | {"test/cat/leak.jpg": again(TRAIN, "train/cat/3.png")}
)


def policy(name):
    return {"duplicates": replace(settings().duplicates, policy=name)}


def test_a_near_duplicate_of_a_test_image_leaves_train_and_the_test_set_stays_as_published(tmp_path, caplog):
    dataset = assembled(tmp_path, LEAKY)
    status = by_id(dataset, "status")
    assert {name for name, found in status.items() if found != "ok"} == {"train/cat/3.png"}
    assert set(dataset.manifest.rows("test")["id"]) == {name for name in LEAKY if name.startswith("test/")}
    assert "1 images of train are left out: they are nearly identical with images of another split" in caplog.text
    assert "train/cat/3.png = test/cat/leak.jpg" in caplog.text
    assert dataset.duplicates.to_dict("records") == [
        {"group": found["group"], "kind": "near", "id": name, "split": split, "label": "cat", "status": status[name]}
        for name, split, found in zip(
            ["test/cat/leak.jpg", "train/cat/3.png"],
            ["test", "train"],
            dataset.duplicates.to_dict("records"),
            strict=True,
        )
    ]


def test_near_duplicates_may_count_as_different(tmp_path):
    exact = {"duplicates": replace(settings().duplicates, near_distance=None)}
    assert set(by_id(assembled(tmp_path, LEAKY, **exact), "status").values()) == {"ok"}


@pytest.mark.parametrize("seed", range(5))
def test_copies_go_to_one_split_by_policy_group_and_one_of_them_is_used_by_policy_drop(tmp_path, seed):
    files = scenes({"cat": 12, "dog": 12})
    files |= {"cat/a copy.jpg": again(files, "cat/5.png"), "cat/b copy.png": files["cat/5.png"]}
    copies = ["cat/5.png", "cat/a copy.jpg", "cat/b copy.png"]
    grouped = assembled(tmp_path, files, seed=seed)
    table = grouped.manifest.used().set_index("id")
    assert table["split"][copies].nunique() == table["group"][copies].nunique() == 1
    dropped = assembled(tmp_path, files, seed=seed, **policy("drop"))
    assert [by_id(dropped, "status")[name] for name in copies] == ["ok", "duplicate", "duplicate"]


def test_by_policy_keep_nothing_is_left_out_and_copies_need_not_stay_together(tmp_path):
    files = TRAIN | {"test/cat/leak.png": TRAIN["train/cat/3.png"], "test/dog/0.png": encoded(scene(200))}
    dataset = assembled(tmp_path, files, **policy("keep"))
    assert set(by_id(dataset, "status").values()) == {"ok"}
    assert list(dataset.duplicates["id"]) == ["test/cat/leak.png", "train/cat/3.png"]
    many = {f"cat/{index}.png": encoded(scene(0)) for index in range(30)} | scenes({"dog": 9}, first_seed=300)
    table = assembled(tmp_path, many, **policy("keep")).manifest.used()
    assert table[table["label"] == 0]["split"].nunique() == 3


# corrections


def corrected(tmp_path, files, rows, **changes):
    path = tmp_path / "overrides.csv"
    path.write_text("id,label,who,why\n" + "".join(f"{name},{label},me,looked\n" for name, label in rows.items()))
    return assembled(tmp_path, files, overrides=str(path), **changes)


def test_corrected_labels_are_applied_before_images_are_split_and_dropped_ones_take_no_part(tmp_path):
    rows = {"cat/0.png": "dog", "dog/1.png": "!drop"}
    dataset = corrected(tmp_path, CATS_AND_DOGS, rows)
    used = dataset.manifest.used()
    assert used["label"].value_counts().to_dict() == {1: 10, 0: 9}
    assert (by_id(dataset, "label")["cat/0.png"], by_id(dataset, "status")["dog/1.png"]) == (1, "dropped")
    assert set(dataset.overrides) == set(rows)
    assert "dog/1.png" in set(dataset.manifest.table["id"])


def test_a_correction_settles_what_copies_disagree_about(tmp_path):
    files = CATS_AND_DOGS | {"cat/twin.png": png(500), "dog/twin.png": png(500)}
    twins = ("cat/twin.png", "dog/twin.png")
    assert [by_id(assembled(tmp_path, files), "status")[name] for name in twins] == [STATUS_CONFLICT] * 2
    for label in ("cat", "!drop"):
        status = by_id(corrected(tmp_path, files, {"dog/twin.png": label}), "status")
        assert [status[name] for name in twins] == ["ok", "ok" if label == "cat" else "dropped"]


def test_a_dropped_test_image_no_longer_keeps_its_copy_out_of_train(tmp_path):
    status = by_id(corrected(tmp_path, LEAKY, {"test/cat/leak.jpg": "!drop"}), "status")
    assert (status["train/cat/3.png"], status["test/cat/leak.jpg"]) == ("ok", "dropped")


def test_a_correction_to_an_unknown_class_is_refused_with_the_near_name(tmp_path):
    with pytest.raises(ValueError, match=r"label of 'cat/0\.png' is 'dogg', .* did you mean dog"):
        corrected(tmp_path, CATS_AND_DOGS, {"cat/0.png": "dogg"})


# folds, further splits, subsets

INTERESTING = {"train": "train", "val": "val", "test": "test", "predict": "pred", "interesting": "interesting"}
MANY = (
    below("train", labelled({"cat": 20, "dog": 21}))
    | below("val", labelled({"cat": 5, "dog": 5}, first_seed=50))
    | below("test", labelled({"cat": 3, "dog": 3}, first_seed=100))
    | below("interesting", labelled({"cat": 2, "dog": 2}, first_seed=150))
    | {f"pred/{index}.png": png(200 + index) for index in range(4)}
)


def test_train_and_val_are_dealt_into_folds_and_every_other_split_is_the_same_in_all(tmp_path):
    folds = [assembled(tmp_path, MANY, split_patterns=INTERESTING, folds=5, fold=fold).manifest for fold in range(5)]
    pool = {name for name in MANY if name.startswith(("train", "val"))}
    val = [set(manifest.rows("val")["id"]) for manifest in folds]
    assert sum(map(len, val)) == len(set().union(*val)) == len(pool)
    assert all(set(manifest.rows("train")["id"]) == pool - mine for manifest, mine in zip(folds, val, strict=True))
    assert {len(mine) for mine in val} == {10, 11}
    for split in ("test", "interesting", "predict"):
        assert len({tuple(manifest.rows(split)["id"]) for manifest in folds}) == 1
        assert len(folds[0].rows(split)) > 0
    assert len({manifest.digest() for manifest in folds}) == 5


def test_without_a_test_split_the_folds_share_the_one_that_is_cut(tmp_path):
    folds = [assembled(tmp_path, CATS_AND_DOGS, folds=4, fold=fold).manifest for fold in range(4)]
    assert len({tuple(manifest.rows("test")["id"]) for manifest in folds}) == 1
    assert all(len(manifest.rows("test")) == len(manifest.rows("val")) == 4 for manifest in folds)


def test_a_class_too_small_for_the_folds_stops_the_run(tmp_path):
    with pytest.raises(ValueError, match="class 'cow' has 3 images, but fold 0 to fold 4 need one each at least"):
        assembled(tmp_path, MANY | below("train", labelled({"cow": 3}, first_seed=300)), folds=5, fold=0)


def test_copies_in_train_and_val_are_no_leak_where_folds_are_cut_from_both(tmp_path):
    files = MANY | {"val/cat/copy.png": MANY["train/cat/0.png"]}
    dataset = assembled(tmp_path, files, folds=5, fold=0)
    assert by_id(dataset, "status")["train/cat/0.png"] == "ok"
    assert by_id(dataset, "split")["train/cat/0.png"] == by_id(dataset, "split")["val/cat/copy.png"]


def test_a_further_split_stays_by_itself_and_its_images_out_of_train(tmp_path):
    files = MANY | {"train/cat/copy.png": MANY["interesting/cat/0.png"]}
    dataset = assembled(tmp_path, files, split_patterns=INTERESTING)
    assert split_counts(dataset) == {"train": 41, "val": 10, "test": 6, "interesting": 4, "predict": 4}
    assert by_id(dataset, "status")["train/cat/copy.png"] == "duplicate"


def test_a_subset_is_stratified_and_the_rest_is_left_out_by_name(tmp_path):
    dataset = assembled(tmp_path, MANY, split_patterns=INTERESTING, subset=2)
    assert split_counts(dataset) == {"train": 4, "val": 4, "test": 4, "interesting": 4, "predict": 4}
    assert set(by_id(dataset, "status").values()) == {"ok", "subset"}
    assert len(dataset.manifest.table) == len(MANY)
    assert split_counts(assembled(tmp_path, MANY, split_patterns=INTERESTING, subset=0.5))["train"] == 20
