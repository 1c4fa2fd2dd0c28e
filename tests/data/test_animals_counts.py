"""The class counts that are published of the animals come out of a drawn set of the same layout, image for image."""

import json
import zipfile
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from src.artifacts import Manifest
from src.data.fetch_data import fetch_data
from src.data.make_dataset import make_dataset
from src.data.summary import counts_text
from src.layout import DATASET_DIR

FOLDERS = {
    "train": "Training Data",
    "val": "Validation Data",
    "test": "Testing Data",
    "interesting": "Interesting Data",
}


def drawn_animals(path, expected) -> None:
    """Noise of 8 px under the published names, and the same images once more as records of another framework."""
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for split, counts in expected.items():
            for label, count in counts.items():
                for number in range(count):
                    file = BytesIO()
                    Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "JPEG")
                    name = f"Animal-Data-V2/Data-V2/{FOLDERS[split]}/{label}/{label}-{split} ({number + 1}).jpeg"
                    archive.writestr(name, file.getvalue())
        archive.writestr("Animal-Data-V2/Data-V2/TFRecords/train.tfrecords", b"records")


@pytest.mark.slow
def test_the_published_counts_of_the_animals_are_reproduced_from_the_data(tmp_path, monkeypatch, composed):
    monkeypatch.chdir(tmp_path)
    # noise of 8 px holds too little for a perceptual hash
    given = ["experiment=animals_convnextv2", "data.archive=animals.zip", "data.duplicates.near_distance=null"]
    cfg = composed(*given)
    drawn_animals(tmp_path / "animals.zip", cfg.data.about.expected)
    fetch_data(cfg)
    make_dataset(cfg)
    counts = json.loads((DATASET_DIR / "summary.json").read_text())["counts"]
    assert counts == cfg.data.about.expected
    assert "expected_counts" not in set(pd.read_csv(DATASET_DIR / "findings.csv")["kind"])
    table = counts_text(Manifest.load(DATASET_DIR))
    assert all(str(count) in table for split in counts.values() for count in split.values())
