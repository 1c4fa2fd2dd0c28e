"""The section of the configuration for comparing finished runs (compare, measure_cost); no stage reads it."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from src.schema import Count, Section


@dataclass(frozen=True, kw_only=True)
class CostConfig(Section):
    """How long inference is measured and with how many images at once (measure_cost)."""

    batch_sizes: Annotated[
        list[Count], Field(min_length=1, description="images at once that are tried for the best throughput")
    ]
    seconds: Annotated[float, Field(gt=0, description="time for which each batch size is repeated, in s")]


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Section):
    """Finished runs side by side (`make compare`)."""

    split: Annotated[str, Field(description="split whose images runs are compared on")]
    name: Annotated[str, Field(description="the page is `reports/<name>/index.html`")]
    repetitions: Annotated[
        list[str], Field(description="keys in which runs may differ and still count as repetitions of one another")
    ]
    level: Annotated[float, Field(gt=0.5, lt=1, description="confidence of intervals; a difference is told above it")]
    resamples: Annotated[int, Field(ge=100, description="draws of the intervals of differences")]
    seed: Annotated[int, Field(ge=0, description="seed of these draws")]
    force: Annotated[bool, Field(description="promote also a run that is worse than the champion (`make promote`)")]
    cost: Annotated[CostConfig, Field(description="measurement of inference")]
