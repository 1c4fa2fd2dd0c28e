"""Vectors kept by the pixels they were computed from, outside every output of a stage.

DVC deletes the outputs of a stage before it runs again; what lies here survives that, a kill, and a change of labels
or splits. Files are only ever added: deleting the folder costs time and nothing else.
"""

import hashlib
import io
import logging
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from src.features.packed import PackedSplit
from src.files import write_atomically
from src.logs import progress

log = logging.getLogger(__name__)

DIGEST_BYTES = 16
READ_CHUNK = 256


@dataclass(frozen=True)
class EmbeddingCache:
    """The vectors of one network; the folder's name tells which and how images enter it."""

    folder: Path

    def parts(self) -> Iterator[tuple[list[bytes], np.ndarray]]:
        """Digests and the vectors that belong to them, a file at a time; a damaged file is told of and left out."""
        for path in sorted(self.folder.glob("*.npz")):
            try:
                with np.load(path, allow_pickle=False) as part:
                    digests, vectors = [row.tobytes() for row in part["digests"]], part["vectors"]
            except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
                log.warning("%s is damaged (%s): its images are embedded again", path, error)
                continue
            yield digests, vectors

    def add(self, digests: Sequence[bytes], vectors: np.ndarray) -> None:
        """Keep the vectors, float32 of shape (digests, dim)."""
        content = io.BytesIO()
        rows = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        np.savez(content, digests=rows, vectors=vectors)
        name = hashlib.blake2b(rows.tobytes(), digest_size=DIGEST_BYTES).hexdigest()
        write_atomically(self.folder / f"{name}.npz", content.getvalue())


def pixel_digests(split: PackedSplit) -> list[bytes]:
    """A digest of the packed pixels of each image, in the order of the split."""
    starts = range(0, len(split), READ_CHUNK)
    digests = []
    with progress(what=f"look up {split.name}", total=len(split)) as bar:
        for start in starts:
            pixels = split.gather(np.arange(start, min(start + READ_CHUNK, len(split))))
            digests += [hashlib.blake2b(image.tobytes(), digest_size=DIGEST_BYTES).digest() for image in pixels]
            bar.update(len(pixels))
    return digests
