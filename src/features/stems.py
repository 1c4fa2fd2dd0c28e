"""Stems for small images: networks drawn for 224 px lose a 32 px image in their first layers.

Early halvings are undone, the first first, until the last feature map has at least 4 px or the stem has none left.
"""

import logging
from collections.abc import Callable

from torch import nn

log = logging.getLogger(__name__)

SMALL_SIDE = 64
LAST_MAP = 4
USUAL_REDUCTION = 32


def wants_small(stem: str, *, img_size: int, pretrained: bool) -> bool:
    """Whether `model.stem` asks for a stem for small images."""
    return stem == "small" or (stem == "auto" and not pretrained and img_size <= SMALL_SIDE)


def fit_stem(model: nn.Module, stem: str, *, img_size: int, pretrained: bool) -> None:
    """Give the model a stem for small images, in place, where `model.stem` asks for one.

    Raises:
        ValueError: `model.stem` is small and the model's family is not in the table.
    """
    if not wants_small(stem, img_size=img_size, pretrained=pretrained):
        return
    family = type(model).__name__
    if family in STEMS:
        log.info("stem for %d px: %d early halvings undone", img_size, STEMS[family](model, img_size))
    elif stem == "small":
        raise ValueError(
            f"model.stem=small is not known for {family}; allowed for {', '.join(STEMS)}: "
            "use model.stem=plain and a larger model.img_size"
        )
    else:
        log.info("%s keeps its stem at %d px; a larger model.img_size may be more accurate", family, img_size)


def _num_undone(img_size: int, *, most: int) -> int:
    """The fewest halvings to undo for a last feature map of 4 px, at most `most`."""
    undone = 0
    while undone < most and img_size * 2**undone < LAST_MAP * USUAL_REDUCTION:
        undone += 1
    return undone


def _shrink_resnet(model: nn.Module, img_size: int) -> int:
    """The pooling goes first, then the stride of the first convolution: 3x3 in place of 7x7, a deep stem as it is."""
    num_undone = _num_undone(img_size, most=2)
    if num_undone >= 1:
        model.maxpool = nn.Identity()
    if num_undone == 2 and isinstance(model.conv1, nn.Sequential):
        _unstride(model.conv1)
    elif num_undone == 2:
        old = model.get_submodule("conv1")
        assert isinstance(old, nn.Conv2d)
        model.conv1 = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    return num_undone


def _shrink_efficientnet(model: nn.Module, img_size: int) -> int:
    """The strides of the first convolution and of the first strided blocks."""
    units = [model.get_submodule("conv_stem")]
    units += [block for stage in model.get_submodule("blocks").children() for block in stage.children()]
    strided = [unit for unit in units if any(max(conv.stride) > 1 for conv in _convs(unit))]
    undone = strided[: _num_undone(img_size, most=3)]
    for unit in undone:
        _unstride(unit)
    return len(undone)


def _shrink_convnext(model: nn.Module, img_size: int) -> int:
    """The patch convolution gets a smaller patch; an overlapping stem loses its strides."""
    stem = model.get_submodule("stem")
    patch, *others = _convs(stem)
    num_undone = _num_undone(img_size, most=2)
    if others:
        _unstride(*[patch, *others][:num_undone])
        return num_undone
    side = max(1, patch.stride[0] // 2**num_undone)
    small = nn.Conv2d(patch.in_channels, patch.out_channels, side, stride=side, bias=patch.bias is not None)
    nn.init.trunc_normal_(small.weight, std=0.02)
    if small.bias is not None:
        nn.init.zeros_(small.bias)
    stem.register_module("0", small)
    return num_undone


def _convs(module: nn.Module) -> list[nn.Conv2d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


def _unstride(*modules: nn.Module) -> None:
    for module in modules:
        for conv in _convs(module):
            conv.stride = (1, 1)


STEMS: dict[str, Callable[[nn.Module, int], int]] = {
    "ResNet": _shrink_resnet,
    "ConvNeXt": _shrink_convnext,
    "EfficientNet": _shrink_efficientnet,
    "MobileNetV3": _shrink_efficientnet,
}
