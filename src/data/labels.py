"""What an image shows: the label its path carries, and the order of the classes."""

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise

from src.data.splits import split_of_folder


def check_label_pattern(pattern: str | None) -> None:
    """Nothing, where the pattern is None or a regular expression with a group.

    Raises:
        ValueError: it is not.
    """
    if pattern is None:
        return
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"data.label_pattern={pattern} is not a regular expression: {error}") from None
    if not groups:
        raise ValueError(f"data.label_pattern={pattern} has no group; put the label in brackets, as in '^(cat|dog)\\.'")


def label_of_path(path: str, pattern: str | None, split_patterns: Mapping[str, str]) -> str | None:
    """The label, or None where the path carries none.

    With a pattern: its first group, searched in the file name. Without: the name of the parent folder, unless that
    folder names a split.
    """
    *folders, name = path.split("/")
    if pattern is not None:
        found = re.search(pattern, name)
        return found.group(1) or None if found else None
    if not folders or split_of_folder(folders[-1], split_patterns) is not None:
        return None
    return folders[-1]


def labels_of_paths(paths: Iterable[str], pattern: str | None, split_patterns: Mapping[str, str]) -> list[str | None]:
    """`label_of_path` of each path; labels that are folders are worked out once for each folder."""
    if pattern is not None:
        return [label_of_path(path, pattern, split_patterns) for path in paths]
    known: dict[str, str | None] = {}
    labels = []
    for path in paths:
        folder = path[: path.rfind("/") + 1]
        if folder not in known:
            known[folder] = label_of_path(folder, None, split_patterns)
        labels.append(known[folder])
    return labels


def class_names_of(labels: Iterable[str]) -> list[str]:
    """The different labels in natural order: `class 2` before `class 10`.

    Raises:
        ValueError: two of them differ in case only.
    """
    names = sorted(set(labels), key=natural_key)
    for one, other in pairwise(names):
        if one.casefold() == other.casefold():
            raise ValueError(f"classes {one!r} and {other!r} differ only in upper and lower case; give them one name")
    return names


def check_classes(train: Collection[str], others: Mapping[str, Collection[str]], class_names: list[str]) -> None:
    """Nothing, where train has two classes or more and all those of the other splits.

    Raises:
        ValueError: it has not.
    """
    for split, labels in others.items():
        if unknown := sorted(set(labels) - set(train), key=natural_key):
            raise ValueError(
                f"{split} has classes that train lacks: {', '.join(map(repr, unknown[:5]))}; train has "
                f"{_listed(sorted(train, key=natural_key))}; rename or remove their folders"
            )
    if len(class_names) < 2:
        raise ValueError(
            f"only one class found, {', '.join(map(repr, class_names))}; training needs two or more: one folder for "
            "each class, or data.label_pattern for labels in the file names"
        )


def natural_key(name: str) -> tuple[list[str | int], str]:
    """A sort key that compares runs of digits as numbers, and text regardless of case."""
    pieces = re.split(r"(\d+)", name.casefold())
    return [int(piece) if index % 2 else piece for index, piece in enumerate(pieces)], name


def _listed(names: list[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
