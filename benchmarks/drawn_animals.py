"""Draw a set in the layout of the ten animals, for machines without a key: python -m benchmarks.drawn_animals <zip>.

usage: python -m benchmarks.drawn_animals <zip to write> [share of the published counts] [longest side in px]

Class names, folders and counts are those of configs/data/animals.yaml, images have any size. A class is a hue, and
stripes or rings; those of `interesting` are pale. Nothing is learned here that says anything of animals: the set shows
that every split of it is read, trained on and scored apart.
"""

import sys
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

FOLDERS = {
    "train": "Training Data",
    "val": "Validation Data",
    "test": "Testing Data",
    "interesting": "Interesting Data",
}
SHARE, LONGEST_PX, SHORTEST_PX = 0.1, 160, 8
PALE = 0.35


def draw_animals(
    path: Path, counts: Mapping[str, Mapping[str, int]], *, longest: int = LONGEST_PX, seed: int = 0
) -> None:
    """A zip with so many images of each class by split, and the same images once more as records."""
    rng = np.random.default_rng(seed)
    with zipfile.ZipFile(path, "w") as archive:
        for split, of_split in counts.items():
            for place, (label, count) in enumerate(of_split.items()):
                for number in range(count):
                    file = BytesIO()
                    image = animal(place, rng, longest=longest, strength=PALE if split == "interesting" else 1.0)
                    Image.fromarray(image).save(file, "JPEG")
                    name = f"Animal-Data-V2/Data-V2/{FOLDERS[split]}/{label}/{label}-{split} ({number + 1}).jpeg"
                    archive.writestr(name, file.getvalue())
        archive.writestr("Animal-Data-V2/Data-V2/TFRecords/train.tfrecords", b"records")


def animal(label: int, rng: np.random.Generator, *, longest: int, strength: float) -> np.ndarray:
    """Uint8 of shape (height, width, 3): stripes of an even class or rings of an odd one in its hue, in noise."""
    height, width = rng.integers(min(longest, SHORTEST_PX), longest + 1, size=2)
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    middle = rng.uniform(0.3, 0.7, size=2)
    far = np.hypot(rows - middle[0], columns - middle[1])
    pattern = np.sin(2 * np.pi * rng.uniform(3, 6) * (far if label % 2 else rows + columns) + rng.uniform(0, 6))
    turn = 2 * np.pi * (label / 10 + rng.normal(0, 0.02))
    colour = np.cos(turn + 2 * np.pi / 3 * np.arange(3))
    signal = strength * (pattern[..., None] > 0) * colour
    noise = rng.normal(0, 0.35, (height, width, 3))
    return np.clip(127 + 90 * (signal + noise), 0, 255).astype(np.uint8)


def main(path: str, share: str = str(SHARE), longest: str = str(LONGEST_PX)) -> None:
    """Draw that share of the published counts; the few images of `interesting` are drawn all."""
    from src.compose import compose
    from src.selection import parse

    published = compose(parse(["data=animals"])).data.about.expected
    counts = {
        split: {
            label: count if split == "interesting" else max(1, round(float(share) * count))
            for label, count in of_split.items()
        }
        for split, of_split in published.items()
    }
    draw_animals(Path(path), counts, longest=int(longest))


if __name__ == "__main__":
    if not 1 < len(sys.argv) <= 4:
        sys.exit((__doc__ or "").partition("\n\n")[2].partition("\n\n")[0])
    main(*sys.argv[1:])
