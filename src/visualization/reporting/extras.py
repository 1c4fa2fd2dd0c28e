"""What predict_model leaves beside predictions where it was asked to: near images, a map, maps of attention."""

from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Extras:
    """Nearest training images by id, places on a plane, by id where the network looked; empty where not asked for.

    `slices` and `corruptions` are tables as predict_model wrote them.
    """

    neighbours: dict[str, list[str]] = field(default_factory=dict)
    places: pd.DataFrame = field(default_factory=pd.DataFrame)
    saliency: dict[str, np.ndarray] = field(default_factory=dict)
    slices: pd.DataFrame = field(default_factory=pd.DataFrame)
    corruptions: pd.DataFrame = field(default_factory=pd.DataFrame)


def read_extras(folder: Path) -> Extras:
    """The extras in a folder of predictions.

    Raises:
        ValueError: a file of them is damaged.
    """
    return Extras(
        neighbours=_neighbours(_table(folder / "neighbours.csv")),
        places=_table(folder / "map.csv"),
        saliency=_saliency(folder / "saliency.npz"),
        slices=_table(folder / "slices.csv"),
        corruptions=_table(folder / "corruptions.csv"),
    )


def _neighbours(table: pd.DataFrame) -> dict[str, list[str]]:
    if table.empty:
        return {}
    by_id = table.sort_values("rank").groupby("id")["neighbour"]
    return {str(image_id): list(near) for image_id, near in by_id}


def _table(path: Path) -> pd.DataFrame:
    """The table in the file; an empty one where there is no file."""
    if not path.exists():
        return pd.DataFrame()
    try:
        return pd.read_csv(path, dtype={"id": str, "neighbour": str}, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}); run predict_model again") from None


def _saliency(path: Path) -> dict[str, np.ndarray]:
    if not path.exists():
        return {}
    try:
        with np.load(path) as content:
            return dict(zip(content["ids"].tolist(), content["maps"], strict=True))
    except (ValueError, OSError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path} is damaged ({error}); run predict_model again") from None
