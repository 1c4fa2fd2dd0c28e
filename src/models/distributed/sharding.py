"""Weights, gradients and the optimiser's numbers parted over the processes, for networks that one device cannot hold.

torch's FSDP2: each process keeps a slice of every weight, and the weights of a block are put together while it is
computed. What is saved is whole: the same files as without, from and for any number of processes.
"""

import logging
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm

log = logging.getLogger(__name__)


def shard(model: nn.Module, device: torch.device) -> nn.Module:
    """The model itself, each of whose processes keeps a slice of its weights from now on. A meeting.

    Raises:
        ValueError: it has batch norm.
    """
    if any(isinstance(part, _BatchNorm) for part in model.modules()):
        raise ValueError(
            "run.sharding=fsdp is for networks without batch norm, and this one has it; set run.sharding=none, or "
            "take a network with layer or group norm, such as a vision transformer"
        )
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    # slices are cut from plain storage
    model.to(memory_format=torch.contiguous_format)
    blocks = repeated_blocks(model)
    for part in (*blocks, model):
        fully_shard(part, mesh=mesh, reshard_after_forward=True)
    log.info("weights are parted over %d processes, put together in %d blocks", dist.get_world_size(), len(blocks))
    return model


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """The layers that a network repeats: the entries of its lists of modules of one kind, the innermost of them."""
    lists = [part for part in model.modules() if isinstance(part, nn.Sequential | nn.ModuleList) and _repeats(part)]
    entries = [entry for part in lists for entry in part if any(True for _ in entry.parameters())]
    return [entry for entry in entries if not any(part in lists for part in entry.modules())]


def is_sharded(model: nn.Module) -> bool:
    """Whether `shard` has been at it."""
    return isinstance(model, FSDPModule)


def whole(tree: Any) -> Any:
    """A tree of dicts, lists and tensors whose slices are put together, on the CPU. A meeting where there are any."""
    if isinstance(tree, DTensor):
        return full(tree).cpu()
    if isinstance(tree, Mapping):
        return {key: whole(value) for key, value in tree.items()}
    return [whole(value) for value in tree] if isinstance(tree, list) else tree


def parted_weights(saved: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
    """Whole weights as the model keeps them: this process's slices where it is sharded."""
    if not is_sharded(model):
        return saved
    own = model.state_dict()
    return {key: _like(value, own.get(key)) for key, value in saved.items()}


def parted_numbers(saved: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The whole state of an optimiser as it keeps it: the slices that belong to those of its weights."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    if not any(isinstance(weight, DTensor) for weight in weights):
        return saved
    numbers = [number for group in saved["param_groups"] for number in group["params"]]
    own = dict(zip(numbers, weights, strict=True))
    state = {
        number: {key: _like(value, own[number]) for key, value in entries.items()}
        for number, entries in saved["state"].items()
    }
    return saved | {"state": state}


def local(tensor: Tensor) -> Tensor:
    """This process's slice, sharing its memory; the tensor itself where it is whole."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def full(tensor: Tensor) -> Tensor:
    """The whole tensor, where it lies. A meeting where it is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _repeats(part: nn.Sequential | nn.ModuleList) -> bool:
    return len(part) > 1 and len({type(entry) for entry in part}) == 1


def _like(value: Any, own: Tensor | None) -> Any:
    """The slice of a whole tensor that this process has of `own`; anything else as it is."""
    if not isinstance(own, DTensor) or not isinstance(value, Tensor) or value.shape != own.shape:
        return value
    return distribute_tensor(value.to(own.device), own.device_mesh, own.placements, src_data_rank=None)
