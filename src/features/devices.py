"""The device that a name stands for on this machine."""

import torch


def resolve_device(name: str) -> torch.device:
    """The device called `name`; `auto` is CUDA, else MPS, else CPU.

    Raises:
        ValueError: no such device on this machine.
    """
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device("cuda" if found["cuda"] else "mps" if found["mps"] else "cpu")
    kind, _, number = name.partition(":")
    if kind not in found or (number and not number.isdigit()):
        raise ValueError(f"run.device={name} is no device; allowed: auto, cpu, cuda, cuda:N, mps")
    present = ", ".join(key for key, here in found.items() if here)
    if not found[kind]:
        raise ValueError(f"run.device={name}, but torch {torch.__version__} finds none here; found: {present}")
    if kind == "cuda" and number and int(number) >= torch.cuda.device_count():
        raise ValueError(f"run.device={name}, but there are {torch.cuda.device_count()} GPUs, counted from cuda:0")
    return torch.device(name)
