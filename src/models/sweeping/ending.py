"""The end of a sweep whose runs are compared: what inference with them costs, and one page."""

import logging
from collections.abc import Sequence

from src.config import Config
from src.cost_record import CostRecord
from src.layout import RunFolder
from src.models.children import run_on_words

log = logging.getLogger(__name__)


def measure(cfg: Config, runs: Sequence[RunFolder], *, held: int | None) -> dict[str, str]:
    """Measure inference with each run that has no `cost.json` of its checkpoint yet; what failed, with the reason.

    Raises:
        SystemExit: a signal stopped it.
    """
    asked = cfg.compare.cost
    settings = [
        f"run.device={cfg.run.device}",
        f"train.precision={cfg.train.precision}",
        f"predict.checkpoint={cfg.predict.checkpoint}",
        f"compare.cost.seconds={asked.seconds}",
        f"compare.cost.batch_sizes=[{','.join(map(str, asked.batch_sizes))}]",
    ]
    failed = {}
    for run in runs:
        if not _is_measured(cfg, run):
            words = [run.path.as_posix(), *settings]
            if reason := run_on_words("src.models.measure_cost", words, held=held):
                log.error("%s: %s", run.name, reason)
                failed[run.name] = reason
    return failed


def show(runs: Sequence[RunFolder], *, name: str, held: int | None) -> dict[str, str]:
    """Compare the runs on reports/<name>/index.html and print their table; what failed, with the reason.

    Raises:
        SystemExit: a signal stopped it.
    """
    if not runs:
        return {}
    words = [*(run.path.as_posix() for run in runs), f"compare.name={name}"]
    # a process of its own, as models know nothing of pages
    if reason := run_on_words("src.visualization.compare", words, held=held):
        log.error("the page: %s", reason)
        return {"the page": reason}
    return {}


def _is_measured(cfg: Config, run: RunFolder) -> bool:
    """Whether the costs that are there are of the weights that are there."""
    from src.models.checkpoint import load_facts

    if not run.cost.exists():
        return False
    return CostRecord.load(run.cost).checkpoint == load_facts(run.checkpoint(cfg.predict.checkpoint)).sha256
