"""The decisions of one person at the relabel page, as they go into the file of overrides."""

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from src.data.overrides import DROP, Override, add_override, load_overrides, remove_override
from src.visualization.relabeling.items import Item
from src.wording import counted


class Session:
    """What was asked and what was decided; safe to use from several threads.

    The file is the truth: it is read again after each change, so that what others write counts too.
    """

    def __init__(self, items: Sequence[Item], class_names: Sequence[str], *, path: Path, who: str) -> None:
        self.items = list(items)
        self.class_names = list(class_names)
        self.path = path
        self._who = who
        self._taken: list[tuple[int, tuple[Override, ...]]] = []
        self._overrides = load_overrides(path)
        self._lock = threading.Lock()

    def decide(self, number: int, label: str | None, positions: Sequence[int]) -> None:
        """Write that those pictures of an item get the label, or are dropped; None keeps the labels they have.

        Raises:
            ValueError: there is no such item, picture or class, or the file cannot be read.
            OSError: the file cannot be written.
        """
        item = self._item(number)
        if label is not None and label != DROP and label not in self.class_names:
            raise ValueError(f"{label!r} is no class of this data set")
        if not positions or not set(positions) <= set(range(len(item.pictures))):
            raise ValueError(f"pictures {list(positions)} of item {number} are not all there")
        chosen = [item.pictures[position] for position in sorted(set(positions))]
        named = [(picture, picture.label if label is None else label) for picture in chosen]
        rows = tuple(Override(picture.id, name, self._who, item.why(picture, name)) for picture, name in named if name)
        if not rows:
            raise ValueError("there is no label to keep; choose a class, or drop the image")
        with self._lock:
            add_override(self.path, *rows)
            self._taken.append((number, rows))
            self._overrides = load_overrides(self.path)

    def undo(self) -> int | None:
        """Number of the item whose decision, the last one, is taken back; None where there is none to take back.

        Raises:
            ValueError: the file cannot be read.
            OSError: the file cannot be written.
        """
        with self._lock:
            if not self._taken:
                return None
            number, rows = self._taken[-1]
            remove_override(self.path, *rows)
            self._taken.pop()
            self._overrides = load_overrides(self.path)
            return number

    def done(self) -> list[int]:
        """Numbers of the items that are decided."""
        return [number for number, item in enumerate(self.items) if not item.is_open(self._overrides)]

    def labels(self) -> dict[str, str]:
        """The decision on each picture: a class, or `!drop`."""
        shown = (picture.id for item in self.items for picture in item.pictures)
        return {image_id: self._overrides[image_id].label for image_id in shown if image_id in self._overrides}

    def tally(self) -> dict[str, int]:
        """Images that were changed, kept and dropped by what still stands of this session's decisions."""
        before = {picture.id: picture.label for item in self.items for picture in item.pictures}
        latest = {row.id: row.label for _, rows in list(self._taken) for row in rows}
        found = Counter(
            "dropped" if label == DROP else "kept" if label == before[image_id] else "changed"
            for image_id, label in latest.items()
        )
        return {change: found[change] for change in ("changed", "kept", "dropped")}

    def summary(self) -> str:
        """What was decided, and what to do next."""
        with self._lock:
            progress = f"{len(self.done())} of {len(self.items)} decided"
            told = ", ".join(f"{number} {change}" for change, number in self.tally().items() if number)
        if not told:
            return f"{progress}, nothing was written"
        return f"{progress}; labels: {told}, written to {self.path.as_posix()}; next: make data, then make train"

    def _item(self, number: int) -> Item:
        if not 0 <= number < len(self.items):
            raise ValueError(f"there is no item {number}; the page has {counted(len(self.items), 'item')}")
        return self.items[number]
