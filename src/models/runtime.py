"""The machine a run uses: its device, its threads and its arithmetic."""

import logging
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch

from src.config import RunConfig
from src.features.devices import resolve_device

log = logging.getLogger(__name__)

AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
MIB = 2**20


@dataclass(frozen=True)
class Runtime:
    """A device and the type that autocast uses on it; None for float32 throughout."""

    device: torch.device
    autocast_type: torch.dtype | None

    def autocast(self) -> AbstractContextManager[object]:
        """A context in which matrix products and convolutions run in the reduced type."""
        if self.autocast_type is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_type)

    @property
    def precision(self) -> str:
        """`fp32`, `bf16` or `fp16`."""
        names = {value: name for name, value in AUTOCAST_TYPES.items()}
        return "fp32" if self.autocast_type is None else names[self.autocast_type]

    def grad_scaler(self) -> torch.amp.GradScaler:
        """A loss scaler, switched off (neutral) unless the type is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.autocast_type is torch.float16)

    def peak_mib(self) -> float:
        """Most memory used so far in MiB: of the GPU on a GPU, else of this process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / MIB
        return _peak_process_bytes() / MIB


def start(run: RunConfig, precision: str, *, device: torch.device | None = None, equal_batches: bool = True) -> Runtime:
    """The runtime that `run.device` and a precision ask for.

    Args:
        run: the section.
        precision: of the arithmetic.
        device: what stands for `run.device` where one is taken already.
        equal_batches: whether one size of batch comes again and again, so that cuDNN may try its ways at the first.

    Raises:
        ValueError: the device does not exist here, or cannot do that precision.
    """
    device = device or resolve_device(run.device)
    if run.workers is not None:
        torch.set_num_threads(run.workers)
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = equal_batches
    runtime = Runtime(device, resolve_precision(precision, device))
    log.info("device %s, precision %s, %d threads", _device_name(device), runtime.precision, torch.get_num_threads())
    return runtime


def resolve_precision(name: str, device: torch.device) -> torch.dtype | None:
    """The autocast type; `auto` is bf16 on a GPU that has it, else fp16 there, and float32 on the others.

    Raises:
        ValueError: fp16 on a CPU, where training in it diverges or is slow.
    """
    if name == "auto":
        if device.type != "cuda":
            return None
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if name == "fp16" and device.type == "cpu":
        raise ValueError("train.precision=fp16 needs a GPU, and run.device is cpu; use bf16, fp32 or auto")
    return AUTOCAST_TYPES.get(name)


def gpus_in_use(device: torch.device, num_processes: int) -> list[str]:
    """UUIDs of the GPUs of a run, as NVML takes them; all that are to be seen where several processes train."""
    if device.type != "cuda":
        return []
    numbers = range(torch.cuda.device_count()) if num_processes > 1 else [device.index or 0]
    return [f"GPU-{torch.cuda.get_device_properties(number).uuid}" for number in numbers]


def seed_everything(seed: int) -> None:
    """Seed what draws from torch's own generators: initial weights, dropout and stochastic depth."""
    torch.manual_seed(seed)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({os.cpu_count()} cores)" if device.type == "cpu" else str(device)


def _peak_process_bytes() -> int:
    """Largest resident size of this process so far."""
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
