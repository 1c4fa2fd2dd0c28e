"""The trackers with the real Weights & Biases, offline."""

import io
import json
import logging
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from src.layout import RunFolder
from src.metrics_log import read_metrics
from src.tracking import WandbTracker, open_trackers, open_views
from tests.test_tracking import home, run_config, wandb_config, warnings_in

__all__ = ["home"]

PROJECT_ROOT = Path(__file__).resolve().parents[1]
BLOCK, HEADER = 32768, 7


@pytest.fixture
def wandb_service() -> Iterator[None]:
    """Stops the service afterwards, so that the next test starts one with its own environment."""
    yield
    import wandb

    wandb.teardown()


def wandb_records(folder: Path) -> list:
    """The records of all `.wandb` files of a run folder, in order of their start.

    The format is LevelDB's log: blocks of 32 KiB, in which a chunk has a checksum (4 bytes), a length (2) and
    a type (1: whole record, 2 to 4: first, middle, last part). A header of 7 bytes opens the file.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    found = []
    for path in sorted(folder.glob("wandb/*run-*/*.wandb")):
        content, at, whole = path.read_bytes(), HEADER, b""
        while at + HEADER <= len(content):
            if BLOCK - at % BLOCK < HEADER:
                at += BLOCK - at % BLOCK
                continue
            length, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
            chunk = content[at + HEADER : at + HEADER + length]
            if not kind or len(chunk) < length:
                break
            at, whole = at + HEADER + length, whole + chunk
            if kind in (1, 4):
                found.append(Record.FromString(whole))
                whole = b""
    return found


def finished_records(folder: Path) -> list:
    """The records once the service has written all of them; the end of a process waits for it likewise."""
    import wandb

    wandb.teardown()
    return wandb_records(folder)


def wandb_rows(records: list) -> list[dict]:
    histories = [record.history for record in records if record.WhichOneof("record_type") == "history"]
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in history.item}
        for history in histories
    ]


def service_pid() -> int:
    done = subprocess.run(["pgrep", "-P", str(os.getpid()), "-f", "wandb-core"], capture_output=True, check=True)
    return int(done.stdout.split()[0])


def end_service(sent: signal.Signals) -> None:
    pid = service_pid()
    os.kill(pid, sent)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


class Script(subprocess.Popen):
    """A training of three epochs in a process of its own."""

    def __init__(self, folder: Path, *, after: str = "", terminal: int | None = None, **environ: str) -> None:
        code = f"""
import os, signal
from pathlib import Path
from src.logs import start_logging
from src.tracking import open_trackers
from tests.test_tracking import run_config
from tests.test_tracking_wandb import service_pid

start_logging()
with open_trackers(run_config(), folder=Path({str(folder)!r}), run_id="r1", config={{}}) as trackers:
    for epoch in (1, 2, 3):
        trackers.log({{"epoch": epoch}}, step=epoch)
    {after}
print("trained")
"""
        # Files, not pipes: a service that hangs keeps the other end of a pipe open.
        self.out, self.err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
        super().__init__(
            [sys.executable, "-c", code],
            cwd=PROJECT_ROOT,
            env=inherited | environ,
            stdin=terminal or subprocess.DEVNULL,
            stdout=self.out,
            stderr=terminal or self.err,
        )

    def told(self) -> tuple[str, str]:
        """Standard output and standard error, once the process has ended."""
        self.wait(timeout=120)
        self.out.seek(0)
        self.err.seek(0)
        with self.out, self.err:
            return self.out.read(), self.err.read()


def test_every_finished_epoch_survives_a_kill(tmp_path):
    script = Script(tmp_path, after="os.kill(os.getpid(), signal.SIGKILL)", WANDB_MODE="disabled")
    script.told()
    assert script.returncode == -signal.SIGKILL
    assert [row["epoch"] for row in read_metrics(RunFolder(tmp_path).metrics_log)] == [1, 2, 3]


def test_nothing_of_wandb_is_loaded_where_it_is_disabled(tmp_path):
    script = Script(tmp_path, after="import sys; assert 'wandb' not in sys.modules", WANDB_MODE="disabled")
    assert script.told() == ("trained\n", "")
    assert not (tmp_path / "wandb").exists()


def test_an_offline_run_holds_rows_configuration_and_summary(tmp_path, wandb_service, caplog):
    caplog.set_level(logging.INFO, logger="src")
    folder = tmp_path / "models" / "resnet"
    config = {"optimizer": {"lr": 0.1, "name": "sgd"}, "data": {"path": None}}
    with open_trackers(run_config(), folder=folder, run_id="r1", config=config) as trackers:
        for epoch in (1, 2, 3):
            trackers.log({"epoch": epoch, "train/loss": 1 / epoch}, step=10 * epoch)
        trackers.summary({"val/acc_best": 0.9})
    records = finished_records(folder)
    rows = [(row["_step"], row["epoch"], row["train/loss"]) for row in wandb_rows(records)]
    assert rows == [(10, 1, 1), (20, 2, 0.5), (30, 3, 1 / 3)]
    run = next(record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.run_id, run.project, run.run_group, run.display_name) == ("r1", "p", "g", "resnet")
    assert list(run.tags) == ["a", "b"]
    assert run.job_type == "train"
    sent = {entry.key: json.loads(entry.value_json) for entry in run.config.update}
    assert {key: sent[key] for key in config} == config
    summaries = [record.summary for record in records if record.WhichOneof("record_type") == "summary"]
    updates = [(item.nested_key or [item.key], item.value_json) for summary in summaries for item in summary.update]
    assert (["val/acc_best"], "0.9") in updates
    assert records[-1].exit.exit_code == 0
    assert f"upload with: wandb sync {folder / 'wandb' / 'offline-run'}" in caplog.text
    assert not warnings_in(caplog)


def test_no_file_lies_where_another_stage_writes(tmp_path, wandb_service):
    with open_trackers(run_config(), folder=tmp_path / "run", run_id="r1", config={}) as trackers:
        trackers.log({"epoch": 1}, step=1)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["train", "wandb"]
    assert [path.name for path in RunFolder(tmp_path / "run").train.iterdir()] == ["metrics.jsonl"]


def test_a_resumed_run_is_the_same_run_of_wandb(tmp_path, wandb_service):
    for resume_step, steps in ((0, (10, 20, 30)), (20, (30, 40))):
        with open_trackers(run_config(), folder=tmp_path, run_id="r1", config={}, resume_step=resume_step) as trackers:
            for step in steps:
                trackers.log({"epoch": step // 10}, step=step)
    records = finished_records(tmp_path)
    runs = [record.run.run_id for record in records if record.WhichOneof("record_type") == "run"]
    assert set(runs) == {"r1"}
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2
    assert [row["_step"] for row in wandb_rows(records)] == [10, 20, 30, 30, 40]
    assert [row["step"] for row in read_metrics(RunFolder(tmp_path).metrics_log)] == [10, 20, 30, 40]


def test_a_row_reaches_the_file_of_wandb_while_the_run_goes_on(tmp_path, wandb_service):
    tracker = WandbTracker(wandb_config(), mode="offline", folder=tmp_path, run_id="r1", config={})
    tracker.log({"epoch": 1}, step=10)
    give_up = time.monotonic() + 120
    while not wandb_rows(wandb_records(tmp_path)) and time.monotonic() < give_up:
        time.sleep(0.05)
    assert [row["epoch"] for row in wandb_rows(wandb_records(tmp_path))] == [1]
    tracker.finish()


def test_a_dead_service_costs_one_warning_and_no_row_of_the_local_file(tmp_path, wandb_service, caplog):
    with open_trackers(run_config(), folder=tmp_path, run_id="r1", config={}) as trackers:
        trackers.log({"epoch": 1}, step=1)
        end_service(signal.SIGKILL)
        for epoch in range(2, 50):
            trackers.log({"epoch": epoch}, step=epoch)
        trackers.summary({"val/acc_best": 1.0})
    (warning,) = warnings_in(caplog)
    assert "W&B failed at step" in warning
    assert f"and is off for the rest; all rows are in {RunFolder(tmp_path).metrics_log}" in warning
    assert len(read_metrics(RunFolder(tmp_path).metrics_log)) == 49


def test_a_later_run_of_the_process_has_wandb_again_after_a_dead_service(tmp_path, wandb_service):
    for name in ("first", "second"):
        with open_trackers(run_config(), folder=tmp_path / name, run_id=name, config={}) as trackers:
            trackers.log({"epoch": 1}, step=1)
            if name == "first":
                end_service(signal.SIGKILL)
                for step in range(2, 50):
                    trackers.log({"epoch": step}, step=step)
    assert [row["epoch"] for row in wandb_rows(finished_records(tmp_path / "second"))] == [1]


def test_an_unwritable_wandb_folder_costs_one_warning(tmp_path, wandb_service, caplog):
    (tmp_path / "wandb").write_text("a file where the folder should be")
    with open_trackers(run_config(), folder=tmp_path, run_id="r1", config={}) as trackers:
        trackers.log({"epoch": 1}, step=1)
    (warning,) = warnings_in(caplog)
    assert "W&B failed at the start (FileExistsError" in warning
    assert len(read_metrics(RunFolder(tmp_path).metrics_log)) == 1


@pytest.mark.slow
def test_nothing_is_asked_without_a_key_and_without_input(tmp_path):
    script = Script(tmp_path)
    out, err = script.told()
    assert (out, script.returncode) == ("trained\n", 0)
    assert "W&B run r1: offline" in err
    assert "API key" not in err
    assert len(wandb_rows(finished_records(tmp_path))) == 3


@pytest.mark.slow
def test_nothing_is_asked_without_a_key_at_a_terminal(tmp_path):
    screen, terminal = pty.openpty()
    script = Script(tmp_path, terminal=terminal, TERM="xterm")
    out, _ = script.told()
    os.close(terminal)
    shown = os.read(screen, 1 << 16).decode()
    assert (out, script.returncode) == ("trained\n", 0)
    assert "W&B run r1: offline" in shown
    assert "API key" not in shown
    os.close(screen)


@pytest.mark.slow
@pytest.mark.parametrize("sent", ["SIGKILL", "SIGSTOP"])
def test_a_service_that_died_or_hangs_does_not_hold_up_the_end_of_the_process(tmp_path, sent):
    after = (
        "trackers._trackers[1]._patience_s = 5; "
        f"pid = service_pid(); Path({str(tmp_path)!r}, 'pid').write_text(str(pid)); os.kill(pid, signal.{sent})"
    )
    script = Script(tmp_path / "run", after=after)
    try:
        out, err = script.told()
        assert (out, script.returncode) == ("trained\n", 0)
        assert err.count("W&B failed at") == 1
        assert "Traceback" not in err
    finally:
        if sent == "SIGSTOP":
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_figures_and_tables_of_a_report_are_images_and_tables_of_the_same_run(tmp_path, wandb_service):
    with open_trackers(run_config(), folder=tmp_path, run_id="r1", config={}) as trackers:
        trackers.log({"epoch": 1}, step=10)
    png = io.BytesIO()
    Image.new("RGB", (6, 4)).save(png, format="png")
    counts = pd.DataFrame({"label": ["a", "b"], "prediction": ["b", "b"], "images": [3, 9]})
    with open_views(run_config(), folder=tmp_path, run_id="r1", config={}, step=10) as views:
        views.show({"confusion_matrix": png.getvalue()}, {"confusion": counts}, step=10)
        views.summary({"test/acc": 0.75})
    records = finished_records(tmp_path)
    assert {record.run.run_id for record in records if record.WhichOneof("record_type") == "run"} == {"r1"}
    shown = next(row for row in wandb_rows(records) if "confusion_matrix/_type" in row)
    assert (shown["_step"], shown["confusion_matrix/_type"], shown["confusion_matrix/width"]) == (10, "image-file", 6)
    assert (shown["confusion_table/_type"], shown["confusion_table/nrows"]) == ("table-file", 2)
    (table,) = tmp_path.glob("wandb/offline-run-*/files/media/table/*.json")
    assert json.loads(table.read_text("utf-8"))["data"] == [["a", "b", 3], ["b", "b", 9]]
    summaries = [record.summary for record in records if record.WhichOneof("record_type") == "summary"]
    updates = [(item.nested_key or [item.key], item.value_json) for summary in summaries for item in summary.update]
    assert (["test/acc"], "0.75") in updates


@pytest.mark.parametrize("asked", [True, False])
def test_a_checkpoint_is_kept_by_wandb_only_where_that_is_asked_for(tmp_path, wandb_service, asked):
    (tmp_path / "best").mkdir()
    (tmp_path / "best/model.safetensors").write_bytes(b"weights")
    with open_trackers(run_config(artifacts=asked), folder=tmp_path, run_id="r1", config={}) as trackers:
        trackers.keep(tmp_path / "best")
    kept = [record.artifact for record in finished_records(tmp_path) if record.WhichOneof("record_type") == "artifact"]
    assert [(artifact.name, artifact.type) for artifact in kept] == ([("model-r1", "model")] if asked else [])
    assert [entry.path for artifact in kept for entry in artifact.manifest.contents] == ["model.safetensors"] * asked
