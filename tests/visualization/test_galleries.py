import base64
import io

import numpy as np
import pytest
from PIL import Image

from src.features.packed import PackedSplit
from src.visualization.galleries import MOST_CLASSES, THUMBNAIL_SIDE, class_samples, data_uri


def pack(labels: list[int], num_classes: int) -> PackedSplit:
    """A split whose images are filled with their position."""
    pixels = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (len(labels), 4, 4, 3))
    ids = [str(number) for number in range(len(labels))]
    names = [f"class {number}" for number in range(num_classes)]
    return PackedSplit("train", [pixels], np.array(labels), ids, ids, names, "digest")


def decoded(uri: str) -> tuple[Image.Image, str]:
    head, _, content = uri.partition(";base64,")
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    return image, head


def test_samples_show_only_images_of_their_class_and_none_twice():
    split = pack([0, 1, 0, 1, 0, 1, 0], 2)
    drawn = class_samples(split, 3, np.random.default_rng(0))
    shown = {name: [int(image[0, 0, 0]) for image in images] for name, images in drawn.items()}
    assert set(shown["class 0"]) <= {0, 2, 4, 6}
    assert set(shown["class 1"]) == {1, 3, 5}
    assert len(set(shown["class 0"])) == 3


def test_samples_are_the_same_for_the_same_seed_and_others_for_another():
    split = pack([0] * 200, 1)
    first, again, other = (class_samples(split, 5, np.random.default_rng(seed))["class 0"] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_classes_without_images_and_unlabelled_images_are_left_out():
    assert list(class_samples(pack([-1, 2, -1, 2], 4), 2, np.random.default_rng(0))) == ["class 2"]


def test_of_very_many_classes_a_fixed_number_is_drawn():
    assert len(class_samples(pack(list(range(100)), 100), 2, np.random.default_rng(0))) == MOST_CLASSES


def test_small_images_are_embedded_pixel_by_pixel():
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    image, kind = decoded(data_uri(pixels))
    assert kind == "data:image/png"
    assert np.array_equal(np.asarray(image), pixels)


@pytest.mark.parametrize(("side", "shown"), [(96, 96), (400, THUMBNAIL_SIDE)])
def test_photographs_are_embedded_as_jpeg_thumbnails(side, shown):
    image, kind = decoded(data_uri(np.full((side, side, 3), 90, dtype=np.uint8)))
    assert kind == "data:image/jpeg"
    assert image.size == (shown, shown)
