"""Where images come from: one entry for each source, each leaving a record of what it found."""

import logging
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from src.choices import pick
from src.config import DownloadConfig
from src.config_data import DataConfig
from src.data.fetching.cifar10 import cifar10
from src.data.fetching.kaggle import KaggleData
from src.data.fetching.local import digits, folder
from src.data.fetching.record import SOURCE_FILE, Source, overrides_digest
from src.files import read_json, write_json
from src.wording import counted

log = logging.getLogger(__name__)

SOURCES: dict[str, Callable[[DataConfig, Path, DownloadConfig], Source]] = {
    "digits": digits,
    "cifar10": cifar10,
    "landscape": KaggleData(dataset="utkarshsaxenadn/landscape-recognition-image-dataset-12k-images").fetch,
    # the data set holds later editions with other classes beside this one
    "animals": KaggleData(
        dataset="utkarshsaxenadn/animal-image-classification-dataset", only="(Animal-)?Data-V2"
    ).fetch,
    "intel": KaggleData(dataset="puneet6060/intel-image-classification").fetch,
    "cats_dogs": KaggleData(competition="dogs-vs-cats").fetch,
    "folder": folder,
}


def fetch(cfg: DataConfig, raw_dir: Path, *, download: DownloadConfig) -> Path:
    """Where the images of the configured source lie, once they are there.

    Writes `raw_dir/source.json`, and leaves it untouched where nothing has changed.

    Raises:
        ValueError: no such source, nothing usable at `data.path` or `data.archive`, or a download that failed.
    """
    source = pick(SOURCES, cfg.name, key="data.name")(cfg, raw_dir, download)
    source = replace(source, overrides=overrides_digest(cfg))
    record = raw_dir / SOURCE_FILE
    if _recorded(record) != asdict(source):
        write_json(record, asdict(source))
        size = f"{counted(source.files, 'file')}, {source.bytes / 1e6:.1f} MB"
        log.info("%s: %s at %s", source.name, size, source.location)
    return Path(source.location)


def _recorded(record: Path) -> Any:
    """What the record says; None where there is none or it is damaged, for it is written anew then."""
    try:
        return read_json(record, made_by="fetch_data")
    except ValueError:
        return None
