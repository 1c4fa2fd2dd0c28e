"""The champion answers, also when it changes; what cannot be loaded is told and the old one goes on."""

import itertools
import logging
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from src.champion import Champion
from src.layout import CHAMPION_FILE, RunFolder
from src.models.checkpoint import FACTS_FILE, WEIGHTS_FILE, ModelFacts, load_facts
from src.models.serve_model import listening, prepared, server_of
from src.models.serving import following, service
from src.models.serving.engine import Engine
from src.models.serving.following import Loader
from tests.models.conftest import configured
from tests.models.serving.loopback import RUNS, Live, photo, running, served, until

pytestmark = pytest.mark.usefixtures("within")


def crown(run: RunFolder, *, checkpoint: str | None = None, promoted: str = "") -> None:
    """Make the run the champion: with the weights that it holds, or others."""
    digest = load_facts(run.checkpoint("best")).sha256 if checkpoint is None else checkpoint
    told = {"run": run.path.as_posix(), "run_id": "", "checkpoint": digest, "data_digest": "", "metrics": {}}
    Champion(**told, promoted=promoted, reason="", before=None).save()


@pytest.fixture
def hurried(monkeypatch, caplog) -> Iterator[None]:
    """A service looks for a champion all the time, and what it says is kept; none is left behind."""
    monkeypatch.setattr(following, "LOOK_EVERY_S", 0.02)
    with caplog.at_level(logging.INFO, logger="src"):
        yield
    CHAMPION_FILE.unlink(missing_ok=True)


@contextmanager
def followed(load: Loader) -> Iterator[Live]:
    """The champion in service, and each new one as `load` makes it."""
    with listening("127.0.0.1", 0) as place:
        answering, _ = prepared(configured(), None)
        with running(server_of(answering, load), answering, place) as live:
            yield live


def run_told(live: Live) -> str:
    return live.client.get("/model").json()["run"]


def test_a_new_champion_answers_without_a_break(hurried, caplog):
    digests = [load_facts(run.checkpoint("best")).sha256 for run in RUNS]
    content = photo()
    crown(RUNS[0])
    with served(configured(), None) as live:
        assert live.predict(content).json()["checkpoint"] == digests[0]
        crown(RunFolder(Path("models/gone")), checkpoint="x")
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
        assert run_told(live) == "models/runs/other"
    assert caplog.text.count("the champion cannot be served, the one before it goes on: the champion models/gone") == 1
    assert "models/runs/other answers now, in place of models/pipeline" in caplog.text


def test_a_champion_that_cannot_be_loaded_is_told_once_and_the_next_one_answers(hurried, caplog):
    copy = RunFolder(Path("models/runs/copy"))
    shutil.copytree(RUNS[0].path, copy.path, dirs_exist_ok=True)
    _, load = prepared(configured(), RUNS[0])
    tries = []

    def short_of_memory(folder: RunFolder, which: str) -> Engine:
        tries.append(folder.name)
        if folder.name == "other":
            raise RuntimeError("out of memory")
        return load(folder, which)

    crown(RUNS[0])
    with followed(short_of_memory) as live:
        crown(RUNS[1])
        until(lambda: "out of memory" in caplog.text, "it was not told")
        assert run_told(live) == "models/pipeline"
        crown(copy)
        until(lambda: run_told(live) == "models/runs/copy", "the next champion does not answer")
        assert live.predict(photo()).status_code == 200
    assert tries == ["other", "copy"]
    assert caplog.text.count("out of memory") == 1


def test_a_champion_that_failed_is_tried_again_once_it_is_promoted_again(hurried, monkeypatch, caplog):
    _, load = prepared(configured(), RUNS[0])
    looks, tries, short = [], [], [True]
    reigning = following.reigning

    def looked() -> Champion:
        champion = reigning()
        looks.append(champion.run)
        return champion

    def now_and_then(folder: RunFolder, which: str) -> Engine:
        tries.append(folder.name)
        if short[0]:
            raise MemoryError
        return load(folder, which)

    monkeypatch.setattr(following, "reigning", looked)
    crown(RUNS[0])
    with followed(now_and_then) as live:
        crown(RUNS[1], promoted="first")
        until(lambda: "MemoryError" in caplog.text, "it was not told")
        crown(RUNS[1], promoted="again")
        until(lambda: len(tries) == 2, "it was not tried when it was promoted again")
        crown(RUNS[0])
        until(lambda: looks[-2:] == ["models/pipeline"] * 2, "the way back was not seen")
        short.clear()
        short.append(False)
        crown(RUNS[1], promoted="again")
        until(lambda: run_told(live) == "models/runs/other", "it was not tried after the way back")
    assert tries == ["other"] * 3


def test_a_promotion_while_the_champion_is_looked_up_is_no_fault(hurried, monkeypatch, caplog):
    read, next_run = Path.read_text, itertools.cycle(reversed(RUNS))

    def overtaken(path: Path, *args: str, **kwargs: str) -> str:
        text = read(path, *args, **kwargs)
        if path == CHAMPION_FILE:
            crown(next(next_run))
        return text

    crown(RUNS[0])
    monkeypatch.setattr(Path, "read_text", overtaken)
    with served(configured(), None):
        until(lambda: caplog.text.count("answers now") > 2 or "cannot be served" in caplog.text, "nothing was promoted")
    assert "cannot be served" not in caplog.text


def test_the_end_of_the_service_does_not_wait_for_a_champion_that_is_being_loaded(hurried):
    begun, released, waiting = threading.Event(), threading.Event(), []

    def hanging(folder: RunFolder, which: str) -> Engine:
        waiting.append(threading.current_thread())
        begun.set()
        released.wait()
        raise RuntimeError("too late")

    try:
        crown(RUNS[0])
        with followed(hanging) as live:
            crown(RUNS[1])
            assert begun.wait(120)
            assert live.predict(photo()).status_code == 200
        # the service has ended, and its process waits for no daemon
        (loading,) = waiting
        assert loading.is_alive()
        assert loading.daemon
    finally:
        released.set()


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


def test_weights_that_are_gone_make_the_service_unready(live):
    path = RUNS[0].checkpoint("best") / WEIGHTS_FILE
    away = path.rename(path.with_suffix(".away"))
    try:
        response = live.client.get("/readyz")
        assert response.status_code == 503
        assert "model.safetensors is gone; bring it back, or start the service again" in response.json()["detail"]
        assert live.predict(photo()).status_code == 200
    finally:
        away.rename(path)
    assert live.client.get("/readyz").json() == {"status": "ready"}


def test_a_disk_that_hangs_makes_the_service_unready_and_holds_one_thread(live, monkeypatch):
    released, looks = threading.Event(), []

    def hanging(folder: Path) -> ModelFacts:
        looks.append(folder)
        released.wait()
        return load_facts(folder)

    monkeypatch.setattr(service, "load_facts", hanging)
    monkeypatch.setattr(service, "LOOK_S", 0.05)
    try:
        with ThreadPoolExecutor(50) as pool:
            told = list(pool.map(live.client.get, ["/readyz"] * 50))
        assert [response.status_code for response in told] == [503] * 50
        assert "train/best has not answered for 0.05 s" in told[0].json()["detail"]
        assert live.client.get("/healthz").json() == {"status": "alive"}
        assert "serve_waiting 0.0" in live.client.get("/metrics").text
        assert run_told(live) == "models/pipeline"
        assert len(looks) == 1
    finally:
        released.set()
    until(lambda: live.client.get("/readyz").status_code == 200, "it is not ready again")
