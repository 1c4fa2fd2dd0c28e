"""Logits of packed images: the forward pass that evaluation and prediction share."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from src.features.inputs import model_input, unit_images
from src.features.loader import all_batches, load
from src.features.packed import PackedSplit
from src.features.preprocess import Preprocess
from src.logs import progress
from src.models.runtime import Runtime


def score(
    model: nn.Module, images: UInt8[Tensor, "batch size size 3"], preprocess: Preprocess, runtime: Runtime
) -> Float[Tensor, "batch classes"]:
    """Logits in float32 of packed images, with the model in evaluation mode."""
    model.eval()
    with torch.no_grad(), runtime.autocast():
        return model(model_input(unit_images(images), preprocess)).float()


def split_probs(
    model: nn.Module, split: PackedSplit, preprocess: Preprocess, runtime: Runtime, *, batch_size: int
) -> Float[np.ndarray, "images classes"]:
    """Probabilities of every image of a packed split, float32, in its order."""
    probs = []
    with progress(what=f"predict {split.name}", total=len(split)) as bar:
        for batch in load(split, all_batches(len(split), batch_size=batch_size), runtime.device):
            logits = score(model, batch.images, preprocess, runtime)
            probs.append(logits.softmax(dim=1).cpu().numpy())
            bar.update(len(batch.labels))
    return np.concatenate(probs)
