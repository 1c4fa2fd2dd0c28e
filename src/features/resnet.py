"""Our own residual network: four blocks whose shortcuts hold no parameters."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from src.features.cnn import init_weights

NUM_BLOCKS = 4
NUM_CHANS = 3
LARGE_SIDE = 64
SMALLEST_HALVED = 4


class ResidualBlock(nn.Module):
    """A shortcut plus a branch of two 3x3 convolutions, with nothing after the addition.

    The branch is norm, ReLU, convolution, norm, ReLU, convolution, norm: pre-activation (He et al., Identity
    Mappings in Deep Residual Networks, 2016) with the closing norm of PyramidNet (Han et al., 2017). With the
    weight and bias of that closing norm at zero the block returns its shortcut exactly.
    """

    def __init__(self, in_width: int, out_width: int, *, stride: int, drop_path: float, zero_init: bool) -> None:
        super().__init__()
        self.extra_width = out_width - in_width
        self.stride = stride
        self.drop_path = drop_path
        self.norm1 = nn.BatchNorm2d(in_width)
        self.conv1 = nn.Conv2d(in_width, out_width, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_width)
        self.conv2 = nn.Conv2d(out_width, out_width, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(out_width)
        if zero_init:
            nn.init.zeros_(self.norm3.weight)

    def forward(self, images: Tensor) -> Tensor:
        """The feature maps of the next width, their side divided by the stride and rounded up."""
        return self.shortcut(images) + self._kept(self.branch(images))

    def shortcut(self, images: Tensor) -> Tensor:
        """The input itself; where the dimensions change, averaged over the stride and padded with zero channels.

        This is option A of He et al., Deep Residual Learning, 2016, with averages in place of skipped pixels.
        """
        if self.stride > 1:
            images = functional.avg_pool2d(images, self.stride, ceil_mode=True, count_include_pad=False)
        if self.extra_width > 0:
            images = functional.pad(images, (0, 0, 0, 0, 0, self.extra_width))
        return images

    def branch(self, images: Tensor) -> Tensor:
        """What is added to the shortcut."""
        maps = self.conv1(functional.relu(self.norm1(images)))
        maps = self.conv2(functional.relu(self.norm2(maps), inplace=True))
        normed: Tensor = self.norm3(maps)
        return normed

    def _kept(self, branch: Tensor) -> Tensor:
        """The branch, in training dropped for a random share `drop_path` of the images (stochastic depth)."""
        if not self.training or self.drop_path == 0:
            return branch
        kept = torch.empty(len(branch), 1, 1, 1, dtype=branch.dtype, device=branch.device)
        return branch * kept.bernoulli_(1 - self.drop_path).div_(1 - self.drop_path)


class ResidualCNN(nn.Module):
    """A stem, four residual blocks, a norm, an average and a linear head.

    The stem quarters the side of images of 64 px or more and leaves smaller ones as they are; each block but the
    first halves it, while it is larger than 4 px.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        img_size: int,
        widths: Sequence[int] = (64, 128, 256, 512),
        width: float = 1.0,
        drop_path: float = 0.0,
        zero_init: bool = True,
    ) -> None:
        """Build the network.

        Raises:
            ValueError: `widths` is not four widths that never fall, or `drop_path` is no share below one.
        """
        super().__init__()
        if not 0 <= drop_path < 1:
            raise ValueError(f"model.options.drop_path={drop_path} should be at least 0 and less than 1")
        scaled = _scaled(widths, width)
        self.stem = _stem(scaled[0], large=img_size >= LARGE_SIDE)
        strides = _strides(img_size)
        ins = [scaled[0], *scaled[:-1]]
        self.blocks = nn.Sequential(
            *(
                ResidualBlock(before, after, stride=stride, drop_path=drop_path, zero_init=zero_init)
                for before, after, stride in zip(ins, scaled, strides, strict=True)
            )
        )
        self.norm = nn.BatchNorm2d(scaled[-1])
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(scaled[-1], num_classes)
        init_weights(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (batch, num_classes)."""
        maps = self.blocks(self.stem(images))
        logits: Tensor = self.head(self.pool(functional.relu(self.norm(maps))))
        return logits


def _scaled(widths: Sequence[int], factor: float) -> list[int]:
    """The widths times `factor`, in steps of 8 as fast kernels like them."""
    if len(widths) != NUM_BLOCKS or list(widths) != sorted(widths):
        found = ", ".join(map(str, widths))
        raise ValueError(f"model.options.widths=[{found}] should be {NUM_BLOCKS} widths that never fall, one per block")
    return [max(8, round(width * factor / 8) * 8) for width in widths]


def _stem(width: int, *, large: bool) -> nn.Sequential:
    conv = nn.Conv2d(NUM_CHANS, width, 3, stride=2 if large else 1, padding=1, bias=False)
    return nn.Sequential(conv, nn.MaxPool2d(3, stride=2, padding=1) if large else nn.Identity())


def _strides(img_size: int) -> list[int]:
    side = img_size // 4 if img_size >= LARGE_SIDE else img_size
    strides = [1]
    for _ in range(NUM_BLOCKS - 1):
        strides.append(2 if side > SMALLEST_HALVED else 1)
        side = -(-side // strides[-1])
    return strides
