"""Processes of one run are started together, stop together and leave none behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from safetensors.torch import load_file

from src.layout import RunFolder
from src.models.distributed.launch import Rank, end, is_launcher, wait
from src.models.signals import StopFlag
from tests.models.conftest import FAST
from tests.models.test_resume import PROJECT_ROOT, newest_step

LONG = [*FAST, "train.epochs=4000", "train.save_every_s=0.2", "run_dir=models/run"]
TRAIN = ["-m", "src.models.train_model"]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc_per_node=2"]

pytestmark = [pytest.mark.skipif(os.name != "posix", reason="signals of another kind"), pytest.mark.timeout(400)]


def start(project: Path, *command: str) -> "subprocess.Popen[str]":
    env = os.environ | {"PYTHONPATH": str(PROJECT_ROOT), "OMP_NUM_THREADS": "1", "COVERAGE_PROCESS_START": ""}
    return subprocess.Popen([sys.executable, *command], cwd=project, env=env, stderr=subprocess.PIPE, text=True)


def wait_for(run: "subprocess.Popen[str]", text: str) -> str:
    """Everything said up to the line that holds the text."""
    assert run.stderr is not None
    said = ""
    for line in run.stderr:
        said += line
        if text in line:
            return said
    raise AssertionError(f"{text!r} was never said:\n{said}")


def ranks(run: "subprocess.Popen[str]") -> list[psutil.Process]:
    """The processes that train, in the order of their numbers."""
    below = psutil.Process(run.pid).children(recursive=True)
    return sorted(
        (process for process in below if "RANK" in process.environ()), key=lambda process: process.environ()["RANK"]
    )


def gone(processes: list[psutil.Process], *, within_s: float = 0) -> bool:
    """Whether none is alive: of processes whose launcher has waited for them that is so at once."""
    return not psutil.wait_procs(processes, timeout=within_s)[1]


def step_told(said: str) -> int:
    return int(said.partition("goes on from step ")[2].split()[0])


@pytest.mark.slow
def test_the_first_process_alone_writes_and_speaks(project):
    run = start(project, *TRAIN, *FAST, "run.devices=2", "run_dir=models/run")
    said = run.communicate()[1]
    assert run.returncode == 0, said
    assert said.count("epoch 1/2") == said.count("epoch 2/2") == 1
    assert said.count("run folder") == 1
    folder = RunFolder(project / "models/run")
    assert len(folder.metrics_log.read_text().splitlines()) == 2
    record = json.loads((folder.train / "run.json").read_text())
    assert record["steps"] == 2 * (96 // 16)
    assert not folder.resume.exists()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75), (signal.SIGUSR1, 75)])
def test_a_signal_stops_all_at_one_step_and_another_number_of_processes_goes_on(project, number, code):
    stopped = f"stopped by {signal.Signals(number).name} at step"
    for _ in range(3):
        run = start(project, *TRAIN, *LONG, "run.devices=2")
        wait_for(run, "epoch 2/")
        team = ranks(run)
        assert len(team) == 2
        # a terminal and some schedulers send it to each of them too
        team[0].send_signal(number)
        run.send_signal(number)
        said = run.communicate(timeout=180)[1]
        if stopped in said:
            break
        # a busy machine handed it on so late that it was a second one, which ends a process: once more, from the start
        shutil.rmtree(project / "models")
    assert run.returncode == code, said
    assert stopped in said
    assert gone(team)
    folder = RunFolder(project / "models/run")
    step = json.loads((folder.checkpoint("last") / "model.json").read_text())["step"]
    assert step == newest_step(folder)
    again = start(project, *TRAIN, *LONG)
    assert step_told(wait_for(again, "goes on from step")) == step
    wait_for(again, "epoch ")
    again.kill()
    again.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_run_at_once_and_the_same_command_goes_on(project, victim):
    run = start(project, *TRAIN, *LONG, "run.devices=2")
    wait_for(run, "epoch 2/")
    team = ranks(run)
    team[victim].kill()
    said = run.communicate(timeout=180)[1]
    assert run.returncode == 2, said
    assert f"process {victim} of 2 was ended by SIGKILL" in said
    assert "Traceback" not in said
    assert gone(team)
    again = start(project, *TRAIN, *LONG, "run.devices=2")
    assert step_told(wait_for(again, "goes on from step")) > 0
    again.send_signal(signal.SIGTERM)
    again.communicate(timeout=180)


@pytest.mark.slow
def test_without_their_launcher_the_processes_save_and_stop(project):
    run = start(project, *TRAIN, *LONG, "run.devices=2")
    wait_for(run, "epoch 2/")
    team = ranks(run)
    run.kill()
    said = run.communicate(timeout=180)[1]
    assert gone(team, within_s=120)
    assert "stopped by SIGTERM at step" in said


@pytest.mark.slow
def test_a_fault_that_all_find_is_told_once(project):
    run = start(project, *TRAIN, *FAST, "run.devices=3", "train.batch_size=2")
    said = run.communicate(timeout=350)[1]
    assert run.returncode == 2
    assert said.count("3 processes cannot share a batch of 2 images") == 1
    assert "Traceback" not in said


@pytest.mark.slow
def test_batch_norm_over_processes_is_refused_on_a_cpu(project):
    run = start(project, *TRAIN, *FAST, "run.devices=2", "train.sync_bn=true", "run.device=cpu")
    said = run.communicate(timeout=350)[1]
    assert run.returncode == 2
    assert "train.sync_bn=true needs GPUs" in said


@pytest.mark.slow
def test_torchrun_starts_a_killed_team_again_from_its_last_state(project):
    settings = [*FAST, "train.epochs=60", "train.save_every_s=0"]
    whole = start(project, *TORCHRUN, *TRAIN, *settings, "run_dir=models/whole")
    assert whole.communicate()[1].count("epoch 60/60") == 1
    run = start(project, *TORCHRUN, "--max-restarts=1", *TRAIN, *settings, "run_dir=models/broken")
    wait_for(run, "epoch 2/")
    team = ranks(run)
    team[1].kill()
    said = run.communicate(timeout=350)[1]
    assert run.returncode == 0, said
    assert step_told(said) > 6
    weights = [
        load_file(RunFolder(project / "models" / name).checkpoint("last") / "model.safetensors")
        for name in ("whole", "broken")
    ]
    assert all((weights[0][key] == weights[1][key]).all() for key in weights[0])


@pytest.mark.slow
def test_torchrun_hands_a_signal_on_and_all_save(project):
    run = start(project, *TORCHRUN, *TRAIN, *LONG)
    wait_for(run, "epoch 2/")
    team = ranks(run)
    run.send_signal(signal.SIGTERM)
    said = run.communicate(timeout=180)[1]
    assert "stopped by SIGTERM at step" in said
    assert gone(team, within_s=120)


def test_one_that_hangs_is_ended_once_another_has_failed():
    codes = ("import sys; sys.stdin.read()", "raise SystemExit(3)")
    team = [subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) for code in codes]
    hanging, failing = ranks = [Rank(number, process, None) for number, process in enumerate(team)]
    assert wait(ranks, StopFlag()) is failing
    # it has no reason to end by itself
    assert hanging.process.poll() is None
    end(ranks)
    assert [process.returncode for process in team] == [-signal.SIGKILL, 3]
    for process in team:
        process.communicate()


def test_processes_are_started_only_where_more_than_one_is_asked_for():
    assert [is_launcher(devices, {}) for devices in (None, 1, 2)] == [False, False, True]
    assert not is_launcher(2, {"RANK": "0", "WORLD_SIZE": "2"})


def test_another_number_of_processes_than_were_started_is_refused():
    with pytest.raises(ValueError, match=r"run.devices=2, but 4 processes were started; leave run.devices out"):
        is_launcher(2, {"RANK": "0", "WORLD_SIZE": "4"})
