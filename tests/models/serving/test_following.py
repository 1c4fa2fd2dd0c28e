"""The champion answers, also when it changes; what cannot be loaded is told and the old one goes on."""

import json
import logging
import shutil
from pathlib import Path

import pytest

from src.champion import Champion
from src.layout import CHAMPION_FILE, RunFolder
from src.models.checkpoint import FACTS_FILE, load_facts
from src.models.serve_model import listening, prepared, server_of
from src.models.serving import following
from src.models.serving.engine import Engine
from tests.models.conftest import configured
from tests.models.serving.loopback import RUNS, photo, running, served, until

pytestmark = pytest.mark.usefixtures("within")


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
