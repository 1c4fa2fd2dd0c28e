import random
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from src.data import checks
from src.data.archives import open_images
from src.data.checks import BadImage, Checked, decode, inspect, inspect_all, unusable
from src.data.perceptual import fingerprint
from tests.data.drawn import drawing, encoded, png, settings, zip_of

MOST = 10_000
ROW_OF_ZEROS = zlib.compress(bytes(99))
JPEG = encoded(drawing(0, (64, 48)), "JPEG", quality=90)


def pixels(image):
    return np.asarray(image).astype(int)


def checked(content, *, max_pixels=MOST, min_side=4) -> Checked:
    return inspect("a/0.jpg", content, max_pixels=max_pixels, min_side=min_side)


def reason(content, max_pixels=MOST):
    with pytest.raises(BadImage) as caught:
        decode(content, max_pixels)
    return str(caught.value)


def bomb(width, height, packed=ROW_OF_ZEROS):
    """A small PNG that declares width x height px."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def test_an_rgb_image_comes_out_as_it_is():
    assert (pixels(decode(png(3), MOST)) == pixels(drawing(3))).all()


def test_bad_files_are_refused_with_a_short_reason():
    assert reason(b"") == "empty file"
    assert reason(b"just text") == "not an image"
    assert reason(b"\n<!DOCTYPE html><html></html>") == "not an image: an HTML page"
    assert reason(JPEG[: len(JPEG) // 2]).startswith("truncated: image file is truncated")
    assert reason(png(0)[:-40]).startswith("truncated: ")
    assert reason(encoded(drawing(0), "EPS")) == "not an image"


def test_a_flipped_byte_in_a_png_is_found_by_its_checksum():
    content = bytearray(png(0))
    content[60] ^= 0xFF
    assert reason(bytes(content)).startswith("damaged: ")


def test_a_bomb_is_refused_by_its_header_and_the_limit_is_exact():
    assert reason(bomb(60_000, 60_000), 100_000_000) == "too large: 60000 x 60000 px"
    assert reason(png(0, (101, 100)), 10_000) == "too large: 101 x 100 px"
    assert decode(png(0, (100, 100)), 10_000).size == (100, 100)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is counted in KiB there")
def test_a_bomb_of_144_million_pixels_is_refused_before_memory_grows(tmp_path):
    width = height = 12_000
    row = zlib.compressobj()
    packed = b"".join([*(row.compress(bytes(1 + 3 * width)) for _ in range(height)), row.flush()])
    (tmp_path / "bomb.png").write_bytes(bomb(width, height, packed))
    code = (
        "import resource, sys; from pathlib import Path; from src.data.checks import inspect\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "content, before = Path(sys.argv[1]).read_bytes(), peak()\n"
        "print(inspect('bomb.png', content, max_pixels=100_000_000, min_side=2).reason, peak() - before)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "bomb.png")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert len(packed) < 500_000
    assert said.startswith("too large: 12000 x 12000 px ")
    assert int(said.split()[-1]) < 20


def test_the_limit_asked_for_holds_in_place_of_that_of_pillow(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    checks._prepare_pillow.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(png(0, (100, 100)), 10_000).size == (100, 100)


def test_a_static_gif_is_read_and_an_animated_one_refused():
    still, other = drawing(0).convert("P"), drawing(1).convert("P")
    assert (pixels(decode(encoded(still, "GIF"), MOST)) == pixels(still.convert("RGB"))).all()
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        frames = encoded(drawing(0), kind, save_all=True, append_images=[other.convert("RGB")])
        assert reason(frames) == "animated"


def test_a_photograph_with_a_preview_behind_it_is_read():
    double = encoded(drawing(0), "MPO", save_all=True, append_images=[drawing(1)])
    assert np.abs(pixels(decode(double, MOST)) - pixels(decode(encoded(drawing(0), "JPEG"), MOST))).max() == 0


def test_sixteen_bit_grey_is_scaled_and_not_clipped():
    levels = np.arange(0, 65536, 256, dtype=np.uint16).reshape(16, 16)
    for kind in ("PNG", "TIFF", "PPM"):
        found = pixels(decode(encoded(Image.fromarray(levels), kind), MOST))
        assert (found == np.arange(256).reshape(16, 16, 1)).all()


def test_pixels_of_unknown_range_are_refused():
    for values in (np.zeros((4, 4), np.float32), np.zeros((4, 4), np.int32)):
        assert reason(encoded(Image.fromarray(values), "TIFF")).startswith("32-bit pixels (mode ")


def test_transparent_parts_become_white_in_every_mode():
    clear = Image.new("RGBA", (2, 1), (255, 0, 0, 255))
    clear.putpixel((1, 0), (0, 0, 0, 0))
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 0, 0])
    palette.putpixel((1, 0), 1)
    for content in (encoded(clear), encoded(palette, transparency=1), encoded(clear, "WEBP", lossless=True)):
        assert pixels(decode(content, MOST)).tolist() == [[[255, 0, 0], [255, 255, 255]]]
    grey = Image.new("LA", (1, 1), (0, 128))
    assert pixels(decode(encoded(grey), MOST)).tolist() == [[[127, 127, 127]]]


def test_palette_grey_one_bit_and_cmyk_become_rgb():
    for mode in ("P", "L", "1"):
        image = drawing(0).convert(mode)
        assert (pixels(decode(encoded(image), MOST)) == pixels(image.convert("RGB"))).all()
    red = encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    assert np.abs(pixels(decode(red, MOST)) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_exif_turn_is_applied_once(orientation, kind):
    """Row and column of the dark corner in the picture as it is meant to be seen, from the EXIF standard."""
    stored = np.full((16, 24, 3), 255, np.uint8)
    stored[:8, :8] = 0
    exif = Image.Exif()
    exif[0x0112] = orientation
    seen = decode(encoded(Image.fromarray(stored), kind, exif=exif), MOST)
    assert seen.size == ((24, 16) if orientation < 5 else (16, 24))
    corner = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}
    dark = {at for at in [(0, 0), (0, -1), (-1, 0), (-1, -1)] if pixels(seen)[at].max() < 128}
    assert dark == {corner[orientation]}


def test_unreadable_exif_costs_neither_the_image_nor_a_warning():
    content = encoded(drawing(0), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    checks._prepare_pillow.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(content, MOST).size == (12, 10)


def test_the_suffix_is_not_believed():
    found = inspect("a/really_webp.png", encoded(drawing(0), "WEBP"), max_pixels=MOST, min_side=4)
    assert (found.reason, found.format) == (None, "WEBP")


def test_a_verdict_tells_format_mode_and_size_as_found_and_whether_it_was_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(drawing(0).convert("L"), "JPEG", exif=exif)
    found = checked(content)
    assert (found.width, found.height, found.turned) == (10, 12, True)
    assert (found.format, found.mode, found.bytes, found.reason) == ("JPEG", "L", len(content), None)
    exif[0x0112] = 1
    assert not checked(encoded(drawing(0), "JPEG", exif=exif)).turned
    assert not checked(png(0)).turned


def test_the_hash_is_of_the_picture_as_it_is_seen():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(drawing(0, (64, 48)), "JPEG", exif=exif)
    found = checked(content)
    assert (found.phash, found.thumbnail) == fingerprint(decode(content, MOST))
    assert found.phash != checked(encoded(drawing(0, (64, 48)), "JPEG")).phash


def test_mean_and_deviation_are_those_of_each_channel():
    found = checked(png(5, (31, 17)))
    levels = np.asarray(drawing(5, (31, 17))).reshape(-1, 3) / 255
    assert found.mean == pytest.approx(levels.mean(axis=0), abs=1e-6)
    assert found.std == pytest.approx(levels.std(axis=0), abs=1e-6)
    flat = checked(encoded(Image.new("RGB", (9, 9), (255, 51, 0))))
    assert (flat.mean, flat.std) == (pytest.approx((1.0, 0.2, 0.0)), pytest.approx((0.0, 0.0, 0.0)))


def test_a_bad_file_keeps_its_hash_and_size_and_nothing_else():
    found = checked(b"text")
    assert found == unusable("a/0.jpg", "not an image", num_bytes=4, sha256=found.sha256)
    assert (len(found.sha256), found.format, found.phash, found.thumbnail) == (64, "", 0, bytes(64))


def test_an_absurdly_small_image_is_bad_and_the_limit_is_exact():
    assert checked(png(0, (30, 3))).reason == "too small: 30 x 3 px"
    assert checked(png(0, (3, 30))).reason == "too small: 3 x 30 px"
    assert checked(png(0, (4, 4))).reason is None
    assert decode(png(0, (1, 1)), MOST).size == (1, 1)


def corrupted(content, draw):
    content = bytearray(content)
    for _ in range(draw.choice([1, 2, 8])):
        content[draw.randrange(len(content))] = draw.randrange(256)
    return bytes(content[: draw.choice([len(content), draw.randrange(1, len(content))])])


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "MPO"])
def test_a_corrupted_image_is_read_or_called_bad_and_nothing_else(kind):
    content, draw = encoded(drawing(0, (24, 20)), kind), random.Random(kind)
    for _ in range(100):
        try:
            assert decode(corrupted(content, draw), MOST).mode == "RGB"
        except BadImage as error:
            bad = str(error)
            assert bad


def test_verdicts_do_not_depend_on_the_number_of_threads(tmp_path):
    files = {f"a/{index}.png": png(index) for index in range(80)} | {"a/bad.png": b"", "b/cut.jpg": JPEG[:500]}
    store = open_images(zip_of(tmp_path / "z.zip", files))
    one, many = (list(inspect_all(store, store.names(), cfg=settings(), workers=count)) for count in (1, 4))
    assert one == many
    assert [found.name for found in one] == store.names()
    limits = {"max_pixels": settings().max_pixels, "min_side": settings().audit.min_side}
    assert one == [inspect(name, content, **limits) for name, content in files.items()]
