"""Our own plain network: the figure that any backbone should beat."""

from torch import Tensor, nn

SMALLEST_POOLED = 4
MOST_STAGES = 5
MOST_WIDENINGS = 3


class BaselineCNN(nn.Module):
    """Stages of a 3x3 convolution, batch norm and ReLU with a halving of the side between, an average, a linear head.

    The side is halved only while it is larger than 4 px, so that any image from 4 px up can be taken; the width
    doubles with each halving, up to eight times the first.
    """

    def __init__(
        self, *, num_classes: int, in_chans: int = 3, img_size: int, width: int = 32, dropout: float = 0.2
    ) -> None:
        super().__init__()
        widths = [width * 2 ** min(stage, MOST_WIDENINGS) for stage in range(num_halvings(img_size) + 1)]
        ins = [in_chans, *widths[:-1]]
        stages = [
            _stage(before, after, halve=stage > 0)
            for stage, (before, after) in enumerate(zip(ins, widths, strict=True))
        ]
        self.features = nn.Sequential(*stages)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout))
        self.head = nn.Linear(widths[-1], num_classes)
        init_weights(self)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of shape (batch, num_classes)."""
        logits: Tensor = self.head(self.pool(self.features(images)))
        return logits


def num_halvings(img_size: int) -> int:
    """How often a side of `img_size` px is halved: while it is larger than 4 px, at most four times."""
    halvings = 0
    while img_size > SMALLEST_POOLED and halvings < MOST_STAGES - 1:
        img_size //= 2
        halvings += 1
    return halvings


def init_weights(net: nn.Module) -> None:
    """Set He et al.'s normal weights in convolutions and small ones in linear layers; biases are zero."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)


def _stage(in_width: int, out_width: int, *, halve: bool) -> nn.Sequential:
    pool = [nn.MaxPool2d(2)] if halve else []
    conv = nn.Conv2d(in_width, out_width, 3, padding=1, bias=False)
    return nn.Sequential(*pool, conv, nn.BatchNorm2d(out_width), nn.ReLU(inplace=True))
