"""A run that fits a linear head to cached features: the same run folder as training by steps, in seconds."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from src.artifacts import RunRecord
from src.calibration import Calibration, calibrate
from src.config import Config, as_tree
from src.features.embeddings import Embeddings, load_facts
from src.features.origin import weights_origin
from src.features.preprocess import Preprocess
from src.features.statistics import load_statistics
from src.layout import PACKED_DIR
from src.logs import environment, git_state
from src.models import checkpoint, runtime
from src.models.checkpoint import ModelFacts
from src.models.engine.run_folder import Claim, claim, plan_of
from src.models.engine.training import write_curves
from src.models.evaluating.calibrating import NO_VAL, tell
from src.models.probing.probe import Head, Metrics, fit_head, probe_options, probed_network, scores
from src.tracking import open_trackers

log = logging.getLogger(__name__)

NO_ENERGY = "a fit of seconds is too short for the counters"


@dataclass(frozen=True)
class Features:
    """What is fitted to: embeddings by split, the facts of their network, and those of the packed data."""

    splits: dict[str, Embeddings]
    network: Mapping[str, Any]
    statistics: Mapping[str, Any]


def train_probe(cfg: Config) -> None:
    """Write `<run folder>/train` for a head on the features of `features.embeddings`.

    Raises:
        ValueError: no features of these settings, options of no use, or a network without a linear head.
        OSError: the run folder cannot be written.
    """
    began = time.perf_counter()
    options = probe_options(cfg.model.options)
    place = runtime.start(cfg.run, "fp32")
    features = load_features(cfg)
    train, val = features.splits["train"], features.splits.get("val")
    claimed = claim(cfg, plan_of(cfg, features.statistics["digest"]), now=datetime.now(UTC))
    log.info(
        "run folder %s: a linear head on %d features of %s, %d images",
        *(claimed.folder.path, train.dim, train.backbone, len(train)),
    )
    head, strength = fit_head(train, val, options, seed=cfg.train.seed)
    metrics: Metrics = {}
    for name, split in features.splits.items():
        metrics |= scores(head, split, name)
    metrics |= {"images_per_s": len(train) / (time.perf_counter() - began), "epoch": 1}
    log.info("C=%g: %s", strength, ", ".join(f"{key} {metrics[key]:.4f}" for key in metrics if "/" in key))
    run = ProbeRun(cfg, claimed, features, head, metrics)
    run.keep()
    run.record(place, seconds=time.perf_counter() - began).save(claimed.folder.train)
    claimed.resume.clear()


def load_features(cfg: Config) -> Features:
    """The embeddings of train and val, made with these settings.

    Raises:
        ValueError: there are none.
    """
    statistics = load_statistics(PACKED_DIR, cfg.data, cfg.features)
    names = [name for name in ("train", "val") if name in statistics["counts"]]
    splits = {name: Embeddings.load(PACKED_DIR, name) for name in names}
    return Features(splits, load_facts(PACKED_DIR), statistics)


@dataclass(frozen=True)
class ProbeRun:
    """A fitted head, and the run that it belongs to."""

    cfg: Config
    claimed: Claim
    features: Features
    head: Head
    metrics: Metrics

    def keep(self) -> None:
        """Write the metrics and both checkpoints, which are the same.

        Raises:
            ValueError: the network is no longer the one that made the features, or has no linear head.
            OSError: the run folder cannot be written.
        """
        statistics, folder = self.features.statistics, self.claimed.folder
        model, section = probed_network(self.cfg.features.embeddings, self.head, facts=self.features.network)
        facts = ModelFacts(
            model=asdict(section),
            class_names=statistics["class_names"],
            preprocess=self._preprocess().as_tree(),
            data_digest=statistics["digest"],
            data_settings=statistics["settings"],
            git_commit=git_state().get("commit", ""),
            step=1,
            epoch=1,
            metrics=self.metrics,
            calibration=self._calibration().as_tree(),
        )
        for which in ("best", "last"):
            checkpoint.save(folder.checkpoint(which), model, facts)
        tree = as_tree(self.cfg)
        with open_trackers(self.cfg.run, folder=folder.path, run_id=self.claimed.run_id, config=tree) as trackers:
            trackers.log(self.metrics, step=1)
            trackers.summary({f"{key}_best": value for key, value in self.metrics.items() if "/" in key})
        write_curves(folder.curves, [self.metrics])

    def record(self, place: runtime.Runtime, *, seconds: float) -> RunRecord:
        """What the run was and what it cost; `num_params` are those that were fitted."""
        return RunRecord(
            run_id=self.claimed.run_id,
            config=as_tree(self.cfg),
            class_names=self.features.statistics["class_names"],
            data_digest=self.features.statistics["digest"],
            git=git_state(),
            environment=environment(),
            device=f"{place.device}, {place.precision}",
            num_params=self.head.weight.size + self.head.bias.size,
            epochs=1,
            steps=1,
            best=self.metrics,
            seconds=round(seconds, 2),
            images_per_s=round(self.metrics["images_per_s"], 1),
            peak_mib=round(place.peak_mib(), 1),
            stopped="finished",
            facts={
                "weights": weights_origin(self.cfg.features.embeddings),
                "energy": {"cpu_wh": None, "gpu_wh": None, "reasons": dict.fromkeys(("cpu_wh", "gpu_wh"), NO_ENERGY)},
            },
        )

    def _calibration(self) -> Calibration:
        val = self.features.splits.get("val")
        if val is None:
            found = Calibration(temperature=None, reason=NO_VAL)
        else:
            found = calibrate(val.labels, self.head.probs(np.asarray(val.vectors)))
        tell(found, "head")
        return found

    def _preprocess(self) -> Preprocess:
        """The way from an image to the network: packed as the data was, then as the features were made."""
        network = self.features.network
        return Preprocess(
            size=self.features.statistics["size"],
            resize=self.cfg.features.resize,
            interpolation=self.cfg.features.interpolation,
            img_size=network["img_size"],
            input_interpolation=network["interpolation"],
            mean=tuple(network["mean"]),
            std=tuple(network["std"]),
        )
