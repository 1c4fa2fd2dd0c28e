"""Finished runs written without training: a record, predictions and metrics, for all that compares them."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from src.artifacts import Predictions, RunRecord
from src.compose import compose
from src.config import as_tree
from src.cost_record import CostRecord
from src.files import write_json
from src.layout import RunFolder
from src.metrics import evaluate
from src.selection import parse

CLASSES = ["cat", "dog", "fox"]
DIGEST = "0123456789abcdef"


@cache
def _tree(overrides: tuple[str, ...]) -> dict[str, Any]:
    return as_tree(compose(parse(overrides)))


def config_tree(*overrides: str) -> dict[str, Any]:
    """A configuration as a run's record holds it."""
    return deepcopy(_tree(overrides))


def labels_of(number: int) -> np.ndarray:
    return np.arange(number) % len(CLASSES)


def right_on(share: float, number: int, *, seed: int = 0) -> np.ndarray:
    """Which images are answered rightly: exactly this share, by chance."""
    hits = np.zeros(number, bool)
    hits[np.random.default_rng(seed).permutation(number)[: round(share * number)]] = True
    return hits


def write_run(
    place: str, hits: np.ndarray | None, *overrides: str, ids: list[str] | None = None, **facts: Any
) -> RunFolder:
    """A run in `place` whose test images are answered rightly where `hits` says; not scored where it is None.

    `facts` are those of its record, and the `groups` of the images.
    """
    folder = RunFolder(Path(place))
    groups = facts.pop("groups", None)
    digest = facts.pop("data_digest", DIGEST)
    checkpoint = f"{abs(hash(place)):064x}"[-64:]
    record = {
        "run_id": f"20260102-030405-{folder.name}",
        "config": config_tree(*overrides),
        "class_names": facts.get("class_names", CLASSES),
        "data_digest": digest,
        "git": {"commit": "c" * 40, "dirty_diff": ""},
        "environment": {"python": "3.11.9", "platform": "Linux", "cpus": "2"},
        "device": "cpu, fp32",
        "num_params": 1000,
        "epochs": 3,
        "steps": 30,
        "best": {"epoch": 2, "val/acc": 0.5},
        "seconds": 12.5,
        "images_per_s": 900.0,
        "peak_mib": 700.0,
        "stopped": "finished",
    }
    RunRecord(**(record | facts)).save(folder.train)
    write_json(folder.checkpoint("best") / "model.json", {"sha256": checkpoint})
    (folder.checkpoint("best") / "model.safetensors").write_bytes(b"w" * 2**20)
    if hits is not None:
        predictions = predicted(hits, ids=ids, class_names=record["class_names"], checkpoint=checkpoint)
        replace(predictions, groups=groups).save(folder.predictions / "test.parquet")
        found = evaluate(predictions.labels, predictions.probs, predictions.class_names)
        # further keys are no splits
        write_json(folder.metrics, {"test": found, "temperature": 1.5})
    return folder


def predicted(
    hits: np.ndarray, *, checkpoint: str, ids: list[str] | None = None, class_names: list[str] | None = None
) -> Predictions:
    names = class_names or CLASSES
    labels = labels_of(len(hits))
    preds = np.where(hits, labels, (labels + 1) % len(names))
    probs = np.full((len(hits), len(names)), 0.1 / (len(names) - 1), np.float32)
    probs[np.arange(len(hits)), preds] = 0.9
    own = ids or [f"test/{number:04d}.png" for number in range(len(hits))]
    return Predictions(own, own, labels, probs, names, "test", checkpoint)


def write_cost(folder: RunFolder, *, latency_ms: float, **facts: Any) -> None:
    """What measure_cost writes."""
    from src.runs import checkpoints

    cost = {
        "checkpoint": checkpoints(folder)[0],
        "num_params": 1234,
        "macs": 5_000_000,
        "checkpoint_bytes": 2**20,
        "img_size": 32,
        "latency_ms": latency_ms,
        "throughput": {"1": 900.0, "16": 4000.0},
        "best_batch": 16,
        "images_per_s": 4000.0,
        "peak_mib": 600.0,
        "device": "cpu, fp32",
        "threads": 1,
        "environment": {"platform": "Linux", "cpus": "2", "torch": "2"},
    }
    CostRecord(**(cost | facts)).save(folder.cost)
