"""Activations that are computed again in the backward pass rather than kept: less memory for more time.

Chen et al., Training Deep Nets with Sublinear Memory Cost, 2016. Dropout draws the same numbers both times.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def recompute(model: nn.Module, *, name: str) -> None:
    """Let the network, called `name`, compute the activations of its blocks again where a gradient needs them.

    Raises:
        ValueError: it cannot; the message says what else saves memory.
    """
    turn_on: Any = getattr(model, "set_grad_checkpointing", None)
    try:
        if turn_on is None:
            raise AssertionError("none of ours can")
        turn_on(enable=True)
    except AssertionError:
        raise ValueError(
            f"train.gradient_checkpointing=true: {name} cannot compute its activations again; set "
            "train.micro_batch_size, or take one of timm's networks that can (all of its ResNets, ConvNeXts, "
            "EfficientNets and vision transformers)"
        ) from None
    for part in model.modules():
        if isinstance(part, _BatchNorm) and part.track_running_stats:
            rest = _Rest()
            part.register_forward_pre_hook(rest.begin)
            part.register_forward_hook(rest.end, always_call=True)


class _Rest:
    """Lets a batch norm leave its running statistics as they are when it runs within a backward pass.

    What it keeps for the gradient has to be the same both times, so the statistics stay in place, with no weight given
    to the batch.
    """

    def __init__(self) -> None:
        self._momentum: float | None = None
        self._resting = False

    def begin(self, norm: _BatchNorm, inputs: object) -> None:
        # the number of the backward pass that this thread is in, or -1
        self._resting = norm.training and torch._C._current_graph_task_id() >= 0
        if self._resting:
            self._momentum, norm.momentum = norm.momentum, 0.0

    def end(self, norm: _BatchNorm, inputs: object, output: object) -> None:
        if self._resting:
            norm.momentum = self._momentum
            if norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)
            self._resting = False
