"""The service over real connections: the right answer to good images, a sentence to bad ones, nothing lost between."""

import asyncio
import csv
import io
import json
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from PIL import Image

from src.artifacts import RunRecord
from src.champion import Champion
from src.config import Config
from src.layout import CHAMPION_FILE, PIPELINE_RUN, REQUESTS_DIR, RunFolder
from src.models.checkpoint import FACTS_FILE, load_facts
from src.models.predict_model import predict_model
from src.models.serve_model import listening, prepared, serve_model, server_of
from src.models.serving import following, keeping
from src.models.serving.batching import Batcher
from src.models.serving.engine import Engine
from src.models.serving.service import Service
from src.models.train_model import train_model
from src.request_log import PRESENT, Answered, RequestLog, read_requests
from tests.models.conftest import configured, drawn, pack_drawn
from tests.visualization.browser import Browser, browser_path

RUNS = [RunFolder(PIPELINE_RUN), RunFolder(Path("models/runs/other"))]
RNG = np.random.default_rng(3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Iterator[Path]:
    """A project with two trained runs, of which the first was scored."""
    root = tmp_path_factory.mktemp("serving")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        pack_drawn(configured())
        for seed, run in enumerate(RUNS):
            train_model(configured(f"run_dir={run.path.as_posix()}", f"train.seed={seed}"))
        predict_model(configured())
        yield root


@pytest.fixture(autouse=True)
def within(trained, monkeypatch) -> Path:
    monkeypatch.chdir(trained)
    return trained


class Live:
    """A service that listens on the loopback interface."""

    def __init__(self, service: Service, port: int) -> None:
        self.service, self.port = service, port
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)

    def predict(self, content: bytes, **headers: str) -> httpx.Response:
        return self.client.post("/predict", content=content, headers=headers)

    def count(self, name: str, **labels: str) -> float:
        """A counter, 0 where it has not begun."""
        told = "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else ""
        lines = [line for line in self.client.get("/metrics").text.splitlines() if line.startswith(f"{name}{told} ")]
        return float(lines[0].split()[-1]) if lines else 0.0

    def connection(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@contextmanager
def served(cfg: Config, run: RunFolder | None = RUNS[0]) -> Iterator[Live]:
    """The run in service within the block; the champion, and what follows it, where it is None."""
    with listening("127.0.0.1", 0) as place:
        service, load = prepared(cfg, run)
        with running(server_of(service, load if run is None else None), service, place) as live:
            yield live


@contextmanager
def running(server: "uvicorn.Server", service: Service, place: socket.socket) -> Iterator[Live]:
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    live = Live(service, place.getsockname()[1])
    try:
        yield live
    finally:
        live.client.close()
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def live(trained) -> Iterator[Live]:
    with served(configured("serve.max_pixels=1000000", "serve.max_mib=0.5")) as started:
        yield started


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def photo(number: int = 0) -> bytes:
    """A drawn image of another size than the model's."""
    return png(np.kron(drawn(number % 3, RNG), np.ones((2, 3, 1), dtype=np.uint8)))


def until(there: Callable[[], bool], what: str) -> None:
    end_by = time.monotonic() + 60
    while not there():
        assert time.monotonic() < end_by, what
        time.sleep(0.01)


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


def test_the_model_is_told(live):
    found = live.client.get("/model").json()
    assert (found["run"], found["classes"], found["img_size"]) == ("models/pipeline", ["across", "down", "dots"], 12)
    assert found["checkpoint"] == load_facts(RUNS[0].checkpoint("best")).sha256
    assert live.client.get("/healthz").json() == {"status": "alive"}
    assert live.client.get("/readyz").json() == {"status": "ready"}
    assert "/predict" in live.client.get("/openapi.json").json()["paths"]


BOMB = png(np.zeros((1100, 1000, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("content", "headers", "status", "reason"),
    [
        (b"", {}, 400, "the request has no body: curl --data-binary @photo.jpg"),
        (b"hello", {}, 422, "not an image"),
        (b"<!doctype html><html></html>", {}, 422, "not an image: an HTML page"),
        (photo()[:-40], {}, 422, "truncated"),
        (BOMB, {}, 422, "too large: 1000 x 1100 px"),
        (bytes(600_000), {}, 413, "more than 0.5 MiB (serve.max_mib)"),
        (b"--x\r\n", {"content-type": "multipart/form-data; boundary=x"}, 415, "send the image itself, not a form"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(live, content, headers, status, reason):
    response = live.predict(content, **headers)
    assert response.status_code == status
    assert reason in response.json()["detail"]
    assert live.predict(photo()).status_code == 200


def test_a_body_of_unknown_length_is_refused_once_it_is_too_large(live):
    def endless() -> Iterator[bytes]:
        for _ in range(10**6):
            yield bytes(65536)

    # the service answers and closes the connection, whichever the client sees first
    with suppress(httpx.TransportError):
        assert live.client.post("/predict", content=endless()).status_code == 413
    assert live.count("serve_refused_total", reason="too_large") > 0
    assert live.predict(photo()).status_code == 200


def test_a_client_that_leaves_takes_nobody_along(live):
    before = live.count("serve_refused_total", reason="left")
    with live.connection() as leaving:
        leaving.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nhalf")
        until(lambda: live.count("serve_waiting") == 1, "the image was not taken in")
    until(lambda: live.count("serve_refused_total", reason="left") == before + 1, "nobody noticed")
    assert live.count("serve_waiting") == 0
    assert live.predict(photo()).status_code == 200


def test_a_client_that_is_too_slow_is_told_so():
    with served(configured("serve.body_s=0.2")) as live, live.connection() as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\nhalf")
        said = b"".join(iter(lambda: slow.recv(4096), b""))
    assert b"408" in said.split(b"\r\n")[0]
    assert b"did not arrive within 0.2 s" in said


def test_more_images_than_there_is_room_for_are_sent_away_for_a_second():
    with served(configured("serve.max_waiting=2")) as live:
        waiting = [live.connection() for _ in range(2)]
        for each in waiting:
            each.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n")
        until(lambda: live.count("serve_waiting") == 2, "the images were not taken in")
        response = live.predict(photo())
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert "2 images wait already (serve.max_waiting)" in response.json()["detail"]
        waiting.pop().close()
        until(lambda: live.count("serve_waiting") == 1, "the place was not given back")
        assert live.predict(photo()).status_code == 200
        waiting.pop().close()


def test_more_connections_than_allowed_are_sent_away():
    with served(configured("serve.max_connections=3")) as live:
        idle = [live.connection() for _ in range(3)]
        until(lambda: live.client.get("/healthz").status_code == 503, "a fourth connection was served")
        for each in idle:
            each.close()
        until(lambda: live.client.get("/healthz").status_code == 200, "the places were not given back")


def test_what_was_answered_is_kept_without_the_image(live):
    content = photo(1)
    found = live.predict(content).json()
    live.service.requests.flush()
    before = len(read_requests(REQUESTS_DIR, found["checkpoint"], last=None).table)
    assert live.predict(content).json()["pred"] == found["pred"]
    live.service.requests.flush()
    table = read_requests(REQUESTS_DIR, found["checkpoint"], last=None).table
    row = table.iloc[-1]
    assert len(table) == before + 1
    assert (row["pred"], row["checkpoint"], row["width"], row["height"]) == (found["pred"], found["checkpoint"], 36, 24)
    assert row["confidence"] == pytest.approx(found["prob"], abs=1e-5)
    assert 0 < row["brightness"] < 1


def test_a_log_that_cannot_be_written_costs_no_answer(tmp_path, monkeypatch, caplog, trained):
    (tmp_path / "models").symlink_to(trained / "models")
    (tmp_path / "data").write_text("a file where the folder should be")
    monkeypatch.chdir(tmp_path)
    with caplog.at_level(logging.WARNING), served(configured()) as live:
        assert [live.predict(photo()).status_code for _ in range(3)] == [200, 200, 200]
        live.service.requests.flush()
        assert live.count("serve_log_failures") == 3
    assert caplog.text.count("answers go on") == 1


def test_other_weights_in_the_run_folder_make_the_service_unready(live):
    path = RUNS[0].checkpoint("best") / FACTS_FILE
    facts = path.read_bytes()
    try:
        path.write_bytes(facts.replace(load_facts(path.parent).sha256.encode(), b"0" * 64))
        response = live.client.get("/readyz")
        assert response.status_code == 503
        assert "models/pipeline holds other weights by now; start the service again" in response.json()["detail"]
        path.unlink()
        assert live.client.get("/readyz").status_code == 503
        # what was loaded goes on answering
        assert live.predict(photo()).status_code == 200
    finally:
        path.write_bytes(facts)


def crown(run: RunFolder, which: str = "best") -> None:
    facts = load_facts(run.checkpoint(which))
    told = {"run": run.path.as_posix(), "run_id": "", "checkpoint": facts.sha256, "data_digest": "", "metrics": {}}
    Champion(**told, promoted="", reason="", before=None).save()


def test_a_new_champion_answers_without_a_break(monkeypatch, caplog):
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.02)
    digests = [load_facts(run.checkpoint("best")).sha256 for run in RUNS]
    content = photo()
    try:
        crown(RUNS[0])
        with caplog.at_level(logging.INFO, logger="src"), served(configured(), None) as live:
            assert live.predict(content).json()["checkpoint"] == digests[0]
            CHAMPION_FILE.write_text(json.dumps({"run": "models/gone", "checkpoint": "x"}))
            until(lambda: "cannot be served" in caplog.text, "a champion that is gone was not told")
            assert live.predict(content).json()["checkpoint"] == digests[0]
            crown(RUNS[1])
            seen = set()

            def changed() -> bool:
                response = live.predict(content)
                assert response.status_code == 200
                seen.add(response.json()["checkpoint"])
                return digests[1] in seen

            until(changed, "the new champion does not answer")
            assert seen <= set(digests)
            assert live.client.get("/model").json()["run"] == "models/runs/other"
        assert (
            caplog.text.count("the champion cannot be served, the one before it goes on: the champion models/gone") == 1
        )
        assert "models/runs/other answers now, in place of models/pipeline" in caplog.text
    finally:
        CHAMPION_FILE.unlink(missing_ok=True)


def test_a_champion_that_cannot_be_loaded_is_told_once_and_the_next_one_answers(monkeypatch, caplog):
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.02)
    copy = RunFolder(Path("models/runs/copy"))
    shutil.copytree(RUNS[0].path, copy.path, dirs_exist_ok=True)
    tries = []

    def short_of_memory(folder: RunFolder, which: str) -> Engine:
        tries.append(folder.name)
        if folder.name == "other":
            raise RuntimeError("out of memory")
        return load(folder, which)

    def run_told() -> str:
        return live.client.get("/model").json()["run"]

    try:
        crown(RUNS[0])
        with caplog.at_level(logging.INFO, logger="src"), listening("127.0.0.1", 0) as place:
            service, load = prepared(configured(), None)
            with running(server_of(service, short_of_memory), service, place) as live:
                crown(RUNS[1])
                until(lambda: "out of memory" in caplog.text, "it was not told")
                assert run_told() == "models/pipeline"
                crown(copy)
                until(lambda: run_told() == "models/runs/copy", "the next champion does not answer")
                assert live.predict(photo()).status_code == 200
        assert tries == ["other", "copy"]
        assert caplog.text.count("out of memory") == 1
    finally:
        CHAMPION_FILE.unlink(missing_ok=True)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), MemoryError("out of memory")])
def test_a_forward_pass_that_fails_costs_the_images_in_it_and_no_other(error):
    passes = []

    def score(pixels: np.ndarray) -> np.ndarray:
        passes.append(len(pixels))
        if (pixels == 13).any():
            raise error
        return pixels.reshape(len(pixels), -1)[:, :1].astype(np.float32)

    async def scenario() -> list[object]:
        batcher = Batcher(score, batch_size=4)
        batcher.start()
        asked = [batcher.probs(np.full((1, 1, 3), value, dtype=np.uint8)) for value in (13, 1, 2, 3, 4)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        await batcher.stop()
        return found

    found = asyncio.run(scenario())
    assert passes == [4, 1]
    assert [str(each) for each in found[:4]] == ["out of memory"] * 4
    assert found[4].tolist() == [4.0]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes among its files")
def test_a_disk_that_hangs_keeps_nobody_waiting_and_what_it_could_not_take_is_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(keeping, "MOST_WAITING", 2)
    monkeypatch.setattr(keeping, "CLOSE_S", 0.05)
    row = Answered(time="", checkpoint="", pred="", confidence=1.0, width=1, height=1, looks={})
    # who opens a pipe that nobody reads waits
    os.mkfifo(tmp_path / PRESENT)
    keeper = keeping.Keeper(RequestLog(tmp_path, most_bytes=10**6, keep=1))
    keeper.start()
    keeper.keep(row)
    until(keeper._waiting.empty, "the first answer was not taken")
    for _ in range(5):
        keeper.keep(row)
    assert keeper.failures == 3
    keeper.close()
    reader = os.open(tmp_path / PRESENT, os.O_RDONLY | os.O_NONBLOCK)
    keeper.flush()
    os.close(reader)


def test_a_port_that_is_taken_is_told_before_anything_is_loaded():
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        told = rf"cannot listen on 127.0.0.1:{port} \([^()]* in use[^()]*\); give another place"
        with pytest.raises(ValueError, match=told):
            serve_model(configured(f"serve.port={port}"), [])


def test_without_a_checkpoint_the_way_to_one_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"models/pipeline/train/best holds no checkpoint; train one with: make train"):
        serve_model(configured("serve.port=0"), [])


def test_a_run_that_was_not_scored_has_no_threshold():
    assert RunRecord.load(RUNS[1].train).class_names == ["across", "down", "dots"]
    with served(configured(), RUNS[1]) as live:
        assert live.client.get("/model").json()["threshold"] is None
        assert live.predict(photo()).json()["sure"] is None


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
