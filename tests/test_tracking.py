import json
import logging
import math
import os
import resource
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from src.compose import compose
from src.config import MlflowConfig, RunConfig, WandbConfig
from src.layout import RunFolder
from src.metrics_log import JsonlTracker, read_metrics
from src.selection import Selection
from src.tracking import SafeTracker, Trackers, open_trackers, resolve_mode

PROJECT_ROOT = Path(__file__).resolve().parents[1]
FAKE_KEY = "0123456789" * 4
BLOCK, HEADER = 32768, 7


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home without any W&B setting of the machine the tests run on."""
    for name in [*(name for name in os.environ if name.startswith("WANDB")), "NETRC"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def wandb_config(**changes) -> WandbConfig:
    values = {"mode": "auto", "project": "p", "entity": None, "group": "g", "name": None, "tags": ["a", "b"]}
    values |= {"job_type": "train", "artifacts": False}
    return WandbConfig(**(values | changes))


def run_config(*, trackers=("wandb",), mlflow: str = "mlflow.db", **changes) -> RunConfig:
    """The section `run` as shipped, but for the views."""
    views = {"trackers": list(trackers), "mlflow": MlflowConfig(store=mlflow, experiment="e")}
    return replace(compose(Selection()).run, device="cpu", wandb=wandb_config(**changes), **views)


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    own = [record for record in caplog.records if record.name.startswith("src")]
    return [record.getMessage() for record in own if record.levelno >= logging.WARNING]


# local rows


def test_rows_come_back_as_they_were_logged(tmp_path):
    tracker = JsonlTracker(tmp_path / "train" / "metrics.jsonl")
    tracker.log({"epoch": 1, "val/acc": 0.5}, step=20)
    tracker.log({"epoch": 2, "val/acc": np.float32(0.75)}, step=40)
    assert read_metrics(tmp_path / "train" / "metrics.jsonl") == [
        {"step": 20, "epoch": 1, "val/acc": 0.5},
        {"step": 40, "epoch": 2, "val/acc": 0.75},
    ]
    tracker.finish()


@pytest.mark.parametrize("torn", ['{"st', '{"step": 30, "epoch": 3}', "\u00e9"[:1]])
def test_a_row_cut_off_by_a_kill_is_left_out_and_removed_on_reopening(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    whole = '{"step": 10, "epoch": 1}\n{"step": 20, "epoch": 2}\n'
    path.write_text(whole + torn)
    assert [row["step"] for row in read_metrics(path)] == [10, 20]
    tracker = JsonlTracker(path, resume_step=20)
    tracker.log({"epoch": 3}, step=30)
    tracker.finish()
    assert path.read_text() == whole + '{"step": 30, "epoch": 3}\n'


def test_resuming_drops_the_rows_after_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}}}\n' for step in (10, 20, 30)))
    JsonlTracker(path, resume_step=20).finish()
    assert [row["step"] for row in read_metrics(path)] == [10, 20]


def test_a_run_from_the_start_begins_an_empty_file(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 10}\n')
    JsonlTracker(path).finish()
    assert read_metrics(path) == []


@pytest.mark.parametrize("line", ["{", "[1]", '{"epoch": 1}', "7"])
def test_a_damaged_row_before_the_last_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 10}}\n{line}\n{{"step": 30}}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl line 2 is damaged; delete that line, or the file"):
        read_metrics(path)


def test_nan_is_null_in_the_file_and_nan_when_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    tracker = JsonlTracker(path)
    tracker.log({"train/loss": math.nan, "val/loss": math.inf}, step=1)
    tracker.finish()
    assert json.loads(path.read_text()) == {"step": 1, "train/loss": None, "val/loss": None}
    assert math.isnan(read_metrics(path)[0]["train/loss"])


def test_a_full_disk_costs_one_warning_and_no_training(tmp_path, caplog):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_trackers(run_config(mode="disabled"), folder=tmp_path, run_id="r1", config={}) as trackers:
        trackers.log({"epoch": 1}, step=1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (RunFolder(tmp_path).metrics_log.stat().st_size, hard))
        try:
            trackers.log({"epoch": 2}, step=2)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        trackers.log({"epoch": 3}, step=3)
    (warning,) = warnings_in(caplog)
    assert "metrics.jsonl failed at step 2 (OSError: [Errno 27] File too large)" in warning
    assert "later epochs are not in it" in warning
    assert [row["step"] for row in read_metrics(RunFolder(tmp_path).metrics_log)] == [1]


def test_a_run_folder_that_cannot_be_written_is_found_before_the_first_epoch(tmp_path):
    (tmp_path / "run").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="run"):
        open_trackers(run_config(mode="disabled"), folder=tmp_path / "run", run_id="r1", config={})


# how W&B is used


@pytest.mark.parametrize(
    ("mode", "environ", "expected"),
    [
        ("auto", {}, "offline"),
        ("auto", {"WANDB_API_KEY": FAKE_KEY}, "online"),
        ("auto", {"WANDB_API_KEY": ""}, "offline"),
        ("auto", {"WANDB_IDENTITY_TOKEN_FILE": "/token"}, "online"),
        ("auto", {"WANDB_API_KEY": FAKE_KEY, "WANDB_MODE": "offline"}, "offline"),
        ("auto", {"WANDB_API_KEY": FAKE_KEY, "WANDB_MODE": "dryrun"}, "offline"),
        ("auto", {"WANDB_MODE": "disabled"}, "disabled"),
        ("auto", {"WANDB_API_KEY": FAKE_KEY, "WANDB_MODE": "online"}, "online"),
        ("auto", {"WANDB_MODE": ""}, "offline"),
        ("offline", {"WANDB_API_KEY": FAKE_KEY, "WANDB_MODE": "online"}, "offline"),
        ("disabled", {"WANDB_API_KEY": FAKE_KEY}, "disabled"),
        ("online", {"WANDB_API_KEY": FAKE_KEY, "WANDB_MODE": "disabled"}, "online"),
    ],
)
def test_the_mode_follows_configuration_then_environment_then_key(home, caplog, mode, environ, expected):
    assert resolve_mode(wandb_config(mode=mode), environ, home=home) == expected
    assert not warnings_in(caplog)


@pytest.mark.parametrize(
    ("file", "content", "environ", "expected"),
    [
        (".netrc", f"machine api.wandb.ai login user password {FAKE_KEY}", {}, "online"),
        ("_netrc", f"machine api.wandb.ai login user password {FAKE_KEY}", {}, "online"),
        (".netrc", f"machine github.com login user password {FAKE_KEY}", {}, "offline"),
        (
            ".netrc",
            f"machine api.wandb.ai login user password {FAKE_KEY}",
            {"WANDB_BASE_URL": "http://w:80"},
            "offline",
        ),
        (".netrc", f"machine w:80 login user password {FAKE_KEY}", {"WANDB_BASE_URL": "http://w:80"}, "online"),
        (".netrc", "machine api.wandb.ai login", {}, "offline"),
        ("keys", f"machine api.wandb.ai login user password {FAKE_KEY}", {"NETRC": "~/keys"}, "online"),
        (".config/wandb/settings", f"[default]\napi_key = {FAKE_KEY}\n", {}, "online"),
        (".config/wandb/settings", "[default]\nbase_url = http://w:80\n", {}, "offline"),
        (".config/wandb/settings", "no section", {}, "offline"),
    ],
)
def test_a_key_is_found_where_wandb_would_find_it(home, file, content, environ, expected):
    (home / file).parent.mkdir(parents=True, exist_ok=True)
    (home / file).write_text(content)
    assert resolve_mode(wandb_config(), environ, home=home) == expected


def test_online_without_a_key_is_told_and_kept_offline(home, caplog):
    assert resolve_mode(wandb_config(mode="online"), {}, home=home) == "offline"
    assert resolve_mode(wandb_config(), {"WANDB_MODE": "online"}, home=home) == "offline"
    first, second = warnings_in(caplog)
    assert first == "run.wandb.mode=online, but no W&B key is found: offline; run `wandb login` or set WANDB_API_KEY"
    assert second.startswith("WANDB_MODE=online, but no W&B key is found")


def test_an_unknown_mode_in_the_environment_is_told(home, caplog):
    assert resolve_mode(wandb_config(), {"WANDB_MODE": "onlin"}, home=home) == "offline"
    (warning,) = warnings_in(caplog)
    assert warning.startswith("WANDB_MODE=onlin is unknown; allowed: online, offline, dryrun, disabled")


# a tracker that fails


class Recorder:
    """A tracker in memory that does in `log` what it is told."""

    def __init__(self, in_log=lambda: None) -> None:
        self.in_log, self.steps, self.exit_codes = in_log, [], []

    def log(self, metrics, *, step):
        self.in_log()
        self.steps.append(step)

    def summary(self, metrics): ...

    def finish(self, exit_code=0):
        self.exit_codes.append(exit_code)


def test_a_tracker_that_fails_warns_once_and_is_switched_off(caplog):
    def fail():
        raise RuntimeError("quota is used up\nsecond line")

    failing, abandoned, well = Recorder(fail), [], Recorder()
    guarded = SafeTracker(
        lambda: failing, what="cloud", kept="rows are in a.jsonl", abandon=lambda: abandoned.append(1)
    )
    with Trackers([guarded, SafeTracker(lambda: well, what="well", kept="")]) as trackers:
        for step in (1, 2, 3):
            trackers.log({}, step=step)
    assert warnings_in(caplog) == [
        "cloud failed at step 1 (RuntimeError: quota is used up) and is off for the rest; rows are in a.jsonl"
    ]
    assert (well.steps, well.exit_codes, failing.exit_codes, abandoned) == ([1, 2, 3], [0], [], [1])


def test_a_tracker_that_does_not_answer_is_given_up(caplog):
    answer = threading.Event()
    hanging = Recorder(lambda: answer.wait(60))
    with Trackers([SafeTracker(lambda: hanging, what="cloud", kept="", patience_s=0.05)]) as trackers:
        trackers.log({}, step=1)
        trackers.log({}, step=2)
    assert len(warnings_in(caplog)) == 1
    assert "cloud failed at step 1 (no answer within 0.05 s)" in caplog.text
    answer.set()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [SystemExit(3), ImportError("No module named 'wandb'")])
def test_a_tracker_that_does_not_start_is_told_and_left_out(caplog, error):
    def start():
        raise error

    with Trackers([SafeTracker(start, what="cloud", kept="all rows are local")]) as trackers:
        trackers.log({}, step=1)
    (warning,) = warnings_in(caplog)
    assert warning.startswith("cloud failed at the start (")
    assert warning.endswith("all rows are local")


def test_an_error_of_the_training_marks_the_run_as_failed_and_goes_on():
    recorder = Recorder()
    trackers = Trackers([SafeTracker(lambda: recorder, what="", kept="")])
    with pytest.raises(ValueError, match="the loss is NaN"), trackers:
        raise ValueError("the loss is NaN")
    assert recorder.exit_codes == [1]


def test_no_tracker_is_neutral():
    with Trackers() as trackers:
        trackers.log({"val/acc": 1.0}, step=1)
        trackers.summary({"val/acc_best": 1.0})
