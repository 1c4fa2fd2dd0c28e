"""What is remembered of a source once its images are there: the file `source.json` and what it says."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from src.config_data import DataConfig
from src.data.stores.plain_zips import DIGEST_LENGTH, zip_facts

SOURCE_FILE = "source.json"
STAGING_DIR = ".downloads"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Images as a source left them: `location` as given, `kind` of store, `files` and `bytes` there.

    `digest` changes with any file that is added, removed or changed, `overrides` with any correction of a label; it
    is empty where there is none.
    """

    name: str
    location: str
    kind: str
    files: int
    bytes: int
    digest: str
    overrides: str = ""


def zip_source(cfg: DataConfig, path: Path) -> Source:
    """What the zip archive at `path` holds, by its directory alone."""
    facts = zip_facts(path)
    return Source(
        name=cfg.name,
        location=path.as_posix(),
        kind="zip",
        files=facts.files,
        bytes=path.stat().st_size,
        digest=facts.digest,
    )


def overrides_digest(cfg: DataConfig) -> str:
    """A digest of the file of corrected labels; empty where there is none."""
    if cfg.overrides is None:
        return ""
    try:
        content = Path(cfg.overrides).expanduser().read_bytes()
    except FileNotFoundError:
        return ""
    return hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]


def staging_dir(cfg: DataConfig, raw_dir: Path) -> Path:
    """Where a download waits until it is whole: beside `raw_dir`, so that no half file is ever taken for data."""
    return raw_dir.parent / STAGING_DIR / cfg.name
