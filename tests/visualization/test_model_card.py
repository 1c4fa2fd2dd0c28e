import re

import pytest

from src.compose import compose
from src.files import read_json, write_json
from src.layout import PIPELINE_RUN, RunFolder
from src.selection import Selection
from src.visualization.reporting.evidence import gather
from src.visualization.reporting.model_card import MARK, limits, model_card, notes_of
from src.visualization.visualize import visualize

RUN = RunFolder(PIPELINE_RUN)


@pytest.fixture
def card_of(drawn_run, cfg):
    def write(record: dict | None = None, **changes) -> str:
        drawn_run(**changes)
        content = read_json(RUN.train / "run.json", made_by="")
        write_json(RUN.train / "run.json", content | (record or {}))
        return model_card(gather(RUN, cfg.report), kept="kept")

    return write


def test_the_card_tells_the_figures_with_intervals_and_the_licences(card_of):
    weights = {"source": "timm, convnextv2_atto.fcmae", "licence": "cc-by-nc-4.0"}
    text = card_of({"facts": {"weights": weights}}, scores_train=True)
    scores = read_json(RUN.metrics, made_by="")["test"]
    assert "| figure | train | val | test |" in text
    low, high = (100 * scores["interval"]["acc"][end] for end in ("low", "high"))
    assert f"{100 * scores['acc']:.1f} % ({low:.1f} to {high:.1f} %) |" in text
    assert "timm, convnextv2_atto.fcmae; licence cc-by-nc-4.0" in text
    assert "allow no commercial use" in text
    about = compose(Selection()).data.about
    assert f"{about.home_page}; licence {about.licence}; digest" in text
    assert "3 classes: circle, cross, square" in text


def test_every_table_of_the_card_is_one_that_markdown_reads(card_of):
    lines = card_of(scores_train=True).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("| figure"))
    rows = [line for line in lines[first:] if line.startswith("|")]
    assert lines[first : first + len(rows)] == rows
    assert {line.count("|") for line in rows} == {rows[0].count("|")}
    assert re.fullmatch(r"(\|---)+\|", rows[1])


def test_what_people_wrote_is_kept_when_the_card_is_written_again(drawn_run, cfg):
    drawn_run()
    visualize(cfg)
    first = RUN.card.read_text(encoding="utf-8")
    assert "not told yet" in first
    RUN.card.write_text(first.partition(MARK)[0] + MARK + "\n\nOnly for *geologists* <g@example.org>.\n")
    visualize(cfg)
    again = RUN.card.read_text(encoding="utf-8")
    assert again.endswith("Only for *geologists* <g@example.org>.\n")
    assert again.count("geologists") == 1
    assert again.partition(MARK)[0] == first.partition(MARK)[0]


def test_without_a_card_there_is_a_place_for_notes(tmp_path):
    assert "not told yet" in notes_of(tmp_path / "MODEL_CARD.md")


def test_limits_name_the_weak_classes_the_unmeasured_ones_and_few_images(drawn_run, cfg):
    drawn_run(without_test_images=("cross",))
    said = " ".join(limits(gather(RUN, cfg.report)))
    assert "Test has 10 images" in said
    assert "It finds least of these classes: circle (" in said or "It finds least of these classes: square (" in said
    assert "test has no image of them: cross." in said


def test_a_model_that_knows_its_training_images_by_heart_is_told_as_such(drawn_run, cfg):
    drawn_run(scores_train=True)
    evidence = gather(RUN, cfg.report)
    evidence.metrics["test"]["gap"]["acc"] = 0.12
    assert any("12.0 points better on the images it was trained on" in limit for limit in limits(evidence))


def test_a_card_of_a_run_without_labels_and_from_scratch_says_so(card_of):
    text = card_of({"git": {}}, unlabelled=("test", "val"))
    assert "not from a git checkout" in text
    assert "No labelled image was scored" in text
    assert "none, trained from scratch" in text


def test_weights_of_unknown_licence_are_a_limit(card_of):
    weights = {"source": "a file, mine.pth", "licence": "not stated", "note": "the file states none"}
    text = card_of({"facts": {"weights": weights}})
    assert "The licence of the weights it started from is not known." in text
    assert "(the file states none)" in text
