"""Findings about single files: what cannot be used, and what was made of the rest."""

import re
from collections import Counter
from collections.abc import Sequence
from posixpath import splitext

import pandas as pd

from src.data.auditing.findings import Finding, Subject, cases
from src.wording import counted, listed

SAME_FORMATS = {"MPO": "JPEG"}
"""A photograph with a preview behind it: cameras write it under the suffix of a JPEG."""

BLANK_CONTRAST = 1 / 255
MODES = {
    "1": "black and white",
    "L": "grey",
    "LA": "grey with transparency",
    "P": "palette",
    "PA": "palette with transparency",
    "RGBA": "transparency",
    "RGBX": "four channels",
    "CMYK": "print colours",
    "YCbCr": "video colours",
    "LAB": "Lab colours",
    "I;16": "16-bit grey",
    "I;16B": "16-bit grey",
    "I": "16-bit grey",
}


def quarantined(subject: Subject) -> Finding | None:
    """Files that cannot be used, by reason."""
    bad = subject.files[subject.files["reason"] != ""]
    if bad.empty:
        return None
    reasons = Counter(_short(reason) for reason in bad["reason"])
    return Finding(
        kind="quarantined",
        severity="warning",
        text=f"{counted(len(bad), 'file')} cannot be used: {_by_count(reasons)}.",
        done="They are left out of every split and listed with their reasons in quarantine.csv; "
        "the files themselves are untouched.",
        advice="Mend, replace or delete them at the source; if many are of one class, that class has lost images.",
        count=len(bad),
        cases=cases(bad, list(bad["reason"])),
    )


def blank(subject: Subject) -> Finding | None:
    """Images of a single colour."""
    empty = subject.images[subject.images["contrast"] < BLANK_CONTRAST]
    if empty.empty:
        return None
    shades = [f"brightness {brightness:.2f}" for brightness in empty["brightness"]]
    return Finding(
        kind="blank",
        severity="warning",
        text=f"{counted(len(empty), 'image')} show nothing: every pixel has the same colour."
        if len(empty) > 1
        else "1 image shows nothing: every pixel has the same colour.",
        done="They are kept, as the files are whole.",
        advice="Look at them; a failed download or a switched-off camera leaves such images. Delete them at the source "
        "or drop them in the overrides file (label !drop).",
        count=len(empty),
        cases=cases(empty, shades),
    )


def wrong_suffix(subject: Subject) -> Finding | None:
    """Images whose suffix names another format than their content has."""
    from PIL import Image

    formats = {suffix: SAME_FORMATS.get(name, name) for suffix, name in Image.registered_extensions().items()}
    suffixes = (splitext(image_id)[1].lower() for image_id in subject.images["id"])
    found = subject.images["format"].replace(SAME_FORMATS)
    promised = (formats.get(suffix) for suffix in suffixes)
    lies = [one not in (None, other) for one, other in zip(promised, found, strict=True)]
    lying = subject.images[lies]
    if lying.empty:
        return None
    first = lying.iloc[0]
    return Finding(
        kind="wrong_suffix",
        severity="info",
        text=f"{counted(len(lying), 'image')} {_has(lying)} a suffix that is not the format of the content, such as "
        f"{first['id']}, which is {first['format']}.",
        done="They are read by their content and used like all others.",
        advice="Nothing has to be done here; rename them if other programs that go by the suffix shall read them.",
        count=len(lying),
        cases=cases(lying, [f"is {name}" for name in lying["format"]]),
    )


def converted(subject: Subject) -> Finding | None:
    """Images that are not RGB, by mode; counted by split and class rather than named, as there may be a million."""
    other = subject.images[subject.images["mode"] != "RGB"]
    if other.empty:
        return None
    modes = Counter(_mode(mode) for mode in other["mode"])
    return Finding(
        kind="converted",
        severity="info",
        text=f"{counted(len(other), 'image')} {_is(other)} not plain RGB: {_by_count(modes)}.",
        done="They are brought to 8-bit RGB wherever images are read, for training and prediction alike: grey is "
        "repeated in three channels, transparent parts become white.",
        advice=f"If only some classes are so, a network can tell them by that alone{_uneven(other, subject)}; "
        "files.parquet has the mode of each image.",
        count=len(other),
        cases=_counted_cases(other, "mode"),
    )


def turned(subject: Subject) -> Finding | None:
    """Images whose EXIF data say that they lie on their side or head, counted by split and class."""
    lying = subject.images[subject.images["turned"].astype(bool)]
    if lying.empty:
        return None
    return Finding(
        kind="turned",
        severity="info",
        text=f"{counted(len(lying), 'image')} {_is(lying)} stored on the side or upside down, with a note of it in "
        "the EXIF data.",
        done="They are turned upright wherever images are read, for training and prediction alike.",
        advice="Nothing has to be done; another program that leaves out this step sees them turned.",
        count=len(lying),
        cases=_counted_cases(lying.assign(detail="turned"), "detail"),
    )


def _short(reason: str) -> str:
    """The kind of fault without its particulars: `truncated: image file is truncated (4 bytes)` is `truncated`."""
    return re.split(r": (?!an HTML page)", reason, maxsplit=1)[0]


def _mode(mode: str) -> str:
    return f"{MODES[mode]} ({mode})" if mode in MODES else mode


def _by_count(found: Counter[str]) -> str:
    return listed([f"{number:,} {name}" for name, number in found.most_common()], most=8)


def _counted_cases(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """A case per value, split and class, with the number of images."""
    sizes = rows.groupby(["split", "label", column], observed=True).size().reset_index(name="number")
    return cases(sizes, [f"{value}: {number}" for value, number in zip(sizes[column], sizes["number"], strict=True)])


def _uneven(other: pd.DataFrame, subject: Subject) -> str:
    """A clause that names the classes which hold all of them, where those are not all classes."""
    here: Sequence[str] = sorted(set(other["label"]) - {""})
    absent = set(subject.manifest.class_names) - set(here)
    return f" (here only {listed(here)})" if here and absent else ""


def _is(rows: pd.DataFrame) -> str:
    return "is" if len(rows) == 1 else "are"


def _has(rows: pd.DataFrame) -> str:
    return "has" if len(rows) == 1 else "have"
