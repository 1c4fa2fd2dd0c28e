"""The end of a training run: a temperature for its checkpoints, fitted on val."""

import logging

import torch

from src.calibration import Calibration, calibrate
from src.features.packed import PackedSplit
from src.layout import RunFolder
from src.models import checkpoint
from src.models.runtime import Runtime
from src.models.scoring import split_probs

log = logging.getLogger(__name__)

NO_VAL = "there is no val split to fit it on"
NO_MEMORY = "there was no memory left beside the network that was trained"


def calibrate_checkpoints(folder: RunFolder, val: PackedSplit | None, device: torch.device, *, batch_size: int) -> None:
    """Write into `model.json` of the best and the last checkpoint what makes their probabilities honest."""
    known: dict[int, Calibration] = {}
    for which in ("best", "last"):
        path = folder.checkpoint(which)
        step = checkpoint.load_facts(path).step
        if step not in known:
            known[step] = _calibration(folder, which, val, device, batch_size=batch_size)
            tell(known[step], which)
        checkpoint.keep_calibration(path, known[step])


def tell(calibration: Calibration, which: str) -> None:
    """Log the temperature, or why there is none."""
    found = calibration
    if found.temperature is None:
        log.info("%s: no temperature, %s", which, found.reason)
        return
    log.info(
        "%s: temperature %.3f, fitted on %d images of val: calibration error %.4f -> %.4f",
        *(which, found.temperature, found.num_images, found.ece_before, found.ece_after),
    )


def _calibration(
    folder: RunFolder, which: str, val: PackedSplit | None, device: torch.device, *, batch_size: int
) -> Calibration:
    if val is None:
        return Calibration(temperature=None, reason=NO_VAL)
    try:
        trained = checkpoint.load(folder.checkpoint(which), device)
        probs = split_probs(trained.model, val, trained.preprocess, Runtime(device, None), batch_size=batch_size)
    except torch.OutOfMemoryError:
        return Calibration(temperature=None, reason=NO_MEMORY)
    return calibrate(val.labels, probs)
