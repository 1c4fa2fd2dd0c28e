import json
import os
import shutil

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from src.artifacts import RunRecord
from src.compose import load_composed
from src.layout import PACKED_DIR, RunFolder
from src.metrics_log import read_metrics
from src.models.sweep import sweep
from src.models.sweeping.search import Trials, prepare
from src.models.sweeping.search_space import dimensions
from src.models.sweeping.study import Design
from src.models.train_model import train_model
from src.schema import Component
from tests.models import searched
from tests.models.searched import GRID, RANDOM, run_search, start_search, wait_for
from tests.test_docs import compared, dictionary, names_in

TOO_WIDE = 20_000_000


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["sweep.options.space.optimizr.lr.high=1"], r"optimizr is not a key; did you mean optimizer\?"),
        (["sweep.options.sampler.name=tpee"], r"sweep.options.sampler.name=tpee is unknown; did you mean tpe\?"),
        (["sweep.options.trials.nmber=3"], r"sweep.options.trials.nmber is not a key; did you mean number\?"),
        (["sweep.options.trials.number=null"], r"trials.number=null is for a grid; say how many trials tpe draws"),
        (["sweep.options.trials.number=0"], r"sweep.options.trials.number=0 should be greater than or equal to 1"),
        (["sweep.options.trials.keep=none"], r"sweep.options.trials.keep=\"none\" should be 'best' or 'all'"),
        (["sweep.options.sapce={}"], r"sweep.options.sapce: search takes no sapce; did you mean space or sampler\?"),
        (["sweep.options.trials.number=2"], r"statistics.json does not exist; run build_features first"),
    ],
)
def test_a_wrong_setting_is_said_before_anything_is_written(config, tmp_path, monkeypatch, overrides, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        sweep(config("sweep=search", *overrides))
    assert list(tmp_path.iterdir()) == []


def test_without_a_val_split_there_is_nothing_to_go_by(project, config):
    path = PACKED_DIR / "statistics.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"counts": {"train": 96, "test": 31}}))
    with pytest.raises(ValueError, match=r"a search goes by the val split and there is none; set data.val_share"):
        sweep(config("sweep=search"))


def test_more_trials_and_another_device_extend_the_same_search_and_other_rules_begin_another(project, config):
    def found(*overrides: str):
        cfg = config("sweep=search", *overrides)
        options = cfg.sweep.options
        rules = {name: Component(**options[name]) for name in ("sampler", "pruner")}
        design = Design(space=dimensions(options["space"], cfg), metric=options["metric"], **rules)
        return prepare(cfg, design, Trials(**options["trials"])).folder

    same = [found(), found("sweep.options.trials.number=50", "sweep.options.trials.keep=all"), found("run.device=cpu")]
    others = [
        found("sweep.options.sampler.options.seed=1"),
        found("train.epochs=9"),
        found("sweep.options.space.augment=null"),
    ]
    assert len(set(same)) == 1
    assert len({*same, *others}) == 4


@pytest.mark.slow
def test_failed_trials_are_told_with_their_reason_and_the_others_are_run(project):
    # a search that looked at the test split would end here
    shutil.rmtree(PACKED_DIR / "test")
    width = f"{{options:{{width:{{choices:[8,{TOO_WIDE}]}}}}}}"
    space = f"sweep.options.space={{optimizer:{{lr:{{choices:[0.05,1e9]}}}},model:{width}}}"
    done = run_search(*GRID, space)
    assert done.returncode == 0, done.stderr
    found = searched.table()
    assert list(found["state"]) == ["finished", "failed", "failed", "failed"]
    assert "loss is nan" in found.loc[2, "reason"]
    for number in (1, 3):
        assert "memory" in found.loc[number, "reason"]
    check_finished_row(0, found)
    assert "4 trials: 1 finished, 0 pruned, 3 failed" in done.stdout
    assert f"trial 2 failed: {found.loc[2, 'reason']}" in done.stdout
    summary = json.loads((searched.folder() / "summary.json").read_text())
    assert summary["states"] == {"finished": 1, "pruned": 0, "failed": 3}
    assert summary["best"]["params"] == {"optimizer.lr": 0.05, "model.options.width": 8}

    compared(dictionary("`models/sweeps/search-<id>/results.csv`"), {"trial", *found.columns})
    compared(dictionary("`models/sweeps/search-<id>/summary.json`"), names_in(summary))

    again = run_search(*GRID, space)
    assert (again.returncode, again.stdout) == (0, done.stdout)

    # the best one, repeated as a run of its own
    best = load_composed(searched.folder() / "best.yaml")
    train_model(best)
    (repeated,) = (RunFolder(path) for path in (searched.folder().parents[1] / "runs").iterdir())
    assert accuracies(repeated) == accuracies(searched.trial(0))
    assert best.sweep is None


def check_finished_row(number, found) -> None:
    """The row agrees with what the run itself has written."""
    run, row = searched.trial(number), found.loc[number]
    record = RunRecord.load(run.train)
    assert row["val/acc"] == max(accuracies(run)) == record.best["val/acc"]
    assert row["best_epoch"] == record.best["epoch"]
    for name in ("epochs", "seconds", "images_per_s", "num_params", "peak_mib"):
        assert row[name] == getattr(record, name)
    assert row["optimizer.lr"] == record.config["optimizer"]["lr"]


def accuracies(run: RunFolder) -> list[float]:
    return [row["val/acc"] for row in read_metrics(run.metrics_log)]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of another kind")
def test_a_killed_search_goes_on_and_equals_an_unbroken_one(project):
    given = [*RANDOM, "sweep.options.trials.number=3", "sweep.options.trials.keep=all", "train.epochs=20"]
    whole = run_search(*given)
    assert whole.returncode == 0, whole.stderr
    expected = searched.table()
    curves = [accuracies(searched.trial(number)) for number in range(3)]
    shutil.rmtree("models")

    killed = start_search(*given, "train.save_every_s=0")
    wait_for(lambda: searched.trains(1) or killed.poll() is not None, "an epoch of the second trial")
    (child,) = psutil.Process(killed.pid).children()
    killed.kill()
    child.kill()
    assert killed.wait() < 0
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{searched.folder() / 'study.db'}")
    assert [found.state for found in study.trials] == [TrialState.COMPLETE, TrialState.RUNNING]

    again = run_search(*given, "train.save_every_s=0")
    assert again.returncode == 0, again.stderr
    found = searched.table()
    same = ["state", "val/acc", "best_epoch", "optimizer.lr", "optimizer.weight_decay", "augment", "epochs"]
    assert found[same].equals(expected[same])
    assert [accuracies(searched.trial(number)) for number in range(3)] == curves
    assert sorted(path.name for path in searched.folder().glob("trial_*")) == ["trial_000", "trial_001", "trial_002"]
    assert [searched.trial(number).checkpoint("best").exists() for number in range(3)] == [True] * 3


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of another kind")
def test_a_trial_whose_process_is_killed_has_failed_and_a_longer_search_goes_on_from_there(project):
    given = [*GRID, searched.SPACE]
    search = start_search(*given, "train.epochs=500", "sweep.options.trials.number=1")
    wait_for(lambda: searched.trains(0) or search.poll() is not None, "an epoch of the first trial")
    (child,) = psutil.Process(search.pid).children()
    child.kill()
    said, _ = search.communicate(timeout=searched.DEADLINE_S)
    assert search.returncode == 1, said
    assert "no trial was finished" in said
    assert "was ended by SIGKILL: by someone, or by the system for want of memory" in searched.table().loc[0, "reason"]
    assert list(searched.trial(0).path.rglob("*.safetensors")) == []
    assert not searched.trial(0).resume.exists()

    longer = start_search(*given, "train.epochs=500", "sweep.options.trials.number=2", "sweep.options.trials.limit_s=1")
    said, _ = longer.communicate(timeout=searched.DEADLINE_S)
    assert list(searched.table()["state"]) == ["failed", "failed"]
    assert searched.table().loc[1, "reason"] == "not done after sweep.options.trials.limit_s=1.0"


@pytest.mark.slow
def test_a_trial_worse_than_those_before_it_is_stopped(project):
    space = "sweep.options.space={optimizer:{lr:{choices:[0.05,1e-9]}}}"
    pruner = "sweep.options.pruner={name:median,options:{startup_trials:1,warmup_epochs:0}}"
    done = run_search(*GRID, space, pruner, "train.epochs=60")
    assert done.returncode == 0, done.stderr
    found = searched.table()
    assert list(found["state"]) == ["finished", "pruned"]
    check_finished_row(0, found)
    cut = accuracies(searched.trial(1))
    assert found.loc[1, "epochs"] <= len(cut) < 60
    assert found.loc[1, "val/acc"] == cut[int(found.loc[1, "epochs"]) - 1]
    assert not searched.trial(1).resume.exists()
    assert list(searched.trial(1).path.rglob("*.safetensors")) == []
    assert "trial_001 pruned after" in done.stderr
