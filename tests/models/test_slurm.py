"""A run that is submitted to Slurm trains there, is queued again before its time ends, and leaves the same weights."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import yaml
from safetensors.torch import load_file

from src.compose import compose, load_composed
from src.layout import RunFolder
from src.models.slurm import sbatch_options, submit, write_job
from src.models.train_model import train_model
from src.selection import parse
from tests.models.cluster import Cluster, slurm, wait
from tests.models.conftest import FAST, pack_drawn
from tests.project import ROOT

JOB = ["run=slurm", "run.slurm.nodes=2", "run.slurm.cpus=1", "run.device=cpu"]


def configured(*overrides: str):
    return compose(parse([*FAST, "run=slurm", *overrides]))


def test_slurm_is_asked_for_what_the_configuration_says():
    asked = ["run.slurm.nodes=2", "run.slurm.processes=4", "run.slurm.cpus=6", "run.slurm.partition=gpu"]
    asked += [
        "run.slurm.memory=64G",
        "run.slurm.time=24:00:00",
        "run.slurm.signal_s=300",
        "run.slurm.extra={qos: low, exclusive: null}",
    ]
    cfg = configured(*asked)
    assert sbatch_options(cfg, cfg.run.slurm, folder=RunFolder(Path("models/a"))) == [
        "--job-name=a",
        "--nodes=2",
        "--ntasks-per-node=4",
        "--cpus-per-task=6",
        "--gpus-per-node=4",
        "--partition=gpu",
        "--time=24:00:00",
        "--mem=64G",
        "--signal=USR1@300",
        "--output=models/a/job/output-%j.txt",
        "--open-mode=append",
        "--requeue",
        "--qos=low",
        "--exclusive",
    ]


def test_on_a_cpu_and_without_limits_slurm_is_asked_for_neither():
    cfg = configured("run.device=cpu", "run.slurm.requeue=false")
    options = " ".join(sbatch_options(cfg, cfg.run.slurm, folder=RunFolder(Path("models/a"))))
    assert "--no-requeue" in options
    assert not any(name in options for name in ("gpus", "partition", "time", "mem"))


def test_the_job_has_the_whole_configuration_and_trains_rather_than_submits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = configured("optimizer.lr=0.02", "run_dir=models/a b")
    script = write_job("src.models.train_model", cfg, cfg.run.slurm, folder=RunFolder(Path("models/a b")))
    inside = load_composed(script.parent / "config.yaml")
    assert (inside.optimizer.lr, inside.run_dir, inside.run.slurm) == (0.02, "models/a b", None)
    assert "'models/a b/job/config.yaml'" in script.read_text()
    if os.name == "posix":
        subprocess.run(["bash", "-n", str(script)], check=True)


def test_without_slurm_the_two_ways_out_are_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"run=slurm needs sbatch.*on a machine of the cluster.*leave run=slurm out"):
        train_model(configured())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["run.devices=2"], r"run.devices=2 and run.slurm both say how many processes train"),
        (["sweep=backbones"], r"a sweep needs the results of its runs and run.slurm only submits them"),
        (
            ["model=linear_probe", "features.embeddings.pretrained_path=a.safetensors", "run.slurm.nodes=2"],
            r"run.slurm.nodes=2 and run.slurm.processes=1 are of no use to model.name=linear_probe",
        ),
    ],
)
def test_what_a_job_cannot_do_is_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        compose(parse(["run=slurm", *overrides]))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A working folder with packed data, as all nodes see it."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        pack_drawn(compose(parse(FAST)))
    return folder


def submitted(cluster: Cluster, shared: Path, name: str, *overrides: str) -> tuple[str, Path]:
    """Number of the job, and the file of what it says."""
    settings = [*FAST, *JOB, "train.save_every_s=0", f"run_dir=models/{name}", *overrides]
    env = os.environ | cluster.environ | {"PYTHONPATH": str(ROOT), "COVERAGE_PROCESS_START": ""}
    command = [sys.executable, "-m", "src.models.train_model", *settings]
    done = subprocess.run(command, cwd=shared, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    number = done.stderr.partition("job ")[2].partition(":")[0]
    return number, shared / f"models/{name}/job/output-{number}.txt"


def said(output: Path, text: str, *, after: int = 0) -> int:
    """The end of what the job has said, once it has said the text after a place in it."""

    def there() -> int:
        told = output.read_text() if output.exists() else ""
        return len(told) if text in told[after:] else 0

    return int(wait(there, what=f"{text!r} is not in {output.read_text() if output.exists() else 'a file'}"))


def rank(number: str, place: int) -> psutil.Process:
    """A process of the job by its place in the team."""
    names = {"SLURM_JOB_ID": number, "RANK": str(place)}
    for process in psutil.process_iter():
        try:
            if names.items() <= process.environ().items() and "src.models.train_model" in process.cmdline():
                return process
        except (psutil.AccessDenied, psutil.NoSuchProcess):
            continue
    raise AssertionError(f"job {number} has no process {place}")


def weights(shared: Path, name: str):
    return load_file(RunFolder(shared / "models" / name).checkpoint("last") / "model.safetensors")


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_job_that_lost_a_process_and_was_queued_again_has_the_weights_of_an_unbroken_one(cluster, shared):
    settings = ["train.epochs=30"]
    number, output = submitted(cluster, shared, "whole", *settings)
    job = cluster.wait_for(number, "COMPLETED", "FAILED")
    assert (job["JobState"], job["NodeList"]) == ("COMPLETED", "one,two"), output.read_text()
    assert output.read_text().count("epoch 30/30") == 1
    number, output = submitted(cluster, shared, "broken", *settings)
    at = said(output, "epoch 1/30")
    rank(number, 1).kill()
    at = said(output, "goes on from step", after=at)
    said(output, "epoch ", after=at)
    cluster.ask("scancel", "--signal=USR1", number)
    said(output, "stopped by SIGUSR1 at step", after=at)
    job = cluster.wait_for(number, "COMPLETED", "FAILED")
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1"), output.read_text()
    one, other = weights(shared, "whole"), weights(shared, "broken")
    assert all((one[key] == other[key]).all() for key in one)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_was_cancelled_is_not_queued_again(cluster, shared):
    number, output = submitted(cluster, shared, "cancelled", "train.epochs=4000")
    said(output, "epoch 1/")
    team = [rank(number, place) for place in (0, 1)]
    cluster.ask("scancel", number)
    assert not psutil.wait_procs(team, timeout=90)[1]
    job = cluster.wait_for(number, "CANCELLED", "PENDING", "RUNNING")
    assert (job["JobState"], job["Restarts"]) == ("CANCELLED", "0"), output.read_text()


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_what_slurm_refuses_is_told_with_the_script_to_look_at(cluster, shared, monkeypatch):
    monkeypatch.chdir(shared)
    for name, value in cluster.environ.items():
        monkeypatch.setenv(name, value)
    cfg = configured("run.device=cpu", "run.slurm.partition=nowhere", "run_dir=models/refused")
    with pytest.raises(ValueError, match=r"Slurm refused the job \(.*invalid partition.*\); see run.slurm, and models"):
        submit("src.models.train_model", cfg, cfg.run.slurm)
    assert yaml.safe_load((shared / "models/refused/job/config.yaml").read_text())["run"]["slurm"] is None
