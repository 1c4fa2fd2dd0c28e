import dataclasses
import logging

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.artifacts import Manifest
from src.features.packed import PackedSplit, write_split
from src.files import read_json, write_json
from src.fold_predictions import KFoldPredictions
from src.layout import DATASET_DIR, FOLDS_DIR, PACKED_DIR
from src.models.predict_folds import predict_folds
from src.models.probing.fold_features import PIXEL_SIDE, small_pictures, wanted
from src.models.probing.fold_regression import possible_folds
from tests.models.conftest import CLASS_NAMES, COUNTS

TWINS = "twins"


def write_manifest(*, groups: dict[str, str] | None = None) -> Manifest:
    """A manifest of the packed images; the packed splits then carry its digest."""
    rows = []
    for split in COUNTS:
        pack = PackedSplit.load(PACKED_DIR / split)
        rows += [(image_id, int(label), split) for image_id, label in zip(pack.ids, pack.labels, strict=True)]
    table = pd.DataFrame(rows, columns=["id", "label", "split"])
    group = [(groups or {}).get(image_id, image_id) for image_id in table["id"]]
    table = table.assign(path=table["id"], group=group, sha256=table["id"], width=12, height=12, status="ok")
    manifest = Manifest(table, CLASS_NAMES, "images", {})
    manifest.save(DATASET_DIR)
    path = PACKED_DIR / "statistics.json"
    write_json(path, read_json(path, made_by="build_features") | {"digest": manifest.digest()})
    return manifest


def unlabel(split: str) -> None:
    pack = PackedSplit.load(PACKED_DIR / split)
    write_split(
        PACKED_DIR / split,
        enumerate(pack.gather(np.arange(len(pack)))),
        size=pack.size,
        rows={"id": pack.ids, "path": pack.paths, "label": [-1] * len(pack)},
        class_names=CLASS_NAMES,
        digest=pack.digest,
    )


def with_labels(cfg, **changes):
    return dataclasses.replace(cfg, labels=dataclasses.replace(cfg.labels, **changes))


def test_every_labelled_image_of_every_split_is_predicted_once(project, config):
    manifest = write_manifest()
    predict_folds(config())
    found = KFoldPredictions.load(FOLDS_DIR)
    assert found.ids == [image_id for split in COUNTS for image_id in PackedSplit.load(PACKED_DIR / split).ids]
    assert found.splits == [split for split, count in COUNTS.items() for _ in range(count)]
    assert found.labels.tolist() == manifest.table["label"].tolist()
    assert (found.digest, found.class_names, found.features) == (manifest.digest(), CLASS_NAMES, "pixels at 12 px")
    assert sorted(set(found.folds.tolist())) == [0, 1, 2, 3, 4]
    assert found.acc > 0.9


def test_a_second_run_predicts_the_same_to_the_last_bit(project, config):
    write_manifest()
    predict_folds(config())
    first = KFoldPredictions.load(FOLDS_DIR)
    predict_folds(config())
    second = KFoldPredictions.load(FOLDS_DIR)
    assert np.array_equal(first.probs, second.probs)
    assert np.array_equal(first.folds, second.folds)


def test_the_seed_deals_other_folds(project, config):
    write_manifest()
    predict_folds(config())
    first = KFoldPredictions.load(FOLDS_DIR)
    predict_folds(with_labels(config(), seed=1))
    assert not np.array_equal(first.folds, KFoldPredictions.load(FOLDS_DIR).folds)


def test_copies_of_an_image_are_never_in_two_folds(project, config):
    ids = PackedSplit.load(PACKED_DIR / "train").ids
    write_manifest(groups=dict.fromkeys(ids[:9], TWINS))
    predict_folds(config())
    found = KFoldPredictions.load(FOLDS_DIR)
    together = {int(fold) for image_id, fold in zip(found.ids, found.folds, strict=True) if image_id in ids[:9]}
    assert len(together) == 1


def test_images_without_a_label_are_left_out(project, config):
    unlabel("test")
    write_manifest()
    predict_folds(config())
    assert set(KFoldPredictions.load(FOLDS_DIR).splits) == {"train", "val"}


def test_without_any_label_there_is_nothing_to_search(project, config):
    for split in COUNTS:
        unlabel(split)
    write_manifest()
    with pytest.raises(ValueError, match="holds no labelled image"):
        predict_folds(config())


def test_a_rare_class_lowers_the_number_of_folds_and_that_is_told(project, config, caplog):
    write_manifest()
    predict_folds(with_labels(config(), folds=60))
    assert "labels.folds=60: 52 are used, as class 'down' has 52 different images" in caplog.text
    assert KFoldPredictions.load(FOLDS_DIR).folds.max() == 51


def test_a_class_of_one_image_is_named():
    names, groups = ["cat", "cat", "dog", "dog"], ["a", "b", "c", "c"]
    with pytest.raises(ValueError, match=r"class 'dog' has only copies of one image; .* add some, or remove the class"):
        possible_folds(names, groups, wanted=5)
    assert possible_folds(names, ["a", "b", "c", "d"], wanted=5) == 2


def test_embeddings_that_were_never_made_are_not_replaced_by_pixels_in_silence(project, config):
    write_manifest()
    with pytest.raises(ValueError, match=r"holds no embeddings; give features.embeddings.pretrained=true"):
        predict_folds(with_labels(config(), features="embeddings"))


def test_labels_are_predicted_from_embeddings_where_there_are_any(project, config):
    weights = "features.embeddings.pretrained_path=net.safetensors"
    cfg = config(weights)
    path = PACKED_DIR / "statistics.json"
    facts = read_json(path, made_by="build_features")
    settings = facts["settings"] | {"features": dataclasses.asdict(cfg.features)}
    write_json(path, facts | {"settings": settings})
    write_manifest()
    (PACKED_DIR / "embeddings").mkdir()
    network = {"backbone": "test_resnet", "weights": "c0ffee", "digest": "0123456789abcdef"}
    write_json(PACKED_DIR / "embeddings" / "embeddings.json", network)
    for split in COUNTS:
        labels = PackedSplit.load(PACKED_DIR / split).labels
        np.save(PACKED_DIR / "embeddings" / f"{split}.npy", np.eye(3, dtype=np.float32)[labels])
    predict_folds(with_labels(cfg, regularization=100.0))
    found = KFoldPredictions.load(FOLDS_DIR)
    assert (found.features, found.acc) == ("embeddings of test_resnet", 1.0)
    assert found.probs.max(axis=1).min() > 0.95


def test_auto_means_embeddings_only_where_weights_were_given():
    def statistics(**weights):
        return {"settings": {"features": {"embeddings": {"pretrained": False, "pretrained_path": None} | weights}}}

    assert wanted("auto", statistics()) == "pixels"
    assert wanted("auto", statistics(pretrained=True)) == "embeddings"
    assert wanted("auto", statistics(pretrained_path="net.safetensors")) == "embeddings"
    assert wanted("pixels", statistics(pretrained=True)) == "pixels"


def test_packed_data_of_another_manifest_is_refused(project, config):
    write_manifest()
    path = PACKED_DIR / "statistics.json"
    write_json(path, read_json(path, made_by="build_features") | {"digest": "f" * 16})
    with pytest.raises(ValueError, match="made from another manifest than there is now; run build_features again"):
        predict_folds(config())


def test_large_images_are_averaged_down_and_the_log_says_what_would_find_more(tmp_path, project, config, caplog):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)
    rows = {"id": list("abcde"), "path": list("abcde"), "label": [0] * 5}
    write_split(tmp_path / "large", enumerate(pixels), size=40, rows=rows, class_names=["x"], digest="")
    found = small_pictures(PackedSplit.load(tmp_path / "large"), np.array([3, 1]))
    assert found.shape == (2, PIXEL_SIDE * PIXEL_SIDE * 3)
    expected = Image.fromarray(pixels[3]).resize((PIXEL_SIDE, PIXEL_SIDE), Image.Resampling.BOX)
    assert found[0] == pytest.approx(np.asarray(expected).reshape(-1) / 255)

    for split in COUNTS:
        pack = PackedSplit.load(PACKED_DIR / split)
        large = pack.gather(np.arange(len(pack))).repeat(2, axis=1).repeat(2, axis=2)
        rows = {"id": pack.ids, "path": pack.paths, "label": pack.labels.tolist()}
        write_split(
            PACKED_DIR / split, enumerate(large), size=24, rows=rows, class_names=CLASS_NAMES, digest=pack.digest
        )
    write_manifest()
    with caplog.at_level(logging.WARNING, logger="src"):
        predict_folds(config())
    assert "predicted from pixels at 16 px" in caplog.text
    assert "features.embeddings.pretrained_path=<file>" in caplog.text
