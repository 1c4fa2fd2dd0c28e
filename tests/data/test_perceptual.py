from io import BytesIO
from itertools import combinations

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st
from PIL import Image

from src.data import perceptual
from src.data.archives import open_images
from src.data.checks import decode
from src.data.perceptual import fingerprint, near_pairs, perceptual_hash, thumbnail
from tests.data.drawn import settings

MOST_PIXELS = 100_000_000
NEAR = {"distance": settings().duplicates.near_distance, "difference": settings().duplicates.near_difference}


def scenery(seed, size=(150, 150)):
    """Soft shapes, as a photograph has them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def recompressed(image, quality):
    file = BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(BytesIO(file.getvalue()))


def brightened(image, levels):
    return Image.fromarray(np.clip(np.asarray(image).astype(int) + levels, 0, 255).astype(np.uint8))


def resized(image, factor):
    return image.resize((round(image.width * factor), round(image.height * factor)))


COPIES = {
    "saved again as JPEG of quality 75": lambda image: recompressed(image, 75),
    "saved again as JPEG of quality 50": lambda image: recompressed(image, 50),
    "a tenth smaller": lambda image: resized(image, 0.9),
    "a tenth larger": lambda image: resized(image, 1.1),
    "half as large": lambda image: resized(image, 0.5),
    "five levels brighter": lambda image: brightened(image, 5),
    "five levels darker": lambda image: brightened(image, -5),
    "all of it": lambda image: brightened(recompressed(resized(image, 0.9), 60), 5),
}


def pairs_of(images, **near):
    """Pairs of near duplicates among images, as a set."""
    found = [fingerprint(image) for image in images]
    thumbnails = np.frombuffer(b"".join(small for _, small in found), np.uint8).reshape(-1, 64)
    pairs = near_pairs(np.array([bits for bits, _ in found], np.uint64), thumbnails, **(near or NEAR))
    return {tuple(pair) for pair in pairs.tolist()}


def by_hand(phashes, thumbnails, distance, difference):
    """Each row against each."""
    contrast = [float(row.std()) for row in thumbnails]
    return [
        [one, other]
        for one, other in combinations(range(len(phashes)), 2)
        if min(contrast[one], contrast[other]) >= perceptual.LEAST_CONTRAST
        and int(phashes[one] ^ phashes[other]).bit_count() <= distance
        and np.abs(thumbnails[one].astype(int) - thumbnails[other]).mean() <= difference * 255
    ]


def crowd(seed, count=120):
    """Hashes and thumbnails around a few centres, so that pairs lie on either side of every limit."""
    draw = np.random.default_rng(seed)
    centres = draw.integers(0, 2**64, 5, dtype=np.uint64)
    shades = draw.integers(0, 256, (5, 64))
    which = draw.integers(0, 5, count)
    phashes = centres[which]
    for row in range(count):
        for bit in draw.choice(64, draw.integers(0, 10), replace=False):
            phashes[row] ^= np.uint64(1) << np.uint64(bit)
    thumbnails = np.clip(shades[which] + draw.integers(-20, 21, (count, 1)), 0, 255).astype(np.uint8)
    thumbnails[::17] = 128
    return phashes, thumbnails


@pytest.fixture(scope="session")
def photographs(real_data):
    """A few hundred real photographs, none of which is a copy of another."""
    store = open_images(real_data("intel-3k.zip"))
    return [decode(content, MOST_PIXELS) for _, content in store.read(store.names()[::12])]


@pytest.mark.parametrize("size", [(150, 150), (33, 80), (8, 8), (500, 20)])
def test_the_hash_is_that_of_imagehash(size):
    image = scenery(1, size)
    assert perceptual_hash(image) == int(str(imagehash.phash(image)), 16)


def test_the_hash_of_real_photographs_is_that_of_imagehash(photographs):
    assert [perceptual_hash(image) for image in photographs] == [
        int(str(imagehash.phash(image)), 16) for image in photographs
    ]


def test_a_thumbnail_is_grey_in_rows_from_the_top():
    image = Image.new("RGB", (80, 80), "black")
    image.paste("white", (0, 0, 80, 40))
    levels = np.frombuffer(thumbnail(image), np.uint8).reshape(8, 8).astype(int)
    assert levels[:3].min() > 240
    assert levels[5:].max() < 15


def test_hash_and_thumbnail_come_at_once_as_they_come_alone():
    assert fingerprint(scenery(0)) == (perceptual_hash(scenery(0)), thumbnail(scenery(0)))


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_is_near(copy):
    assert all(pairs_of([scenery(seed), copy(scenery(seed))]) == {(0, 1)} for seed in range(20))


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_real_photograph_is_near(copy, photographs):
    found = [pairs_of([image, copy(image)]) == {(0, 1)} for image in photographs]
    assert np.mean(found) >= 0.99


def test_different_pictures_are_not_near():
    assert not pairs_of([scenery(seed) for seed in range(200)])


def test_different_real_photographs_are_not_near(photographs):
    assert not pairs_of(photographs)


@pytest.mark.slow
def test_the_near_pairs_of_a_real_set_are_those_that_were_looked_at(real_data):
    store = open_images(real_data("intel-3k.zip"))
    contents = dict(store.read())
    images = [decode(content, MOST_PIXELS) for content in contents.values()]
    names = list(contents)
    found = {tuple(sorted((names[one], names[other]))) for one, other in pairs_of(images)}
    assert len(found) == 4
    assert all(one.split("/")[-2] == other.split("/")[-2] or "seg_pred" in one + other for one, other in found)


def test_blank_pictures_are_near_to_none():
    blank = [Image.new("RGB", (20, 20), (level, level, level)) for level in (0, 128, 130, 255)]
    assert not pairs_of([*blank, blank[1]], distance=16, difference=1.0)


@pytest.mark.parametrize("distance", [0, 1, 3, 6, 9, 16])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_pairs_are_all_there_are(distance, seed):
    phashes, thumbnails = crowd(seed)
    for difference in (0.0, 0.04, 1.0):
        found = near_pairs(phashes, thumbnails, distance=distance, difference=difference)
        assert found.tolist() == by_hand(phashes, thumbnails, distance, difference)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_the_pairs_do_not_depend_on_how_they_are_looked_for(depth, monkeypatch):
    phashes, thumbnails = crowd(2)
    monkeypatch.setattr(perceptual, "_depth", lambda num_rows, distance: depth)
    found = near_pairs(phashes, thumbnails, distance=5, difference=0.1)
    assert found.tolist() == by_hand(phashes, thumbnails, 5, 0.1)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=30), st.integers(0, 16))
@example_settings(max_examples=50, deadline=None)
def test_no_near_hash_is_missed(values, distance):
    flipped = [value ^ ((1 << distance) - 1) for value in values]
    phashes = np.array([*values, *flipped], np.uint64)
    thumbnails = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (len(phashes), 1))
    found = near_pairs(phashes, thumbnails, distance=distance, difference=0.0)
    assert found.tolist() == by_hand(phashes, thumbnails, distance, 0.0)


def test_no_images_have_no_pairs():
    assert near_pairs(np.zeros(0, np.uint64), np.zeros((0, 64), np.uint8), distance=6, difference=0.1).shape == (0, 2)


def test_far_too_many_pairs_are_refused_before_memory_grows(monkeypatch):
    monkeypatch.setattr(perceptual, "MOST_PAIRS", 1000)
    same = np.zeros(200, np.uint64)
    thumbnails = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (200, 1))
    with pytest.raises(ValueError, match=r"more than 1,000 pairs of images are near duplicates by data\.dupl"):
        near_pairs(same, thumbnails, distance=6, difference=0.1)
