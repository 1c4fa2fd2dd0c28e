"""Score the packed splits with a trained model, or predict new images (predict.images=<file, folder or archive>)."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from src.champion import run_folder
from src.cli import run_verb
from src.config import Config
from src.layout import RunFolder
from src.wording import counted

if TYPE_CHECKING:
    from src.models.checkpoint import TrainedModel
    from src.models.runtime import Runtime

log = logging.getLogger(__name__)


def predict_model(cfg: Config) -> None:
    """Write predictions and metrics of the splits, or predictions of new images.

    Raises:
        ValueError: no usable checkpoint, other data than it was trained on, or images that cannot be found.
    """
    if cfg.predict.images is not None and not Path(cfg.predict.images).exists():
        raise ValueError(f"predict.images={cfg.predict.images} does not exist; give an image, a folder or an archive")
    from src.models import checkpoint, runtime

    folder = run_folder(cfg.run_dir)
    checkpoint.load_facts(folder.checkpoint(cfg.predict.checkpoint))
    place = runtime.start(cfg.run, "fp32")
    trained = checkpoint.load(folder.checkpoint(cfg.predict.checkpoint), place.device)
    if cfg.predict.images is None:
        from src.models.evaluating.evaluation import Evaluation

        Evaluation(trained=trained, place=place, cfg=cfg.predict, folder=folder).run()
    else:
        predict_new(cfg, trained, place, folder)


def predict_new(cfg: Config, trained: "TrainedModel", place: "Runtime", folder: RunFolder) -> None:
    """Write predictions of new images as parquet and as CSV, and tell the first of them."""
    from src.models.predictor import predict_images

    assert cfg.predict.images is not None
    location = Path(cfg.predict.images)
    new = predict_images(trained, location, place, batch_size=cfg.predict.batch_size, max_pixels=cfg.data.max_pixels)
    output = Path(cfg.predict.output or folder.path / "new" / f"{location.stem}.csv")
    output.parent.mkdir(parents=True, exist_ok=True)
    table = new.predictions.table().drop(columns=["label", "path"])
    table.insert(2, "prob", new.predictions.probs.max(axis=1))
    table.to_csv(output, index=False)
    shown = zip(table["id"].head(10), table["pred"], table["prob"], strict=False)
    for name, pred, prob in shown:
        log.info("%s: %s (%.1f %%)", name, pred, 100 * prob)
    for name, reason in list(new.unreadable.items())[:10]:
        log.warning("%s left out: %s", name, reason)
    log.info("%s predicted, %d unreadable; all in %s", counted(len(table), "image"), len(new.unreadable), output)


if __name__ == "__main__":
    run_verb(predict_model, about=__doc__)
