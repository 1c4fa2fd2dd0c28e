"""Measure the audit of images by their number, and print tables of the figures.

usage: python -m benchmarks.data IMAGES [name ...]      (default: all; names are the rows of `TABLES`)

IMAGES is a folder or archive of real photographs. Larger sets are cut from them, each file another part of one of
them, saved again as JPEG of 150 x 150 px in a temporary folder. Every figure is taken in a process of its own: seconds
of wall-clock, seconds of a processor, and the largest resident size. Machines differ and are noisy: compare rows of one
table.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from src.compose import compose
from src.config_data import DataConfig
from src.data.archives import open_images
from src.data.assembly import dataset_of
from src.data.checks import Checked, decode, inspect, inspect_all
from src.data.duplicates import group_duplicates, resolve_duplicates
from src.data.facts import FactsCache, facts_table
from src.data.splits import stratified_splits
from src.data.stores.base import FolderStore
from src.data.summary import write_dataset
from src.logs import environment
from src.selection import parse

SIDE = 150
COUNTS = (1_000, 10_000, 60_000)
TARGET_COUNT = 17_000
MANY = 1_000_000
CLASSES = 10
SHARES = {"test": 0.2, "val": 0.15}


@cache
def settings() -> DataConfig:
    """The data section as it is by default."""
    return compose(parse(["data=folder", "data.path=."])).data


def make_photographs(images: Path, target: Path, *, first: int, count: int) -> None:
    """Write `count` different photographs into ten class folders, cut from those in `images`.

    In a process of its own: Linux takes the peak of a process over to those it starts.
    """
    maker = get_context("spawn").Process(target=_make, args=(images, target, first, count))
    maker.start()
    maker.join()
    if maker.exitcode:
        raise RuntimeError(f"no photographs could be made from {images}")


def _make(images: Path, target: Path, first: int, count: int) -> None:
    store = open_images(images)
    sources = [decode(content, settings().max_pixels) for _, content in store.read(store.names()[:2_000])]
    for number, image in islice(enumerate(cycle(sources)), first, first + count):
        draw = np.random.default_rng(number)
        side = round(min(image.size) * draw.uniform(0.4, 0.8))
        left, top = (int(draw.integers(0, whole - side + 1)) for whole in image.size)
        part = image.resize((SIDE, SIDE), box=(left, top, left + side, top + side))
        content = BytesIO()
        part.save(content, "JPEG", quality=int(draw.integers(70, 95)))
        path = target / f"class_{number % CLASSES}" / f"{number:07d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.getvalue())


def audit(folder: Path, known: Path) -> int:
    """The number of files, after each was checked, all were compared, and every image had its split."""
    cfg = settings()
    store = open_images(folder)
    names = store.names()
    checked = inspect_all(store, names, cfg=cfg, cache=FactsCache.of(known, store, cfg))
    table = facts_table(checked, dict(zip(names, names, strict=True)))
    _split(table, cfg)
    return len(table)


def loop(folder: Path, _: Path) -> int:
    """The number of files, after each was checked by one thread, one after the other."""
    cfg = settings()
    limits = {"max_pixels": cfg.max_pixels, "min_side": cfg.audit.min_side}
    return len([inspect(name, content, **limits).sha256 for name, content in open_images(folder).read()])


def threads(folder: Path, _: Path) -> int:
    """The number of files, after each was checked, by all cores."""
    store = open_images(folder)
    return len([found.sha256 for found in inspect_all(store, store.names(), cfg=settings())])


def synthetic(folder: Path, _: Path) -> int:
    """The rows of a synthetic table of facts, after all that make_dataset does with it."""
    names = (f"class_{row % CLASSES}/{row:07d}.jpg" for row in range(MANY))
    ids = {name: name for name in names}
    table = facts_table(_invented(ids), ids)
    del ids
    (folder / "images").mkdir()
    dataset = dataset_of(table, settings(), FolderStore(folder / "images"), {})
    write_dataset(dataset, settings(), folder / "dataset")
    return len(table)


STEPS: dict[str, Callable[[Path, Path], int]] = {
    "audit": audit,
    "loop": loop,
    "threads": threads,
    "synthetic": synthetic,
}


def _invented(names: dict[str, str]) -> Iterator[Checked]:
    """Facts of images that do not exist; one in a hundred looks like the one before it."""
    draw = np.random.default_rng(0)
    phash, thumbnail = 0, bytes(64)
    for row, name in enumerate(names):
        if row % 100:
            phash, thumbnail = int.from_bytes(draw.bytes(8), "big"), draw.bytes(64)
        moments = (0.5, 0.5, 0.5)
        sha256 = f"{row:064x}"
        yield Checked(name, sha256, 8_000, "JPEG", "RGB", SIDE, SIDE, False, phash, thumbnail, moments, moments)


def _split(table: pd.DataFrame, cfg: DataConfig) -> None:
    """Compare all images and deal them into splits."""
    labels = table["id"].str.slice(0, len("class_0"))
    groups = group_duplicates(table, cfg.duplicates)
    rows = pd.DataFrame({"id": table["id"], "sha256": table["sha256"], "group": groups["group"], "name": labels})
    status = resolve_duplicates(rows.assign(split="train"), cfg.duplicates.policy)
    used = rows.loc[(status == "ok").to_numpy(), ["name", "group"]]
    stratified_splits(used["name"], used["group"], shares=SHARES, seed=cfg.seed)


def measured(step: str, folder: Path, known: Path) -> dict[str, float]:
    """`n`, `seconds`, `cpu` (seconds of a processor) and `mib` of a step, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.data", "--step", step, str(folder), str(known)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{step} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout)


def run_step(step: str, folder: Path, known: Path) -> None:
    """Print the figures of a step, as JSON."""
    began, cpu_began = time.perf_counter(), time.process_time()
    count = STEPS[step](folder, known)
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = time.process_time() - cpu_began
    print(json.dumps({"n": count, "seconds": seconds, "cpu": cpu, "mib": used.ru_maxrss / 1024}))


def row(what: str, found: dict[str, float]) -> None:
    """Print a line of a table."""
    n, seconds = found["n"], found["seconds"]
    print(
        f"| {what} | {n:,} | {seconds:.2f} | {found['cpu']:.2f} | {n / seconds:,.0f} | {found['mib']:.0f} |", flush=True
    )


def scaling(images: Path, scratch: Path) -> None:
    """The audit of 1,000 to 60,000 files: the first time, again, and after one in a hundred was added."""
    made = 0
    for count in COUNTS:
        folder, cache = scratch / "photographs", scratch / f"cache_{count}"
        make_photographs(images, folder, first=made, count=count - made)
        row("audit", measured("audit", folder, cache))
        row("audit again, nothing changed", measured("audit", folder, cache))
        made = count + count // 100
        make_photographs(images, folder, first=count, count=count // 100)
        row("audit again, 1 % added", measured("audit", folder, cache))


def target(images: Path, scratch: Path) -> None:
    """17,000 photographs: the whole audit, and checking alone by one thread and by all cores."""
    folder = scratch / "target"
    make_photographs(images, folder, first=0, count=TARGET_COUNT)
    row("audit", measured("audit", folder, scratch / "cache_target"))
    row("checked in a plain loop", measured("loop", folder, scratch))
    row("checked by all cores", measured("threads", folder, scratch))


def million(_: Path, scratch: Path) -> None:
    """A table of a million synthetic rows."""
    row("all of make_dataset but the decoding", measured("synthetic", scratch, scratch))


TABLES: dict[str, Callable[[Path, Path], None]] = {"target": target, "scaling": scaling, "million": million}


def main(images: Path, names: list[str]) -> None:
    """Print the named tables, in the order of `TABLES`."""
    stamp = environment()
    load = os.getloadavg()[0]
    print(f"{stamp['cpus']} cores, {platform.machine()}, Python {stamp['python']}, load before {load:.1f}\n")
    print(f"`python -m benchmarks.data {images.name} {' '.join(names)}`\n".replace(" `", "`"))
    print("| what | n | seconds | of a processor | n per second | peak MiB |\n|---|---|---|---|---|---|")
    for name in names or TABLES:
        with tempfile.TemporaryDirectory() as scratch:
            TABLES[name](images, Path(scratch))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.data")
    arguments.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    arguments.add_argument("images", type=Path)
    arguments.add_argument("names", nargs="*")
    given = arguments.parse_args()
    if given.step:
        run_step(given.step, given.images, Path(given.names[0]))
    else:
        main(given.images, given.names)
