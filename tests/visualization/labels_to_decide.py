"""Drawn images with suspects and with copies whose labels differ, as make data and make label-issues leave them."""

import hashlib
from pathlib import Path

import pandas as pd

from src.artifacts import Manifest
from src.layout import DATASET_DIR, LABEL_ISSUES_DIR
from tests.data.drawn import folder_of, png

RAW = Path("data/raw/source")
OVERRIDES = Path("data/external/labels_overrides.csv")
CLASSES = ["cat", "dog", "fox & <b>hen</b>"]

# id, label, split
IMAGES = [
    ("cat/1.png", "cat", "train"),
    ("cat/2.png", "cat", "train"),
    ("dog/ü 1.png", "dog", "test"),
    ("cat/copy.png", "cat", "train"),
    ("dog/copy.png", "dog", "train"),
    ("cat/near.png", "cat", "train"),
    ("dog/near.png", "dog", "test"),
    ("dog/near2.png", "dog", "train"),
    ("dog/same.png", "dog", "train"),
]
SUSPECTS = [
    # id, split, label, suggested, rank, score, prob_label, prob_suggested
    ("dog/ü 1.png", "test", "dog", "cat", 2, 0.1, 0.02, 0.9),
    ("cat/1.png", "train", "cat", "dog", 1, 0.1, 0.004, 0.975),
    ("cat/2.png", "train", "cat", CLASSES[2], 3, 0.1, 0.1, 0.8),
]
DUPLICATES = [
    # group, kind, id, split, label, status
    ("b5", "near", "cat/near.png", "train", "cat", "conflict"),
    ("b5", "near", "dog/near.png", "test", "dog", "ok"),
    ("b5", "near", "dog/near2.png", "train", "dog", "conflict"),
    ("a1", "exact", "cat/copy.png", "train", "cat", "conflict"),
    ("a1", "exact", "dog/copy.png", "train", "dog", "conflict"),
    ("c9", "near", "dog/same.png", "train", "dog", "ok"),
    ("c9", "near", "dog/near2.png", "train", "dog", "ok"),
]
# in the order in which they are asked
QUESTIONS = [
    ["cat/copy.png", "dog/copy.png"],
    ["cat/near.png", "dog/near.png", "dog/near2.png"],
    ["cat/1.png"],
    ["dog/ü 1.png"],
    ["cat/2.png"],
]

SUSPECT_COLUMNS = ["id", "split", "label", "suggested", "rank", "score", "prob_label", "prob_suggested"]
DUPLICATE_COLUMNS = ["group", "kind", "id", "split", "label", "status"]


def suspects() -> pd.DataFrame:
    return pd.DataFrame(SUSPECTS, columns=SUSPECT_COLUMNS)


def duplicates() -> pd.DataFrame:
    return pd.DataFrame(DUPLICATES, columns=DUPLICATE_COLUMNS)


def write_images(root: Path) -> Manifest:
    """Write the images, and return what they are; paths lie below a folder that ids leave out."""
    contents = {f"pets/{image_id}": png(seed) for seed, (image_id, _, _) in enumerate(IMAGES)}
    folder_of(root / RAW, contents)
    table = pd.DataFrame(IMAGES, columns=["id", "name", "split"])
    table["path"] = "pets/" + table["id"]
    table["sha256"] = [hashlib.sha256(contents[path]).hexdigest() for path in table["path"]]
    table["label"] = [CLASSES.index(name) for name in table["name"]]
    table = table.assign(group=table["sha256"], width=12, height=10, status="ok").drop(columns="name")
    return Manifest(table, CLASSES, (root / RAW).as_posix(), {"overrides": OVERRIDES.as_posix()})


def write_project(root: Path, *, searched: bool = True) -> Manifest:
    """Write everything that the verb reads; without suspects where the labels were not searched yet."""
    manifest = write_images(root)
    manifest.save(root / DATASET_DIR)
    duplicates().to_csv(root / DATASET_DIR / "duplicates.csv", index=False)
    if searched:
        (root / LABEL_ISSUES_DIR).mkdir(parents=True)
        suspects().to_csv(root / LABEL_ISSUES_DIR / "suspects.csv", index=False)
    return manifest
