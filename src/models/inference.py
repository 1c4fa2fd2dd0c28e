"""What inference with a checkpoint costs: multiplications, time of one image, images/s in batches, memory."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from src.config_compare import CostConfig
from src.cost_record import CostRecord
from src.features.inputs import model_input, unit_images
from src.logs import environment
from src.models.checkpoint import TrainedModel
from src.models.costs import wait
from src.models.runtime import Runtime
from src.models.scoring import score

FLOPS_PER_MAC = 2
WARM_UP = 2
LEAST_REPEATS = 5


@dataclass(frozen=True)
class Pace:
    """What batches of one size give, and the most memory in use until then."""

    images_per_s: float
    peak_mib: float


def measure_inference(trained: TrainedModel, place: Runtime, cfg: CostConfig, *, checkpoint_bytes: int) -> CostRecord:
    """The costs of the model on the device of the runtime, with noise for images.

    Batch sizes that do not fit into the memory of a GPU are left out.
    """
    multiplications = macs(trained, place)
    latency_s = batch_seconds(trained, place, images=1, seconds=cfg.seconds)
    paces = throughput(trained, place, batch_sizes=cfg.batch_sizes, seconds=cfg.seconds)
    best = max(paces, key=lambda size: paces[size].images_per_s)
    return CostRecord(
        checkpoint=trained.facts.sha256,
        num_params=sum(weights.numel() for weights in trained.model.parameters()),
        macs=multiplications,
        checkpoint_bytes=checkpoint_bytes,
        img_size=trained.preprocess.img_size,
        latency_ms=round(1000 * latency_s, 3),
        throughput={str(size): round(pace.images_per_s, 1) for size, pace in paces.items()},
        best_batch=best,
        images_per_s=round(paces[best].images_per_s, 1),
        peak_mib=round(paces[best].peak_mib, 1),
        device=f"{place.device}, {place.precision}",
        threads=torch.get_num_threads(),
        environment=environment(),
    )


def macs(trained: TrainedModel, place: Runtime) -> int:
    """Multiplications with an addition of one image's forward pass, in convolutions and matrix products."""
    image = model_input(unit_images(noise(trained, place, images=1)), trained.preprocess)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        trained.model(image)
    return int(counter.get_total_flops()) // FLOPS_PER_MAC


def throughput(trained: TrainedModel, place: Runtime, *, batch_sizes: Sequence[int], seconds: float) -> dict[int, Pace]:
    """The pace by images at once, for the sizes that fit; from small to large, so that no peak is of a larger one.

    Raises:
        torch.OutOfMemoryError: not even the smallest one fits.
    """
    paces: dict[int, Pace] = {}
    for size in sorted(set(batch_sizes)):
        try:
            images_per_s = size / batch_seconds(trained, place, images=size, seconds=seconds)
            paces[size] = Pace(images_per_s, place.peak_mib())
        except torch.OutOfMemoryError:
            if not paces:
                raise
            gc.collect()
            break
    return paces


def batch_seconds(trained: TrainedModel, place: Runtime, *, images: int, seconds: float) -> float:
    """Median seconds of a forward pass of so many packed images, repeated for so long and at least a few times."""
    pixels = noise(trained, place, images=images)

    def once() -> None:
        score(trained.model, pixels, trained.preprocess, place)
        wait(place.device)

    for _ in range(WARM_UP):
        once()
    return statistics.median(_times(once, seconds=seconds))


def noise(trained: TrainedModel, place: Runtime, *, images: int) -> torch.Tensor:
    """Packed images of random pixels on the device."""
    side = trained.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 256, (images, side, side, 3), dtype=np.uint8)
    return torch.from_numpy(pixels).to(place.device)


def _times(action: Callable[[], None], *, seconds: float) -> list[float]:
    times: list[float] = []
    while len(times) < LEAST_REPEATS or sum(times) < seconds:
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return times
