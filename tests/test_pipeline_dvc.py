"""What must hold of Hydra and DVC together, with DVC, git and make run for real on a copy of the project.

The tests share one copy and run in the order in which they stand: each leaves the pipeline up to date.
"""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.project import Project, copy_project, draw_image, draw_images

EVERY_STAGE = ["compose", "fetch_data", "make_dataset", "build_features", "train_model", "predict_model"]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("dvc")
    images = folder / "images"
    draw_images(images)
    copy = copy_project(folder / "project")
    params = yaml.safe_load((copy.root / "params.yaml").read_text(encoding="utf-8"))
    tiny = {"data": "folder", "model": "baseline_cnn", "augment": "none"}
    values = {
        "data": {"path": images.as_posix()},
        "train": {"epochs": 1, "batch_size": 16},
        "schedule": {"warmup_epochs": 0.0},
        "run": {"device": "cpu", "wandb": {"mode": "disabled"}},
    }
    (copy.root / "params.yaml").write_text(yaml.safe_dump(params | tiny | {"set": values}, sort_keys=False))
    copy.commit("a fresh clone")
    return copy


def stages_run(said: str) -> list[str]:
    """The stages that DVC ran, fetch_data left out: it looks at the source on every run."""
    return [name for name in re.findall(r"Running stage '(\w+)'", said) if name != "fetch_data"]


def composed(project: Project) -> dict:
    return yaml.safe_load((project.root / "composed.yaml").read_text(encoding="utf-8"))


def test_a_fresh_clone_reproduces(project: Project) -> None:
    said = project.dvc("repro", "predict_model")
    assert stages_run(said) == [name for name in EVERY_STAGE if name != "fetch_data"]
    metrics = json.loads((project.root / "models/pipeline/metrics.json").read_text(encoding="utf-8"))
    assert metrics["test"]["num_images"] == 4
    project.commit("first results")


def test_no_change_re_runs_nothing(project: Project) -> None:
    said = project.make("train")
    assert stages_run(said) == []
    assert "nothing has changed since the last run" in said
    assert "test accuracy" in said
    assert "models/pipeline" in said
    assert "packed pixels" in project.make("features")
    assert project.run("git", "status", "--porcelain") == ""


def test_no_stage_writes_into_another_stages_output(project: Project) -> None:
    ran = {"compose", "make_dataset", "build_features", "train_model", "predict_model"}
    assert set(json.loads(project.dvc("status", "--json"))) & ran == set()


def test_an_edit_of_a_preset_in_use_re_runs_the_stages_that_read_it(project: Project) -> None:
    project.edit("configs/predict/default.yaml", "batch_size: 256", "batch_size: 128")
    assert stages_run(project.dvc("repro", "predict_model")) == ["compose", "predict_model"]
    assert composed(project)["predict"]["batch_size"] == 128


def test_an_edit_of_a_preset_not_in_use_re_runs_no_stage_of_work(project: Project) -> None:
    project.edit("configs/optimizer/sgd.yaml", "lr: 0.1", "lr: 0.2")
    project.edit("configs/model/resnet18.yaml", "name: resnet18", "name: resnet18\nstem: plain")
    assert stages_run(project.dvc("repro", "predict_model")) == ["compose"]


def test_make_train_with_overrides_does_what_it_says(project: Project) -> None:
    said = project.make("train", "optimizer=sgd optimizer.lr=1e-2 optimizer.options={momentum:0.5,nesterov:true}")
    assert "optimizer: default -> sgd" in said
    assert "optimizer.lr: default -> 0.01" in said
    assert stages_run(said) == ["compose", "train_model", "predict_model"]
    chosen = composed(project)["optimizer"]
    assert chosen["name"] == "sgd"
    assert chosen["lr"] == 0.01
    assert chosen["options"] == {"momentum": 0.5, "nesterov": True}
    kept = json.loads((project.root / "models/pipeline/train/run.json").read_text(encoding="utf-8"))
    assert kept["config"]["optimizer"] == chosen


def test_a_wrong_override_changes_nothing(project: Project) -> None:
    before = (project.root / "params.yaml").read_bytes()
    said = project.make("train", "optimizer.lrr=1", ok=False)
    assert "optimizer.lrr is not a key; did you mean lr?" in said
    assert "Traceback" not in said
    assert (project.root / "params.yaml").read_bytes() == before


def test_a_change_under_the_data_path_re_runs_make_dataset(project: Project) -> None:
    draw_image(project.root.parent / "images/left/new.png", np.random.default_rng(1), bright="left")
    said = project.make("data")
    assert stages_run(said) == ["make_dataset", "audit_data"]
    assert "2 classes" in said
    assert "reports/data_audit.html" in said
    (project.root.parent / "images/left/new.png").unlink()
    assert "Stage 'make_dataset' is cached" in project.make("train")


def test_a_stage_that_fails_ends_in_one_sentence_and_its_next_step(project: Project) -> None:
    params = project.root / "params.yaml"
    kept = params.read_text(encoding="utf-8")
    project.edit("params.yaml", "epochs: 1", "epochs: none")
    said = project.make("train", ok=False)
    assert 'train.epochs="none" should be a valid integer' in said
    assert "failed to reproduce 'compose': its reason stands above" in said
    assert "Traceback" not in said
    params.write_text(kept, encoding="utf-8")
    project.make("train")


def test_a_second_make_is_told_that_the_first_is_at_work_and_one_that_was_killed_is_in_nobodys_way(
    project: Project,
) -> None:
    hold = (
        "import sys, time; from dvc.repo import Repo\nwith Repo('.').lock: print('held', flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], cwd=project.root, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        said = project.make("features", ok=False)
        holder.kill()
    assert "another dvc or make is at work here, or one was killed" in said
    assert "Traceback" not in said
    assert "packed pixels" in project.make("features")


def test_new_images_are_predicted_from_the_pipelines_checkpoint(project: Project) -> None:
    before = (project.root / "params.yaml").read_bytes()
    said = project.make("predict", f"predict.images={project.root.parent / 'images/left'} run.device=cpu")
    assert "10 images predicted, 0 unreadable" in said
    assert (project.root / "params.yaml").read_bytes() == before
    assert "which images?" in project.make("predict", ok=False)


def test_metrics_and_plots_are_shown(project: Project) -> None:
    assert "test.acc" in project.dvc("metrics", "show")
    project.dvc("plots", "show", "--out", "plots", "models/pipeline/predictions/confusion.csv")
    page = (project.root / "plots/index.html").read_text(encoding="utf-8")
    assert "actual" in page
    assert "predicted" in page


def test_reset_params_clears_the_selection(project: Project) -> None:
    kept = (project.root / "params.yaml").read_text(encoding="utf-8")
    said = project.make("reset-params")
    assert "optimizer: sgd -> default" in said
    cleared = yaml.safe_load((project.root / "params.yaml").read_text(encoding="utf-8"))
    assert cleared.pop("set") == {}
    assert set(cleared.values()) == {None}
    (project.root / "params.yaml").write_text(kept, encoding="utf-8")


@pytest.mark.slow
def test_the_report_and_every_plot_are_made(project: Project) -> None:
    said = project.make("report")
    assert stages_run(said) == ["visualize"]
    assert (project.root / "reports/pipeline/index.html").is_file()
    assert stages_run(project.make("report")) == []
    project.dvc("plots", "show", "--out", "plots")
    page = (project.root / "plots/index.html").read_text(encoding="utf-8")
    words = ("Loss", "Accuracy", "Confusion on the test split", "Accuracy by confidence", "reports/figures/pipeline")
    for word in (*words, "Wrong answers by the share"):
        assert word in page
    project.commit("a report")


@pytest.mark.slow
def test_an_experiment_chooses_presets_and_values(project: Project) -> None:
    overrides = ["-S", "model=residual_cnn", "-S", "+set.train.seed=3", "-S", "set.train.batch_size=8"]
    project.dvc("exp", "run", "--name", "residual", *overrides, "predict_model")
    assert composed(project)["model"]["name"] == "residual_cnn"
    assert composed(project)["train"]["seed"] == 3
    assert composed(project)["train"]["batch_size"] == 8
    assert "residual_cnn" in project.dvc("exp", "show", "--csv")
    moved = json.loads(project.dvc("metrics", "diff", "--json").partition("\n")[0])
    (figures,) = moved.values()
    loss = figures["test.loss"]
    assert loss["new"] - loss["old"] == pytest.approx(loss["diff"]) != 0
    project.dvc("plots", "diff", "--out", "plots", "HEAD")
    page = (project.root / "plots/index.html").read_text(encoding="utf-8")
    assert '"rev": "workspace"' in page
    assert '"rev": "HEAD"' in page


@pytest.mark.slow
def test_queued_experiments_run_each_choice(project: Project) -> None:
    project.run("git", "checkout", "--quiet", ".")
    project.dvc("exp", "run", "--queue", "-S", "schedule=constant,linear", "predict_model")
    project.dvc("exp", "run", "--run-all", "--jobs", "1")
    rows = json.loads(project.dvc("exp", "show", "--json"))
    text = json.dumps(rows)
    assert '"schedule": "constant"' in text
    assert '"schedule": "linear"' in text
    assert "Failed" not in project.dvc("queue", "status")


@pytest.mark.slow
def test_without_a_network_every_stage_works(project: Project) -> None:
    alone = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("a process cannot be cut off from the network here")
    project.edit("params.yaml", "epochs: 1", "epochs: 3")
    said = project.run(*alone, sys.executable, "-m", "src.pipeline", "repro", "visualize", "data.seed=7")
    assert set(EVERY_STAGE) <= {*stages_run(said), "fetch_data"}
    assert "reports/pipeline/index.html" in said
    project.edit("params.yaml", "epochs: 3", "epochs: 1")


@pytest.mark.slow
def test_interrupted_training_ends_make_with_a_word_and_can_go_on(project: Project) -> None:
    project.edit("params.yaml", "epochs: 1", "epochs: 500")
    command = [sys.executable, "-m", "src.pipeline", "repro", "predict_model"]
    log = project.root.parent / "said.txt"
    with log.open("w") as out:
        process = start_in_group(command, project.root, out)
        wait_for(log, "epoch 2/500", process)
        interrupt_group(process)
        assert process.wait(timeout=120) == 130
    assert "interrupted" in log.read_text(encoding="utf-8")
    assert (project.root / "models/pipeline/train/last").is_dir()


def start_in_group(command: list[str], folder: Path, out: object) -> "subprocess.Popen[bytes]":
    from tests.project import environment

    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=out, stderr=subprocess.STDOUT, start_new_session=True
    )


def interrupt_group(process: "subprocess.Popen[bytes]") -> None:
    import os
    import signal

    os.killpg(process.pid, signal.SIGINT)


def wait_for(log: Path, text: str, process: "subprocess.Popen[bytes]") -> None:
    """Return once the log holds the text; fails where the process ends before."""
    while text not in log.read_text(encoding="utf-8"):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.1)
