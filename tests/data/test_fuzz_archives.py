"""Thousands of damaged archives and images, the same in every run: refused or read, never lost, never endless.

The bound is on the work: Python calls are counted, so that an endless loop fails wherever and however slowly it runs.
"""

import bz2
import gzip
import lzma
import random
import sys
import tarfile
import zipfile
from collections import Counter, deque
from contextlib import contextmanager
from functools import cache
from io import BytesIO

import pytest
from PIL import Image

from src.data.archives import open_images
from src.data.assembly import assemble
from src.data.checks import BadImage, decode
from tests.data.drawn import drawing, encoded, folder_of, png, settings, tar_of

# Pillow remarks on what it skips
pytestmark = pytest.mark.filterwarnings("ignore")

MAX_PIXELS = 10**6
MOST_CALLS = 200_000
"""About a hundred times what the whole archive takes."""

IMAGES = {
    "photo.jpg": encoded(drawing(0, (40, 30)), "JPEG", quality=85),
    "progressive.jpg": encoded(drawing(1, (40, 30)), "JPEG", progressive=True),
    "drawn.png": png(2, (20, 16)),
    "palette.gif": encoded(drawing(3, (20, 16)).convert("P"), "GIF"),
    "lossy.webp": encoded(drawing(4, (20, 16)), "WEBP"),
    "lossless.webp": encoded(drawing(5, (20, 16)), "WEBP", lossless=True),
    "plain.bmp": encoded(drawing(6, (20, 16)), "BMP"),
    "plain.tiff": encoded(drawing(7, (20, 16)), "TIFF"),
    "packed.tiff": encoded(drawing(8, (20, 16)), "TIFF", compression="tiff_lzw"),
    "deep.png": encoded(Image.new("I;16", (20, 16), 700), "PNG"),
}
FILES = {
    **{f"train/{name}": content for name, content in IMAGES.items()},
    "train/犬/" + "x" * 120 + ".png": png(9),
    "train/empty.png": b"",
    "train/flat.bmp": encoded(Image.new("RGB", (200, 100)), "BMP"),
    "notes.csv": b"a,b\n" * 40,
    "inner.zip": b"PK",
    ".hidden": b"x",
}
FOUND = len(FILES)
ARCHIVES = ("gnu.tar", "pax.tar", "t.tar.gz", "t.tar.bz2", "t.tar.xz", "stored.zip", "deflated.zip")
EDGES = (0, 1, 2, 3, 127, 128, 254, 255)


COMPRESSIONS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@cache
def whole(name):
    """An archive of all files; the two plain tars have the two kinds of extended headers."""
    content = BytesIO()
    if name.endswith(".zip"):
        kind = {"stored.zip": zipfile.ZIP_STORED, "deflated.zip": zipfile.ZIP_DEFLATED}[name]
        with zipfile.ZipFile(content, "w") as archive:
            for member, data in FILES.items():
                archive.writestr(zipfile.ZipInfo(member), data, compress_type=kind)
        return content.getvalue()
    kind = tarfile.PAX_FORMAT if name == "pax.tar" else tarfile.GNU_FORMAT
    with tarfile.open(fileobj=content, mode="w", format=kind) as archive:
        for member, data in FILES.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, BytesIO(data))
    return COMPRESSIONS.get(name.rpartition(".")[2], bytes)(content.getvalue())


def damaged_archive(name, draw):
    """A damaged archive, and whether it has checksums that tell of every damage done to it."""
    suffix = name.rpartition(".")[2]
    if suffix in COMPRESSIONS and draw.random() < 0.6:
        return COMPRESSIONS[suffix](damaged(whole("pax.tar"), draw, header=tar_field)), False
    header = {"tar": tar_field, "zip": zip_field}.get(suffix)
    return damaged(whole(name), draw, header=header), suffix != "tar"


def flipped(content, draw):
    for _ in range(draw.choice([1, 1, 4, 32])):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)


def overwritten(content, draw):
    at = draw.randrange(len(content))
    run = draw.choice([1, 2, 4, 8, 512])
    content[at : at + run] = bytes([draw.choice(EDGES)]) * min(run, len(content) - at)


def cut(content, draw):
    del content[draw.randrange(len(content)) :]


def shortened(content, draw):
    at = draw.randrange(len(content))
    del content[at : at + draw.choice([1, 16, 512, 1024])]


def inserted(content, draw):
    at = draw.randrange(len(content) + 1)
    content[at:at] = draw.randbytes(draw.choice([1, 16, 512]))


def repeated(content, draw):
    start = draw.randrange(len(content))
    piece = content[start : start + draw.choice([46, 512, 1536])]
    at = draw.randrange(len(content))
    content[at:at] = piece


def zip_field(content, draw):
    """Another value for a field of a header: a version, a flag, a size, a length, an offset."""
    magic, fields = draw.choice([(b"PK\3\4", 26), (b"PK\1\2", 42), (b"PK\5\6", 18)])
    places = [at for at in range(len(content)) if content.startswith(magic, at)]
    if places:
        at = draw.choice(places) + 4 + 2 * draw.randrange(fields // 2)
        width = draw.choice([2, 4])
        content[at : at + width] = edge_number(width, draw)


def edge_number(width, draw):
    largest = 2 ** (8 * width) - 1
    number = draw.choice([0, 1, largest, largest - 1, largest // 2 + 1, draw.randrange(largest)])
    return number.to_bytes(width, "little")


def tar_field(content, draw):
    """Another value for a field of a header, and a checksum that fits it."""
    places = [at for at in range(0, len(content) - 511, 512) if content.startswith(b"ustar", at + 257)]
    if not places:
        return
    at = draw.choice(places)
    start, width = draw.choice([(0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (345, 155)])
    content[at + start : at + start + width] = draw.choice(
        [
            bytes(width),
            b"\x80" + draw.randbytes(width - 1),
            b"\xff" * width,
            b"7" * (width - 1) + b" ",
            b"%0*o\0" % (width - 1, draw.randrange(3000)),
            draw.choice(b"0123456789xgLKSVADMN\0").to_bytes(1, "big") * width,
            b"../" * (width // 3) + b"." * (width % 3),
        ]
    )
    content[at + 148 : at + 156] = b" " * 8
    content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])


DAMAGES = (flipped, overwritten, cut, shortened, inserted, repeated)


def damaged(content, draw, *, header=None):
    """The bytes after one to three kinds of damage; half of the time to a header, where there is a way to."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 1, 2, 3])):
        ways = DAMAGES if header is None or draw.random() < 0.5 else (header,)
        if changed:
            draw.choice(ways)(changed, draw)
    return bytes(changed)


class TooMuchWork(BaseException):
    """Not an Exception, so that nothing on the way takes it for damage."""


@contextmanager
def bounded_work(most=MOST_CALLS):
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in ("call", "c_call")
        if calls > most:
            sys.setprofile(None)
            raise TooMuchWork(f"more than {most:,} calls")

    sys.setprofile(count)
    try:
        yield
    finally:
        sys.setprofile(None)


def files_found(path):
    """How many files the archive gives, listed or left out; None where it is refused.

    Fails where one that was found is neither read nor quarantined.
    """
    try:
        store = open_images(path)
        listing = store.listing
        verdicts = Counter(verdict(content) for _, content in store.read())
    except ValueError as error:
        sentence = str(error)
        assert str(path) in sentence
        assert len(sentence) < 2000
        return None
    assert verdicts.total() == len(listing.names) == len(set(listing.names))
    return verdicts.total() + len(listing.oversized) + listing.ignored.total()


def verdict(content):
    try:
        decode(content, MAX_PIXELS)
    except BadImage:
        return "quarantined"
    return "good"


def run_archives(folder, name, *, seeds):
    """How many of the damaged archives were refused, and how many read."""
    outcomes = Counter()
    path = folder / name
    for seed in seeds:
        content, checked = damaged_archive(name, random.Random(f"{name} {seed}"))
        path.write_bytes(content)
        with bounded_work():
            found = files_found(path)
        outcomes["refused" if found is None else "read"] += 1
        assert found in (None, FOUND) or not checked, f"seed {seed}: {found} of {FOUND} files"
    assert [entry.name for entry in folder.iterdir()] == [name], "something was written"
    return outcomes


@pytest.mark.parametrize("name", ARCHIVES)
def test_whole_archives_give_every_file(tmp_path, name):
    (tmp_path / name).write_bytes(whole(name))
    with bounded_work(MOST_CALLS // 10):
        assert files_found(tmp_path / name) == FOUND


@pytest.mark.parametrize("name", ARCHIVES)
def test_some_damaged_archives_are_refused_or_read_whole(tmp_path, name):
    assert run_archives(tmp_path, name, seeds=range(30))["refused"] > 5


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ARCHIVES)
def test_many_damaged_archives_are_refused_or_read_whole(tmp_path, name):
    outcomes = run_archives(tmp_path, name, seeds=range(30, 330))
    assert outcomes.total() == 300
    assert outcomes["refused"] > 50


def test_an_endless_loop_is_told_from_long_work():
    with pytest.raises(TooMuchWork), bounded_work(1000):
        deque(iter(lambda: len(""), 1))


def run_images(name, *, seeds):
    outcomes = Counter()
    for seed in seeds:
        draw = random.Random(f"{name} {seed}")
        with bounded_work():
            outcomes[verdict(damaged(IMAGES[name], draw))] += 1
    return outcomes


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", IMAGES)
def test_damaged_images_are_decoded_or_quarantined(name):
    outcomes = run_images(name, seeds=range(300))
    assert outcomes.total() == 300
    assert outcomes["quarantined"] > 40


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["folder", "t.tar"])
def test_a_data_set_of_damaged_images_loses_none_silently(tmp_path, kind):
    draw = random.Random(kind)
    bad = {
        f"{label}/{number:03d}-{name}": damaged(IMAGES[name], draw)
        for label in ("cat", "dog")
        for number, name in enumerate(sorted(IMAGES) * 4)
    }
    good = {
        f"{label}/{number}.png": png(seed + number)
        for label, seed in (("cat", 100), ("dog", 200))
        for number in range(20)
    }
    files = bad | good | {"labels.csv": b"x"}
    location = folder_of(tmp_path / "folder", files) if kind == "folder" else tar_of(tmp_path / kind, files, "w")
    dataset = assemble(open_images(location), settings(path=str(location), max_bad_share=0.9))
    assert len(dataset.manifest.table) + len(dataset.quarantine) + dataset.ignored.total() == len(files)
    assert not set(dataset.quarantine) & set(dataset.manifest.table["path"])
    assert set(good) <= set(dataset.manifest.table["path"])
    assert len(dataset.quarantine) > 10
    assert all(dataset.quarantine.values())
