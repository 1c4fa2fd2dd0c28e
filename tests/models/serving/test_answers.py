"""Good images over real connections get the answer that predict gives, and the page shows it."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest
from starlette.requests import Request

from src.artifacts import RunRecord
from src.files import write_json
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


def test_an_answer_has_calibrated_confidence(live):
    facts = load_facts(RUNS[0].checkpoint("best"))
    found = live.predict(photo()).json()
    assert found["prob"] == max(found["probs"].values())
    assert (found["confidence"] == found["prob"]) == (facts.temperature is None)
    assert found["checkpoint"] == facts.sha256


def test_the_model_is_sure_from_the_threshold_on_that_val_gave(live):
    less, more = sorted(live.predict(photo(number)).json()["prob"] for number in range(2))
    before = RUNS[0].metrics.read_bytes()
    metrics = json.loads(before)
    assert metrics["val"]["abstention"]["threshold"] == live.client.get("/model").json()["threshold"] is not None
    for figures in metrics.values():
        figures["abstention"] = {"threshold": (less + more) / 2}
    try:
        write_json(RUNS[0].metrics, metrics)
        with served(configured()) as other:
            assert other.client.get("/model").json()["threshold"] == (less + more) / 2
            answers = [other.predict(photo(number)).json() for number in range(2)]
    finally:
        RUNS[0].metrics.write_bytes(before)
    assert less < more
    assert [answer["sure"] for answer in sorted(answers, key=lambda answer: answer["prob"])] == [False, True]


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
def test_the_page_shows_the_answer_and_the_reason_of_a_refusal(live):
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


@pytest.mark.slow
@pytest.mark.skipif(browser_path() is None, reason="no Chromium is installed")
def test_the_same_file_is_sent_again_when_it_is_chosen_again(live, tmp_path):
    (tmp_path / "photo.png").write_bytes(photo())
    with Browser() as browser:
        browser.open(f"http://127.0.0.1:{live.port}/")
        for number in (1, 2):
            # a browser tells of no change where a person chooses the file that is chosen already
            assert browser.value("file.value") == ""
            chosen = browser.call("Runtime.evaluate", expression="file")["result"]["objectId"]
            browser.call("DOM.setFileInputFiles", files=[str(tmp_path / "photo.png")], objectId=chosen)
            browser.wait_for(f"latest === {number} && document.querySelectorAll('#answer .row').length === 3")


@pytest.mark.slow
@pytest.mark.skipif(browser_path() is None, reason="no Chromium is installed")
def test_the_page_tells_the_status_of_an_answer_without_a_reason(live, monkeypatch):
    def broken(request: Request) -> NoReturn:
        raise LookupError("a fault of the service")

    monkeypatch.setattr(live.service, "answer", broken)
    assert live.predict(photo()).text == "Internal Server Error"
    with Browser() as browser:
        browser.open(f"http://127.0.0.1:{live.port}/")
        browser.value("void ask(new File(['x'], 'photo.png'))")
        browser.wait_for("document.querySelector('#answer .warn')?.textContent === 'No answer: status 500'")
        # what came in place of an answer with a status that is none of an error is no answer either
        browser.value("fetch = async () => new Response('<p>Log in</p>'); void ask(new File(['x'], 'photo.png'))")
        browser.wait_for("document.querySelector('#answer .warn')?.textContent === 'No answer: status 200'")
        browser.value("fetch = async () => { throw new TypeError('refused') }; void ask(new File(['x'], 'photo.png'))")
        told = "No answer: the service cannot be reached."
        browser.wait_for(f"document.querySelector('#answer .warn')?.textContent === '{told}'")
