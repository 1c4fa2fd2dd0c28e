"""Score the packed splits with a trained model, or predict new images (predict.images=<file, folder or archive>)."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from src.champion import run_folder
from src.cli import run_verb
from src.config import Config
from src.files import write_atomically
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
    """Write predictions of new images as CSV, by the name of what holds them, and tell the first of them."""
    from src.models.predictor import predict_images

    assert cfg.predict.images is not None
    location = Path(cfg.predict.images)
    new = predict_images(trained, location, place, batch_size=cfg.predict.batch_size, max_pixels=cfg.data.max_pixels)
    # the name of a folder may hold a dot, and that of "." is told by where it lies
    name = location.resolve().name if location.is_dir() else location.stem
    output = Path(cfg.predict.output or folder.path / "new" / f"{name}.csv")
    table = new.predictions.table().drop(columns=["label", "path"])
    table.insert(2, "prob", new.predictions.probs.max(axis=1))
    write_atomically(output, table.to_csv(index=False, lineterminator="\n").encode("utf-8"))
    shown = zip(table["id"].head(10), table["pred"], table["prob"], strict=False)
    for image, pred, prob in shown:
        log.info("%s: %s (%.1f %%)", image, pred, 100 * prob)
    for image, reason in list(new.unreadable.items())[:10]:
        log.warning("%s left out: %s", image, reason)
    log.info("%s predicted, %d unreadable; all in %s", counted(len(table), "image"), len(new.unreadable), output)


if __name__ == "__main__":
    run_verb(predict_model, about=__doc__)
