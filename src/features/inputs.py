"""From packed uint8 pixels to the tensor a network sees, on the device."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from src.features.preprocess import Preprocess

MOST_KEPT = 16


def unit_images(images: UInt8[Tensor, "batch size size 3"]) -> Float[Tensor, "batch 3 size size"]:
    """Pixels as float32 in [0, 1], channels first in shape and last in memory."""
    return images.permute(0, 3, 1, 2).to(torch.float32).div_(255.0)


def model_input(
    images: Float[Tensor, "batch 3 size size"], preprocess: Preprocess
) -> Float[Tensor, "batch 3 img_size img_size"]:
    """Unit images resized to the network's input size where it differs, and normalised."""
    if images.shape[-1] != preprocess.img_size:
        side = (preprocess.img_size, preprocess.img_size)
        images = F.interpolate(images, side, mode=preprocess.input_interpolation, antialias=True, align_corners=False)
    return (images - _by_channel(preprocess.mean, images.device)) / _by_channel(preprocess.std, images.device)


@lru_cache(maxsize=MOST_KEPT)
def _by_channel(values: tuple[float, ...], device: torch.device) -> Float[Tensor, "1 channels 1 1"]:
    """The values on the device, copied there once: a copy at each step would wait for a GPU."""
    # what is made in inference mode cannot be differentiated through later
    with torch.inference_mode(mode=False):
        return torch.tensor(values, device=device).view(1, -1, 1, 1)
