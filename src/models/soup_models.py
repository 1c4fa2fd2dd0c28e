"""Average the weights of several runs of one network (soup.runs=[<run folder>,...]) and keep the result as a run.

soup=greedy (the default) takes in a run only where val gains by it, soup=uniform takes all. The run folder is run_dir,
or a new one under models/runs; predict_model and the others take it like any other.
"""

import logging
import time
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from src.cli import run_verb
from src.config import Config, ModelConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from src.models.checkpoint import TrainedModel
    from src.models.engine.run_folder import Claim
    from src.models.runtime import Runtime
    from src.models.soup import Ingredient

log = logging.getLogger(__name__)


def soup_models(cfg: Config) -> None:
    """Write `<run folder>/train` for the mean of the weights.

    Raises:
        ValueError: runs that do not go together, other data than theirs, or a run folder that holds a run.
        OSError: the run folder cannot be written.
    """
    from src.features.packed import PackedSplit
    from src.features.statistics import STATISTICS_FILE
    from src.files import read_json
    from src.layout import PACKED_DIR
    from src.models import checkpoint, runtime, soup
    from src.models.engine.run_folder import claim
    from src.models.evaluating.calibrating import calibrate_checkpoints

    began = time.perf_counter()
    ingredients = soup.gather(cfg.soup.runs)
    facts = ingredients[0].facts
    counts = read_json(PACKED_DIR / STATISTICS_FILE, made_by="build_features")["counts"]
    splits = {name: PackedSplit.load(PACKED_DIR / name) for name in ("train", "val") if name in counts}
    place = runtime.start(cfg.run, "fp32")
    made, taken, scores = soup.make_soup(cfg.soup, ingredients, splits, runtime=place, size=cfg.predict.batch_size)
    plan = {"config": {"soup": asdict(cfg.soup)}, "data_digest": facts.data_digest}
    named = replace(cfg, model=ModelConfig(**facts.model))
    claimed = claim(named, plan, now=datetime.now(UTC))
    souped = soup.soup_facts(made, taken, scores)
    for which in ("best", "last"):
        checkpoint.save(claimed.folder.checkpoint(which), made.model, souped)
    calibrate_checkpoints(claimed.folder, splits.get("val"), place.device, batch_size=cfg.predict.batch_size)
    told = {"soup": told_of(cfg, ingredients, taken), "weights": soup.started_from(taken)}
    made = replace(made, facts=souped)
    keep_record(named, claimed, told, made=made, place=place, seconds=time.perf_counter() - began)
    claimed.resume.clear()
    log.info(
        "soup of %d of %d runs%s in %s",
        *(len(taken), len(ingredients), f": val/acc {scores['val/acc']:.4f}" if scores else "", claimed.folder.path),
    )


def keep_record(
    cfg: Config, claimed: "Claim", told: dict[str, Any], *, made: "TrainedModel", place: "Runtime", seconds: float
) -> None:
    """Write the soup's scores as the metrics of its one epoch, and the record of the run."""
    from src.artifacts import RunRecord
    from src.config import as_tree
    from src.features.backbones import num_params
    from src.logs import environment, git_state
    from src.metrics_log import write_metrics

    facts = made.facts
    row = {"epoch": 1, **facts.metrics}
    write_metrics(claimed.folder.metrics_log, {facts.step: row})
    RunRecord(
        run_id=claimed.run_id,
        config=as_tree(cfg),
        class_names=facts.class_names,
        data_digest=facts.data_digest,
        git=git_state(),
        environment=environment(),
        device=f"{place.device}, {place.precision}",
        num_params=num_params(made.model),
        epochs=1,
        steps=facts.step,
        best=row,
        seconds=round(seconds, 2),
        images_per_s=0.0,
        peak_mib=round(place.peak_mib(), 1),
        stopped="finished",
        facts=told,
    ).save(claimed.folder.train)


def told_of(cfg: Config, ingredients: "Sequence[Ingredient]", taken: "Sequence[Ingredient]") -> dict[str, Any]:
    """How the soup was made, and of what."""
    runs = [{"run": one.run, "sha256": one.facts.sha256, "taken": one in taken} for one in ingredients]
    return {"method": cfg.soup.method, "runs": runs}


if __name__ == "__main__":
    run_verb(soup_models, about=__doc__ or "")
