"""What a checkpoint costs in use: written by measure_cost, read by comparisons."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from src.files import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class CostRecord:
    """Costs of inference with one checkpoint on one machine; `throughput` is images/s by images at once.

    `macs` are multiplications with an addition for one image. Times are from packed pixels on the device to logits,
    medians. `peak_mib` is the most memory in use up to the best batch: of the GPU on a GPU, else of the process.
    """

    checkpoint: str
    num_params: int
    macs: int
    checkpoint_bytes: int
    img_size: int
    latency_ms: float
    throughput: dict[str, float]
    best_batch: int
    images_per_s: float
    peak_mib: float
    device: str
    threads: int
    environment: dict[str, str]

    @property
    def machine(self) -> str:
        """What has to be equal for times to be compared."""
        facts = [self.environment.get(key, "") for key in ("platform", "cpus", "torch")]
        return ", ".join([self.device, f"{self.threads} threads", *filter(None, facts)])

    def save(self, path: Path) -> None:
        """Write the file."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "CostRecord":
        """The costs in the file.

        Raises:
            ValueError: it is absent, damaged, or has other fields.
        """
        content = read_json(path, made_by="measure_cost")
        strange = sorted({field.name for field in fields(cls)} ^ set(content))
        if strange:
            raise ValueError(f"{path} differs in {', '.join(strange)}; run measure_cost again")
        return cls(**content)
