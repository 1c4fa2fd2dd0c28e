"""The processes that train one model together, and the lone process as the neutral one of them.

Every method that says so is a meeting: all processes call it, in the same order. Sums and counts are added up, never
averages.
"""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from signal import Signals
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from src.features.devices import resolve_device
from src.features.draws import uniform
from src.models.distributed.launch import RENDEZVOUS_VARIABLE
from src.models.distributed.meeting import meet
from src.models.distributed.sharding import is_sharded, shard
from src.models.signals import EXIT_PEER_LOST, StopFlag

log = logging.getLogger(__name__)

Value = TypeVar("Value")

DROPOUT_STREAM = 2000


@runtime_checkable
class Team(Protocol):
    """What a training run asks of the processes at it."""

    @property
    def rank(self) -> int:
        """This process's number, from 0 on."""

    @property
    def world(self) -> int:
        """How many there are."""

    @property
    def device(self) -> torch.device | None:
        """The device that this process has taken; None where it is free to choose."""

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes."""

    def agree(self, stop: StopFlag) -> str:
        """The signal that any of the processes was sent, or empty: the same answer everywhere. A meeting."""

    def now(self) -> float:
        """Seconds on a clock that all share, so that all find the same things due."""

    def share(self, value: Value) -> Value:
        """The value of the first process. A meeting."""

    def sum(self, values: Tensor) -> Tensor:
        """Sums over the processes. A meeting."""

    def spread(self, model: nn.Module, *, sync_bn: bool, sharded: bool) -> tuple[nn.Module, nn.Module]:
        """The model to keep, and the view of it whose gradients are the team's. A meeting."""

    def view(self, model: nn.Module) -> nn.Module:
        """The view of the model whose gradients are the team's; made anew when other weights are trained. A meeting."""

    def gathering(self, forward: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """A context for one of the passes of a step: only that of the `last` adds up gradients over the processes."""

    def align(self, model: nn.Module) -> None:
        """Give all processes the running statistics of the first. A meeting."""

    def reseed(self, seed: int, step: int) -> None:
        """Let what draws from torch's own generator in a step be a function of (seed, step, rank)."""


class Alone:
    """A process that trains by itself: it agrees with itself, and its sums are its own."""

    rank = 0
    world = 1
    leads = True
    device = None

    def agree(self, stop: StopFlag) -> str:
        """The signal that was sent, or empty."""
        return stop.signal

    def now(self) -> float:
        """Seconds on this process's clock."""
        return time.perf_counter()

    def share(self, value: Value) -> Value:
        """The value itself."""
        return value

    def sum(self, values: Tensor) -> Tensor:
        """The values themselves."""
        return values

    def spread(self, model: nn.Module, *, sync_bn: bool, sharded: bool) -> tuple[nn.Module, nn.Module]:
        """The model, twice.

        Raises:
            ValueError: `sharded`.
        """
        if sharded:
            raise ValueError(
                "run.sharding=fsdp parts the weights over several processes, and this is one alone; set "
                "run.devices=2 or more, start it by torchrun or run=slurm, or set run.sharding=none"
            )
        return model, model

    def view(self, model: nn.Module) -> nn.Module:
        """The model itself."""
        return model

    def gathering(self, forward: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """A context that changes nothing."""
        return nullcontext()

    def align(self, model: nn.Module) -> None:
        """Nothing."""

    def reseed(self, seed: int, step: int) -> None:
        """Nothing: the generator goes on, and is saved with the state."""


ALONE = Alone()


@dataclass
class Together:
    """One of several processes; gradients and sums go through torch.distributed."""

    rank: int
    world: int
    device: torch.device
    clock: float = 0.0

    @property
    def leads(self) -> bool:
        """Whether this is the first process."""
        return self.rank == 0

    def agree(self, stop: StopFlag) -> str:
        """The signal that any of the processes was sent, or empty; brings the shared clock up to date."""
        number = Signals[stop.signal].value if stop.signal else 0
        own = torch.tensor([number, time.perf_counter() if self.leads else 0.0], dtype=torch.float64)
        dist.all_reduce(own, op=dist.ReduceOp.MAX)
        found, self.clock = int(own[0]), float(own[1])
        return Signals(found).name if found else ""

    def now(self) -> float:
        """Seconds on the first process's clock when all last agreed."""
        return self.clock

    def share(self, value: Value) -> Value:
        """The value of the first process."""
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def sum(self, values: Tensor) -> Tensor:
        """Sums over the processes."""
        total = values.clone()
        dist.all_reduce(total)
        return total

    def spread(self, model: nn.Module, *, sync_bn: bool, sharded: bool) -> tuple[nn.Module, nn.Module]:
        """The model, with batch norm over the whole batch if `sync_bn`, and its data-parallel view.

        Raises:
            ValueError: `sync_bn` without GPUs, or a network that cannot be `sharded`.
        """
        if sharded:
            return (parted := shard(model, self.device)), parted
        if sync_bn and self.device.type != "cuda":
            raise ValueError(
                f"train.sync_bn=true needs GPUs, and run.device is {self.device.type}, where torch cannot do it; "
                "use train.sync_bn=false, or a network with group or layer norm"
            )
        if sync_bn:
            from timm.layers import convert_sync_batchnorm

            model = convert_sync_batchnorm(model)
        return model, self.view(model)

    def view(self, model: nn.Module) -> nn.Module:
        """The data-parallel view of the weights that are trained now."""
        devices = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True)

    def gathering(self, forward: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """A context in which gradients are added up over the processes only in the `last` pass of a step."""
        if is_sharded(forward):
            assert last, "passes are as many on each process"
            return nullcontext()
        assert isinstance(forward, DistributedDataParallel), "made by `spread`"
        return nullcontext() if last else forward.no_sync()

    def align(self, model: nn.Module) -> None:
        """Give all processes the buffers of the first."""
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)

    def reseed(self, seed: int, step: int) -> None:
        """Seed torch's generators anew, so that a step draws the same after a resume."""
        draw = uniform(np.array([self.rank]), seed=seed, epoch=step, stream=DROPOUT_STREAM, count=1)
        torch.manual_seed(int(draw[0, 0] * 2**53))


@contextmanager
def joined(device: str, environ: Mapping[str, str]) -> Iterator[Team]:
    """The team that the environment names, as torchrun and `launch` set it; `Alone` where it names none.

    Args:
        device: as in `run.device`; each process takes the GPU of its local rank.
        environ: RANK, WORLD_SIZE, LOCAL_RANK, and MASTER_ADDR or the rendezvous file of `launch`.

    Raises:
        ValueError: a device that several processes cannot share.
        SystemExit: another process of the team has ended.
    """
    if "RANK" not in environ:
        yield ALONE
        return
    rank, world = int(environ["RANK"]), int(environ["WORLD_SIZE"])
    if rank > 0:
        quieten()
    place = own_device(device, local_rank=int(environ["LOCAL_RANK"]))
    meeting = environ.get(RENDEZVOUS_VARIABLE)
    backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
    with lost_peer_told():
        where = f"file://{meeting}" if meeting else "env://"
        store = meet(where, rank=rank, world=world)
        dist.init_process_group(backend, store=store, rank=rank, world_size=world)
        team = Together(rank, world, place)
        # sets the shared clock, by which it would else be time to save at once
        team.agree(StopFlag())
        yield team


@contextmanager
def lost_peer_told() -> Iterator[None]:
    """A block after which the process group is left; what torch says of a lost process becomes an exit code.

    Raises:
        SystemExit: another process of the team has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if peer_lost(error):
            log.info("another process of this run has ended; the same command goes on from the last saved state")
            # leaving the group in good order may wait for the lost one
            raise SystemExit(EXIT_PEER_LOST) from None
        raise
    except ValueError:
        dist.destroy_process_group()
        raise
    else:
        dist.destroy_process_group()


def own_device(name: str, *, local_rank: int) -> torch.device:
    """The device of the process that is number `local_rank` of its machine.

    Raises:
        ValueError: one device is named for all, the machine has too few, or it cannot be shared.
    """
    device = resolve_device(name)
    if device.type == "mps" or ":" in name:
        raise ValueError(f"run.device={name} is one device, and there are several processes; use auto, cpu or cuda")
    if device.type == "cpu":
        return device
    found = torch.cuda.device_count()
    if local_rank >= found:
        raise ValueError(f"process {local_rank} of this machine has no GPU: there are {found}; start {found} processes")
    own = torch.device("cuda", local_rank)
    torch.cuda.set_device(own)
    return own


def quieten() -> None:
    """Let this process log warnings only: what all of them do is told by the first."""
    for name in ("src", "__main__"):
        logging.getLogger(name).setLevel(logging.WARNING)


def peer_lost(error: BaseException) -> bool:
    """Whether this is what gloo, NCCL or the store says when another process has gone."""
    return isinstance(error, dist.DistError) or "gloo" in str(error).lower()
