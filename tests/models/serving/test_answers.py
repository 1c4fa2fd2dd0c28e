"""Good images over real connections get the answer that predict gives, and the page shows it."""

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from src.artifacts import RunRecord
from src.models.checkpoint import load_facts
from src.models.predict_model import predict_model
from tests.models.conftest import configured
from tests.models.serving.loopback import RUNS, photo, served
from tests.visualization.browser import Browser, browser_path

pytestmark = pytest.mark.usefixtures("within")


def test_the_service_says_what_predict_says(live, tmp_path):
    images = {f"{number}.png": photo(number) for number in range(9)}
    for name, content in images.items():
        (tmp_path / name).write_bytes(content)
    predict_model(configured(f"predict.images={tmp_path}", f"predict.output={tmp_path / 'out.csv'}"))
    with (tmp_path / "out.csv").open() as file:
        expected = {Path(row["id"]).name: row for row in csv.DictReader(file)}
    assert expected.keys() == images.keys()
    for name, content in images.items():
        found = live.predict(content).json()
        assert found["pred"] == expected[name]["pred"]
        for label, prob in found["probs"].items():
            assert prob == pytest.approx(float(expected[name][f"prob_{label}"]), abs=1e-5)


def test_images_that_come_together_are_answered_like_each_alone(live):
    contents = [photo(number) for number in range(24)]
    alone = [live.predict(content).json() for content in contents]
    with ThreadPoolExecutor(24) as pool:
        together = [response.json() for response in pool.map(live.predict, contents)]
    for one, other in zip(alone, together, strict=True):
        assert one["probs"] == pytest.approx(other["probs"], abs=1e-5)


def test_an_answer_has_calibrated_confidence_and_says_whether_the_model_is_sure(live):
    facts = load_facts(RUNS[0].checkpoint("best"))
    threshold = live.client.get("/model").json()["threshold"]
    found = live.predict(photo()).json()
    assert found["prob"] == max(found["probs"].values())
    assert found["sure"] == (None if threshold is None else found["prob"] >= threshold)
    assert (found["confidence"] == found["prob"]) == (facts.temperature is None)
    assert found["checkpoint"] == facts.sha256


def test_a_run_that_was_not_scored_has_no_threshold():
    assert RunRecord.load(RUNS[1].train).class_names == ["across", "down", "dots"]
    with served(configured(), RUNS[1]) as live:
        assert live.client.get("/model").json()["threshold"] is None
        assert live.predict(photo()).json()["sure"] is None


def test_the_model_is_told(live):
    found = live.client.get("/model").json()
    assert (found["run"], found["classes"], found["img_size"]) == ("models/pipeline", ["across", "down", "dots"], 12)
    assert found["checkpoint"] == load_facts(RUNS[0].checkpoint("best")).sha256
    assert live.client.get("/healthz").json() == {"status": "alive"}
    assert live.client.get("/readyz").json() == {"status": "ready"}
    assert "/predict" in live.client.get("/openapi.json").json()["paths"]


@pytest.mark.slow
@pytest.mark.skipif(browser_path() is None, reason="no Chromium is installed")
def test_the_page_shows_the_answer_and_the_reason_of_a_refusal(live, tmp_path):
    with Browser() as browser:
        for width, scheme in ((1280, "light"), (390, "dark")):
            browser.open(f"http://127.0.0.1:{live.port}/", width=width, scheme=scheme)
            browser.wait_for("document.querySelector('#model').textContent.includes('across, down, dots')")
            values = list(photo())
            browser.value(f"void ask(new File([new Uint8Array({values})], 'photo.png'))")
            browser.wait_for("document.querySelectorAll('#answer .row').length === 3")
            assert browser.value("document.querySelector('#answer img').naturalWidth") == 36
            assert browser.value("document.documentElement.scrollWidth") <= width
            assert browser.messages == []
        browser.value("void ask(new File(['no image'], 'notes.txt'))")
        browser.wait_for("document.querySelector('#answer .warn')?.textContent === 'No answer: not an image'")
