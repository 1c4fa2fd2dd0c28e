"""A run in the layout of the pipeline, of tiny drawn images, for figures and pages."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.artifacts import Manifest, Predictions, RunRecord
from src.compose import compose
from src.config import Config, as_tree
from src.features.packed import write_split
from src.files import write_json
from src.layout import DATASET_DIR, PACKED_DIR, PIPELINE_RUN, RunFolder
from src.scorecard import scorecard
from src.selection import Selection

SIZE = 8
NUM_EPOCHS = 4
BEST_EPOCH = 3
CHECKPOINT = "c0ffee" * 4


@dataclass(kw_only=True)
class DrawnRun:
    """What `write` writes: images per class by split, and how often the prediction is the next class instead."""

    class_names: list[str] = field(default_factory=lambda: ["circle", "cross", "square"])
    per_class: dict[str, int] = field(default_factory=lambda: {"train": 7, "val": 3, "test": 5})
    wrong_every: int = 4
    unlabelled: tuple[str, ...] = ()
    without_test_images: tuple[str, ...] = ()
    reason: str = "the file ends too early"
    size: int = SIZE
    scores_train: bool = False
    temperature: float | None = None

    def write(self, root: Path) -> None:
        """Write the artifacts of all four stages below the root."""
        table = self._table()
        manifest = Manifest(table, self.class_names, "data/raw/source", {})
        manifest.save(root / DATASET_DIR)
        pd.DataFrame({"path": ["bad/<b>.jpg"], "reason": [self.reason]}).to_csv(
            root / DATASET_DIR / "quarantine.csv", index=False
        )
        write_json(root / DATASET_DIR / "summary.json", self._summary(manifest))
        run = RunFolder(root / PIPELINE_RUN)
        predicted = {}
        for split in manifest.splits():
            rows = manifest.rows(split)
            self._pack(root / PACKED_DIR / split, rows, manifest.digest())
            if split == "train" and not self.scores_train:
                continue
            predicted[split] = self._predict(rows, split)
            predicted[split].save(run.predictions / f"{split}.parquet")
        metrics = scorecard(predicted, compose(Selection()).predict, self.temperature)
        self._checkpoint(run)
        write_json(run.metrics, metrics)
        self._train_record(run, manifest)

    def _table(self) -> pd.DataFrame:
        rows = [
            {"id": f"{split}/{label}-{number}.png", "split": split, "label": -1 if split in self.unlabelled else label}
            for split, per_class in self.per_class.items()
            for label, name in enumerate(self.class_names)
            for number in range(per_class)
            if not (split == "test" and name in self.without_test_images)
        ]
        table = pd.DataFrame(rows)
        return table.assign(
            path=table["id"], group=table["id"], sha256=table["id"], width=self.size, height=self.size, status="ok"
        )

    def _summary(self, manifest: Manifest) -> dict[str, Any]:
        names = np.array([*self.class_names, "(unlabelled)"], dtype=object)
        counts = {
            split: pd.Series(names[manifest.rows(split)["label"]]).value_counts().to_dict()
            for split in manifest.splits()
        }
        found = len(manifest.table)
        return {
            "source": "drawn",
            "location": manifest.location,
            "found": found + 1,
            "ok": found,
            "quarantined": 1,
            "duplicates_dropped": 2,
            "converted": {"CMYK": 1},
            "class_names": self.class_names,
            "counts": counts,
        }

    def _pack(self, folder: Path, rows: pd.DataFrame, digest: str) -> None:
        rng = np.random.default_rng(len(rows))
        images = rng.integers(0, 255, (len(rows), self.size, self.size, 3), dtype=np.uint8)
        write_split(
            folder,
            enumerate(images),
            size=self.size,
            rows={"id": list(rows["id"]), "path": list(rows["path"]), "label": list(rows["label"])},
            class_names=self.class_names,
            digest=digest,
        )

    def _predict(self, rows: pd.DataFrame, split: str) -> Predictions:
        """The label's own class, but the next one for each `wrong_every`th image, ever less sure of it."""
        num_classes = len(self.class_names)
        labels = rows["label"].to_numpy(dtype=np.int64)
        truth = rows["id"].str.extract(r"/(\d+)-")[0].astype(int).to_numpy()
        wrong = np.arange(len(rows)) % self.wrong_every == 0 if self.wrong_every else np.zeros(len(rows), dtype=bool)
        preds = np.where(wrong, (truth + 1) % num_classes, truth)
        confidence = np.linspace(0.95, 0.6, len(rows))
        probs = np.repeat(((1 - confidence) / (num_classes - 1))[:, None], num_classes, axis=1)
        probs[np.arange(len(rows)), preds] = confidence
        ids = list(rows["id"])
        return Predictions(ids, ids, labels, probs.astype(np.float32), self.class_names, split, CHECKPOINT)

    def _checkpoint(self, run: RunFolder) -> None:
        """The facts of a checkpoint; its weights are of no use to a report."""
        found = {"temperature": self.temperature, "reason": "" if self.temperature else "it was not asked for"}
        facts = {"sha256": CHECKPOINT, "calibration": found | {"num_images": 9, "ece_before": 0.1, "ece_after": 0.05}}
        write_json(run.checkpoint("best") / "model.json", facts)

    def _train_record(self, run: RunFolder, manifest: Manifest) -> None:
        validated = "val" in manifest.splits()
        lines = []
        for epoch in range(1, NUM_EPOCHS + 1):
            line = {"epoch": epoch, "step": 10 * epoch, "train/loss": 1.0 / epoch, "train/acc": 0.2 * epoch}
            if validated:
                line |= {"val/loss": 1.2 / epoch, "val/acc": 0.8 if epoch == BEST_EPOCH else 0.5}
            lines.append(line | {"lr": 0.1 / epoch, "images_per_s": 1234.0})
        run.train.mkdir(parents=True, exist_ok=True)
        run.metrics_log.write_text("".join(pd.Series(line).to_json() + "\n" for line in lines), encoding="utf-8")
        record = RunRecord(
            run_id="pipeline",
            config=as_tree(compose(Selection())),
            class_names=self.class_names,
            data_digest=manifest.digest(),
            git={"commit": "0123456789abcdef", "dirty_diff": ""},
            environment={"python": "3.11.9", "platform": "Linux", "cpus": "2", "numpy": "2.4.0"},
            device="cpu",
            num_params=1234567,
            epochs=NUM_EPOCHS,
            steps=10 * NUM_EPOCHS,
            best={"epoch": BEST_EPOCH, "val/acc": 0.8} if validated else {"epoch": NUM_EPOCHS},
            seconds=83.0,
            images_per_s=1234.0,
            peak_mib=456.0,
            stopped="finished",
        )
        record.save(run.train)


@pytest.fixture
def cfg() -> Config:
    """The default configuration, with a small report."""
    small = {"samples_per_class": 4, "num_mistakes": 3, "num_hits": 2, "dpi": 60}
    return compose(Selection(values={f"report.{key}": value for key, value in small.items()}))


@pytest.fixture
def drawn_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes a run into an empty project, which becomes the working directory, and returns the project's root."""

    def write(**changes: Any) -> Path:
        DrawnRun(**changes).write(tmp_path)
        monkeypatch.chdir(tmp_path)
        return tmp_path

    return write
