"""What cannot be answered is refused with its reason, and costs no other image its answer."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import httpx
import numpy as np
import pytest

from src.models.serving.batching import Batcher
from tests.models.conftest import configured
from tests.models.serving.loopback import photo, png, served, until

pytestmark = pytest.mark.usefixtures("within")
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

    before, statuses = live.count("serve_refused_total", reason="too_large"), []
    # the service answers and closes the connection, whichever the client sees first
    with suppress(httpx.NetworkError, httpx.RemoteProtocolError):
        statuses.append(live.client.post("/predict", content=endless()).status_code)
    assert statuses in ([], [413])
    assert live.count("serve_refused_total", reason="too_large") == before + 1
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
    with served(configured("serve.max_waiting=2", "serve.body_s=120")) as live:
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
