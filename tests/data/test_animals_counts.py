"""The class counts that are published of the animals come out of a drawn set of the same layout, image for image."""

import json

import pandas as pd
import pytest

from benchmarks.drawn_animals import draw_animals
from src.artifacts import Manifest
from src.data.fetch_data import fetch_data
from src.data.make_dataset import make_dataset
from src.data.summary import counts_text
from src.layout import DATASET_DIR


@pytest.mark.slow
def test_the_published_counts_of_the_animals_are_reproduced_from_the_data(tmp_path, monkeypatch, composed):
    monkeypatch.chdir(tmp_path)
    # noise of 8 px holds too little for a perceptual hash
    given = ["experiment=animals_convnextv2", "data.archive=animals.zip", "data.duplicates.near_distance=null"]
    cfg = composed(*given)
    draw_animals(tmp_path / "animals.zip", cfg.data.about.expected, longest=8)
    fetch_data(cfg)
    make_dataset(cfg)
    counts = json.loads((DATASET_DIR / "summary.json").read_text())["counts"]
    assert counts == cfg.data.about.expected
    assert "expected_counts" not in set(pd.read_csv(DATASET_DIR / "findings.csv")["kind"])
    table = counts_text(Manifest.load(DATASET_DIR))
    assert all(str(count) in table for split in counts.values() for count in split.values())
