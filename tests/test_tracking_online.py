"""The trackers with the real Weights & Biases, online: a small server on this machine, or none that answers."""

import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

from src import tracking
from src.layout import RunFolder
from src.tracking import open_trackers, open_views
from tests.test_tracking import FAKE_KEY, home, run_config, warnings_in
from tests.test_tracking_wandb import finished_records, wandb_rows, wandb_service

__all__ = ["home", "wandb_service"]

PROJECT = {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}
BUCKET = {"id": "b", "name": "r1", "displayName": "d", "config": "{}", "historyLineCount": 0, "project": PROJECT}
ANSWERS = {
    "UpsertBucket": {"upsertBucket": {"bucket": BUCKET, "inserted": True}},
    "CreateRunFiles": {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": []}},
    "RunResumeStatus": {"model": None},
}
RUN_OF_20_STEPS = BUCKET | {
    "summaryMetrics": "{}",
    "historyLineCount": 2,
    "eventsLineCount": 0,
    "logLineCount": 0,
    "historyTail": json.dumps([json.dumps({"_step": 20, "_runtime": 5})]),
    "eventsTail": "[]",
    "wandbConfig": json.dumps({"t": {"value": 1}}),
    "tags": [],
}


class Server(ThreadingHTTPServer):
    """As much of a W&B server as one run needs; `received` holds what was sent to each path."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.gone = False
        self.answers = dict(ANSWERS)
        self.received: list[tuple[str, dict]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.gone = True
        self.shutdown()
        self.server_close()

    def rows(self) -> list[dict]:
        streams = [sent["files"] for path, sent in self.received if path.endswith("/file_stream") and "files" in sent]
        return [
            json.loads(line) for files in streams for line in files.get("wandb-history.jsonl", {}).get("content", [])
        ]


class Answer(BaseHTTPRequestHandler):
    """Answers of the server: one run named by the client, and no file to upload."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.gone:
            self.close_connection = True
            return
        sent = json.loads(body) if self.headers["Content-Type"] == "application/json" else {}
        self.server.received.append((self.path, sent))
        content = json.dumps({"data": self.server.answers.get(sent.get("operationName"), {})}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Nothing: the output belongs to the test."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A W&B server on this machine, for which a key is set."""
    running = Server()
    monkeypatch.setenv("WANDB_API_KEY", FAKE_KEY)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{running.server_port}")
    yield running
    running.stop()


def test_an_online_run_sends_rows_and_configuration_to_the_server(tmp_path, wandb_service, server, caplog):
    with open_trackers(run_config(), folder=tmp_path, run_id="r1", config={"optimizer": {"lr": 0.1}}) as trackers:
        for epoch in (1, 2):
            trackers.log({"epoch": epoch, "val/acc": 0.5}, step=10 * epoch)
    assert [(row["_step"], row["epoch"], row["val/acc"]) for row in server.rows()] == [(10, 1, 0.5), (20, 2, 0.5)]
    created = next(sent["variables"] for _, sent in server.received if sent.get("operationName") == "UpsertBucket")
    assert (created["name"], created["project"], created["groupName"]) == ("r1", "p", "g")
    assert json.loads(created["config"])["optimizer"] == {"value": {"lr": 0.1}}
    assert not warnings_in(caplog)


def test_figures_of_a_run_that_ended_reach_the_server_behind_its_last_step(tmp_path, wandb_service, server, caplog):
    server.answers["RunResumeStatus"] = {"model": {"bucket": RUN_OF_20_STEPS}}
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    with open_views(run_config(), folder=tmp_path, run_id="r1", config={}, step=20) as views:
        views.show({"confusion": out.getvalue()}, {}, step=20)
    (row,) = server.rows()
    assert row["_step"] > 20
    assert row["confusion"]["_type"] == "image-file"
    assert not warnings_in(caplog)


def test_no_model_and_no_code_is_sent(tmp_path, wandb_service, server):
    folder = RunFolder(tmp_path)
    folder.checkpoint("best").mkdir(parents=True)
    (folder.checkpoint("best") / "model.safetensors").write_bytes(b"weights")
    with open_trackers(run_config(), folder=tmp_path, run_id="r1", config={}) as trackers:
        trackers.log({"epoch": 1}, step=1)
    uploads = [
        sent["variables"]["files"] for _, sent in server.received if sent.get("operationName") == "CreateRunFiles"
    ]
    assert {"wandb-summary.json"} <= {name for names in uploads for name in names}
    assert not [name for names in uploads for name in names if "safetensors" in name or name.endswith(".py")]


def test_a_server_that_goes_away_costs_one_warning_at_the_end(tmp_path, wandb_service, server, caplog, monkeypatch):
    monkeypatch.setattr(tracking, "FINISH_S", 1.0)
    with open_trackers(run_config(), folder=tmp_path, run_id="r1", config={}) as trackers:
        trackers.log({"epoch": 1}, step=1)
        server.stop()
        trackers.log({"epoch": 2}, step=2)
    (warning,) = warnings_in(caplog)
    assert "W&B failed at the end of the run (TimeoutError: Timed out finishing run.)" in warning
    assert [row["epoch"] for row in wandb_rows(finished_records(tmp_path))] == [1, 2]


def test_a_malformed_key_is_told_and_the_run_kept_offline(tmp_path, wandb_service, caplog, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with open_trackers(run_config(), folder=tmp_path, run_id="r1", config={}) as trackers:
        trackers.log({"epoch": 1}, step=1)
    (warning,) = warnings_in(caplog)
    assert "does not take the run online (WANDB_API_KEY invalid: API key must have 40+ characters" in warning
    assert len(wandb_rows(finished_records(tmp_path))) == 1


def test_an_unreachable_server_is_told_and_the_run_kept_offline(tmp_path, wandb_service, caplog, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", FAKE_KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(tracking, "START_S", 2.0)
    with open_trackers(run_config(), folder=tmp_path, run_id="r1", config={}) as trackers:
        trackers.log({"epoch": 1}, step=1)
    (warning,) = warnings_in(caplog)
    assert "W&B does not take the run online (" in warning
    assert [row["epoch"] for row in wandb_rows(finished_records(tmp_path))] == [1]
