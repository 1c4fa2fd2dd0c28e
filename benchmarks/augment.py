"""Measure what each transform and mix costs for a batch of 64 images, by one thread of the CPU, and print a table.

usage: python -m benchmarks.augment [name ...]      (default: all; names are entries of `TRANSFORMS` and `MIXES`)

Options are those of the first preset of `configs/augment/` that has the entry. Figures are the median, and the lowest
and highest, milliseconds of a processor over `REPEATS` epochs: what else the machine does counts little.
"""

import platform
import statistics
import sys
import time

import numpy as np
import torch

from src.compose import compose
from src.config_training import AugmentConfig
from src.features.augment import MIXES, TRANSFORMS, Augment, build_augment
from src.logs import environment
from src.schema import Component
from src.selection import groups, parse

BATCH, SIDES, REPEATS = 64, (96, 224), 9


def entries() -> dict[str, Component]:
    """Each entry that a preset has, with its options there."""
    found: dict[str, Component] = {}
    for preset in sorted(groups()["augment"]):
        cfg = compose(parse([f"augment={preset}"])).augment
        for component in (*cfg.transforms, cfg.mix):
            if component is not None:
                found.setdefault(component.name, component)
    return found


def alone(component: Component, img_size: int) -> Augment:
    """An augmentation that consists of the entry."""
    is_mix = component.name in MIXES
    cfg = AugmentConfig(transforms=[] if is_mix else [component], mix=component if is_mix else None)
    return build_augment(cfg, seed=0, img_size=img_size)


def milliseconds(augment: Augment, side: int) -> list[float]:
    """Of a processor, for each of `REPEATS` epochs after a first one that is not counted."""
    images = torch.rand(BATCH, side, side, 3, generator=torch.Generator().manual_seed(0)).permute(0, 3, 1, 2)
    targets, samples = torch.eye(BATCH), np.arange(BATCH)
    found = []
    for epoch in range(REPEATS + 1):
        began = time.process_time()
        augment(images, targets, samples=samples, epoch=epoch)
        found.append(1000 * (time.process_time() - began))
    return found[1:]


def main(names: list[str]) -> None:
    """Print a row for each of the named entries, in the order of the tables."""
    torch.set_num_threads(1)
    known = entries()
    stamp = environment()
    print(f"{platform.machine()}, one thread, Python {stamp['python']}, torch {stamp['torch']}, n = {REPEATS}\n")
    print(f"| entry | {' | '.join(f'ms at {side} px' for side in SIDES)} |\n|---|{'---|' * len(SIDES)}")
    for name in names or [*TRANSFORMS, *MIXES]:
        cells = []
        for side in SIDES:
            found = milliseconds(alone(known[name], side), side)
            cells.append(f"{statistics.median(found):.0f} ({min(found):.0f} to {max(found):.0f})")
        print(f"| `{name}` | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
