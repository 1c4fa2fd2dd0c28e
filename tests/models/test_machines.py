"""Processes on two machines, each with a disk of its own, train one model and end together."""

import shutil
import subprocess
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from src.layout import PACKED_DIR, RunFolder
from src.metrics_log import read_metrics
from src.models.engine.preparing import prepare
from src.models.signals import StopFlag
from tests.models.conftest import configured
from tests.models.hosts import Host, two_hosts

# rounding is all that a number of processes changes: no statistics of a batch, no division by a gradient's size
SETTINGS = [
    "model=timm",
    "model.name=vit_tiny_patch16_224",
    "model.options={patch_size: 4, depth: 2, embed_dim: 48, num_heads: 2}",
    *("optimizer=sgd", "optimizer.lr=0.05", "train.epochs=4", "train.batch_size=128", "train.save_every_s=0"),
    *("run.device=cpu", "run.wandb.mode=disabled", "run_dir=models/run"),
]
WAIT_S = 150

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def packed_digits(tmp_path_factory):
    """The digits, packed."""
    from src.data.fetch_data import fetch_data
    from src.data.make_dataset import make_dataset
    from src.features.build_features import build_features

    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        cfg = configured(*SETTINGS)
        fetch_data(cfg)
        make_dataset(cfg)
        build_features(cfg)
    return folder / PACKED_DIR


@pytest.fixture(scope="module")
def hosts(packed_digits, tmp_path_factory):
    with two_hosts(tmp_path_factory.mktemp("hosts")) as both:
        for host in both:
            shutil.copytree(packed_digits, host.folder / PACKED_DIR)
        yield both


@pytest.fixture(scope="module")
def unbroken(hosts):
    """Weights and rows of metrics of a run of the two that nothing disturbed; its folders are set aside."""
    runs = [Started(host, hosts[0], "--max-restarts=0") for host in hosts]
    said = [run.ended() for run in runs]
    assert [run.code for run in runs] == [0, 0], said
    # the first process of all alone writes and speaks
    assert "epoch 4/4" in said[0]
    assert said[1] == ""
    assert not (hosts[1].folder / "models").exists()
    folder = RunFolder(hosts[0].folder / "models/run")
    results = weights(folder), read_metrics(folder.metrics_log)
    shutil.rmtree(folder.path)
    return results


class Started:
    """A torchrun on one of the hosts; what it says is read as it comes."""

    def __init__(self, host: Host, first: Host, *options: str) -> None:
        # torchrun asks the name of the machine, which the two have in common, whether it is the first one
        meeting = [f"--rdzv-endpoint={first.address}:29500", f"--rdzv-conf=is_host={int(host is first)}"]
        team = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--local-addr={host.address}"]
        command = ["-m", "torch.distributed.run", *team, *meeting, *options, "-m", "src.models.train_model", *SETTINGS]
        self.process: subprocess.Popen[str] = host.start(*command)
        self._said: list[str] = []
        self._told = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr or ():
            with self._told:
                # torch's own notes of sockets and the like
                self._said += [line] if line[:1].isdigit() else []
                self._told.notify_all()

    def says(self, text: str) -> None:
        """Wait until it has."""
        with self._told:
            assert self._told.wait_for(lambda: any(text in line for line in self._said), WAIT_S), self._said

    def ended(self) -> str:
        """Everything it said, once it has ended."""
        self.process.wait(WAIT_S)
        self._reader.join()
        return "".join(self._said)

    @property
    def code(self) -> int:
        return self.process.returncode


def weights(folder: RunFolder) -> dict[str, torch.Tensor]:
    return load_file(folder.checkpoint("last") / "model.safetensors")


def test_two_machines_train_the_weights_of_one_process(unbroken, packed_digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(packed_digits, PACKED_DIR)
    prepare(configured(*SETTINGS)).run(StopFlag())
    alone = weights(RunFolder(Path("models/run")))
    assert unbroken[0].keys() == alone.keys()
    for key, weight in unbroken[0].items():
        torch.testing.assert_close(weight, alone[key], rtol=1e-4, atol=1e-5)
    rows = read_metrics(Path("models/run/train/metrics.jsonl"))
    assert len(rows) == 4
    assert rows[-1]["val/acc"] > 0.2
    for one, other in zip(rows, unbroken[1], strict=True):
        assert other["train/loss"] == pytest.approx(one["train/loss"], rel=1e-5)
        assert other["val/acc"] == one["val/acc"]


@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_killed_on_one_machine_ends_the_run_on_both(hosts, victim):
    runs = [Started(host, hosts[0], "--max-restarts=0") for host in hosts]
    runs[0].says("epoch 1/")
    hosts[victim].ranks()[0].kill()
    said = [run.ended() for run in runs]
    assert [run.code for run in runs] == [1, 1], said
    assert [process for host in hosts for process in host.processes()] == []
    other = said[1 - victim]
    assert "another process of this run has ended" in other or victim == 0
    shutil.rmtree(hosts[0].folder / "models/run")


def test_a_team_that_is_started_again_on_two_machines_goes_on_as_if_nothing_had_happened(hosts, unbroken):
    runs = [Started(host, hosts[0], "--max-restarts=2") for host in hosts]
    runs[0].says("epoch 2/")
    hosts[1].ranks()[0].kill()
    said = [run.ended() for run in runs]
    assert [run.code for run in runs] == [0, 0], said
    assert int(said[0].partition("goes on from step ")[2].split()[0]) > 9
    found = weights(RunFolder(hosts[0].folder / "models/run"))
    assert all(torch.equal(found[key], weight) for key, weight in unbroken[0].items())
    assert [process for host in hosts for process in host.processes()] == []
