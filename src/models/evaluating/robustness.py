"""Figures beside the plain ones: of damaged images, of the mean over changed views, of parts of a split."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from src.artifacts import Manifest, Predictions, read_table
from src.calibration import reliability
from src.config_predict import CorruptionConfig
from src.features.corruptions import CORRUPTIONS, corrupted
from src.features.packed import PackedSplit
from src.layout import DATASET_DIR
from src.metrics import log_loss

log = logging.getLogger(__name__)

STRENGTHS = (1, 2, 3)
SHIFT = 1 / 16
FILES_TABLE = "files.parquet"
PIXELS_AT_ONCE = 512
MOST_GROUPS = 20
TALL, WIDE = 0.8, 1.25

Scorer = Callable[[PackedSplit], Predictions]


def corruption_table(score: Scorer, split: PackedSplit, cfg: CorruptionConfig) -> pd.DataFrame:
    """Accuracy and loss of the split as it is (strength 0) and of each corruption at each strength.

    Of more than `max_images` labelled images, that many are drawn.
    """
    labelled = np.flatnonzero(split.labels >= 0)
    rng = np.random.default_rng(cfg.seed)
    drawn = np.sort(rng.permutation(labelled)[: cfg.max_images])
    plain = split.gather(drawn)
    part = _part(split, drawn, plain)
    rows = [{"corruption": "none", "strength": 0} | _figures(score(part))]
    for name in cfg.names or []:
        assert name in CORRUPTIONS, "the configuration allows no others"
        for strength in STRENGTHS:
            damaged = replace(part, shards=[corrupted(plain, name, strength, seed=cfg.seed)])
            rows.append({"corruption": name, "strength": strength} | _figures(score(damaged)))
    return pd.DataFrame(rows)


def averaged(score: Scorer, split: PackedSplit, views: str) -> dict[str, Any]:
    """Figures of the mean probabilities over the image and its changed views (test-time augmentation)."""
    found = [score(replace(split, shards=shards)) for shards in VIEWS[views](split.shards)]
    mean = np.stack([each.probs for each in found]).mean(axis=0)
    return {"views": views} | _figures(replace(found[0], probs=mean))


def flipped(shards: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """The images and their mirror images."""
    yield shards
    yield [shard[:, :, ::-1] for shard in shards]


def shifted(shards: list[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """The images, and all of them moved by a sixteenth of the side in four directions, edges repeated."""
    yield shards
    far = max(1, round(SHIFT * shards[0].shape[1]))
    places = np.arange(shards[0].shape[1])
    for axis in (1, 2):
        for step in (-far, far):
            yield [shard.take(np.clip(places + step, 0, len(places) - 1), axis=axis) for shard in shards]


VIEWS: dict[str, Callable[[list[np.ndarray]], Iterator[list[np.ndarray]]]] = {"flip": flipped, "shift": shifted}


def slice_table(predictions: Predictions, split: PackedSplit, names: list[str]) -> pd.DataFrame:
    """Accuracy and loss by groups of images: a row for each group of each slice that can be told.

    Args:
        predictions: of the split.
        split: its pixels, in the same order.
        names: `brightness` is that of the packed pixels; `size`, `aspect` and any other is told by the manifest, or by
            the facts of files beside it.
    """
    rows = []
    manifest = _manifest(split) if set(names) - {"brightness"} else None
    for name in names:
        groups = brightness_groups(split) if name == "brightness" else _manifest_groups(manifest, split, name)
        for group in dict.fromkeys(groups if groups is not None else []):
            here = np.array([each == group for each in groups or []]) & (predictions.labels >= 0)
            if here.any():
                part = replace(
                    predictions,
                    ids=[predictions.ids[row] for row in np.flatnonzero(here)],
                    paths=[predictions.paths[row] for row in np.flatnonzero(here)],
                    labels=predictions.labels[here],
                    probs=predictions.probs[here],
                    groups=None,
                )
                rows.append({"split": split.name, "slice": name, "group": group} | _figures(part))
    columns = ["split", "slice", "group", "num_images", "acc", "loss", "ece"]
    return pd.DataFrame(rows, columns=columns).sort_values(["slice", "group"], ignore_index=True)


def brightness_groups(split: PackedSplit) -> list[str]:
    """A third of the images each: dark, middle, bright."""
    starts = range(0, len(split), PIXELS_AT_ONCE)
    parts = [split.gather(np.arange(start, min(start + PIXELS_AT_ONCE, len(split)))) for start in starts]
    return _thirds(np.concatenate([part.mean(axis=(1, 2, 3)) for part in parts]), ("1 dark", "2 middle", "3 bright"))


def _manifest_groups(manifest: Manifest | None, split: PackedSplit, name: str) -> list[str] | None:
    """The group of each image by a column; None, with a word in the log, where the manifest does not tell."""
    if manifest is None:
        return None
    table = _image_facts(manifest).loc[split.ids]
    width, height = (table[side].to_numpy(dtype=np.float64) for side in ("width", "height"))
    if name == "size":
        return _thirds(np.sqrt(width * height), ("1 small", "2 middle", "3 large"))
    if name == "aspect":
        bounds = np.digitize(width / height, [TALL, WIDE])
        return [("1 tall", "2 square", "3 wide")[place] for place in bounds]
    return _column_groups(table, name)


def _column_groups(table: pd.DataFrame, name: str) -> list[str] | None:
    """The values of a column, or thirds of them where they are many numbers; None where it cannot cut a split."""
    if name not in table.columns:
        log.warning("predict.slices: %s is no column of the manifest, which has %s", name, ", ".join(table.columns))
        return None
    values = table[name]
    if values.nunique() <= MOST_GROUPS:
        return [str(value) for value in values]
    if pd.api.types.is_numeric_dtype(values):
        return _thirds(values.to_numpy(dtype=np.float64), ("1 low", "2 middle", "3 high"))
    log.warning("predict.slices: %s has %d values, more than %d", name, values.nunique(), MOST_GROUPS)
    return None


def _image_facts(manifest: Manifest) -> pd.DataFrame:
    """A row per image by its id: the columns of the manifest, and those of the facts of files where they are kept."""
    table, path = manifest.table.set_index("id"), DATASET_DIR / FILES_TABLE
    if not path.exists():
        return table
    facts = read_table(path, made_by="make_dataset").drop_duplicates("id").set_index("id")
    return table.join(facts[[name for name in facts.columns if name not in table.columns]])


def _manifest(split: PackedSplit) -> Manifest | None:
    if not (DATASET_DIR / "manifest.json").exists():
        log.info("no manifest in %s: no slices by its columns", DATASET_DIR)
        return None
    manifest = Manifest.load(DATASET_DIR)
    if manifest.digest() != split.digest:
        log.warning("%s is of other data than the packed images: no slices by its columns", DATASET_DIR)
        return None
    return manifest


def _thirds(values: np.ndarray, names: tuple[str, str, str]) -> list[str]:
    """The names by rising value; images of equal value go together, so that there may be fewer than three."""
    bounds = np.quantile(values, [1 / 3, 2 / 3])
    return [names[place] for place in np.digitize(values, bounds, right=True)]


def _part(split: PackedSplit, rows: np.ndarray, pixels: np.ndarray) -> PackedSplit:
    ids, paths = ([names[row] for row in rows] for names in (split.ids, split.paths))
    return replace(split, shards=[pixels], labels=split.labels[rows], ids=ids, paths=paths, groups=None)


def _figures(predictions: Predictions) -> dict[str, Any]:
    labels, probs = predictions.known
    acc = float((probs.argmax(axis=1) == labels).mean())
    ece = reliability(labels, probs).ece
    return {"num_images": len(labels), "acc": acc, "loss": log_loss(labels, probs), "ece": ece}
