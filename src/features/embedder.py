"""The frozen network that turns packed pixels into vectors."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import nn

from src.config import EmbeddingsConfig, ModelConfig
from src.features.backbones import OWN_NETS, InputFacts, build_model, input_facts
from src.features.embedding_cache import EmbeddingCache, pixel_digests
from src.features.embeddings import EMBEDDINGS_DIR, FACTS_FILE, MADE_BY
from src.features.inputs import model_input, unit_images
from src.features.loader import load
from src.features.packed import PackedSplit
from src.features.preprocess import Preprocess
from src.features.statistics import STATISTICS_FILE
from src.files import read_json, whole_folder, write_json
from src.logs import progress

log = logging.getLogger(__name__)

PART_IMAGES = 256
"""Vectors are kept after so many images: a kill loses no more."""


@dataclass(frozen=True, kw_only=True)
class Embedder:
    """A network without its head, and how images enter it; `weights` is a digest of its tensors."""

    name: str
    options: dict[str, Any]
    model: nn.Module
    inputs: InputFacts
    weights: str
    dim: int
    batch_size: int
    precision: str
    device: torch.device

    def facts(self) -> dict[str, Any]:
        """What the vector of an image depends on besides its pixels, as plain types."""
        inputs = {**asdict(self.inputs), "mean": list(self.inputs.mean), "std": list(self.inputs.std)}
        network = {"backbone": self.name, "options": self.options, "weights": self.weights, "dim": self.dim}
        return network | {"precision": self.precision} | inputs

    def key(self) -> str:
        """Sixteen hex digits that change with any of the facts."""
        return hashlib.sha256(json.dumps(self.facts(), sort_keys=True).encode("utf-8")).hexdigest()[:16]

    def vectors(self, split: PackedSplit, positions: np.ndarray, *, preprocess: Preprocess) -> np.ndarray:
        """float32 of shape (positions, dim), computed in `precision`.

        Raises:
            ValueError: a vector is not finite.
        """
        plan = [positions[start : start + self.batch_size] for start in range(0, len(positions), self.batch_size)]
        half = self.precision == "bf16"
        with torch.inference_mode(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=half):
            batches = load(split, plan, self.device)
            rows = [self.model(model_input(unit_images(batch.images), preprocess)).float() for batch in batches]
            found: np.ndarray = torch.cat(rows).cpu().numpy()
        broken = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(broken):
            raise ValueError(
                f"features.embeddings.name={self.name} gives a NaN or an infinity for "
                f"{split.ids[positions[broken[0]]]}; the weights are broken, or mean and std are not theirs"
            )
        return found


def load_embedder(cfg: EmbeddingsConfig, *, device: torch.device) -> Embedder:
    """The network that the settings name, with its weights, on the device.

    Raises:
        ValueError: no such network, no weights, or weights that do not fit.
    """
    if cfg.name in OWN_NETS:
        raise ValueError(f"features.embeddings.name={cfg.name} has no trained weights; give a model of timm")
    asked = backbone_config(cfg)
    with _own_keys():
        # a network that starts from weights takes side, mean and std from the config or from timm's record
        inputs = input_facts(asked, packed_size=0, statistics={"mean": (), "std": ()})
        # without classes timm's networks return what their head would see
        model = build_model(asked, num_classes=0, img_size=inputs.img_size).eval()
    return Embedder(
        name=cfg.name,
        options=cfg.options,
        # twice as fast on a CPU as the layout that PyTorch starts with
        model=model.to(device).to(memory_format=torch.channels_last),
        inputs=inputs,
        weights=weights_digest(model),
        dim=_dim(model, cfg.name, img_size=inputs.img_size),
        batch_size=cfg.batch_size,
        precision=cfg.precision,
        device=device,
    )


def backbone_config(cfg: EmbeddingsConfig) -> ModelConfig:
    """The network as the model section would ask for it."""
    shared = {field.name: getattr(cfg, field.name) for field in fields(ModelConfig) if hasattr(cfg, field.name)}
    return ModelConfig(**shared, stem="plain")


def embed_packed(packed_dir: Path, embedder: Embedder, *, cache_dir: Path) -> dict[str, Any]:
    """The facts, after writing `embeddings/<split>.npy` for each packed split and `embeddings/embeddings.json`.

    An image whose pixels this network has seen before is not computed again: its vector is taken from `cache_dir`.

    Raises:
        ValueError: nothing is packed, or a vector is not finite.
    """
    statistics = read_json(packed_dir / STATISTICS_FILE, made_by=MADE_BY)
    cache = EmbeddingCache(cache_dir / embedder.key())
    vectors_of = partial(embedder.vectors, preprocess=_preprocess(embedder.inputs, statistics))
    with whole_folder(packed_dir / EMBEDDINGS_DIR) as fresh:
        for name in statistics["counts"]:
            split = PackedSplit.load(packed_dir / name)
            shape = (len(split), embedder.dim)
            out = open_memmap(fresh / f"{name}.npy", mode="w+", dtype=np.float32, shape=shape)
            _fill(out, split, vectors_of, cache)
            out.flush()
        facts = embedder.facts() | {"digest": statistics["digest"]}
        write_json(fresh / FACTS_FILE, facts)
    return facts


def _preprocess(inputs: InputFacts, statistics: Mapping[str, Any]) -> Preprocess:
    """The way from an image to the network, the packing included."""
    packing = statistics["settings"]["features"]
    return Preprocess(
        size=statistics["size"],
        resize=packing["resize"],
        interpolation=packing["interpolation"],
        img_size=inputs.img_size,
        input_interpolation=inputs.interpolation,
        mean=inputs.mean,
        std=inputs.std,
    )


def _fill(out: np.ndarray, split: PackedSplit, vectors_of: Callable[..., np.ndarray], cache: EmbeddingCache) -> None:
    """Write the vector of each image of the split to its place, computing only what the cache lacks."""
    waiting: dict[bytes, list[int]] = {}
    for position, digest in enumerate(pixel_digests(split)):
        waiting.setdefault(digest, []).append(position)
    different = len(waiting)
    for digests, vectors in cache.parts():
        _place(out, digests, vectors, waiting)
    log.info("%s: %d images to embed, %d known already", split.name, len(waiting), different - len(waiting))
    absent = list(waiting)
    with progress(what=f"embed {split.name}", total=len(absent)) as bar:
        for start in range(0, len(absent), PART_IMAGES):
            part = absent[start : start + PART_IMAGES]
            vectors = vectors_of(split, np.array([waiting[digest][0] for digest in part]))
            cache.add(part, vectors)
            _place(out, part, vectors, waiting)
            bar.update(len(part))


def _place(out: np.ndarray, digests: list[bytes], vectors: np.ndarray, waiting: dict[bytes, list[int]]) -> None:
    """Move the vectors that are waited for to all the places of their image."""
    for digest, vector in zip(digests, vectors, strict=True):
        for position in waiting.pop(digest, ()):
            out[position] = vector


def _dim(model: nn.Module, name: str, *, img_size: int) -> int:
    """Length of the vector of one image.

    Raises:
        ValueError: the network gives a map in place of a vector.
    """
    device = next(model.parameters()).device
    with torch.inference_mode():
        shape = tuple(model(torch.zeros(1, 3, img_size, img_size, device=device)).shape)
    if len(shape) != 2:
        raise ValueError(f"features.embeddings.name={name} gives {shape} per image, not a vector; take another network")
    return int(shape[1])


def weights_digest(model: nn.Module, *, without: tuple[str, ...] = ()) -> str:
    """Sixteen hex digits that change with any tensor of the network; those of the modules `without` do not count."""
    digest = hashlib.sha256()
    left_out = tuple(f"{name}." for name in without)
    for key, tensor in sorted(model.state_dict().items()):
        if left_out and key.startswith(left_out):
            continue
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _own_keys() -> Iterator[None]:
    """Errors that name keys of the model section name those of this section instead."""
    names = "|".join(field.name for field in fields(EmbeddingsConfig))
    try:
        yield
    except ValueError as error:
        message = re.sub(rf"\bmodel\.({names})\b", r"features.embeddings.\1", str(error))
        raise ValueError(message) from None
