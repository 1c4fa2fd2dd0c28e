"""Cross-validation: each fold of train and val is val once, in a run of its own; the test split stays as it is."""

import logging
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from src.artifacts import Manifest, RunRecord, ordered_splits, write_table
from src.config import Config
from src.data.splits import folds_of
from src.features.regrouping import regroup
from src.features.statistics import check_settings, load_statistics
from src.files import read_json, write_atomically, write_json
from src.layout import DATASET_DIR, PACKED_DIR, RunFolder
from src.models.children import run_child
from src.models.probing.out_of_fold import out_of_fold
from src.models.sweeping.sweep_folder import (
    absolute_paths,
    changed,
    held,
    is_trained,
    open_folder,
    plan_of,
    remove_stray,
)

log = logging.getLogger(__name__)

POOLED = ("train", "val")
FOLD_FILE = "fold.json"


@dataclass(frozen=True, kw_only=True)
class Study:
    """A cross-validation: where it lies, and which fold each image of the pool is val in, by id."""

    cfg: Config
    folder: Path
    manifest: Manifest
    folds: dict[str, int]
    num_folds: int

    def run(self, fold: int) -> RunFolder:
        """The folder of one fold's run, which is also the working folder of its verbs."""
        return RunFolder(self.folder / f"fold_{fold}")


def cross_validation(cfg: Config, *, folds: Any) -> None:
    """Train and score every fold; write `results.csv` and `summary.json` and tell both.

    Once all are finished, `predictions.parquet` holds the predictions out of fold (`KFoldPredictions`).

    Raises:
        ValueError: too few folds, or no packed data made with these settings.
        SystemExit: a fold failed (1), the others being run; or a signal stopped the sweep.
    """
    study = prepare(cfg, num_folds=folds)
    failed: dict[int, str] = {}
    with held(study.folder) as descriptor:
        for fold in range(folds):
            log.info("%s: %d of %d", study.run(fold).name, fold + 1, folds)
            if reason := run_fold(study, fold, held=descriptor):
                log.error("fold %d failed: %s", fold, reason)
                failed[fold] = reason
            write_results(study, failed)
        if len(finished(study)) == folds:
            paths = [study.run(fold).predictions for fold in range(folds)]
            out_of_fold(study.manifest, study.folds, paths, model=cfg.model.name).save(study.folder)
    sys.stdout.write(results_text(study, failed))
    if failed:
        raise SystemExit(1)


def prepare(cfg: Config, *, num_folds: Any) -> Study:
    """The cross-validation of the packed data, its folder made.

    Raises:
        ValueError: too few folds, a class with too few images for them, or no packed data made with these settings.
    """
    if type(num_folds) is not int or num_folds < 2:
        raise ValueError(f"sweep.options.folds={num_folds} should be a whole number from 2 on")
    manifest = Manifest.load(DATASET_DIR)
    check_settings({"data": manifest.settings}, {"data": asdict(cfg.data)}, where=DATASET_DIR)
    if load_statistics(PACKED_DIR, cfg.data, cfg.features)["digest"] != manifest.digest():
        raise ValueError(f"{PACKED_DIR} was packed from another manifest than {DATASET_DIR}; run build_features again")
    teacher = cfg.train.distillation.teacher if cfg.train.distillation is not None else None
    if start := teacher or cfg.train.init_from:
        log.warning("%s was perhaps trained on images that are val in a fold: the folds then look too good", start)
    dealt = deal(manifest, num_folds=num_folds, seed=cfg.data.seed)
    folder = open_folder("cross_validation", plan_of(cfg, manifest.digest()))
    write_table(folder / "folds.parquet", pd.DataFrame({"id": list(dealt), "fold": list(dealt.values())}))
    log.info("%s: %d folds of %d images", folder, num_folds, len(dealt))
    return Study(cfg=cfg, folder=folder, manifest=manifest, folds=dealt, num_folds=num_folds)


def deal(manifest: Manifest, *, num_folds: int, seed: int) -> dict[str, int]:
    """The fold of each image of train and val, by id.

    The same that `data.folds` deals, unless `data.subset` or a copy in both train and val left images out before.

    Raises:
        ValueError: a class has too few images.
    """
    used = manifest.used()
    pool = used[used["split"].isin(POOLED)].sort_values("id")
    labels = [manifest.class_names[label] for label in pool["label"]]
    found = folds_of(labels, list(pool["group"]), num_folds=num_folds, seed=seed)
    return dict(zip(pool["id"], found, strict=True))


def fold_manifest(study: Study, cfg: Config, fold: int) -> Manifest:
    """The manifest in which `fold` is val and the others are train."""
    table = study.manifest.table.copy()
    pooled = table["id"].map(study.folds)
    table.loc[pooled.notna(), "split"] = "train"
    table.loc[pooled == fold, "split"] = "val"
    return replace(study.manifest, table=table, settings=asdict(cfg.data))


def fold_config(study: Study, fold: int) -> Config:
    """The configuration of one fold's run, for verbs whose working folder is that of the run."""
    run, wandb = study.run(fold), study.cfg.run.wandb
    values = {
        # a plain `.` would leave the run without a name
        "run_dir": f"../{run.name}",
        "sweep": None,
        "data.folds": study.num_folds,
        "data.fold": fold,
        # the gap to train is part of the results
        "predict.score_train": True,
        "run.wandb.group": wandb.group or study.folder.name,
        "run.wandb.name": f"{wandb.name or study.folder.name}/{run.name}",
    }
    return changed(study.cfg, absolute_paths(study.cfg) | values)


def run_fold(study: Study, fold: int, *, held: int | None) -> str:
    """Why the fold failed; empty where it is finished, now or by an earlier sweep.

    Raises:
        SystemExit: a signal stopped it.
    """
    run = study.run(fold)
    if (run.path / FOLD_FILE).exists():
        log.info("fold %d is finished already: %s", fold, run.path)
        _remove_pixels(run)
        return ""
    for reason in _steps(study, fold, held=held):
        if reason:
            _remove_pixels(run)
            return reason
    write_json(run.path / FOLD_FILE, fold_row(run, fold))
    _remove_pixels(run)
    return ""


def _steps(study: Study, fold: int, *, held: int | None) -> Iterator[str]:
    """Why each step of a fold failed, empty where it did not; what an earlier sweep has done is not done again."""
    run, cfg = study.run(fold), fold_config(study, fold)
    yield _pack(study, cfg, fold)
    if not is_trained(run):
        remove_stray(run)
        yield run_child("src.models.train_model", cfg, folder=run.path, held=held)
    yield run_child("src.models.predict_model", cfg, folder=run.path, held=held)


def _pack(study: Study, cfg: Config, fold: int) -> str:
    target = study.run(fold).path / PACKED_DIR
    if not target.exists():
        manifest = fold_manifest(study, cfg, fold)
        try:
            regroup(PACKED_DIR, manifest, cfg.features, folder=target)
        except OSError as error:
            return str(error)
    return ""


def _remove_pixels(run: RunFolder) -> None:
    """Give back the room of the fold's pixels, which the packed data of the project can make again."""
    shutil.rmtree(run.path / "data", ignore_errors=True)


def fold_row(run: RunFolder, fold: int) -> dict[str, Any]:
    """One row of the results: accuracies and losses of the checkpoint, and by how much train is ahead.

    Train is scored like the others, after training and without augmentation.
    """
    scored = read_json(run.metrics, made_by="predict_model")
    names = ordered_splits(set(scored))
    record = RunRecord.load(run.train)
    row: dict[str, Any] = {"fold": fold}
    row |= {f"{name}/acc": scored[name]["acc"] for name in names}
    row |= {f"gap/{name}": scored["train"]["acc"] - scored[name]["acc"] for name in names if name != "train"}
    row |= {f"{name}/loss": scored[name]["loss"] for name in names}
    return row | {"epochs": record.epochs, "seconds": record.seconds}


def finished(study: Study) -> pd.DataFrame:
    """A row for each finished fold."""
    files = [study.run(fold).path / FOLD_FILE for fold in range(study.num_folds)]
    return pd.DataFrame([read_json(path, made_by="sweep") for path in files if path.exists()])


def statistics(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Mean, sample standard deviation (None of one value) and count of each column over the folds."""
    return {
        str(name): {
            "mean": float(column.mean()),
            "std": float(column.std(ddof=1)) if len(column) > 1 else None,
            "n": len(column),
        }
        for name, column in rows.drop(columns="fold", errors="ignore").items()
    }


def write_results(study: Study, failed: Mapping[int, str]) -> None:
    """Write `results.csv` and `summary.json` of the folds that are finished so far."""
    rows = finished(study)
    write_atomically(study.folder / "results.csv", rows.to_csv(index=False, lineterminator="\n").encode("utf-8"))
    facts = {
        "folds": study.num_folds,
        "finished": len(rows),
        "failed": {str(fold): reason for fold, reason in failed.items()},
        "data_digest": study.manifest.digest(),
        "metrics": statistics(rows),
    }
    write_json(study.folder / "summary.json", facts)


def results_text(study: Study, failed: Mapping[int, str]) -> str:
    """The table of finished folds with mean and standard deviation, what failed, and where all of it lies."""
    rows = finished(study)
    lines = []
    if len(rows):
        shown = [name for name in rows.columns if name.endswith("/acc") or name.startswith("gap/")]
        table = rows.set_index("fold")[shown]
        both = pd.concat([table, pd.DataFrame({"mean": table.mean(), "std": table.std(ddof=1)}).T])
        lines += [
            both.to_string(float_format="{:.4f}".format, na_rep="-"),
            f"n = {len(rows)} of {study.num_folds} folds",
        ]
    lines += [f"fold {fold} failed: {reason}" for fold, reason in failed.items()]
    if failed:
        lines.append("the same command runs again what failed, and nothing else")
    lines.append(f"results        {(study.folder / 'results.csv').as_posix()}, summary.json beside it")
    return "\n".join(lines) + "\n"
