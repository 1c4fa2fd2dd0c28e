"""What a model was scored on, as monitoring needs it: how the images look and what the model said of them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from src.artifacts import Predictions
from src.files import read_json, write_json

PREDICTED, CONFIDENCE = "pred", "confidence"
DIGITS = 6
"""Of the reference and of the request log alike: where many values are equal, rounding them otherwise is a distance."""


@dataclass(frozen=True)
class Reference:
    """A row per image: `pred` (a class), `confidence` (of it, 0 to 1) and a column for each measure of its look.

    Attributes:
        table: the rows.
        class_names: all classes, also those that were never predicted.
        checkpoint: digest of the model's weights.
        split: that the images are of.
        acc: accuracy on them; None where they have no labels.
    """

    table: pd.DataFrame
    class_names: list[str]
    checkpoint: str
    split: str
    acc: float | None

    @property
    def measures(self) -> list[str]:
        """Names of the columns that hold numbers."""
        return [name for name in self.table.columns if name != PREDICTED]

    def save(self, path: Path) -> None:
        """Write one JSON file, numbers to so many digits as a distribution needs."""
        columns = self.table.round(DIGITS).to_dict("list")
        facts = {"split": self.split, "checkpoint": self.checkpoint, "acc": self.acc, "class_names": self.class_names}
        write_json(path, facts | {"columns": columns})

    @classmethod
    def load(cls, path: Path) -> "Reference":
        """The reference in a file that `save` wrote.

        Raises:
            ValueError: there is no such file, or it holds something else.
        """
        content = read_json(path, made_by="predict_model")
        try:
            table = pd.DataFrame(content.pop("columns"))
            return cls(table=table, **content)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is no reference ({error}); run predict_model again") from None


def reference_of(predictions: Predictions, looks: dict[str, np.ndarray]) -> Reference:
    """The reference from predictions and the measures of the same images in the same order."""
    names = np.array(predictions.class_names, dtype=object)
    columns = {PREDICTED: names[predictions.preds], CONFIDENCE: predictions.probs.max(axis=1).astype(float)}
    labels, probs = predictions.known
    acc = float((probs.argmax(axis=1) == labels).mean()) if len(labels) else None
    table = pd.DataFrame(columns | {name: values.astype(float) for name, values in looks.items()})
    return Reference(table, predictions.class_names, predictions.checkpoint, predictions.split, acc)
