"""What the page of monitoring is made of: the reference, what came, and a verdict on each measure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from src.config_serve import MonitorConfig
from src.drift import Verdict, numbers_of, overall, verdicts
from src.layout import RunFolder
from src.reference import CONFIDENCE, Reference
from src.request_log import read_requests
from src.runs import checkpoints
from src.wording import counted, listed

OTHER_MODEL = "other model"


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A run in service.

    Attributes:
        run: its folder.
        reference: of its checkpoint.
        came: answers that it gave, oldest first.
        num_others: answers that other checkpoints gave, left out.
        num_damaged: lines of the log that could not be read.
        verdicts: what differs comes first.
    """

    run: str
    reference: Reference
    came: pd.DataFrame
    num_others: int
    num_damaged: int
    verdicts: list[Verdict]

    @property
    def status(self) -> str:
        """One word or two for all of it."""
        return OTHER_MODEL if self.num_others and not len(self.came) else overall(self.verdicts)

    @property
    def drifted(self) -> list[Verdict]:
        """The measures that differ."""
        return [verdict for verdict in self.verdicts if verdict.status == "drift"]

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        images, names = counted(len(self.came), "image"), [verdict.measure for verdict in self.drifted]
        differs, tested = "differs" if len(names) == 1 else "differ", len(self.reference.table)
        return {
            "alike": f"{images}: no measure differs from {self.reference.split}",
            "drift": f"{images}: {listed(names)} {differs} from {self.reference.split}",
            "too few": f"{images}, {tested:,} of {self.reference.split}: too few to tell (monitor.least)",
            "not a number": f"{images}: a measure has too few numbers to compare",
            OTHER_MODEL: f"the log has {counted(self.num_others, 'answer')}, all of another checkpoint than {self.run} "
            "has: name the run that answered, or start the service again",
        }[self.status]

    @property
    def mean_confidence(self) -> float | None:
        """Of what came; None of nothing."""
        numbers = numbers_of(self.came, CONFIDENCE)
        return float(numbers.mean()) if len(numbers) else None

    def as_tree(self) -> dict[str, Any]:
        """The verdict for programs."""
        return {
            "status": self.status,
            "run": self.run,
            "checkpoint": self.reference.checkpoint,
            "split": self.reference.split,
            "num_images": len(self.came),
            "first": self.came["time"].iloc[0] if len(self.came) else None,
            "last": self.came["time"].iloc[-1] if len(self.came) else None,
            "num_others": self.num_others,
            "num_damaged": self.num_damaged,
            "mean_confidence": self.mean_confidence,
            "verdicts": [verdict.as_tree() for verdict in self.verdicts],
        }


def gather(folder: RunFolder, requests: Path, cfg: MonitorConfig) -> Watched:
    """The evidence on a run.

    Raises:
        ValueError: it was not scored, or with other weights than it holds now, or nothing was logged.
    """
    reference = Reference.load(folder.reference)
    known = checkpoints(folder)
    if known and reference.checkpoint not in known:
        raise ValueError(
            f"{folder.path.as_posix()} was scored with other weights than it holds now; "
            f"run: python -m src.models.predict_model run_dir={folder.path.as_posix()}"
        )
    found = read_requests(requests, reference.checkpoint, last=cfg.last)
    return Watched(
        run=folder.path.as_posix(),
        reference=reference,
        came=found.table,
        num_others=found.num_others,
        num_damaged=found.damaged,
        verdicts=verdicts(reference, found.table, cfg),
    )
