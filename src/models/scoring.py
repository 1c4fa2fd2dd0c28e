"""Logits of packed images: the forward pass that evaluation and prediction share."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from src.features.inputs import model_input, unit_images
from src.features.preprocess import Preprocess
from src.models.runtime import Runtime


def score(
    model: nn.Module, images: UInt8[Tensor, "batch size size 3"], preprocess: Preprocess, runtime: Runtime
) -> Float[Tensor, "batch classes"]:
    """Logits in float32 of packed images, with the model in evaluation mode."""
    model.eval()
    with torch.no_grad(), runtime.autocast():
        return model(model_input(unit_images(images), preprocess)).float()
