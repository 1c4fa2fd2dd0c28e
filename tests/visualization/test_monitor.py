"""The page of monitoring, from a run that was scored and a log of answers."""

import json
import logging

import numpy as np
import pytest

from src.champion import Champion
from src.compose import compose
from src.config import Config
from src.layout import MONITOR_DIR, PIPELINE_RUN, REQUESTS_DIR, RunFolder
from src.reference import reference_of
from src.request_log import PRESENT, Answered, RequestLog
from src.runs import load
from src.selection import parse
from src.visualization.monitor import monitor
from tests.test_docs import dictionary
from tests.visualization.browser import Browser, browser_path
from tests.visualization.conftest import CHECKPOINT
from tests.visualization.page_parser import PageParser

ATTACK = "<script>alert(1)</script>"
PAGE = MONITOR_DIR / "index.html"
NAMES = [f"circle{ATTACK}", "cross", "square"]


def configured(*overrides: str) -> Config:
    return compose(parse(["monitor.least=5", *overrides]))


@pytest.fixture
def watched(drawn_run):
    """The pipeline's run, scored, with a reference of its test split."""
    root = drawn_run(class_names=NAMES)
    run = RunFolder(PIPELINE_RUN)
    predictions = load(run).predictions("test")
    rng = np.random.default_rng(0)
    reference_of(predictions, {"brightness": rng.uniform(0.4, 0.6, len(predictions.ids))}).save(run.reference)
    return root


def answer(number: int, *, brightness: float, checkpoint: str = CHECKPOINT) -> None:
    rng = np.random.default_rng(number)
    log = RequestLog(REQUESTS_DIR, most_bytes=10**6, keep=1)
    for row in range(number):
        log.append(
            Answered(
                time=f"2026-01-01T00:{row // 60:02d}:{row % 60:02d}.000+00:00",
                checkpoint=checkpoint,
                pred=NAMES[row % 3],
                confidence=float(rng.uniform(0.8, 1)),
                width=8,
                height=8,
                looks={"brightness": brightness + float(rng.uniform(-0.1, 0.1))},
            )
        )


def verdict() -> dict:
    return json.loads((MONITOR_DIR / "monitor.json").read_text("utf-8"))


def test_a_shift_is_on_the_page_in_the_verdict_and_in_the_log(watched, caplog):
    answer(30, brightness=0.1)
    with (REQUESTS_DIR / PRESENT).open("a") as file:
        file.write("half a li")
    with caplog.at_level(logging.INFO, logger="src"):
        monitor(configured(), [])
    told = verdict()
    assert (told["status"], told["num_images"], told["num_damaged"]) == ("drift", 30, 1)
    assert set(told) == dictionary("`reports/monitor/monitor.json`")
    assert "brightness: 0.5" in caplog.text
    html = PAGE.read_text("utf-8")
    parsed = PageParser(html)
    assert parsed.faults == []
    assert ATTACK not in html
    assert len(parsed.found("svg")) == 2
    assert "drift 30 images: brightness" in parsed.text
    assert "1 damaged line" in parsed.text


def test_images_like_those_of_test_raise_no_alarm(watched, caplog):
    answer(30, brightness=0.5)
    with caplog.at_level(logging.INFO, logger="src"):
        monitor(configured("monitor.min_distance=0.7"), [PIPELINE_RUN.as_posix()])
    assert verdict()["status"] == "alike"
    assert "30 images: no measure differs from test" in caplog.text


def test_answers_of_another_checkpoint_are_their_own_status(watched):
    answer(30, brightness=0.1, checkpoint="other")
    monitor(configured(), [])
    assert (verdict()["status"], verdict()["num_images"], verdict()["num_others"]) == ("other model", 0, 30)
    assert (
        "the log has 30 answers, all of another checkpoint than models/pipeline has"
        in PageParser(PAGE.read_text("utf-8")).text
    )


def test_the_newest_answers_of_the_run_are_looked_at_whoever_answered_since(watched):
    answer(30, brightness=0.1)
    answer(40, brightness=0.5, checkpoint="other")
    monitor(configured("monitor.last=20"), [])
    assert (verdict()["status"], verdict()["num_images"], verdict()["num_others"]) == ("drift", 20, 40)


def test_a_measure_that_no_answer_has_is_told_and_the_page_drawn(watched):
    answer(30, brightness=float("nan"))
    monitor(configured("monitor.min_distance=0.7"), [])
    assert {each["measure"]: each["status"] for each in verdict()["verdicts"]}["brightness"] == "not a number"
    assert len(PageParser(PAGE.read_text("utf-8")).found("svg")) == 2


def test_a_run_that_was_trained_again_since_it_was_scored_is_told_apart(watched):
    path = RunFolder(PIPELINE_RUN).checkpoint("best") / "model.json"
    path.write_text(path.read_text("utf-8").replace(CHECKPOINT, "other"), "utf-8")
    answer(30, brightness=0.1)
    with pytest.raises(ValueError, match=r"pipeline was scored with other weights .*predict_model run_dir=models/p"):
        monitor(configured(), [])


def test_too_few_answers_are_their_own_status(watched):
    answer(4, brightness=0.1)
    monitor(configured(), [])
    assert verdict()["status"] == "too few"


def test_without_answers_or_reference_the_next_step_is_told(watched):
    with pytest.raises(ValueError, match=r"holds no requests yet; start the service"):
        monitor(configured(), [])
    RunFolder(PIPELINE_RUN).reference.unlink()
    with pytest.raises(ValueError, match=r"reference.json does not exist; run predict_model first"):
        monitor(configured(), [])


def test_the_champion_is_watched_where_there_is_one(watched):
    told = {"run": "models/gone", "run_id": "", "checkpoint": "x", "data_digest": "", "metrics": {}}
    Champion(**told, promoted="", reason="", before=None).save()
    with pytest.raises(ValueError, match=r"the champion models/gone holds no checkpoint"):
        monitor(configured(), [])


@pytest.mark.slow
@pytest.mark.skipif(browser_path() is None, reason="no Chromium is installed")
def test_the_page_opens_without_a_fault_on_a_desk_and_on_a_phone(watched):
    answer(30, brightness=0.1)
    monitor(configured(), [])
    with Browser() as browser:
        for width, scheme in ((1280, "light"), (390, "dark")):
            browser.open((watched / PAGE).as_uri(), width=width, scheme=scheme)
            assert browser.value("document.documentElement.scrollWidth") <= width
        assert browser.messages == []
