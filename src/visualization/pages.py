"""What all pages share: how a template becomes one HTML file, and what more than one of them shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from src.artifacts import ordered_splits
from src.visualization.labels import duration
from src.wording import counted, percent

TEMPLATES = Path(__file__).parent / "templates"

MOST_LEFT_OUT = 100


def render(template: str, **content: Any) -> str:
    """The template filled in; every text in it is escaped, and a name that it lacks is a fault."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "counted": counted, "duration": duration}
    return environment.get_template(template).render(content)


def class_rows(counts: Mapping[str, Mapping[str, int]], class_names: Sequence[str]) -> dict[str, Any]:
    """What the table of images by class and split shows; images without a class come last."""
    splits = ordered_splits(set(counts))
    names = list(class_names)
    names += sorted({name for by_class in counts.values() for name in by_class} - set(names))
    numbers = {name: [counts[split].get(name, 0) for split in splits] for name in names}
    return {
        "splits": splits,
        "rows": [{"name": name, "counts": row} for name, row in numbers.items()],
        "largest": max(map(sum, numbers.values()), default=1) or 1,
        "totals": [sum(counts[split].values()) for split in splits],
    }


def left_out(quarantine: pd.DataFrame) -> dict[str, Any]:
    """What the list of files that could not be used shows."""
    return {
        "quarantine": quarantine[["path", "reason"]].head(MOST_LEFT_OUT).to_dict("records"),
        "num_quarantined": len(quarantine),
    }
