"""A service that listens on the loopback interface, and images to send to it."""

import io
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from PIL import Image

from src.config import Config
from src.layout import PIPELINE_RUN, RunFolder
from src.models.serve_model import listening, prepared, server_of
from src.models.serving.service import Service
from tests.models.conftest import drawn

RUNS = [RunFolder(PIPELINE_RUN), RunFolder(Path("models/runs/other"))]


class Live:
    """A service that listens on the loopback interface."""

    def __init__(self, service: Service, port: int) -> None:
        self.service, self.port = service, port
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)

    def predict(self, content: bytes, **headers: str) -> httpx.Response:
        return self.client.post("/predict", content=content, headers=headers)

    def count(self, name: str, **labels: str) -> float:
        """A counter, 0 where it has not begun."""
        told = "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}" if labels else ""
        lines = [line for line in self.client.get("/metrics").text.splitlines() if line.startswith(f"{name}{told} ")]
        return float(lines[0].split()[-1]) if lines else 0.0

    def connection(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)


@contextmanager
def served(cfg: Config, run: RunFolder | None = RUNS[0]) -> Iterator[Live]:
    """The run in service within the block; the champion, and what follows it, where it is None."""
    with listening("127.0.0.1", 0) as place:
        service, load = prepared(cfg, run)
        with running(server_of(service, load if run is None else None), service, place) as live:
            yield live


@contextmanager
def running(server: uvicorn.Server, service: Service, place: socket.socket) -> Iterator[Live]:
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]})
    thread.start()
    live = Live(service, place.getsockname()[1])
    try:
        yield live
    finally:
        live.client.close()
        server.should_exit = True
        thread.join(120)
        assert not thread.is_alive()


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def photo(number: int = 0) -> bytes:
    """A drawn image of another size than the model's, of each number the same one."""
    return png(np.kron(drawn(number % 3, np.random.default_rng(number)), np.ones((2, 3, 1), dtype=np.uint8)))


def until(there: Callable[[], bool], what: str) -> None:
    """Return once it is so; an assertion where it never is."""
    end_by = time.monotonic() + 120
    while not there():
        assert time.monotonic() < end_by, what
        time.sleep(0.01)
