"""CIFAR-10 as torchvision fetches it; its pickles become one zip of PNG files."""

import hashlib
import logging
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from src.config import DownloadConfig
from src.config_data import DataConfig
from src.data.fetching.downloads import Announce, DownloadError, Fault, Offer, download
from src.data.fetching.record import Source, staging_dir, zip_source
from src.data.stores.plain_zips import CHUNK_BYTES, add, is_whole, made_from, written_zip, zip_facts

log = logging.getLogger(__name__)

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
CONVERTED = "converted.zip"

Published = Callable[[], Any]
"""Gives torchvision's class of a data set, which knows its address and checksums; picklable."""


def cifar10(cfg: DataConfig, raw_dir: Path, settings: DownloadConfig) -> Source:
    """The source at `raw_dir/cifar10.zip`: a PNG file for each image, by split and class."""
    return from_pickles(cfg, raw_dir, settings, published=torchvisions_cifar10)


def torchvisions_cifar10() -> Any:
    """The one place of this floor that loads torch, and only in the process of a download."""
    from torchvision.datasets import CIFAR10

    return CIFAR10


def from_pickles(cfg: DataConfig, raw_dir: Path, settings: DownloadConfig, *, published: Published) -> Source:
    """The source at `raw_dir/<name>.zip`, from `data.archive` or else from where torchvision finds it.

    Either way torchvision compares the archive and the pickles in it with the checksums it knows.

    Raises:
        ValueError: no archive, or another one than was published.
    """
    target, staging = raw_dir / f"{cfg.name}.zip", staging_dir(cfg, raw_dir)
    given = None if cfg.archive is None else _given(cfg)
    if not is_whole(target) or (given is not None and zip_facts(target).remark != made_from(_md5(given))):
        job = partial(_make, published, None if given is None else given.resolve())
        download(job, staging, offer=_offer(cfg), settings=settings)
        target.parent.mkdir(parents=True, exist_ok=True)
        (staging / CONVERTED).replace(target)
    shutil.rmtree(staging, ignore_errors=True)
    return zip_source(cfg, target)


def _offer(cfg: DataConfig) -> Offer:
    return Offer(what=cfg.name, page=PAGE, sentences={"other": "{what}: {detail}, so it is not what was published"})


def _given(cfg: DataConfig) -> Path:
    given = Path(str(cfg.archive)).expanduser()
    if not given.is_file():
        raise ValueError(f"data.archive={cfg.archive} is no file; give cifar-10-python.tar.gz as {PAGE} offers it")
    return given


def _make(published: Published, given: Path | None, folder: Path, announce: Announce) -> None:
    """Fetch, compare and convert; run in a process of its own, for torchvision's download has no deadline."""
    dataset = published()
    announce(0)
    archive = folder / dataset.filename
    if given is not None:
        _hand_over(given, archive, dataset.tgz_md5)
    try:
        train = dataset(root=str(folder), train=True, download=True)
    except RuntimeError:
        archive.unlink(missing_ok=True)
        raise DownloadError(Fault(kind="incomplete")) from None
    test = dataset(root=str(folder), train=False)
    target, remark = folder / CONVERTED, made_from(dataset.tgz_md5)
    with written_zip(target, beside=folder / f"{CONVERTED}.part", remark=remark) as converted:
        for split, images in (("train", train), ("test", test)):
            _add_images(converted, split, images)


def _add_images(converted: zipfile.ZipFile, split: str, images: Any) -> None:
    """Each image as a PNG file called by its place in the published order."""
    for index, (pixels, label) in enumerate(zip(images.data, images.targets, strict=True)):
        drawn = BytesIO()
        Image.fromarray(pixels).save(drawn, "PNG")
        add(converted, f"{split}/{images.classes[label]}/{index:05d}.png", drawn.getvalue())


def _hand_over(given: Path, archive: Path, expected: str) -> None:
    """Put the archive where torchvision looks for its download."""
    found = _md5(given)
    if found != expected:
        raise DownloadError(Fault(kind="other", detail=f"{given} has md5 {found} instead of {expected}"))
    shutil.copyfile(given, archive)


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
