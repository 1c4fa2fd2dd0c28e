"""A step whose images do not fit into memory: taken back and made again in smaller passes."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from src.models.distributed.team import Team
from src.models.engine.state import TrainState
from src.models.engine.tally import Tally

log = logging.getLogger(__name__)

# how torch and the C++ library say on a CPU that there is no memory left
CPU_SAYS = ("can't allocate memory", "bad_alloc")
# how oneDNN does; after it, smaller passes fail in that process too
LASTING_SAYS = ("could not create a primitive", "could not create a memory")


@dataclass(frozen=True)
class Before:
    """What the passes of a step change besides gradients, as it was before them; taking it waits for no device."""

    tally: dict[str, Tensor]
    images: int
    statistics: list[Tensor]
    cpu_rng: Tensor
    device_rng: Tensor | None

    @classmethod
    def of(cls, state: TrainState) -> "Before":
        """The present."""
        device = state.tally.loss.device
        return cls(
            tally={name: getattr(state.tally, name).clone() for name in ("loss", "hits", "unknown")},
            images=state.tally.images,
            statistics=[buffer.clone() for buffer in state.model.buffers()],
            cpu_rng=torch.get_rng_state(),
            device_rng=torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        )

    def restore(self, state: TrainState) -> None:
        """Bring it back, and take away the gradients."""
        state.optimizer.zero_grad(set_to_none=True)
        state.tally = Tally(**self.tally, images=self.images)
        with torch.no_grad():
            for buffer, kept in zip(state.model.buffers(), self.statistics, strict=True):
                buffer.copy_(kept)
        torch.set_rng_state(self.cpu_rng)
        if self.device_rng is not None:
            torch.cuda.set_rng_state(self.device_rng, state.tally.loss.device)


def within_memory(
    state: TrainState, passes: Callable[[int], Any], *, num_images: int, asked: int | None, team: Team
) -> None:
    """Make the passes of a step with as many images each as fit; what fits is kept in the state.

    Args:
        state: what is trained; `passes` leave gradients in it, and nothing that `Before` does not know.
        passes: makes the passes, given the images of each.
        num_images: the images of the step on this device.
        asked: the images of a pass that are asked for (`train.micro_batch_size`); None: all of them.
        team: the processes at the step.

    Raises:
        ValueError: a single image does not fit, or other processes wait for this one.
    """
    before = Before.of(state)
    first = size = pass_size(state, num_images=num_images, asked=asked)
    while wanting := _wants_memory(passes, size):
        check_smaller(size, wanting, team)
        before.restore(state)
        _empty_cache(state)
        size //= 2
    if size < first:
        state.fitting = {"asked": asked, "size": size}
        log.warning(
            "out of memory with %d images in a pass: from here on %d in a pass, as many as before in a step; "
            "train.micro_batch_size=%d begins so",
            *(first, size, size),
        )


def check_smaller(size: int, wanting: str, team: Team) -> None:
    """Nothing, where a step that did not fit, as `wanting` tells, can be made in smaller passes.

    Raises:
        ValueError: it cannot; the message says what to do.
    """
    if team.world > 1:
        raise ValueError(
            f"process {team.rank} of {team.world} is out of memory with {size} images in a pass, and the others wait "
            f"for it: set train.micro_batch_size={max(1, size // 2)} and give the command again"
        )
    if any(says in wanting for says in LASTING_SAYS):
        raise ValueError(
            f"{wanting}, which is how oneDNN is out of memory for good: set train.micro_batch_size="
            f"{max(1, size // 2)} ({size} images in a pass here) and give the command again"
        )
    if size == 1:
        raise ValueError(
            f"out of memory with one image in a pass ({wanting}): take a smaller network or model.img_size, set "
            "train.gradient_checkpointing=true or train.precision=bf16, or lower train.batch_size"
        )


def pass_size(state: TrainState, *, num_images: int, asked: int | None) -> int:
    """How many images a pass takes: what was asked for, or what of it was found to fit."""
    if state.fitting is not None and state.fitting["asked"] == asked:
        asked = state.fitting["size"]
    return min(num_images, asked or num_images)


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether it is want of memory that the error tells, on a GPU or a CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        says in str(error) for says in CPU_SAYS + LASTING_SAYS
    )


def _wants_memory(passes: Callable[[int], Any], size: int) -> str:
    """What the want of memory was called; empty where there was enough.

    The error ends here: the frames that it holds keep the images of the pass in memory.
    """
    try:
        passes(size)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return " ".join(str(error).split())[:200] or type(error).__name__
    return ""


def _empty_cache(state: TrainState) -> None:
    if state.tally.loss.device.type == "cuda":
        torch.cuda.empty_cache()
