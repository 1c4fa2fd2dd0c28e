import json
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest

from src.artifacts import Manifest, Predictions
from src.config import Config
from src.data.make_dataset import make_dataset
from src.features.build_features import build_features
from src.files import read_json, write_json
from src.fold_predictions import KFoldPredictions
from src.layout import DATASET_DIR, PACKED_DIR, RunFolder
from src.metrics_log import read_metrics
from src.models.probing.out_of_fold import out_of_fold
from src.models.sweeping import cross_validation as cv
from src.models.sweeping.sweep_folder import held, open_folder, plan_of
from tests.models.conftest import FAST, configured
from tests.project import ROOT, draw_images
from tests.test_docs import compared, dictionary, names_in

SETTINGS = [*FAST, "train.batch_size=4", "data=folder", "data.path=images", "features.size=10", "run.workers=1"]
SWEEP = ["sweep=cross_validation", "sweep.options.folds=2"]
DEADLINE_S = 600


@pytest.fixture
def pool(tmp_path, monkeypatch) -> Config:
    """The configuration of a sweep over drawn images that are packed in the working folder."""
    monkeypatch.chdir(tmp_path)
    draw_images(Path("images"), per_class=12)
    cfg = configured(*SETTINGS, *SWEEP)
    make_dataset(cfg)
    build_features(cfg)
    return cfg


def sweep_command(*overrides: str) -> list[str]:
    return [sys.executable, "-m", "src.models.sweep", *SETTINGS, *SWEEP, *overrides]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def run_sweep(*overrides: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        sweep_command(*overrides), env=environment(), capture_output=True, text=True, check=False, timeout=DEADLINE_S
    )


def wait_for(condition, what: str) -> None:
    ends = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < ends, f"waited in vain for {what}"
        time.sleep(0.05)


@pytest.mark.parametrize("fold", [0, 1, 2])
def test_the_folds_are_those_that_data_folds_deals(pool, fold):
    study = cv.prepare(pool, num_folds=3)
    ours = cv.fold_manifest(study, cv.fold_config(study, fold), fold)
    make_dataset(configured(*SETTINGS, "data.folds=3", f"data.fold={fold}"))
    theirs = Manifest.load(DATASET_DIR)
    assert ours.digest() == theirs.digest()
    for split in ("train", "val", "test"):
        assert list(ours.rows(split)["id"]) == list(theirs.rows(split)["id"])


def test_a_start_that_may_have_seen_val_is_told(pool, caplog):
    cv.prepare(configured(*SETTINGS, *SWEEP, "train.init_from=models/start"), num_folds=2)
    assert "models/start was perhaps trained on images that are val in a fold" in caplog.text


def test_every_image_of_train_and_val_is_val_once_and_test_stays(pool):
    study = cv.prepare(pool, num_folds=3)
    manifests = [cv.fold_manifest(study, cv.fold_config(study, fold), fold) for fold in range(3)]
    held_out = [image_id for manifest in manifests for image_id in manifest.rows("val")["id"]]
    whole = study.manifest
    assert sorted(held_out) == sorted([*whole.rows("train")["id"], *whole.rows("val")["id"]])
    for manifest in manifests:
        assert list(manifest.rows("test")["id"]) == list(whole.rows("test")["id"])
    kept = pd.read_parquet(study.folder / "folds.parquet")
    assert dict(zip(kept["id"], kept["fold"], strict=True)) == study.folds


def test_images_left_out_of_the_data_set_are_in_no_fold(pool):
    manifest = Manifest.load(DATASET_DIR)
    table = manifest.table.copy()
    left_out = table.index[table["split"] == "train"][0]
    table.loc[left_out, "status"] = "duplicate"
    dealt = cv.deal(replace(manifest, table=table), num_folds=3, seed=0)
    assert table.loc[left_out, "id"] not in dealt
    assert len(dealt) == len(manifest.rows("train")) + len(manifest.rows("val")) - 1


def test_files_named_by_the_configuration_are_found_from_the_folder_of_a_fold(pool):
    cfg = configured(
        *(*SETTINGS, *SWEEP, "model=resnet18", "model.options={}", "model.pretrained_path=weights/a.safetensors"),
        *("features.embeddings.pretrained_path=weights/b.pth", "train.init_from=models/runs/start"),
    )
    study = replace(cv.prepare(pool, num_folds=2), cfg=cfg)
    fold = cv.fold_config(study, 1)
    here = Path().absolute()
    assert fold.model.pretrained_path == str(here / "weights/a.safetensors")
    assert fold.features.embeddings.pretrained_path == str(here / "weights/b.pth")
    assert fold.train.init_from == str(here / "models/runs/start")
    assert fold.data.path == str(here / "images")
    assert fold.data.overrides == str(here / "data/external/labels_overrides.csv")
    assert fold.model == replace(cfg.model, pretrained_path=fold.model.pretrained_path)


def test_a_fold_has_its_name_its_group_and_its_settings(pool):
    study = cv.prepare(pool, num_folds=2)
    fold = cv.fold_config(study, 1)
    assert (fold.data.folds, fold.data.fold, fold.sweep) == (2, 1, None)
    assert fold.run.wandb.group == study.folder.name
    assert fold.run.wandb.name == f"{study.folder.name}/fold_1"
    run = study.run(1)
    run.path.mkdir()
    assert (run.path / str(fold.run_dir)).resolve() == run.path.resolve()
    assert RunFolder(Path(str(fold.run_dir))).name == "fold_1"


def test_a_class_with_too_few_images_is_named(pool):
    with pytest.raises(ValueError, match=r"class 'left' .* folds?"):
        cv.prepare(pool, num_folds=11)


def test_data_made_with_other_settings_or_packed_before_it_changed_is_refused(pool):
    with pytest.raises(ValueError, match=r"data/interim/dataset was made with data.seed=0, not with data.seed=5"):
        cv.prepare(configured(*SETTINGS, *SWEEP, "data.seed=5"), num_folds=2)
    facts = read_json(PACKED_DIR / "statistics.json", made_by="")
    write_json(PACKED_DIR / "statistics.json", facts | {"digest": "f" * 16})
    with pytest.raises(ValueError, match=r"packed was packed from another manifest .* run build_features again"):
        cv.prepare(pool, num_folds=2)


def test_the_folder_is_another_for_other_weights_data_or_recipes_and_the_same_for_another_device(pool):
    Path("w.safetensors").write_bytes(b"one")
    resnet = ["model=resnet18", "model.options={}", "model.pretrained_path=w.safetensors"]

    def folder(*overrides: str, digest: str = "d") -> Path:
        return open_folder("cross_validation", plan_of(configured(*SETTINGS, *SWEEP, *overrides), digest))

    same = [folder(), folder("run.device=cpu", "report.dpi=60", "predict.batch_size=7"), folder()]
    others = [folder("train.epochs=9"), folder("sweep.options.folds=3"), folder(digest="e"), folder(*resnet)]
    Path("w.safetensors").write_bytes(b"two")
    others.append(folder(*resnet))
    assert len(set(same)) == 1
    assert len({*same, *others}) == 1 + len(others)


def test_a_sweep_begun_with_other_code_goes_on_with_a_warning(pool, caplog):
    study = cv.prepare(pool, num_folds=2)
    assert caplog.text.count("was begun with other code") == 0
    facts = read_json(study.folder / "sweep.json", made_by="")
    write_json(study.folder / "sweep.json", facts | {"git": {"commit": "0" * 40, "dirty_diff": ""}})
    cv.prepare(pool, num_folds=2)
    assert "was begun with other code (commit 000000000000 then" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="locks that children inherit are of POSIX")
def test_a_sweep_that_another_process_is_at_is_refused(tmp_path):
    said = rf"process {os.getpid()} is at work in .*; wait for it, or stop it"
    with held(tmp_path), pytest.raises(ValueError, match=said), held(tmp_path):
        pass
    with held(tmp_path):
        pass


def test_the_spread_is_that_of_a_sample_and_one_fold_has_none():
    rows = pd.DataFrame([{"fold": 0, "val/acc": 0.5}, {"fold": 1, "val/acc": 0.8}, {"fold": 2, "val/acc": 0.7}])
    found = cv.statistics(rows)
    assert list(found) == ["val/acc"]
    assert found["val/acc"]["mean"] == pytest.approx(2 / 3)
    assert found["val/acc"]["std"] == pytest.approx(statistics.stdev([0.5, 0.8, 0.7]))
    assert found["val/acc"]["n"] == 3
    assert cv.statistics(rows[:1])["val/acc"] == {"mean": 0.5, "std": None, "n": 1}


def test_the_gap_is_train_minus_each_other_split(tmp_path):
    run = RunFolder(tmp_path)
    scored = {"val": (0.8, 0.5), "test": (0.7, 0.6), "interesting": (0.4, 0.9), "train": (0.9, 0.1)}
    write_json(run.metrics, {name: {"acc": acc, "loss": loss} for name, (acc, loss) in scored.items()})
    write_record(run)
    row = cv.fold_row(run, 3)
    compared(dictionary("`models/sweeps/cross_validation-<id>/results.csv`"), set(row))
    assert row["gap/val"] == pytest.approx(0.1)
    assert row["gap/test"] == pytest.approx(0.2)
    assert row["gap/interesting"] == pytest.approx(0.5)
    assert (row["fold"], row["train/acc"], row["train/loss"], row["epochs"]) == (3, 0.9, 0.1, 7)


def write_record(run: RunFolder) -> None:
    from src.artifacts import RunRecord

    texts = dict.fromkeys(("run_id", "data_digest", "device"), "x") | {"stopped": "finished"}
    numbers = dict.fromkeys(("num_params", "steps", "seconds", "images_per_s", "peak_mib"), 1) | {"epochs": 7}
    rest = {"config": {}, "class_names": [], "git": {}, "environment": {}, "best": {}}
    RunRecord(**texts, **numbers, **rest).save(run.train)


def test_each_image_is_predicted_by_a_run_that_was_not_trained_on_it(pool):
    study = cv.prepare(pool, num_folds=2)
    rng = np.random.default_rng(0)
    saved: dict[tuple[int, str], Predictions] = {}
    for fold in (0, 1):
        for split in ("val", "test"):
            rows = cv.fold_manifest(study, cv.fold_config(study, fold), fold).rows(split)
            right = rng.random(len(rows), dtype=np.float32)
            saved[fold, split] = Predictions(
                ids=list(rows["id"]),
                paths=list(rows["path"]),
                labels=rows["label"].to_numpy(),
                probs=np.stack([1 - right, right], axis=1),
                class_names=study.manifest.class_names,
                split=split,
                checkpoint="x",
            )
            saved[fold, split].save(study.run(fold).predictions / f"{split}.parquet")
    runs = [study.run(fold).predictions for fold in (0, 1)]
    found = out_of_fold(study.manifest, study.folds, runs, model="tiny")
    labelled = study.manifest.used()
    assert sorted(found.ids) == sorted(labelled["id"])
    assert found.digest == study.manifest.digest()
    for row, image_id in enumerate(found.ids):
        split = "val" if image_id in study.folds else "test"
        source = saved[int(found.folds[row]), split]
        assert (found.probs[row] == source.probs[source.ids.index(image_id)]).all()
        assert found.folds[row] == study.folds.get(image_id, found.folds[row])
    assert found.splits == [labelled.set_index("id").loc[image_id, "split"] for image_id in found.ids]
    of_test = found.folds[np.array(found.splits) == "test"]
    assert abs(int((of_test == 0).sum()) - int((of_test == 1).sum())) <= 1


@pytest.mark.slow
def test_a_failed_fold_is_reported_the_others_are_run_and_only_it_is_run_again(pool):
    study = cv.prepare(pool, num_folds=2)
    in_the_way = study.run(1).predictions
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("a file where predict_model wants a folder")

    first = run_sweep()
    assert first.returncode == 1, first.stderr
    assert not (study.folder / "predictions.parquet").exists()
    assert "fold 1 failed: predict_model ended with exit code 2; its reason stands above" in first.stdout
    assert "n = 1 of 2 folds" in first.stdout
    summary = json.loads((study.folder / "summary.json").read_text())
    compared(dictionary("`models/sweeps/cross_validation-<id>/summary.json`"), names_in(summary))
    assert (summary["finished"], list(summary["failed"])) == (1, ["1"])
    assert list(pd.read_csv(study.folder / "results.csv")["fold"]) == [0]
    records = {fold: (study.run(fold).train / "run.json").read_bytes() for fold in (0, 1)}

    in_the_way.unlink()
    second = run_sweep()
    assert second.returncode == 0, second.stderr
    assert "fold 0 is finished already" in second.stderr
    check_results(study, second.stdout)

    kept = {path: path.stat().st_mtime_ns for path in study.folder.glob("fold_*/**/*")}
    third = run_sweep()
    assert (third.returncode, third.stdout) == (0, second.stdout)
    assert {path: path.stat().st_mtime_ns for path in study.folder.glob("fold_*/**/*")} == kept
    assert records == {fold: (study.run(fold).train / "run.json").read_bytes() for fold in (0, 1)}


def check_results(study: cv.Study, printed: str) -> None:
    """The table agrees with the predictions of the folds, image for image, and no copy of the pixels is left."""
    table = pd.read_csv(study.folder / "results.csv").set_index("fold")
    summary = json.loads((study.folder / "summary.json").read_text())["metrics"]
    held_out: list[str] = []
    for fold, row in table.iterrows():
        assert not (study.run(fold).path / "data").exists()
        for name in ("train", "val", "test"):
            scored = Predictions.load(study.run(fold).predictions / f"{name}.parquet")
            assert row[f"{name}/acc"] == pytest.approx((scored.preds == scored.labels).mean())
            expected = study.manifest.rows("test")["id"] if name == "test" else None
            if name == "test":
                assert scored.ids == list(expected)
            else:
                wanted = [i for i, at in study.folds.items() if (at == fold) == (name == "val")]
                assert sorted(scored.ids) == sorted(wanted)
            held_out += scored.ids if name == "val" else []
        assert row["gap/test"] == pytest.approx(row["train/acc"] - row["test/acc"])
    assert sorted(held_out) == sorted(study.folds)
    kept = KFoldPredictions.load(study.folder)
    in_val = np.isin(kept.splits, ["train", "val"])
    hits = (kept.preds == kept.labels)[in_val]
    assert [hits[kept.folds[in_val] == fold].mean() for fold in (0, 1)] == pytest.approx(list(table["val/acc"]))
    assert summary["test/acc"]["mean"] == pytest.approx(np.mean(table["test/acc"]))
    assert summary["test/acc"]["std"] == pytest.approx(np.std(table["test/acc"], ddof=1))
    assert summary["test/acc"]["n"] == 2
    assert f"{table['gap/test'].mean():.4f}" in printed
    assert f"results        {(study.folder / 'results.csv').as_posix()}" in printed


def started(said: Path, *overrides: str) -> "subprocess.Popen[bytes]":
    """A sweep whose first fold is in training; what it says goes into a file."""
    with said.open("wb") as file:
        parent = subprocess.Popen(sweep_command(*overrides), env=environment(), stderr=file, start_new_session=True)
    wait_for(lambda: b"epoch 2/" in said.read_bytes() or parent.poll() is not None, "the second epoch")
    assert parent.poll() is None, said.read_text()
    return parent


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of another kind")
@pytest.mark.parametrize("survives", [True, False], ids=["its run lives on", "with its run"])
def test_a_killed_sweep_goes_on_when_it_is_started_again(pool, tmp_path, survives):
    long = "train.epochs=60"
    parent = started(tmp_path / "said", long)
    (run,) = psutil.Process(parent.pid).children()
    run.suspend()
    parent.kill()
    parent.wait()
    if not survives:
        run.kill()

    again = subprocess.Popen(
        sweep_command(long), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert again.stderr is not None
    waits = "the sweep there was killed and its last run goes on; waiting for that run to end"
    if survives:
        assert any(waits in line for line in again.stderr)
        run.resume()
    printed, rest = again.communicate(timeout=DEADLINE_S)
    assert again.returncode == 0, rest
    assert waits not in rest
    study = cv.prepare(configured(*SETTINGS, *SWEEP, long), num_folds=2)
    check_results(study, printed)
    for fold in (0, 1):
        assert [row["epoch"] for row in read_metrics(study.run(fold).metrics_log)] == list(range(1, 61))


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of another kind")
@pytest.mark.parametrize(
    ("number", "to", "code"),
    [(signal.SIGINT, os.kill, 130), (signal.SIGINT, os.killpg, 130), (signal.SIGTERM, os.killpg, 75)],
    ids=["SIGINT to the sweep", "Ctrl-C", "SIGTERM to all"],
)
def test_a_stopped_sweep_stops_its_run_and_says_so_by_its_exit_code(pool, tmp_path, number, to, code):
    parent = started(tmp_path / "said", "train.epochs=1000000")
    (child,) = psutil.Process(parent.pid).children()
    to(parent.pid, number)
    assert parent.wait(DEADLINE_S) == code, (tmp_path / "said").read_text()
    assert not child.is_running()
    assert "stopped by" in (tmp_path / "said").read_text()
    study = cv.prepare(configured(*SETTINGS, *SWEEP, "train.epochs=1000000"), num_folds=2)
    assert not (study.run(0).path / cv.FOLD_FILE).exists()
    assert not study.run(1).path.exists()


def test_the_settings_of_a_fold_are_those_its_packed_data_say(pool):
    study = cv.prepare(pool, num_folds=2)
    cfg = cv.fold_config(study, 1)
    assert cv._pack(study, cfg, 1) == ""
    facts = read_json(study.run(1).path / PACKED_DIR / "statistics.json", made_by="")
    assert facts["settings"] == {"data": asdict(cfg.data), "features": asdict(cfg.features)}
    assert cfg.predict.score_train
