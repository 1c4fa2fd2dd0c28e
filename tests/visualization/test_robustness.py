import pandas as pd
import pytest

from src.files import read_json, write_json
from src.layout import PIPELINE_RUN, RunFolder
from src.visualization.reporting.evidence import gather
from src.visualization.reporting.page import page
from src.visualization.reporting.robustness import corruptions, slices
from tests.visualization.page_parser import PageParser
from tests.visualization.test_report import WRITTEN

RUN = RunFolder(PIPELINE_RUN)


def slice_row(split: str, name: str, group: str, acc: float) -> dict:
    return {"split": split, "slice": name, "group": group, "num_images": 5, "acc": acc, "loss": 1.0, "ece": 0.1}


def test_slices_of_the_scored_split_are_told_in_order_and_those_of_one_group_are_not(drawn_run, cfg):
    drawn_run()
    rows = [
        slice_row("test", "brightness", "1 dark", 0.4),
        slice_row("test", "brightness", "3 bright", 0.8),
        slice_row("test", "aspect", "2 square", 0.6),
        slice_row("val", "brightness", "1 dark", 0.1),
    ]
    pd.DataFrame(rows).to_csv(RUN.predictions / "slices.csv", index=False)
    evidence = gather(RUN, cfg.report)
    (found,) = slices(evidence)
    assert found["name"] == "brightness"
    assert [(row["name"], row["acc"]) for row in found["rows"]] == [("dark", 0.4), ("bright", 0.8)]
    parsed = PageParser(page(evidence, written=WRITTEN))
    assert parsed.faults == []
    assert "By brightness" in parsed.text
    assert "dark 40.0" in parsed.text


def test_damage_and_views_are_told_beside_the_plain_figures(drawn_run, cfg):
    drawn_run()
    accs = {0: 0.9, 1: 0.8, 2: 0.6, 3: 0.3}
    rows = [
        {"corruption": "fog" if strength else "none", "strength": strength, "num_images": 15, "acc": acc}
        for strength, acc in accs.items()
    ]
    pd.DataFrame(rows).to_csv(RUN.predictions / "corruptions.csv", index=False)
    metrics = read_json(RUN.metrics, made_by="")
    metrics["test"]["tta"] = {"views": "flip", "num_images": 15, "acc": 0.75, "loss": 0.7, "ece": 0.1}
    write_json(RUN.metrics, metrics)
    evidence = gather(RUN, cfg.report)
    found = corruptions(evidence.extras.corruptions)
    assert found["rows"] == [{"name": "fog", "accs": [0.8, 0.6, 0.3]}]
    assert found["mean"] == pytest.approx([0.8, 0.6, 0.3])
    text = PageParser(page(evidence, written=WRITTEN)).text
    assert "On 15 images; as they are: 90.0 %" in text
    assert "Mean over the image and its mirror image: 75.0 % accuracy" in text


def test_what_was_not_asked_for_is_no_section(drawn_run, cfg):
    drawn_run()
    assert "Where it is weaker" not in PageParser(page(gather(RUN, cfg.report), written=WRITTEN)).text
