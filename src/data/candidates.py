"""What may become images of the data set, before any is opened: names, ids, and what is said of each.

Label, split and group come from the path of a file, or, where the user gave a list of images, from that alone.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from src.config_data import DataConfig
from src.data.archives import ImageStore, open_images
from src.data.checks import Checked, unusable
from src.data.labels import labels_of_paths
from src.data.lists import is_list, read_list
from src.data.splits import check_split_name, split_of_folder, splits_of_paths
from src.data.stores.base import FolderStore
from src.data.stores.listing import common_root, ignored_as

MOST_SHOWN = 3
ABSENT = "listed but absent"


class ListedStore(FolderStore):
    """The files of a folder that a list names, and no others.

    `table` has a row per listed image, by its id: columns `label`, `split` and `group`, each a str or None.
    """

    kind = "list"

    def __init__(self, path: Path) -> None:
        super().__init__(path.parent)
        self.path = path
        table = read_list(path)
        ids = [unicodedata.normalize("NFC", name) for name in table["path"]]
        self._name_of = {image_id: self._as_on_disk(name) for image_id, name in zip(ids, table["path"], strict=True)}
        if len(self._name_of) < len(ids):
            raise ValueError(f"{path} lists a name twice in two ways of writing its accents; remove one")
        columns = {name: [_text(value) for value in table[name]] for name in ("label", "split", "group")}
        self.table = pd.DataFrame(columns, index=pd.Index(ids, dtype=object), dtype=object)

    def absent(self) -> dict[str, str]:
        """Why each listed file is not read that is no candidate, by its name."""
        known = {*self.listing.names, *self.listing.oversized}
        left = {name: ignored_as(name) for name in self._name_of.values() if name not in known}
        return {name: f"listed, but no image by its name ({kind})" if kind else ABSENT for name, kind in left.items()}

    def _files(self) -> Iterator[tuple[str, int | None]]:
        root = self.location.resolve()
        for name in sorted(self._name_of.values()):
            path = self.location / name
            if ignored_as(name) is None and path.is_file() and path.resolve().is_relative_to(root):
                yield name, path.stat().st_size

    def _as_on_disk(self, name: str) -> str:
        """The name as the folder has it: some systems store `é` as two characters, whatever was typed."""
        forms = (name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))
        return next((form for form in forms if (self.location / form).is_file()), name)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Files that may be images: the id of each name, those to be read, and the verdicts on those that are not."""

    ids: dict[str, str]
    to_read: list[str]
    unread: list[Checked]


def store_of(location: Path, cfg: DataConfig) -> ImageStore:
    """A reader of the images that the source left at `location`, or of those among them that the user's list names.

    Raises:
        ValueError: there is nothing there, or the list cannot be used.
    """
    listed = Path(cfg.path).expanduser() if cfg.name == "folder" and cfg.path is not None else None
    if listed is None or not is_list(listed) or listed.is_dir():
        return open_images(location)
    return ListedStore(listed)


def candidates_of(store: ImageStore) -> Candidates:
    """The files of the store that may be images.

    Raises:
        ValueError: there is none, or two have names that read the same.
    """
    listing = store.listing
    unread = [unusable(name, f"too large: {size:,} bytes", num_bytes=size) for name, size in listing.oversized.items()]
    start = 0
    if isinstance(store, ListedStore):
        unread += [unusable(name, reason) for name, reason in store.absent().items()]
    else:
        start = len(common_root([*listing.names, *listing.oversized]))
    names = [*listing.names, *(checked.name for checked in unread)]
    return Candidates(ids=_ids_of(names, start, store), to_read=listing.names, unread=unread)


def annotations(ids: Sequence[str], cfg: DataConfig, store: ImageStore) -> pd.DataFrame:
    """What is said of each image: columns `name` (its label), `official` (its split) and `user_group`, each or None.

    Raises:
        ValueError: no image has a label, or the list names a split that cannot be used.
    """
    said: dict[str, Sequence[str | None]]
    if isinstance(store, ListedStore):
        rows = store.table.loc[list(ids)]
        splits = _listed_splits(rows["split"].tolist(), cfg, store.path)
        said = {"name": rows["label"].tolist(), "official": splits, "user_group": rows["group"].tolist()}
    else:
        names = labels_of_paths(ids, cfg.label_pattern, cfg.split_patterns)
        splits = splits_of_paths(ids, cfg.split_patterns)
        said = {"name": names, "official": splits, "user_group": [None] * len(ids)}
    if all(name is None for name in said["name"]):
        raise ValueError(_unlabelled(cfg, store))
    return pd.DataFrame(said, dtype=object)


def _ids_of(names: Sequence[str], start: int, store: ImageStore) -> dict[str, str]:
    """The id of each name: the path from `start` on, below the root that all share, in composed Unicode.

    The same images get the same ids from a folder and from an archive of it.
    """
    if not names:
        ignored = ", ".join(f"{count} {suffix}" for suffix, count in store.listing.ignored.most_common(MOST_SHOWN))
        raise ValueError(
            f"no image in {store.location} (ignored: {ignored or 'nothing'}); "
            "it should hold images, in a folder for each class; unpack archives inside it, or give one as data.path"
        )
    ids: dict[str, str] = {}
    seen: set[str] = set()
    for name in names:
        _check_unicode(name, store)
        image_id = unicodedata.normalize("NFC", name[start:])
        if image_id in seen:
            other = next(one for one, found in ids.items() if found == image_id)
            raise ValueError(f"{store.location} holds {other!a} and {name!a}, which read the same; rename one of them")
        seen.add(image_id)
        ids[name] = image_id
    return ids


def _check_unicode(name: str, store: ImageStore) -> None:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"{store.location} holds {name!a}, a name that is not UTF-8; rename it") from None


def _text(cell: object) -> str | None:
    return cell if isinstance(cell, str) else None


def _listed_splits(listed: Sequence[str | None], cfg: DataConfig, path: Path) -> list[str | None]:
    """The splits that a list names, each by its pattern or by its own name."""
    split_of: dict[str | None, str | None] = {None: None}
    for value in listed:
        if value is not None and value not in split_of:
            split_of[value] = split_of_folder(value, cfg.split_patterns) or value
            check_split_name(str(split_of[value]), f"split {value!r} in {path}")
    return [split_of[value] for value in listed]


def _unlabelled(cfg: DataConfig, store: ImageStore) -> str:
    if isinstance(store, ListedStore):
        return f"no image in {store.path} has a label; add a column label that names the class of each"
    cause = "they lie in no folder named after a class"
    if cfg.label_pattern is not None:
        cause = f"data.label_pattern={cfg.label_pattern} is found in no file name"
    return (
        f"no image in {store.location} has a label: {cause}; put them into a folder for each class, "
        "or give data.label_pattern, such as data.label_pattern='^(cat|dog)\\.' for cat.1.jpg"
    )
