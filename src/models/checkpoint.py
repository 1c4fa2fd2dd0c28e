"""Checkpoints: weights without pickle, and beside them all that inference needs to know."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors
from torch import nn

from src.calibration import Calibration
from src.config import ModelConfig
from src.features.backbones import build_model, heads_of, stem_of, without_weights
from src.features.preprocess import Preprocess
from src.features.weights import fit_weights
from src.files import check_space, read_json, recover, whole_folder, write_atomically, write_json
from src.layout import RunFolder
from src.models.distributed.sharding import whole

log = logging.getLogger(__name__)

WEIGHTS_FILE = "model.safetensors"
FACTS_FILE = "model.json"


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What travels with the weights.

    `sha256` is that of the weights file; `calibration` is empty until a run has ended.
    """

    model: dict[str, Any]
    class_names: list[str]
    preprocess: dict[str, Any]
    data_digest: str
    data_settings: dict[str, Any]
    git_commit: str
    step: int
    epoch: int
    metrics: dict[str, float]
    sha256: str = ""
    calibration: dict[str, Any] = field(default_factory=dict)

    @property
    def temperature(self) -> float | None:
        """What logits are divided by to be calibrated; None where none was fitted."""
        return self.calibration.get("temperature")


@dataclass(frozen=True)
class TrainedModel:
    """A model in evaluation mode and what it needs: class names and the way from image to input."""

    model: nn.Module
    facts: ModelFacts
    preprocess: Preprocess

    @property
    def class_names(self) -> list[str]:
        """Names by index of the output."""
        return self.facts.class_names


def save(folder: Path, model: nn.Module, facts: ModelFacts) -> None:
    """Write the checkpoint so that at every moment the folder holds a whole one, old or new.

    A meeting where the model is sharded: the other processes call `whole` on its weights.

    Raises:
        OSError: it cannot be written; the message names the folder and the bytes needed, the old one is intact.
    """
    weights = whole(model.state_dict())
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    content = dump_tensors(tensors)
    check_space(folder, len(content), what=f"the checkpoint {folder}")
    try:
        with whole_folder(folder) as fresh:
            write_atomically(fresh / WEIGHTS_FILE, content)
            write_json(fresh / FACTS_FILE, asdict(replace(facts, sha256=hashlib.sha256(content).hexdigest())))
    except OSError as error:
        kept = "the checkpoint before it is intact" if folder.exists() else "there is none before it"
        needed = f"{len(content) / 2**20:.0f} MiB are needed"
        raise OSError(f"cannot write the checkpoint {folder}: {error.strerror or error}; {needed}, {kept}") from error


def keep_calibration(folder: Path, calibration: Calibration) -> None:
    """Write a calibration into the facts of the checkpoint; the weights stay as they are."""
    write_json(folder / FACTS_FILE, asdict(replace(load_facts(folder), calibration=calibration.as_tree())))


def packed(folder: Path) -> dict[str, torch.Tensor]:
    """The files of the checkpoint as tensors of bytes; empty where there is none."""
    recover(folder)
    paths = sorted(folder.iterdir()) if folder.exists() else []
    return {path.name: torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8) for path in paths}


def unpack(folder: Path, files: Mapping[str, torch.Tensor]) -> None:
    """Make the folder what `packed` found; nothing where that was nothing."""
    if files:
        with whole_folder(folder) as fresh:
            for name, content in files.items():
                write_atomically(fresh / name, content.numpy().tobytes())


def load(folder: Path, device: torch.device) -> TrainedModel:
    """The model in the checkpoint, ready for inference.

    Raises:
        ValueError: there is none, it is damaged, or the weights do not fit the model they name.
    """
    facts = load_facts(folder)
    content = weights_of(folder, facts)
    preprocess = Preprocess.from_tree(facts.preprocess)
    scratch = without_weights(ModelConfig(**facts.model))
    model = build_model(scratch, num_classes=len(facts.class_names), img_size=preprocess.img_size)
    check_fits(model, content, where=folder)
    model.load_state_dict(content)
    return TrainedModel(model.to(device).to(memory_format=torch.channels_last).eval(), facts, preprocess)


def start_from(model: nn.Module, path: Path, *, class_names: list[str]) -> ModelFacts:
    """The facts of the checkpoint, or of the best one of the run, whose weights the model has taken.

    The head is taken only where the classes are equal. What was taken and what was not is logged.

    Raises:
        ValueError: there is none, it is damaged, or it does not fit the model.
    """
    folder = path if (path / FACTS_FILE).exists() else RunFolder(path).checkpoint("best")
    facts = load_facts(folder)
    tensors, heads = weights_of(folder, facts), heads_of(model)
    if facts.class_names != class_names:
        tensors = {key: value for key, value in tensors.items() if not key.startswith(tuple(f"{at}." for at in heads))}
        log.info("the classes of %s are others, so its head is not taken", folder)
    fit_weights(model, tensors, heads=heads, source=f"train.init_from={path}")
    return facts


def other_inputs(facts: ModelFacts, cfg: ModelConfig, preprocess: Preprocess) -> list[str]:
    """How images entered the network of a checkpoint where it differs from what `cfg` and `preprocess` say."""
    before = Preprocess.from_tree(facts.preprocess)
    pairs = {f"model.{key}": (getattr(before, key), getattr(preprocess, key)) for key in ("img_size", "mean", "std")}
    pairs["model.stem"] = (
        stem_of(ModelConfig(**facts.model), img_size=before.img_size),
        stem_of(cfg, img_size=preprocess.img_size),
    )
    return [f"{key}={_plain(then)}, here {_plain(now)}" for key, (then, now) in pairs.items() if then != now]


def load_facts(folder: Path) -> ModelFacts:
    """What the checkpoint says of itself.

    Raises:
        ValueError: there is none, or it was written by another version.
    """
    recover(folder)
    if not folder.exists():
        raise ValueError(f"{folder} holds no checkpoint; train one with: make train (or give run_dir=<run folder>)")
    tree = read_json(folder / FACTS_FILE, made_by="train_model")
    try:
        return ModelFacts(**tree)
    except TypeError as error:
        raise ValueError(f"{folder / FACTS_FILE} is of another version ({error}); train again") from None


def weights_of(folder: Path, facts: ModelFacts) -> dict[str, torch.Tensor]:
    """The tensors of the checkpoint that `facts` came with.

    Raises:
        ValueError: there are none, or they are damaged.
    """
    path = folder / WEIGHTS_FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist, though {FACTS_FILE} does; train again") from None
    # Neither torch nor safetensors notices a flipped bit.
    if hashlib.sha256(content).hexdigest() != facts.sha256:
        raise ValueError(f"{path} is damaged: its sha256 is not the one in {FACTS_FILE}; use another checkpoint")
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged ({error}); use another checkpoint") from None


def check_fits(model: nn.Module, weights: Mapping[str, torch.Tensor], *, where: Path) -> None:
    """Nothing, if the weights are those of this model.

    Raises:
        ValueError: keys or shapes differ; the first of them are listed.
    """
    own = model.state_dict()
    rows = [f"{key}: not in the checkpoint" for key in own.keys() - weights.keys()]
    rows += [f"{key}: not in the model" for key in weights.keys() - own.keys()]
    shared = own.keys() & weights.keys()
    rows += [
        f"{key}: {tuple(weights[key].shape)} in the checkpoint, {tuple(own[key].shape)} in the model"
        for key in shared
        if own[key].shape != weights[key].shape
    ]
    if rows:
        shown = "; ".join(sorted(rows)[:5])
        raise ValueError(f"{where} is the checkpoint of another model ({len(rows)} keys differ): {shown}")


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
