import re
from datetime import datetime

import numpy as np
import pytest
from PIL import Image

from src.files import read_json, write_json
from src.layout import PIPELINE_RUN, RunFolder
from src.visualization.reporting.evidence import gather, mistakes_of
from src.visualization.reporting.page import page
from tests.visualization.page_parser import PageParser

RUN = RunFolder(PIPELINE_RUN)
WRITTEN = datetime(2024, 5, 17, 9, 30)
ATTACK = "<script>alert(1)</script>"


@pytest.fixture
def read(drawn_run, cfg):
    """Writes a run, draws its page, and returns the page as text and as parsed elements."""

    def draw(**changes):
        drawn_run(**changes)
        html = page(gather(RUN, cfg.report), written=WRITTEN)
        return html, PageParser(html)

    return draw


def change_record(**changes):
    record = read_json(RUN.train / "run.json", made_by="train_model")
    write_json(RUN.train / "run.json", record | changes)


def test_page_is_whole_shows_the_figures_of_the_run_and_needs_no_network(read, cfg):
    html, parsed = read()
    assert parsed.faults == []
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))

    scores = read_json(RUN.metrics, made_by="predict_model")["test"]
    for share in (scores["acc"], scores["balanced_acc"], scores["macro_f1"]):
        assert f"{100 * share:.1f} %" in parsed.text
    assert f"Loss {scores['loss']:.3f}" in parsed.text
    assert "Test images 15 4 mistakes" in parsed.text
    assert f"{100 * scores['per_class']['cross']['recall']:.1f}" in parsed.text

    outside = [
        value for _, attributes in parsed.elements for key, value in attributes.items() if key in ("src", "href")
    ]
    assert all(value.startswith(("data:", "#")) for value in outside)
    assert not re.search(r"url\((?!#)|@import|=.?https?:", html)
    assert not parsed.found("link")


def test_figures_of_a_class_have_their_intervals_below_them(read):
    _, parsed = read()
    row = read_json(RUN.metrics, made_by="predict_model")["test"]["per_class"]["cross"]
    low, high = (100 * row["interval"]["recall"][end] for end in ("low", "high"))
    assert f"{100 * row['recall']:.1f} {low:.1f} to {high:.1f}" in parsed.text
    assert "below the first three their 95 % intervals, from resamples" in parsed.text


def test_page_tells_where_the_result_comes_from(read):
    _, parsed = read()
    for fact in (
        "resnet18 on drawn",
        "Run pipeline: 45 images in 3 classes",
        "the weights of epoch 3 were kept",
        "46 files found in data/raw/source : 45 images used, 2 duplicates dropped, 1 unreadable file quarantined",
        "bad/<b>.jpg the file ends too early",
        "Commit 0123456789ab (clean)",
        "1,234,567 parameters",
        "Training time 1 min 23 s",
        "Speed 1,234 images/s",
        "Peak memory 456 MiB",
        "Stopped after the last epoch",
        "numpy 2.4.0",
        "lr 0.002",
        "Page written 2024-05-17 09:30",
    ):
        assert fact in parsed.text


def test_galleries_are_images_with_words_for_those_who_do_not_see_them(read, cfg):
    _, parsed = read()
    images = parsed.found("img")
    assert len(images) == 3 * cfg.report.samples_per_class + cfg.report.num_mistakes + cfg.report.num_hits
    assert all(image["alt"] and image["class"] == "sharp" for image in images)
    surest = mistakes_of(gather(RUN, cfg.report).scored)[0]
    assert images[0]["alt"] == f"An image of {surest.label}, taken for {surest.pred}"


def test_page_follows_the_phone_and_the_dark_mode(read):
    html, parsed = read()
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in parsed.found("meta")
    assert "prefers-color-scheme: dark" in html


def test_names_from_files_are_shown_as_text_and_never_run(read):
    html, parsed = read(class_names=[ATTACK, "猫", 'quote" onload="x'], reason="<img src=x onerror=alert(2)>")
    assert parsed.faults == []
    assert ATTACK not in html
    assert ATTACK in parsed.text
    assert "猫" in parsed.text
    assert len(parsed.found("script")) == 1
    assert not [attributes for _, attributes in parsed.elements if {"onload", "onerror"} & attributes.keys()]


def test_page_without_any_label_says_so_and_still_shows_training(read):
    _, parsed = read(unlabelled=("test", "val"))
    assert parsed.faults == []
    assert "No labelled image was scored" in parsed.text
    assert "Most confident mistakes" not in parsed.text
    assert "Learning rate" in parsed.text


def test_page_with_unlabelled_test_images_tells_the_val_result_by_its_name(read):
    _, parsed = read(unlabelled=("test",))
    assert "Val accuracy" in parsed.text
    assert "Test accuracy" not in parsed.text


def test_page_of_a_run_without_val_split_has_no_val_curve(read):
    _, parsed = read(per_class={"train": 5, "test": 4, "predict": 2}, unlabelled=("predict",))
    assert "Test accuracy" in parsed.text
    assert "(unlabelled)" in parsed.text
    assert "best epoch" not in parsed.text


def test_figures_of_a_class_without_test_images_are_left_open(read):
    _, parsed = read(without_test_images=("cross",))
    assert "cross – – – – – 0" in parsed.text


def test_no_mistake_is_told_in_words(read):
    _, parsed = read(wrong_every=0)
    assert "None: all 15 images of the test split were predicted rightly." in parsed.text
    assert "100.0 %" in parsed.text


def test_uncommitted_changes_are_shown_and_cut_where_they_are_long(drawn_run, cfg):
    drawn_run()
    change_record(git={"commit": "0123456789abcdef", "dirty_diff": "+ <i>changed</i>\n" + "x" * 30_000})
    parsed = PageParser(page(gather(RUN, cfg.report), written=WRITTEN))
    assert "(with uncommitted changes)" in parsed.text
    assert "+ <i>changed</i>" in parsed.text
    assert "10,017 more characters" in parsed.text


def test_page_of_a_run_of_other_data_warns_and_shows_no_wrong_picture(drawn_run, cfg):
    drawn_run()
    change_record(data_digest="0ther")
    parsed = PageParser(page(gather(RUN, cfg.report), written=WRITTEN))
    assert "is not the one this run was trained on ( 0ther )" in parsed.text
    assert len(parsed.found("img")) == 3 * cfg.report.samples_per_class


def test_page_of_a_run_outside_git_says_so(drawn_run, cfg):
    drawn_run()
    change_record(git={})
    assert "not from a git checkout" in PageParser(page(gather(RUN, cfg.report), written=WRITTEN)).text


@pytest.mark.parametrize(("noisy", "kind"), [(False, "png"), (True, "jpeg")])
def test_page_shows_the_augmented_images_of_the_run_where_there_are_any(drawn_run, cfg, noisy, kind):
    drawn_run()
    without = PageParser(page(gather(RUN, cfg.report), written=WRITTEN))
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    Image.fromarray(noise if noisy else 0 * noise).save(RUN.augmented)
    parsed = PageParser(page(gather(RUN, cfg.report), written=WRITTEN))
    assert parsed.faults == []
    assert len(parsed.found("img")) == len(without.found("img")) + 1
    (shown,) = [image for image in parsed.found("img") if image["alt"].startswith("A grid of training images")]
    assert shown["src"].startswith(f"data:image/{kind};base64,")
    assert "Images as they were trained on" not in without.text
    assert "Images as they were trained on" in parsed.text
