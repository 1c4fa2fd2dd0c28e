"""A model in service: from the bytes of an image to an answer, by the same way as predict_model goes."""

import asyncio
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from src.calibration import at_temperature
from src.config_serve import ServeConfig
from src.features.appearance import appearance
from src.files import read_json
from src.layout import RunFolder
from src.models import checkpoint
from src.models.checkpoint import TrainedModel
from src.models.runtime import Runtime
from src.models.scoring import score
from src.models.serving.batching import Batcher
from src.reference import Reference

log = logging.getLogger(__name__)

RETIRE_LOOK_S = 0.05


@dataclass(frozen=True)
class Answer:
    """What the service says of an image.

    Attributes:
        probs: of each class, as predict_model gives them.
        confidence: of the most probable class, at the temperature of the checkpoint; as it is where there is none.
        width: px, after the EXIF turn, and so is `height`.
        looks: measures of the packed image.
    """

    probs: Float[np.ndarray, " classes"]
    confidence: float
    width: int
    height: int
    looks: dict[str, float]

    @property
    def pred(self) -> int:
        """Index of the most probable class."""
        return int(self.probs.argmax())


@dataclass(frozen=True)
class _Taken:
    """A decoded image, ready for the model."""

    pixels: UInt8[np.ndarray, "size size 3"]
    width: int
    height: int
    looks: dict[str, float]


class Engine:
    """One checkpoint on one device."""

    def __init__(self, folder: RunFolder, which: str, trained: TrainedModel, place: Runtime, cfg: ServeConfig) -> None:
        """Ready for its batcher to be started.

        Args:
            folder: of the run.
            which: its `best` or `last` checkpoint.
            trained: what was loaded from there.
            place: where the forward passes run.
            cfg: how many images go together, and how large they may be.
        """
        self.folder, self.checkpoint, self.trained = folder, folder.checkpoint(which), trained
        self.threshold = threshold_of(folder, self.sha256)
        self._place, self._max_pixels = place, cfg.max_pixels
        self._num_open = 0
        # as many at once as there are cores: more would be no faster, and each holds a whole image
        self._decoders = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="decode")
        self.batcher = Batcher(self._probs, batch_size=cfg.batch_size)

    @property
    def sha256(self) -> str:
        """Digest of the weights."""
        return self.trained.facts.sha256

    async def answer(self, content: bytes) -> Answer:
        """What the model says of the image in the bytes.

        Raises:
            BadImage: no image, damaged, or too large; the message is the reason.
            RuntimeError: the forward pass failed.
        """
        self._num_open += 1
        try:
            taken = await asyncio.get_running_loop().run_in_executor(self._decoders, self._take, content)
            probs = await self.batcher.probs(taken.pixels)
        finally:
            self._num_open -= 1
        confidence = self._confidence(probs)
        return Answer(probs, confidence, width=taken.width, height=taken.height, looks=taken.looks)

    async def retire(self) -> None:
        """Stop, once all that was asked is answered."""
        while self._num_open:
            await asyncio.sleep(RETIRE_LOOK_S)
        await self.batcher.stop()
        self._decoders.shutdown(wait=False)

    def warm_up(self) -> None:
        """Score an image, so that the first one that comes waits no longer than the next."""
        side = self.trained.preprocess.size
        self._probs(np.zeros((1, side, side, 3), dtype=np.uint8))

    def _take(self, content: bytes) -> _Taken:
        from src.data.checks import decode

        image = decode(content, self._max_pixels)
        pixels = self.trained.preprocess.pack(image)
        looks = {name: float(values[0]) for name, values in appearance(pixels[None]).items()}
        return _Taken(pixels, image.width, image.height, looks)

    def _probs(self, pixels: UInt8[np.ndarray, "batch size size 3"]) -> Float[np.ndarray, "batch classes"]:
        images = torch.from_numpy(pixels).to(self._place.device)
        logits = score(self.trained.model, images, self.trained.preprocess, self._place)
        return logits.softmax(dim=1).cpu().numpy()

    def _confidence(self, probs: Float[np.ndarray, " classes"]) -> float:
        temperature = self.trained.facts.temperature
        return float((probs if temperature is None else at_temperature(probs[None], temperature)[0]).max())


def load_engine(folder: RunFolder, which: str, place: Runtime, cfg: ServeConfig) -> Engine:
    """The engine of a run's checkpoint, warmed up.

    Raises:
        ValueError: there is no such checkpoint, or it is damaged.
    """
    engine = Engine(folder, which, checkpoint.load(folder.checkpoint(which), place.device), place, cfg)
    engine.warm_up()
    return engine


def threshold_of(folder: RunFolder, sha256: str) -> float | None:
    """The probability from which the model is sure, as val gave it; None where it was not scored with these weights."""
    if not folder.reference.exists():
        return None
    try:
        if Reference.load(folder.reference).checkpoint != sha256:
            log.warning("%s was scored with other weights: nothing is called sure or unsure", folder.path)
            return None
        metrics = read_json(folder.metrics, made_by="predict_model")
    except ValueError as error:
        log.warning("nothing is called sure or unsure: %s", error)
        return None
    told = [figures.get("abstention", {}).get("threshold") for figures in metrics.values()]
    return next((threshold for threshold in told if threshold is not None), None)
