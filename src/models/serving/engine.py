"""A model in service: from the bytes of an image to an answer, by the same way as predict_model goes."""

import asyncio
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, UInt8

from src.calibration import at_temperature
from src.features.appearance import appearance
from src.files import read_json
from src.layout import RunFolder
from src.models import checkpoint
from src.models.checkpoint import TrainedModel
from src.models.runtime import Runtime
from src.models.scoring import score
from src.models.serving.batching import Batcher

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

    def __init__(
        self, folder: RunFolder, trained: TrainedModel, place: Runtime, *, batch_size: int, max_pixels: int
    ) -> None:
        """Ready to `start`.

        Args:
            folder: of the run.
            trained: its checkpoint.
            place: where the forward passes run.
            batch_size: most images in one of them.
            max_pixels: larger images are refused by their header.
        """
        self.folder, self.trained = folder, trained
        self._place, self._max_pixels = place, max_pixels
        self._num_open = 0
        self.batcher = Batcher(self._probs, batch_size=batch_size)

    @property
    def sha256(self) -> str:
        """Digest of the weights."""
        return self.trained.facts.sha256

    @cached_property
    def threshold(self) -> float | None:
        """The probability from which the model is sure, as its run found it on val; None where it found none."""
        if not self.folder.metrics.exists():
            return None
        metrics = read_json(self.folder.metrics, made_by="predict_model")
        told = [figures.get("abstention", {}).get("threshold") for figures in metrics.values()]
        return next((threshold for threshold in told if threshold is not None), None)

    async def answer(self, content: bytes) -> Answer:
        """What the model says of the image in the bytes.

        Raises:
            BadImage: no image, damaged, or too large; the message is the reason.
            RuntimeError: the forward pass failed.
        """
        self._num_open += 1
        try:
            taken = await asyncio.to_thread(self._take, content)
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


def load_engine(folder: RunFolder, which: str, place: Runtime, *, batch_size: int, max_pixels: int) -> Engine:
    """The engine of a run's checkpoint, which has scored an image already, so that the first answer is no slower.

    Raises:
        ValueError: there is no such checkpoint, or it is damaged.
    """
    trained = checkpoint.load(folder.checkpoint(which), place.device)
    engine = Engine(folder, trained, place, batch_size=batch_size, max_pixels=max_pixels)
    side = trained.preprocess.size
    engine._probs(np.zeros((1, side, side, 3), dtype=np.uint8))
    return engine
