"""Batches from packed pixels: which images form which batch is a function of (seed, epoch, step)."""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from src.features.draws import AGAIN, balanced, permutation
from src.features.packed import PackedSplit


@dataclass(frozen=True)
class Batch:
    """Pixels and labels on the device, and the positions of the images in their split (on the host).

    `draws` tells apart the times that an image comes in one epoch; they are `samples` where it comes once.

    It is the whole of a global batch of `num_global` images, or the part of one process: then the first `lead` images
    are other processes' own, and stand there to be mixed in.
    """

    images: UInt8[Tensor, "batch size size 3"]
    labels: Int[Tensor, " batch"]
    samples: np.ndarray
    draws: np.ndarray
    num_global: int
    lead: int


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Optimiser steps in an epoch: a last, partial batch is left for another epoch's order, unless it is all."""
    return max(1, num_images // batch_size)


def epoch_batches(
    num_images: int, *, batch_size: int, seed: int, epoch: int, labels: np.ndarray | None = None
) -> list[np.ndarray]:
    """Draws of each training batch of the epoch in a seeded order: positions of the images.

    With `labels` every class is drawn equally often; see `balanced`.
    """
    if labels is None:
        order = permutation(num_images, seed=seed, epoch=epoch)
    else:
        order = balanced(labels, seed=seed, epoch=epoch)
    steps = steps_per_epoch(num_images, batch_size)
    return [order[step * batch_size : (step + 1) * batch_size] for step in range(steps)]


def all_batches(num_images: int, *, batch_size: int) -> list[np.ndarray]:
    """Positions of every image once, in order: for evaluation."""
    return [np.arange(start, min(start + batch_size, num_images)) for start in range(0, num_images, batch_size)]


def part_of(samples: np.ndarray, *, rank: int, world: int) -> np.ndarray:
    """The part of a global batch that process `rank` of `world` takes: sizes differ by one image at most."""
    return samples[len(samples) * rank // world : len(samples) * (rank + 1) // world]


def load_parts(
    split: PackedSplit, plan: list[np.ndarray], device: torch.device, *, rank: int, world: int
) -> Iterator[Batch]:
    """The parts of the global batches of a plan that process `rank` of `world` takes; of one process, all of them.

    Before a part stand the first image of its global batch, which draws what all the batch shares, and the image
    before the part, with which MixUp and CutMix mix the part's first one.
    """
    if world == 1:
        yield from load(split, plan, device)
        return
    leads = [samples[[0, len(samples) * rank // world - 1]] for samples in plan]
    parts = [
        np.concatenate([lead, part_of(samples, rank=rank, world=world)])
        for lead, samples in zip(leads, plan, strict=True)
    ]
    for samples, batch in zip(plan, load(split, parts, device), strict=True):
        yield replace(batch, num_global=len(samples), lead=len(leads[0]))


def load(split: PackedSplit, plan: list[np.ndarray], device: torch.device) -> Iterator[Batch]:
    """The batches of a plan, the next one gathered and copied while the present one is in use.

    Gathering from the memory map and pinning run in one background thread, so that the device need not wait.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="loader") as pool:
        waiting = deque(pool.submit(_gather, split, draws, device) for draws in plan[:1])
        for draws in [*plan[1:], None][: len(plan)]:
            ready = waiting.popleft().result()
            if draws is not None:
                waiting.append(pool.submit(_gather, split, draws, device))
            yield ready


def _gather(split: PackedSplit, draws: np.ndarray, device: torch.device) -> Batch:
    samples = draws % AGAIN
    # Sorted look-ups read a memory map forwards; the batch keeps its own order.
    order = np.argsort(samples, kind="stable")
    pixels = np.empty((len(samples), split.size, split.size, 3), dtype=np.uint8)
    pixels[order] = split.gather(samples[order])
    images, labels = torch.from_numpy(pixels), torch.from_numpy(split.labels[samples])
    if device.type == "cuda":
        images, labels = images.pin_memory(), labels.pin_memory()
    images, labels = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
    return Batch(images, labels, samples, draws, num_global=len(samples), lead=0)
