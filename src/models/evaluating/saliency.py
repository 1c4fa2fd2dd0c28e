"""Where a network looked when it was wrong: Grad-CAM (Selvaraju et al., 2017) by Captum."""

import logging
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from src.artifacts import Predictions
from src.features.inputs import model_input, unit_images
from src.features.packed import PackedSplit
from src.models.checkpoint import TrainedModel

log = logging.getLogger(__name__)

LAST_MAPS = {"baseline_cnn": "features", "residual_cnn": "blocks"}


def write_saliency(
    trained: TrainedModel, split: PackedSplit, predictions: Predictions, path: Path, *, most: int
) -> None:
    """Write the maps of the most confident mistakes: `ids`, and `maps` (uint8, images x side x side) by position.

    No file where no image is wrong, or the network has no feature maps; the log says which.
    """
    rows = confident_mistakes(predictions, most)
    layer = last_maps(trained) if len(rows) else None
    if layer is None:
        if len(rows):
            side = trained.preprocess.img_size
            log.info("%s at %d px has no feature maps that Grad-CAM could show", trained.facts.model["name"], side)
        return
    device = next(trained.model.parameters()).device
    images = torch.from_numpy(np.ascontiguousarray(split.gather(rows))).to(device)
    targets = torch.from_numpy(predictions.preds[rows]).to(device)
    maps = grad_cam(trained, layer, images, targets)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, ids=np.array([predictions.ids[row] for row in rows]), maps=maps)


def confident_mistakes(predictions: Predictions, most: int) -> np.ndarray:
    """Positions of up to `most` wrongly predicted images, the most confident first."""
    wrong = np.flatnonzero((predictions.labels >= 0) & (predictions.labels != predictions.preds))
    order: np.ndarray = wrong[np.argsort(-predictions.probs[wrong].max(axis=1, initial=0), kind="stable")]
    return order[:most]


def grad_cam(trained: TrainedModel, layer: nn.Module, images: Tensor, targets: Tensor) -> np.ndarray:
    """How much each place spoke for the target, 0 to 255 within each image, at the side of the packed images."""
    from captum.attr import LayerAttribution, LayerGradCam

    inputs = model_input(unit_images(images), trained.preprocess)
    found = LayerGradCam(trained.model.eval(), layer).attribute(inputs, target=targets, relu_attributions=True)
    side = images.shape[1]
    found = LayerAttribution.interpolate(found.detach().float(), (side, side), interpolate_mode="bilinear")[:, 0]
    highest = found.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    maps: np.ndarray = (255 * found / highest).round().to(torch.uint8).cpu().numpy()
    return maps


def last_maps(trained: TrainedModel) -> nn.Module | None:
    """The module whose output is the last feature maps, as timm's record or our own table names it; None without."""
    model = trained.model
    record = getattr(model, "feature_info", None)
    name = LAST_MAPS.get(trained.facts.model["name"]) or (record[-1]["module"] if record else None)
    if name is None or name not in dict(model.named_modules()):
        return None
    layer, shapes = model.get_submodule(name), []
    handle = layer.register_forward_hook(lambda _, __, output: shapes.append(tuple(output.shape)))
    side = trained.preprocess.img_size
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 3, side, side, device=next(model.parameters()).device))
    finally:
        handle.remove()
    if not shapes or len(shapes[0]) != 4 or min(shapes[0][2:]) <= 1:
        return None
    # some, such as Swin, keep channels last: to Grad-CAM these are no maps
    channels_first = record is None or shapes[0][1] == record[-1]["num_chs"]
    return layer if channels_first else None
