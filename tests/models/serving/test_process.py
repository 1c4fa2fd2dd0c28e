"""The service as a process of its own: it drains when told to end, and bad images do not fill its memory."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.models.serving.loopback import photo, until
from tests.project import ROOT, environment

GROWTH_MIB = 40
PATIENCE_S = 120
NUM_BAD = 1000


@contextmanager
def process(folder: Path, *settings: str) -> Iterator["tuple[subprocess.Popen[str], str]"]:
    """`make serve` without make, and its address."""
    command = [sys.executable, "-m", "src.models.serve_model", "serve.port=0", *settings]
    env = environment() | {"PYTHONPATH": str(ROOT)}
    started = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
    assert started.stderr is not None
    said = ""
    while (found := re.search(r"listening on (http://\S+)", said)) is None:
        line = started.stderr.readline()
        assert line, said
        said += line
    try:
        yield started, found[1]
    finally:
        started.kill()
        started.wait()
        started.stderr.close()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize(("told", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_a_service_that_is_told_to_end_answers_what_it_took_in_and_takes_in_no_more(within, told, code):
    taken, halves = threading.Barrier(5), []
    released = threading.Event()

    def ask(address: str) -> None:
        def parts() -> Iterator[bytes]:
            content = photo()
            yield content[:50]
            taken.wait(PATIENCE_S)
            released.wait(PATIENCE_S)
            yield content[50:]

        halves.append(httpx.post(f"{address}/predict", content=parts(), timeout=PATIENCE_S).status_code)

    def refused() -> bool:
        try:
            httpx.get(f"{address}/healthz", timeout=PATIENCE_S)
        except (httpx.NetworkError, httpx.RemoteProtocolError):
            return True
        return False

    with process(within, f"serve.body_s={PATIENCE_S}", f"serve.drain_s={PATIENCE_S}") as (service, address):
        asking = [threading.Thread(target=ask, args=(address,)) for _ in range(4)]
        for thread in asking:
            thread.start()
        taken.wait(PATIENCE_S)
        metrics = f"{address}/metrics"
        until(lambda: "serve_waiting 4.0" in httpx.get(metrics, timeout=PATIENCE_S).text, "they were not taken in")
        service.send_signal(told)
        until(refused, "it takes in more")
        assert service.poll() is None
        released.set()
        for thread in asking:
            thread.join(PATIENCE_S)
        assert halves == [200] * 4
        assert service.wait(PATIENCE_S) == code


@pytest.mark.slow
def test_a_thousand_bad_images_leave_the_memory_as_it_was(within):
    bad = [b"\x89PNG\r\n\x1a\n" + bytes(200_000), photo()[:-30], b"hello"]
    with (
        process(within, "serve.max_mib=1") as (service, address),
        httpx.Client(base_url=address, timeout=PATIENCE_S) as client,
    ):

        def send(number: int) -> None:
            for row in range(number):
                assert client.post("/predict", content=bad[row % 3]).status_code == 422

        send(NUM_BAD // 5)
        memory = psutil.Process(service.pid)
        before = memory.memory_info().rss
        send(NUM_BAD)
        grown = (memory.memory_info().rss - before) / 2**20
        assert grown < GROWTH_MIB
        assert client.post("/predict", content=photo()).status_code == 200
