"""Measure what inference with the checkpoint of finished runs costs: <run folder>/cost.json.

usage: python -m src.models.measure_cost <run> ... [section.key=value ...]
       make cost ARGS="<run> ..."

A run is what compare takes. Measured are multiplications, the time of one image, images/s at several batch sizes, and
memory; batch sizes and patience are `compare.cost`, the device is run.device. Comparisons of runs read the file. Of
several runs each is measured in a process of its own, whose memory is its own, one after the other.
"""

import logging
import subprocess
import sys

from src.arguments import run_on_runs, settings_of
from src.config import Config
from src.layout import RunFolder

log = logging.getLogger(__name__)


def measure_cost(cfg: Config, words: list[str]) -> None:
    """Write the costs of the runs that the words name.

    Raises:
        ValueError: a word that names nothing, no usable checkpoint, or no such device; the other runs are measured.
    """
    from src.runs import chosen

    folders = chosen(words, least=1)
    if len(folders) == 1:
        measure(cfg, folders[0])
        return
    failed = [folder.path.as_posix() for folder in folders if not measured_apart(folder)]
    if failed:
        raise ValueError(
            f"{len(failed)} of {len(folders)} could not be measured ({', '.join(failed)}): the reasons stand above"
        )


def measured_apart(folder: RunFolder) -> bool:
    """Whether the run could be measured, with the settings at hand, in a process of its own."""
    command = [sys.executable, "-m", "src.models.measure_cost", folder.path.as_posix(), *settings_of()]
    return subprocess.run(command, check=False).returncode == 0


def measure(cfg: Config, folder: RunFolder) -> None:
    """Write the costs of one run.

    Raises:
        ValueError: no usable checkpoint, or no such device.
    """
    from src.models import checkpoint, runtime
    from src.models.inference import measure_inference

    weights = folder.checkpoint(cfg.predict.checkpoint)
    checkpoint.load_facts(weights)
    place = runtime.start(cfg.run, cfg.train.precision)
    trained = checkpoint.load(weights, place.device)
    size = (weights / checkpoint.WEIGHTS_FILE).stat().st_size
    found = measure_inference(trained, place, cfg.compare.cost, checkpoint_bytes=size)
    found.save(folder.cost)
    log.info(
        "%s: %.1f M MACs, %.2f ms for one image, %.0f images/s in batches of %d, %.0f MiB",
        *(folder.cost, found.macs / 1e6, found.latency_ms, found.images_per_s, found.best_batch, found.peak_mib),
    )


if __name__ == "__main__":
    run_on_runs(measure_cost, about=__doc__ or "")
