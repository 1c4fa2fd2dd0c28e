"""Pack the images of each split into a few large files of uint8 pixels, with the statistics of train.

Where features.embeddings names weights (pretrained=true or pretrained_path=<file>), the features of that frozen network
are stored beside the pixels; an image it has seen before is not computed again.
"""

import logging
from typing import TYPE_CHECKING

from src.cli import run_verb
from src.config import Config
from src.layout import DATASET_DIR, EMBEDDINGS_CACHE, PACKED_DIR

if TYPE_CHECKING:
    from src.features.embedder import Embedder

log = logging.getLogger(__name__)


def build_features(cfg: Config) -> None:
    """Write `data/processed/packed`: a folder for each split, `statistics.json`, and `embeddings` where asked for.

    Raises:
        ValueError: there is no manifest, it was made with other settings than those of `cfg.data`, or the network for
            the embeddings cannot be had.
    """
    from dataclasses import asdict

    from src.artifacts import Manifest
    from src.features.packing import pack_all
    from src.features.statistics import check_settings

    manifest = Manifest.load(DATASET_DIR)
    check_settings({"data": manifest.settings}, {"data": asdict(cfg.data)}, where=DATASET_DIR)
    embedder = embedder_of(cfg)
    facts = pack_all(manifest, cfg.data, cfg.features, folder=PACKED_DIR, workers=cfg.run.workers)
    counts = ", ".join(f"{split} {count}" for split, count in facts["counts"].items())
    log.info("packed at %d px: %s; in %s", facts["size"], counts, PACKED_DIR)
    if embedder is not None:
        embed(embedder, workers=cfg.run.workers)


def embedder_of(cfg: Config) -> "Embedder | None":
    """The frozen network whose features are wanted, before anything is packed; None, and no torch, without weights."""
    wanted = cfg.features.embeddings
    if not wanted.pretrained and wanted.pretrained_path is None:
        return None
    from src.features.devices import resolve_device
    from src.features.embedder import load_embedder

    return load_embedder(wanted, device=resolve_device(cfg.run.device))


def embed(embedder: "Embedder", *, workers: int | None) -> None:
    """Write `data/processed/packed/embeddings`: a row for each packed image."""
    import torch

    from src.features.embedder import embed_packed

    if workers is not None:
        torch.set_num_threads(workers)
    facts = embed_packed(PACKED_DIR, embedder, cache_dir=EMBEDDINGS_CACHE)
    log.info("embedded by %s at %d px: %d numbers per image", facts["backbone"], facts["img_size"], facts["dim"])


if __name__ == "__main__":
    run_verb(build_features, about=__doc__)
