"""Bring the images of the configured source to where make_dataset reads them, and record what is there.

Writes data/raw/source. Costs about a second where nothing has changed, so the pipeline does it on every run.
"""

from src.cli import run_verb
from src.config import Config
from src.layout import RAW_DIR


def fetch_data(cfg: Config) -> None:
    """Fetch the source into `RAW_DIR`."""
    from src.data.sources import fetch

    fetch(cfg.data, RAW_DIR, download=cfg.run.download)


if __name__ == "__main__":
    run_verb(fetch_data, about=__doc__ or "")
