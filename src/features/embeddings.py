"""Features of a frozen network beside the packed pixels: what label search, linear heads and drift start from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from src.features.packed import PackedSplit
from src.files import read_json

EMBEDDINGS_DIR = "embeddings"
FACTS_FILE = "embeddings.json"
MADE_BY = "build_features"


@dataclass(frozen=True)
class Embeddings:
    """One split: `vectors[i]` is float32 of shape (dim,), `labels[i]` is -1 where there is none.

    The order is that of the packed split. `backbone` is timm's name, `weights` the digest of its tensors and
    `digest` the manifest's.
    """

    split: str
    vectors: np.ndarray
    labels: np.ndarray
    ids: list[str]
    class_names: list[str]
    backbone: str
    weights: str
    digest: str

    def __post_init__(self) -> None:
        """Check the promises.

        Raises:
            ValueError: the lengths differ, or the vectors are none.
        """
        if not len(self.vectors) == len(self.labels) == len(self.ids):
            raise ValueError(
                f"embeddings of {self.split}: vectors, labels and ids differ in length; run {MADE_BY} again"
            )
        if self.vectors.ndim != 2 or self.vectors.dtype != np.float32:
            raise ValueError(
                f"embeddings of {self.split} are {self.vectors.dtype} of shape {self.vectors.shape}, not float32 of "
                f"(images, dim); run {MADE_BY} again"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self.vectors.shape[1])

    @classmethod
    def load(cls, packed_dir: Path, split: str) -> "Embeddings":
        """The embeddings of a split below the folder of the packed splits, memory-mapped.

        Raises:
            ValueError: there are none, they are damaged, or they are of other data than the packed split.
        """
        folder, facts = packed_dir / EMBEDDINGS_DIR, load_facts(packed_dir)
        pack = PackedSplit.load(packed_dir / split)
        if facts["digest"] != pack.digest:
            raise ValueError(f"{folder} was made from other data than {packed_dir / split}; run {MADE_BY} again")
        try:
            vectors = np.load(folder / f"{split}.npy", mmap_mode="r")
        except (ValueError, OSError, EOFError) as error:
            raise ValueError(f"{folder / split}.npy is damaged or absent ({error}); run {MADE_BY} again") from None
        names = (facts["backbone"], facts["weights"], facts["digest"])
        return cls(split, vectors, pack.labels, pack.ids, pack.class_names, *names)


def load_facts(packed_dir: Path) -> dict[str, Any]:
    """What the embeddings beside the packed splits were made with: network, weights, input, data.

    Raises:
        ValueError: there are no embeddings.
    """
    path = packed_dir / EMBEDDINGS_DIR / FACTS_FILE
    if not path.exists():
        raise ValueError(
            f"{path.parent} holds no embeddings; give features.embeddings.pretrained=true or "
            f"features.embeddings.pretrained_path=<file> and run {MADE_BY} again"
        )
    facts: dict[str, Any] = read_json(path, made_by=MADE_BY)
    return facts
