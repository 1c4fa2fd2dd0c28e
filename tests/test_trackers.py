"""The views of a run for TensorBoard, MLflow and spreadsheets, read back by their own formats."""

import csv
import io
import math
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pandas as pd
import pytest
from PIL import Image

from src.config import RunConfig
from src.layout import RunFolder
from src.metrics_log import read_metrics
from src.trackers import CsvTracker, store_address
from src.tracking import TRACKERS, open_trackers, open_views
from tests.test_tracking import run_config, warnings_in

CONFIG = {"optimizer": {"lr": 0.1, "options": {}}, "train": {"patience": None}}
RECORD = 8 + 4
"""Bytes before the content of a TFRecord: its length and a checksum; another checksum follows it."""


def picture() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (6, 4), (200, 10, 10)).save(out, format="png")
    return out.getvalue()


def train_in(folder: Path, trackers: list[str], *, steps=(10, 20), resume_step: int = 0, **changes) -> None:
    """A run of some epochs."""
    cfg = run_config(trackers=trackers, mlflow=str(folder / "mlflow.db"), **changes)
    with open_trackers(cfg, folder=folder, run_id="r1", config=CONFIG, resume_step=resume_step) as opened:
        for step in steps:
            opened.log({"epoch": step // 10, "train/loss": 1 / step, "val/acc": step / 100}, step=step)
        opened.summary({"val/acc_best": 0.5})


def report_in(folder: Path, trackers: list[str]) -> None:
    """What `make report` adds to a finished run."""
    table = pd.DataFrame({"label": ["a"], "prediction": ["b"], "images": [3]})
    cfg = run_config(trackers=trackers, mlflow=str(folder / "mlflow.db"))
    with open_views(cfg, folder=folder, run_id="r1", config=CONFIG, step=20) as opened:
        opened.show({"confusion_matrix": picture()}, {"confusion": table}, step=20)
        opened.summary({"test/acc": 0.75})


def events(folder: Path) -> list:
    """The events of all files that TensorBoard would read, in order."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted((folder / "tensorboard").glob("events.*")):
        content, at = path.read_bytes(), 0
        while at < len(content):
            length = int.from_bytes(content[at : at + 8], "little")
            found.append(Event.FromString(content[at + RECORD : at + RECORD + length]))
            at += RECORD + length + 4
    return found


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    return [
        (value.tag, event.step, round(value.simple_value, 5))
        for event in events(folder)
        for value in event.summary.value
        if value.WhichOneof("value") == "simple_value"
    ]


def test_tensorboard_has_the_metrics_by_step_the_configuration_and_the_summary(tmp_path):
    train_in(tmp_path, ["tensorboard"])
    found = scalars(tmp_path)
    assert ("val/acc", 10, 0.1) in found
    assert ("val/acc", 20, 0.2) in found
    assert ("summary/val/acc_best", 20, 0.5) in found
    (text,) = [value for event in events(tmp_path) for value in event.summary.value if value.tag.startswith("config")]
    assert b"| optimizer.lr | 0.1 |" in text.tensor.string_val[0]
    assert b"| train.patience | null |" in text.tensor.string_val[0]


def test_tensorboard_gets_pictures_and_tables_of_a_finished_run(tmp_path):
    train_in(tmp_path, ["tensorboard"])
    report_in(tmp_path, ["tensorboard"])
    values = {value.tag: value for event in events(tmp_path) for value in event.summary.value}
    shown = values["confusion_matrix"].image
    assert (shown.width, shown.height) == (6, 4)
    assert b"| a | b | 3 |" in values["confusion/text_summary"].tensor.string_val[0]
    assert ("summary/test/acc", 20, 0.75) in scalars(tmp_path)


def test_tensorboard_drops_what_came_after_the_step_that_a_run_goes_on_from(tmp_path):
    train_in(tmp_path, ["tensorboard"], steps=(10, 20, 30))
    train_in(tmp_path, ["tensorboard"], steps=(30, 40), resume_step=20)
    # a session that starts at a step voids later points of the sessions before
    assert [event.step for event in events(tmp_path) if event.session_log.status == 1] == [21]
    assert RunFolder(tmp_path).metrics_log.exists()


def mlflow_run(folder: Path):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store_address(str(folder / "mlflow.db")))
    (run,) = client.search_runs([client.get_experiment_by_name("e").experiment_id])
    return client, run


@pytest.mark.slow
def test_mlflow_has_one_run_through_a_stop_and_a_report(tmp_path, caplog):
    train_in(tmp_path, ["mlflow"], steps=(10, 20, 30))
    train_in(tmp_path, ["mlflow"], steps=(30, 40), resume_step=20)
    report_in(tmp_path, ["mlflow"])
    client, run = mlflow_run(tmp_path)
    assert (run.info.run_name, run.info.status, run.data.tags["run_id"]) == (tmp_path.name, "FINISHED", "r1")
    assert run.data.params == {"optimizer.lr": "0.1", "optimizer.options": "{}", "train.patience": "null"}
    history = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, "val/acc")]
    assert sorted(set(history)) == [(10, 0.1), (20, 0.2), (30, 0.3), (40, 0.4)]
    assert run.data.metrics["val/acc_best"] == 0.5
    assert run.data.metrics["test/acc"] == 0.75
    kept = sorted(entry.path for entry in client.list_artifacts(run.info.run_id, "report"))
    assert kept == ["report/confusion.csv", "report/confusion_matrix.png"]
    assert warnings_in(caplog) == []


@pytest.mark.slow
def test_a_run_that_fails_is_marked_as_failed_in_mlflow(tmp_path):
    cfg = run_config(trackers=["mlflow"], mlflow=str(tmp_path / "mlflow.db"))
    opened = open_trackers(cfg, folder=tmp_path, run_id="r1", config=CONFIG)
    opened.log({"train/loss": math.nan}, step=1)
    opened.__exit__(KeyError)
    assert mlflow_run(tmp_path)[1].info.status == "FAILED"


def csv_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_file_has_a_row_per_step_and_goes_on_where_the_run_does(tmp_path):
    train_in(tmp_path, ["csv"], steps=(10, 20, 30))
    train_in(tmp_path, ["csv"], steps=(30, 40), resume_step=20)
    assert [(row["step"], row["val/acc"]) for row in csv_rows(tmp_path)] == [
        ("10", "0.1"),
        ("20", "0.2"),
        ("30", "0.3"),
        ("40", "0.4"),
    ]


def test_a_metric_that_comes_later_gets_a_column(tmp_path):
    tracker = CsvTracker(tmp_path / "metrics.csv")
    tracker.log({"train/loss": 1.0}, step=1)
    tracker.log({"train/loss": 0.5, "val/acc": 0.9}, step=2)
    assert (tmp_path / "metrics.csv").read_text() == "step,train/loss,val/acc\n1,1.0,\n2,0.5,0.9\n"


def test_several_views_at_once_and_none_at_all(tmp_path):
    train_in(tmp_path / "both", ["csv", "tensorboard", "csv"])
    assert len(csv_rows(tmp_path / "both")) == 2
    assert ("val/acc", 20, 0.2) in scalars(tmp_path / "both")
    train_in(tmp_path / "none", [])
    assert [path.name for path in (tmp_path / "none").iterdir()] == ["train"]


@pytest.mark.parametrize(
    ("name", "package", "what"),
    [("tensorboard", "tensorboardX", "TensorBoard"), ("mlflow", "mlflow", "MLflow")],
)
def test_a_missing_package_costs_one_warning_with_the_install_line(tmp_path, monkeypatch, caplog, name, package, what):
    monkeypatch.setitem(sys.modules, package, None)
    train_in(tmp_path, [name])
    (warning,) = warnings_in(caplog)
    assert warning.startswith(
        f"{what} failed at the start (ImportError: run.trackers=[{name}] needs the package {package}"
    )
    assert "make requirements, or pip install -e '.[trackers]'" in warning
    assert len(read_metrics(RunFolder(tmp_path).metrics_log)) == 2


@pytest.mark.parametrize("name", ["tensorboard", "csv"])
def test_a_place_that_cannot_be_written_costs_one_warning_and_no_row_of_the_record(tmp_path, caplog, name):
    for taken in ("tensorboard", "metrics.csv"):
        folder = tmp_path / taken
        (folder.write_text("a file") if taken == "tensorboard" else folder.mkdir())
    train_in(tmp_path, [name])
    (warning,) = warnings_in(caplog)
    assert "failed at" in warning
    assert f"all rows are in {RunFolder(tmp_path).metrics_log}" in warning
    assert len(read_metrics(RunFolder(tmp_path).metrics_log)) == 2


def test_a_view_of_a_finished_run_leaves_its_record_alone(tmp_path):
    train_in(tmp_path, ["csv"])
    before = RunFolder(tmp_path).metrics_log.read_bytes()
    report_in(tmp_path, ["csv", "tensorboard"])
    assert RunFolder(tmp_path).metrics_log.read_bytes() == before
    assert len(csv_rows(tmp_path)) == 2


def test_the_names_that_the_schema_allows_are_those_of_the_table():
    (names,) = get_args(get_args(get_type_hints(RunConfig, include_extras=True)["trackers"])[0])
    assert set(get_args(names)) == set(TRACKERS)


def test_a_tracker_that_is_none_is_refused_by_name():
    from src.compose import compose
    from src.selection import parse

    with pytest.raises(ValueError, match=r"run\.trackers.*tensorbord"):
        compose(parse(["run.trackers=[tensorbord]"]))


def test_a_store_is_a_file_or_an_address(tmp_path):
    assert store_address("http://127.0.0.1:5000") == "http://127.0.0.1:5000"
    assert store_address(str(tmp_path / "new" / "runs.db")) == f"sqlite:///{(tmp_path / 'new/runs.db').as_posix()}"
    assert (tmp_path / "new").is_dir()
