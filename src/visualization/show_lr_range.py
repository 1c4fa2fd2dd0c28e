"""Draw the curve of a learning-rate range test: curve.csv and proposal.json of run_dir=<its folder> -> curve.png there.

`sweep=lr_range` calls it at its end.
"""

import logging
from pathlib import Path

from src.cli import run_verb
from src.config import Config
from src.files import read_json, write_atomically

log = logging.getLogger(__name__)


def show_lr_range(cfg: Config) -> None:
    """Write the picture of the test in `run_dir`.

    Raises:
        ValueError: no folder is named, or it holds no range test.
    """
    import pandas as pd

    from src.visualization.lr_curve import RangeTest, lr_curve
    from src.visualization.rendering import png

    if cfg.run_dir is None:
        raise ValueError("which test? give run_dir=models/sweeps/lr_range-<id>")
    folder = Path(cfg.run_dir)
    rates = read_json(folder / "proposal.json", made_by="sweep=lr_range")
    test = RangeTest(curve=pd.read_csv(folder / "curve.csv"), rates=rates, settings=cfg.report)
    write_atomically(folder / "curve.png", png(lr_curve, test))
    log.info("curve: %s", folder / "curve.png")


if __name__ == "__main__":
    run_verb(show_lr_range, about=__doc__ or "")
