"""A data set compared with what its publisher says of it."""

from collections import Counter
from collections.abc import Mapping

from src.config_data import AboutConfig

CUT_FROM_TRAIN = ("val", "test")


def differences(counts: Mapping[str, Mapping[str, int]], about: AboutConfig) -> list[str]:
    """A sentence for each split and class whose number of images is not the published one; empty where none is known.

    `counts` are the images found by split and class, those without a label under `(unlabelled)`. A split that was
    not published, `val` or `test`, was cut from train and counts as train.
    """
    if not about.expected:
        return []
    found = _as_published(counts, about)
    lines = []
    for split in dict.fromkeys([*about.expected, *found]):
        expected, here_by_name = about.expected.get(split, {}), found.get(split, Counter())
        for name in dict.fromkeys([*expected, *here_by_name]):
            wanted, here = expected.get(name, 0), here_by_name[name]
            if here != wanted:
                lines.append(f"{split}: {here:,} images of {name}, {_published(wanted)}")
    return lines


def _as_published(counts: Mapping[str, Mapping[str, int]], about: AboutConfig) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for split, by_name in counts.items():
        cut = split in CUT_FROM_TRAIN and split not in about.expected
        found.setdefault("train" if cut else split, Counter()).update(dict(by_name))
    return found


def _published(count: int) -> str:
    return f"{count:,} were published" if count else "none was published"
