"""Make a run the champion, which run_dir=champion names and what serves follows: models/champion.json.

usage: python -m src.models.promote <run> [compare.force=true]
       make promote ARGS="<run>"

Refused where the run is worse than the present champion on the same images of `compare.split` by more than chance.
"""

import logging
import shutil
from datetime import UTC, datetime

from src.arguments import run_on_runs
from src.champion import Champion, current
from src.config import Config
from src.config_compare import CompareConfig
from src.contest import Contest, contest
from src.files import whole_folder
from src.layout import PIPELINE_RUN, RUNS_DIR, RunFolder
from src.runs import Run, checkpoints, chosen, load

log = logging.getLogger(__name__)


def promote(cfg: Config, words: list[str]) -> None:
    """Write the champion's file, once the run has held its ground against the present one.

    Raises:
        ValueError: not one run, one without scored images or weights, or one that is worse.
    """
    run = load(chosen(words, least=1, most=1)[0])
    digest = scored_checkpoint(run, cfg.compare.split)
    champion = current()
    reason = "the first champion" if champion is None else judged(run, champion, cfg.compare)
    kept = lasting(run, digest=digest, split=cfg.compare.split)
    Champion(
        run=kept.path.as_posix(),
        run_id=run.record.run_id,
        checkpoint=digest,
        data_digest=run.record.data_digest,
        metrics=run.metrics,
        promoted=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        reason=reason,
        before=None if champion is None else champion.run,
    ).save()
    log.info("%s is the champion: %s", kept.path, reason)


def scored_checkpoint(run: Run, split: str) -> str:
    """Digest of the checkpoint that the run's predictions are of.

    Raises:
        ValueError: it was not scored, or its weights are gone or others by now.
    """
    predictions = run.predictions(split)
    if predictions is None:
        raise ValueError(
            f"{run.place} was not scored on {split}; run: python -m src.models.predict_model run_dir={run.place}"
        )
    known = checkpoints(run.folder)
    if not known:
        raise ValueError(f"{run.place} holds no checkpoint any more; train it again, or promote another run")
    if predictions.checkpoint not in known:
        raise ValueError(
            f"the predictions in {run.place} are of another checkpoint than it holds now; "
            f"run: python -m src.models.predict_model run_dir={run.place}"
        )
    return predictions.checkpoint


def judged(run: Run, champion: Champion, cfg: CompareConfig) -> str:
    """Why the run takes the place of the champion.

    Raises:
        ValueError: it is worse, or cannot be compared, and `compare.force` is not set.
    """
    try:
        found = contest(run, scored_champion(champion, cfg.split), cfg)
    except ValueError as error:
        if not cfg.force:
            raise ValueError(
                f"{run.place} is not compared with the champion {champion.run}: {error}; {FORCE}"
            ) from None
        return f"not compared with {champion.run}: {error} (compare.force=true)"
    if found.is_worse and not cfg.force:
        raise ValueError(f"{run.place} is not promoted: {told(found, champion)}; {FORCE}")
    return told(found, champion) + (" (compare.force=true)" if found.is_worse else "")


def scored_champion(champion: Champion, split: str) -> Run:
    """The champion's run, where its predictions are of the checkpoint that was promoted.

    Raises:
        ValueError: they are of another one, which may be better or worse.
    """
    run = load(champion.folder)
    predictions = run.predictions(split)
    if predictions is not None and predictions.checkpoint != champion.checkpoint:
        raise ValueError(
            f"the predictions in {run.place} are of another checkpoint than was promoted; run: python -m "
            f"src.models.predict_model run_dir={run.place} predict.checkpoint=best (or last, if that is the champion)"
        )
    return run


FORCE = "compare.force=true promotes it all the same"


def told(found: Contest, champion: Champion) -> str:
    """The outcome in words, with its numbers."""
    return f"against the champion {champion.run} it is {found.outcome}: {found.numbers}"


def lasting(run: Run, *, digest: str, split: str) -> RunFolder:
    """The run's folder; of the pipeline's run, which the next `make train` overwrites, a copy below models/runs.

    A copy from before is taken where its predictions are of the checkpoint with this digest too.
    """
    if run.folder.path.resolve() != PIPELINE_RUN.resolve():
        return run.folder
    kept = RunFolder(RUNS_DIR / run.record.run_id)
    before = load(kept).predictions(split) if kept.path.exists() else None
    if before is None or before.checkpoint != digest:
        with whole_folder(kept.path) as fresh:
            shutil.copytree(
                run.folder.path, fresh, dirs_exist_ok=True, ignore=shutil.ignore_patterns("resume", "wandb")
            )
        log.info("%s is overwritten by the next make train: kept as %s", run.place, kept.path)
    return kept


if __name__ == "__main__":
    run_on_runs(promote, about=__doc__ or "")
