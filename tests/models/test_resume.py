"""A run that is killed or stopped goes on as if nothing had happened."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from src.layout import RUNS_DIR, RunFolder
from src.metrics_log import read_metrics
from src.models.engine.preparing import prepare
from src.models.engine.resume import ResumeFolder
from src.models.signals import StopFlag
from src.models.train_model import train_model
from tests.disks import small_disk
from tests.models.conftest import FAST

PROJECT_ROOT = Path(__file__).resolve().parents[2]
MEASURED = ("images_per_s", "train/wait_share")

EVERYTHING = [
    *FAST,
    "model.options.dropout=0.2",
    "train.epochs=3",
    "train.average.name=ema",
    "train.average.options.decay=0.9",
    "train.precision=bf16",
    "augment=strong",
    "schedule.warmup_epochs=1.0",
    "train.save_every_s=0",
]
KILLS = 25
# a start changes about ten files, each step and its state two or three, each epoch ten
MOST_CHANGES = 40


def start(project: Path, *overrides: str, settings: list[str] = EVERYTHING) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "src.models.train_model", *settings, *overrides]
    env = os.environ | {"PYTHONPATH": str(PROJECT_ROOT), "OMP_NUM_THREADS": "1", "COVERAGE_PROCESS_START": ""}
    return subprocess.Popen(command, cwd=project, env=env, stderr=subprocess.PIPE, text=True)


def ended(run: "subprocess.Popen[str]") -> str:
    said = run.communicate(timeout=120)[1]
    assert run.returncode == 0, said
    return said


def results(folder: RunFolder) -> dict:
    """Everything that must be equal: weights of both checkpoints, rows of metrics, what the record says."""
    weights = {which: load_file(folder.checkpoint(which) / "model.safetensors") for which in ("best", "last")}
    rows = [{k: v for k, v in row.items() if k not in MEASURED} for row in read_metrics(folder.metrics_log)]
    record = json.loads((folder.train / "run.json").read_text())
    told = {key: record[key] for key in ("epochs", "steps", "stopped")}
    best = {key: value for key, value in record["best"].items() if key not in MEASURED}
    return {"weights": weights, "rows": rows, "record": told, "best": best}


def assert_equal(one: dict, other: dict) -> None:
    assert {k: v for k, v in one.items() if k != "weights"} == {k: v for k, v in other.items() if k != "weights"}
    for which, weights in one["weights"].items():
        assert weights.keys() == other["weights"][which].keys()
        assert all(torch.equal(weights[key], other["weights"][which][key]) for key in weights)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_run_killed_at_25_random_moments_equals_an_unbroken_one(project):
    ended(start(project, "run_dir=models/whole"))
    whole = results(RunFolder(project / "models/whole"))
    # a kill falls when so many more files were written or replaced in the run folder: at a start, in the middle of a
    # state, of a checkpoint, between two of them, in an evaluation
    draws = random.Random(0)
    folder = RunFolder(project / "models/broken")
    kills = 0
    steps = []
    while kills < KILLS:
        changes = draws.randint(1, MOST_CHANGES)
        before = versions(folder.path)
        seen = set(before)
        run = start(project, "run_dir=models/broken")
        while run.poll() is None and len(seen - before) < changes:
            seen |= versions(folder.path)
        if run.poll() is not None:
            said = run.communicate()[1]
            # it came to its end before its kill, or was killed after its end: once more, from the start
            assert run.returncode == 0 or "already holds a run" in said, said
            assert_equal(whole, results(folder))
            folder.path.rename(folder.path.with_name(f"ended-{kills}"))
            continue
        run.kill()
        run.communicate()
        kills += 1
        steps.append(newest_step(folder))
    ended(start(project, "run_dir=models/broken"))
    assert_equal(whole, results(folder))
    assert len(set(steps)) > 5, steps
    assert not folder.resume.exists()


def versions(folder: Path) -> set[tuple[str, int]]:
    """Name and time of each file below the folder; those that vanish meanwhile are left out."""
    found = set()
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                found.add((name, (Path(root) / name).stat().st_mtime_ns))
    return found


def newest_step(folder: RunFolder) -> int:
    states = sorted(folder.resume.glob("state-*.pt"))
    return int(states[-1].name.split("-")[1]) if states else 0


@pytest.mark.skipif(os.name != "posix", reason="signals of another kind")
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGTERM, 75),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, 75, marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_at_the_next_step_and_the_same_command_goes_on(project, number, code):
    settings = [*FAST, "train.epochs=400", "run_dir=models/cut"]
    run = start(project, settings=settings)
    assert run.stderr is not None
    for line in run.stderr:
        if "epoch 2/" in line:
            run.send_signal(number)
            break
    rest = run.communicate(timeout=120)[1]
    assert run.returncode == code, rest
    assert f"stopped by {signal.Signals(number).name} at step" in rest
    assert "run the same command again to go on" in rest
    folder = RunFolder(project / "models" / "cut")
    facts = json.loads((folder.checkpoint("last") / "model.json").read_text())
    assert facts["step"] == newest_step(folder)
    assert load_file(folder.checkpoint("last") / "model.safetensors")
    again = start(project, settings=settings)
    assert again.stderr is not None
    said = next(line for line in again.stderr if "goes on from" in line)
    assert f"goes on from step {facts['step']} " in said
    again.kill()
    again.communicate()


def stopped_after(config, *overrides: str, steps: int) -> None:
    """Train until a signal comes after so many steps."""
    stop = StopFlag()
    training = prepare(config(*overrides))
    step_on = training._save_if_due

    def at_step(state):
        step_on(state)
        if state.step == steps:
            stop.signal = "SIGTERM"

    training._save_if_due = at_step  # type: ignore[method-assign]
    assert training.run(stop) == "SIGTERM"


def test_a_run_stopped_in_an_evaluation_makes_it_again(project, config):
    train_model(config("run_dir=models/whole"))
    stopped_after(config, "run_dir=models/cut", steps=6)
    assert read_metrics(RunFolder(Path("models/cut")).metrics_log) == []
    train_model(config("run_dir=models/cut"))
    assert_equal(results(RunFolder(Path("models/whole"))), results(RunFolder(Path("models/cut"))))


def test_the_same_command_without_a_folder_finds_its_unfinished_run(project, config):
    stopped_after(config, steps=3)
    (cut,) = RUNS_DIR.iterdir()
    train_model(config())
    assert list(RUNS_DIR.iterdir()) == [cut]
    assert json.loads((cut / "train/run.json").read_text())["stopped"] == "finished"
    train_model(config())
    assert len(list(RUNS_DIR.iterdir())) == 2


def test_the_run_id_stays_the_same(project, config):
    stopped_after(config, "run_dir=models/cut", steps=3)
    before = ResumeFolder(Path("models/cut/resume")).plan
    train_model(config("run_dir=models/cut"))
    assert before is not None
    assert json.loads(Path("models/cut/train/run.json").read_text())["run_id"] == before["run_id"]


def test_a_state_of_another_configuration_is_not_gone_on_with(project, config):
    stopped_after(config, "run_dir=models/cut", steps=3)
    with pytest.raises(
        ValueError, match=r"other settings \(config.optimizer.lr: .* -> 0.5\); finish it with train.resume"
    ):
        train_model(config("run_dir=models/cut", "optimizer.lr=0.5"))
    assert newest_step(RunFolder(Path("models/cut"))) == 3


def test_after_dvc_removed_its_output_a_changed_configuration_starts_anew_and_says_so(project, config, caplog):
    stopped_after(config, "run_dir=models/cut", steps=3)
    shutil.rmtree("models/cut/train")
    train_model(config("run_dir=models/cut", "optimizer.lr=0.5"))
    assert "is not gone on with, it differs in config.optimizer.lr" in caplog.text


def test_after_dvc_removed_its_output_the_best_checkpoint_comes_from_the_state(project, config):
    train_model(config("run_dir=models/whole", "train.epochs=4"))
    stopped_after(config, "run_dir=models/cut", "train.epochs=4", steps=20)
    shutil.rmtree("models/cut/train")
    train_model(config("run_dir=models/cut", "train.epochs=4"))
    assert_equal(results(RunFolder(Path("models/whole"))), results(RunFolder(Path("models/cut"))))


def test_a_run_goes_on_from_its_folder_with_its_own_configuration(project, config):
    train_model(config("run_dir=models/whole", "optimizer.lr=0.002"))
    stopped_after(config, "run_dir=models/cut", "optimizer.lr=0.002", steps=4)
    Path("models/cut").rename("models/moved")
    train_model(config("train.resume=models/moved"))
    assert_equal(results(RunFolder(Path("models/whole"))), results(RunFolder(Path("models/moved"))))


def test_a_folder_without_an_unfinished_run_is_told(project, config):
    with pytest.raises(ValueError, match=r"train.resume=models/none holds no unfinished run .*train.init_from"):
        train_model(config("train.resume=models/none"))


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped"])
def test_a_damaged_state_is_named_and_the_one_before_it_used(project, config, caplog, damage):
    train_model(config("run_dir=models/whole"))
    stopped_after(config, "run_dir=models/cut", "train.save_every_s=0", steps=4)
    newest = sorted(Path("models/cut/resume").glob("state-*.pt"))[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"cut": content[:1000], "emptied": b"", "flipped": content}[damage])
    train_model(config("run_dir=models/cut", "train.save_every_s=0"))
    assert f"{newest} is damaged" in caplog.text
    assert_equal(results(RunFolder(Path("models/whole"))), results(RunFolder(Path("models/cut"))))


def test_where_all_states_are_damaged_nothing_is_removed(project, config):
    stopped_after(config, "run_dir=models/cut", "train.save_every_s=0", steps=4)
    states = list(Path("models/cut/resume").glob("state-*.pt"))
    assert len(states) == 2
    for path in states:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"all 2 states in .*resume are damaged"):
        train_model(config("run_dir=models/cut", "train.save_every_s=0"))
    assert all(path.exists() for path in states)


def test_a_second_process_is_kept_out_and_told_who_trains(project, config):
    run = start(project, settings=[*FAST, "train.epochs=100000", "run_dir=models/cut"])
    assert run.stderr is not None
    next(line for line in run.stderr if "epoch 1/" in line)
    with pytest.raises(ValueError, match=rf"is being trained by process {run.pid}; wait for it, or stop it"):
        train_model(config("train.epochs=100000", "run_dir=models/cut"))
    run.kill()
    run.communicate()


def test_without_room_for_a_state_the_sentence_says_how_much_is_needed_and_the_one_before_stays(tmp_path):
    with small_disk(tmp_path / "small", size="64k") as disk:
        folder = ResumeFolder(disk / "resume")
        folder.acquire()
        folder.save({"weights": torch.zeros(10)}, step=1)
        with pytest.raises(
            OSError, match=r"cannot write the state of the run: [\d,]+ bytes are needed and [\d,]+ are free .*intact"
        ):
            folder.save({"weights": torch.ones(100_000)}, step=2)
        saved = folder.load()
        assert saved is not None
        assert torch.equal(saved["weights"], torch.zeros(10))
        folder.release()


def test_a_run_on_a_disk_that_is_too_small_ends_with_what_is_needed_and_goes_on_once_there_is_room(project, config):
    train_model(config("run_dir=models/whole", "train.save_every_s=0"))
    with small_disk(project / "small", size="4m") as disk:
        (disk / "ballast").write_bytes(bytes(shutil.disk_usage(disk).free - 400_000))
        settings = ["run_dir=small/run", "train.save_every_s=0"]
        with pytest.raises(OSError, match=r"[\d,]+ bytes are needed and [\d,]+ are free on the disk of small/run"):
            train_model(config(*settings))
        (disk / "ballast").unlink()
        train_model(config(*settings))
        assert_equal(results(RunFolder(Path("models/whole"))), results(RunFolder(Path("small/run"))))
