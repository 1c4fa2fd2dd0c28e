"""The packed splits scored with a trained model: predictions, figures, and what makes both plain."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from src.artifacts import Predictions, RunRecord, ordered_splits, told_by
from src.config_predict import PredictConfig
from src.features.appearance import looks_of
from src.features.packed import PackedSplit, drawn_share, part_of
from src.features.statistics import STATISTICS_FILE
from src.files import read_json, write_json
from src.layout import PACKED_DIR, RunFolder
from src.models.checkpoint import TrainedModel
from src.models.evaluating.explaining import features_taken, write_explanations
from src.models.evaluating.result_tables import write_tables
from src.models.evaluating.robustness import averaged, corruption_table, slice_table
from src.models.evaluating.saliency import write_saliency
from src.models.predictor import check_same_data, predict_split
from src.models.runtime import Runtime
from src.reference import reference_of
from src.scorecard import TRAIN, VAL, scorecard

log = logging.getLogger(__name__)

TEST = "test"
NOT_SLICED = (TRAIN,)
EXTRA_FILES = ("neighbours.csv", "map.csv", "saliency.npz", "slices.csv", "corruptions.csv")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model, where it runs, what is asked of it and the run folder that it all goes into."""

    trained: TrainedModel
    place: Runtime
    cfg: PredictConfig
    folder: RunFolder

    def run(self) -> None:
        """Write `predictions/`, a file for each split and what goes with them, and `metrics.json`.

        Raises:
            ValueError: the packed data is not what the model was trained on.
        """
        packed = self._packed()
        # a run by hand is scored again in the same folder, perhaps with less beside it
        for name in EXTRA_FILES:
            (self.folder.predictions / name).unlink(missing_ok=True)
        predicted, vectors = {}, {}
        for name, split in packed.items():
            with features_taken(self.trained.model, wanted=self._keeps_features(split)) as taken:
                predicted[name] = self._predict(split)
            predicted[name].save(self.folder.predictions / f"{name}.parquet")
            if taken is not None:
                vectors[name] = taken.vectors()
        found = scorecard(predicted, self.cfg, self.trained.facts.temperature)
        for name, figures in found.items():
            log.info("%s: accuracy %.4f on %d images", name, figures["acc"], figures["num_images"])
        self._write_slices(packed, predicted)
        self._write_reference(packed, predicted)
        if told := told_by(set(found)):
            write_explanations(vectors, predicted, told, self.folder.predictions, self.cfg.explain)
            self._write_told(packed[told], predicted[told], found[told])
        write_json(self.folder.metrics, found)

    def _packed(self) -> dict[str, PackedSplit]:
        """The splits to be scored, all of the data that the model was trained on."""
        counts = read_json(PACKED_DIR / STATISTICS_FILE, made_by="build_features")["counts"]
        names = [name for name in counts if self.cfg.score_train or name != TRAIN]
        splits = {name: PackedSplit.load(PACKED_DIR / name) for name in ordered_splits(names)}
        for split in splits.values():
            check_same_data(self.trained, split)
        if TRAIN in splits:
            splits[TRAIN] = self._seen(splits[TRAIN])
        return splits

    def _seen(self, train: PackedSplit) -> PackedSplit:
        """The images that the model was trained on, which `train.share` may have left some out of."""
        if not (self.folder.train / "run.json").exists():
            return train
        settings = RunRecord.load(self.folder.train).config["train"]
        share = settings.get("share", 1.0)
        return part_of(train, drawn_share(train.labels, share, seed=settings["seed"])) if share < 1 else train

    def _predict(self, split: PackedSplit) -> Predictions:
        return predict_split(self.trained, split, self.place, batch_size=self.cfg.batch_size)

    def _keeps_features(self, split: PackedSplit) -> bool:
        asked = self.cfg.explain
        return len(split) <= asked.max_images and (asked.neighbours > 0 or asked.map != "none")

    def _write_slices(self, packed: dict[str, PackedSplit], predicted: dict[str, Predictions]) -> None:
        names = [name for name in packed if name not in NOT_SLICED and (packed[name].labels >= 0).any()]
        tables = [slice_table(predicted[name], packed[name], self.cfg.slices) for name in names if self.cfg.slices]
        if any(len(table) for table in tables):
            pd.concat(tables).to_csv(self.folder.predictions / "slices.csv", index=False)

    def _write_reference(self, packed: dict[str, PackedSplit], predicted: dict[str, Predictions]) -> None:
        """What monitoring compares with: test, or val where there is no test."""
        name = next((name for name in (TEST, VAL) if name in packed), None)
        if name is not None:
            reference_of(predicted[name], looks_of(packed[name])).save(self.folder.reference)

    def _write_told(self, split: PackedSplit, predictions: Predictions, figures: dict[str, Any]) -> None:
        """What is made plain of the split that the result is told by, and of no other."""
        folder, name = self.folder.predictions, predictions.split
        write_tables(predictions, folder, temperature=self.trained.facts.temperature)
        write_saliency(self.trained, split, predictions, folder / "saliency.npz", most=self.cfg.explain.saliency)
        if self.cfg.corruptions.names:
            table = corruption_table(self._predict, split, self.cfg.corruptions)
            table.to_csv(folder / "corruptions.csv", index=False)
            worst = table.loc[int(np.argmin(table["acc"]))]
            log.info("%s damaged worst by %s %d: %.4f", name, worst["corruption"], worst["strength"], worst["acc"])
        if self.cfg.tta != "none":
            figures["tta"] = averaged(self._predict, split, self.cfg.tta)
            log.info("%s, mean over views (%s): accuracy %.4f", name, self.cfg.tta, figures["tta"]["acc"])
