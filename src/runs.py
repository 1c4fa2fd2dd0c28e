"""Finished runs by name: folders, sweeps, experiments of DVC and the champion, read for comparing."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.artifacts import Predictions, RunRecord
from src.champion import run_folder
from src.choices import suggestion
from src.cost_record import CostRecord
from src.files import read_json
from src.layout import CHAMPION, CHAMPION_FILE, PIPELINE_RUN, RUNS_DIR, SWEEPS_DIR, RunFolder
from src.wording import counted, listed

log = logging.getLogger(__name__)

DEEPEST = 3
"""Levels below a folder at which runs are looked for: models/sweeps/<sweep>/<run>."""


@dataclass(frozen=True)
class Run:
    """A run that was trained to its end; `metrics` is empty where it was not scored, `cost` None where not measured."""

    folder: RunFolder
    record: RunRecord
    metrics: dict[str, Any]
    cost: CostRecord | None

    @property
    def place(self) -> str:
        """The run's folder, as it is typed."""
        return self.folder.path.as_posix()

    def predictions(self, split: str) -> Predictions | None:
        """Predictions of the split; None where it was not scored."""
        path = self.folder.predictions / f"{split}.parquet"
        return Predictions.load(path) if path.exists() else None


def load(folder: RunFolder) -> Run:
    """The run in the folder.

    Raises:
        ValueError: it was not trained to its end, or a file of it is damaged.
    """
    record = RunRecord.load(folder.train)
    metrics = read_json(folder.metrics, made_by="predict_model") if folder.metrics.exists() else {}
    cost = CostRecord.load(folder.cost) if folder.cost.exists() else None
    if cost is not None and cost.checkpoint not in checkpoints(folder):
        log.warning("%s is of another checkpoint than the run has now and is left out; run measure_cost", folder.cost)
        cost = None
    return Run(folder, record, metrics, cost)


def checkpoints(folder: RunFolder) -> list[str]:
    """Digests of the checkpoints of a run; of one whose weights were removed none."""
    paths = [folder.checkpoint(which) / "model.json" for which in ("best", "last")]
    return [read_json(path, made_by="train_model")["sha256"] for path in paths if path.exists()]


def named(words: Sequence[str]) -> list[RunFolder]:
    """The folders of the finished runs that the words name, each once, in their order.

    A word is a run folder, a folder with runs below it (a sweep, models/runs), the name of either below models/runs or
    models/sweeps, an experiment of DVC, or `champion`.

    Raises:
        ValueError: a word that names nothing; the near names are offered.
    """
    found = [folder for word in words for folder in _named(word)]
    return list({folder.path.resolve(): folder for folder in found}.values())


def _named(word: str) -> list[RunFolder]:
    if word == CHAMPION:
        return [run_folder(CHAMPION)]
    for place in (Path(word), RUNS_DIR / word, SWEEPS_DIR / word):
        if place.is_dir() and (found := finished_below(place)):
            return found
    from src.experiments import fetched

    experiment = fetched(word)
    if experiment is not None:
        return [experiment]
    if Path(word).is_dir():
        raise ValueError(f"{word} holds no finished run: none has a train/run.json")
    known = [path.name for folder in (RUNS_DIR, SWEEPS_DIR) if folder.is_dir() for path in folder.iterdir()]
    raise ValueError(
        f"{word} is neither a run folder, nor a sweep, nor an experiment of DVC; {suggestion(word, known)} "
        "(make runs lists all)"
    )


def finished_below(folder: Path) -> list[RunFolder]:
    """The folder, if it is a run that was trained to its end; else such runs below it, by their names."""
    if (folder / "train/run.json").exists():
        return [RunFolder(folder)]
    found = [path for path in run_folders_below(folder) if (path / "train/run.json").exists()]
    return [RunFolder(path) for path in found]


def run_folders_below(folder: Path) -> list[Path]:
    """Folders of runs, ended or not, the folder itself included."""
    patterns = ["/".join(["*"] * depth + ["train"]).lstrip("/") for depth in range(DEEPEST)]
    found = {path.parent for pattern in patterns for path in folder.glob(pattern) if path.is_dir()}
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def everywhere() -> list[Path]:
    """Every run folder of the project: that of the pipeline, runs by hand, and those of sweeps."""
    found = [PIPELINE_RUN] if (PIPELINE_RUN / "train").is_dir() else []
    return found + [path for folder in (RUNS_DIR, SWEEPS_DIR) for path in run_folders_below(folder)]


def in_service(words: Sequence[str]) -> RunFolder:
    """The one run that the words name; without words the champion, and where there is none the pipeline's.

    Raises:
        ValueError: several runs, or a word that names nothing.
    """
    if words:
        return chosen(words, least=1, most=1)[0]
    return run_folder(CHAMPION if CHAMPION_FILE.exists() else None)


def chosen(words: Sequence[str], *, least: int, most: int | None = None) -> list[RunFolder]:
    """The runs that the words name, so many of them.

    Raises:
        ValueError: fewer or more, or a word that names nothing.
    """
    found = named(words)
    if len(found) < least or (most is not None and len(found) > most):
        wanted = f"{'just' if least == most else 'at least'} {counted(least, 'run')}"
        shown = listed([folder.path.as_posix() for folder in found]) or "none"
        raise ValueError(f"{wanted} must be named, found {shown}; give run folders or a sweep (make runs lists all)")
    return found
