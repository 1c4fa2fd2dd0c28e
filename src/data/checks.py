"""From bytes to pixels: the one place where images are decoded, judged and brought to RGB."""

import hashlib
import os
import struct
import warnings
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from src.config_data import DataConfig
from src.data.archives import ImageStore
from src.data.parallel import mapped, mapped_by_processes
from src.data.perceptual import LEVELS, THUMBNAIL_BYTES, fingerprint
from src.logs import progress

if TYPE_CHECKING:
    from src.data.facts import FactsCache

CHECKS_VERSION = 1
"""To be raised with every change of what a check finds: what older checks found is then not believed any more."""

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""What is recognised, by content and never by suffix. Not EPS, which Pillow hands to an external interpreter."""

DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What Pillow raises on damaged files, as found by feeding it some."""


FEW = 1_000
"""So many files are checked by threads before processes have even started."""
POWERS = np.stack([np.arange(LEVELS + 1.0), np.arange(LEVELS + 1.0) ** 2], axis=1)
"""Each level and its square."""
ORIENTATION = 0x0112
TURNS = range(2, 9)
"""Values of the EXIF tag that turn or mirror; 1 is upright."""


class BadImage(ValueError):  # noqa: N818 - a verdict on a file, as quarantine.csv shows it
    """A file that is not used; the message is the short reason."""


Grey = bytes
"""Levels of grey; by its own name because `Checked` has a field called bytes."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a full decode of one file has shown.

    Attributes:
        name: name in its store.
        sha256: of the bytes, in hex; "" of a file that was not read.
        bytes: size of the file.
        format: as Pillow calls it, by content; "" of a bad file, like all that follows is zero or empty there.
        mode: Pillow's, as found.
        width: px, after the EXIF turn, and so is `height`.
        turned: whether its EXIF turns it.
        phash: perceptual hash, 64 bits.
        thumbnail: 8 x 8 px of grey.
        mean: of red, green and blue, 0 to 1 and of float32 precision, and so is the standard deviation `std`.
        reason: why the file is not used; None of a good one.
    """

    name: str
    sha256: str
    bytes: int
    format: str
    mode: str
    width: int
    height: int
    turned: bool
    phash: int
    thumbnail: Grey
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    reason: str | None = None


def unusable(name: str, reason: str, *, num_bytes: int = 0, sha256: str = "") -> Checked:
    """The verdict on a bad file, or on one that was not read at all."""
    return Checked(
        *(name, sha256, num_bytes, "", "", 0, 0, False, 0, bytes(THUMBNAIL_BYTES)),
        mean=(0.0, 0.0, 0.0),
        std=(0.0, 0.0, 0.0),
        reason=reason,
    )


@dataclass(frozen=True)
class _Decoded:
    """Upright 8-bit RGB, and how it was found."""

    image: Image.Image
    format: str
    mode: str
    turned: bool


def decode(content: bytes, max_pixels: int) -> Image.Image:
    """The image as 8-bit RGB, turned as its EXIF says, transparent parts white.

    Sixteen-bit greyscale is scaled to eight bits.

    Raises:
        BadImage: empty, no image, truncated or damaged, animated, or of more than `max_pixels` px.
    """
    return _decoded(content, max_pixels).image


def inspect(name: str, content: bytes, *, max_pixels: int, min_side: int) -> Checked:
    """The verdict on one file after a full decode."""
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        found = _decoded(content, max_pixels)
        if min(found.image.size) < min_side:
            raise BadImage(f"too small: {found.image.width} x {found.image.height} px")
    except BadImage as error:
        return unusable(name, str(error), num_bytes=len(content), sha256=sha256)
    phash, thumbnail = fingerprint(found.image)
    mean, std = _channels(found.image)
    return Checked(
        *(name, sha256, len(content), found.format, found.mode, *found.image.size, found.turned),
        phash=phash,
        thumbnail=thumbnail,
        mean=mean,
        std=std,
    )


def inspect_all(
    store: ImageStore,
    names: Collection[str],
    *,
    cfg: DataConfig,
    workers: int | None = None,
    cache: "FactsCache | None" = None,
) -> Iterator[Checked]:
    """The verdict on each named file, in the store's order; decoded by `workers` processes (None: one per core).

    Only files that the cache does not know, or that have changed since, are read.

    Raises:
        ValueError: a file is not there any more, or the archive is damaged.
    """

    def read(left: Collection[str]) -> Iterator[Checked]:
        files = progress(store.read(left), what="checking", total=len(left))
        one = partial(inspect, max_pixels=cfg.max_pixels, min_side=cfg.audit.min_side)
        num_workers = workers or os.cpu_count() or 1
        if len(left) < FEW or num_workers == 1:
            return mapped(one, files, workers=num_workers)
        return mapped_by_processes(one, files, workers=num_workers)

    return read(names) if cache is None else cache.completed(store, names, read)


def _decoded(content: bytes, max_pixels: int) -> _Decoded:
    if not content:
        raise BadImage("empty file")
    _prepare_pillow()
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as image:
            _refuse(image, max_pixels)
            kind, mode = image.format or "", image.mode
            image.load()
            turned = _turn_upright(image)
            return _Decoded(_as_rgb(image), kind, mode, turned)
    except UnidentifiedImageError:
        raise BadImage(_not_an_image(content)) from None
    except BadImage:
        raise
    except DAMAGE as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise BadImage(f"{'truncated' if 'truncated' in text.lower() else 'damaged'}: {text}") from None


@cache
def _prepare_pillow() -> None:
    """Leave size limits to `_refuse`, which knows the configured one, and keep remarks on odd EXIF off the screen."""
    Image.MAX_IMAGE_PIXELS = None
    Image.init()
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _refuse(image: Image.Image, max_pixels: int) -> None:
    """Judge by the header, before any pixel is decoded."""
    if image.width * image.height > max_pixels:
        raise BadImage(f"too large: {image.width} x {image.height} px")
    # an MPO is a photograph with a preview or a second view behind it, not an animation
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise BadImage("animated")


def _turn_upright(image: Image.Image) -> bool:
    """Whether the EXIF orientation turned the image, in place; one whose EXIF cannot be read stays as it is."""
    try:
        turned = image.getexif().get(ORIENTATION, 1) in TURNS
        ImageOps.exif_transpose(image, in_place=True)
    except DAMAGE:
        return False
    return turned


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        # the high byte, as Pillow itself reads 16-bit colour; its own conversion to L would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise BadImage(f"32-bit pixels (mode {image.mode}), whose range is unknown")
    elif image.has_transparency_data:
        above = image.convert("RGBA")
        image = Image.new("RGBA", above.size, "white")
        image.alpha_composite(above)
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


def _not_an_image(content: bytes) -> str:
    head = content[:256].lstrip().lower()
    return "not an image: an HTML page" if head.startswith((b"<!doctype html", b"<html")) else "not an image"


def _channels(image: Image.Image) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Mean and standard deviation of red, green and blue, 0 to 1, exact up to the rounding to float32."""
    counts = np.array(image.histogram(), dtype=np.float64).reshape(3, LEVELS + 1)
    mean, square = (counts @ POWERS / (image.width * image.height)).T
    std = np.sqrt(np.maximum(square - mean**2, 0.0))
    red, green, blue = (mean / LEVELS).astype(np.float32).tolist()
    red_std, green_std, blue_std = (std / LEVELS).astype(np.float32).tolist()
    return (red, green, blue), (red_std, green_std, blue_std)
