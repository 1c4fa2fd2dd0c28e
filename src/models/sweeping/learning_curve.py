"""A learning curve: the same settings on shares of the training images, with several seeds, and on processes."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from src.config import Config
from src.features.statistics import load_statistics
from src.layout import PACKED_DIR, RunFolder
from src.models.sweeping.ending import measure, show
from src.models.sweeping.sweep_folder import changed, held, open_folder, plan_of, train_and_score
from src.schema import Count, Section
from src.validation import typed

log = logging.getLogger(__name__)

PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class Curve(Section):
    """What is varied."""

    shares: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1, description="of train")]
    seeds: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, description="a run of each per share")]
    processes: Annotated[list[Count], Field(description="all of train, the first seed, on so many processes")]

    def runs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and values of each run; one process is how runs are started anyway."""
        for share in sorted(set(self.shares)):
            for seed in dict.fromkeys(self.seeds):
                name = f"share_{PERCENT * share:g}-seed_{seed}"
                yield name, {"train.share": share, "train.seed": seed, "run.devices": None}
        for number in sorted(set(self.processes) - {1}):
            values = {"train.share": 1.0, "train.seed": self.seeds[0], "run.devices": number}
            yield f"processes_{number}-seed_{self.seeds[0]}", values


def learning_curve(cfg: Config, *, shares: Any, seeds: Any, processes: Any) -> None:
    """Train and score every run, then write their comparison: reports/learning_curve-<id>/index.html.

    Raises:
        ValueError: options that cannot be, or no packed data made with these settings.
        SystemExit: a run failed (1), the others being run; or a signal stopped the sweep.
    """
    asked = {"shares": shares, "seeds": seeds, "processes": processes}
    curve: Curve = typed(Curve, asked, at="sweep.options")
    folder = open_folder("learning_curve", plan_of(cfg, load_statistics(PACKED_DIR, cfg.data, cfg.features)["digest"]))
    planned = list(curve.runs())
    failed: dict[str, str] = {}
    with held(folder) as descriptor:
        for number, (name, values) in enumerate(planned, start=1):
            log.info("%s: %d of %d", name, number, len(planned))
            if reason := run_one(cfg, folder / name, values, held=descriptor):
                log.error("%s failed: %s", name, reason)
                failed[name] = reason
        finished = [RunFolder(folder / name) for name, _ in planned if name not in failed]
        once = [run for run in finished if run.name.endswith(f"-seed_{curve.seeds[0]}")]
        failed |= measure(cfg, once, held=descriptor)
        failed |= show(finished, name=folder.name, held=descriptor)
    if failed:
        log.error("%s failed; the same command does again what failed, and nothing else", ", ".join(failed))
        raise SystemExit(1)


def run_one(cfg: Config, place: Path, values: dict[str, Any], *, held: int | None) -> str:
    """Why a run failed; empty where it is trained and scored, now or by an earlier sweep.

    Raises:
        SystemExit: a signal stopped it.
    """
    own = changed(cfg, {"run_dir": place.as_posix(), "sweep": None, **values})
    return train_and_score(own, RunFolder(place), held=held)
