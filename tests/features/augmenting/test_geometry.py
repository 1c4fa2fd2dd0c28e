import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode, functional

from src.features.augmenting.geometry import (
    alternating_flip,
    flip,
    pad_crop,
    random_resized_crop,
    resized_crops,
    rotation,
    sheared_x,
    sheared_y,
    shifted,
    turned,
    warped,
)
from tests.features.augmenting.drawn import draws, noise, per_image, photographs

BILINEAR = InterpolationMode.BILINEAR
STILL = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], "interpolation": BILINEAR}


def test_flip_mirrors_exactly_those_drawn_below_p():
    batch, drawn = noise(40), draws(40)
    below = drawn(1)[:, 0] < 0.3
    after = flip(batch, drawn, p=0.3)
    assert 0 < below.sum() < 40
    assert torch.equal(after[below], batch[below].flip(-1))
    assert torch.equal(after[~below], batch[~below])


def test_alternating_flip_shows_each_image_both_ways_in_any_two_epochs_running():
    batch = noise(40)
    seen = [alternating_flip(batch, draws(40, epoch=epoch)) for epoch in range(4)]
    as_it_is = [(after == batch).all(dim=(1, 2, 3)) for after in seen]
    assert 10 < int(as_it_is[0].sum()) < 30
    for before, after in pairwise(as_it_is):
        assert torch.equal(before, ~after)


def test_pad_crop_without_padding_is_the_image_itself():
    batch = noise()
    assert torch.equal(pad_crop(batch, draws(), padding=0.0), batch)


def test_pad_crop_is_one_of_the_windows_of_the_reflected_image():
    (image,) = batch = noise(1)
    after = pad_crop(batch, draws(1), padding=0.125)[0]
    padded = functional.pad(image, [2, 2, 2, 2], padding_mode="reflect")
    windows = [padded[:, top : top + 16, left : left + 16] for top in range(5) for left in range(5)]
    assert sum(torch.equal(after, window) for window in windows) == 1


@pytest.mark.parametrize("img_size", [24, 9, 40])
def test_resized_crops_equal_torchvision_on_whole_pixels(img_size):
    batch = noise(3, side=24)
    boxes = {"top": [6, 0, 1], "left": [3, 0, 20], "height": [12, 24, 5], "width": [10, 24, 4]}
    theirs = per_image(
        lambda image, *box: functional.resized_crop(image, *box, [img_size, img_size], antialias=True),
        *(batch, *boxes.values()),
    )
    top, left, height, width = (torch.tensor(values, dtype=torch.float32) for values in boxes.values())
    ours = resized_crops(batch, (top, height), (left, width), img_size=img_size)
    assert torch.allclose(ours, theirs, atol=2e-5)


def test_random_resized_crop_of_the_whole_area_at_its_own_size_is_the_image_itself():
    batch = noise()
    after = random_resized_crop(batch, draws(), scale=[1.0, 1.0], ratio=[1.0, 1.0], img_size=16)
    assert torch.allclose(after, batch, atol=1e-6)


@pytest.mark.parametrize("side", [16, 25])
def test_turned_images_equal_torchvision(side):
    batch, angles = photographs(4, side), [-135.0, -10.0, 0.0, 33.3]
    theirs = per_image(lambda image, angle: functional.rotate(image, angle, BILINEAR), batch, angles)
    assert torch.allclose(warped(batch, turned(torch.tensor(angles)), fill=0.0), theirs, atol=1e-5)


@pytest.mark.parametrize(("sheared", "axis"), [(sheared_x, 0), (sheared_y, 1)])
def test_sheared_images_equal_torchvision(sheared, axis):
    batch, amounts = photographs(3), [-0.99, 0.1, 0.3]

    def theirs(image, amount):
        shear = [0.0, 0.0]
        shear[axis] = math.degrees(math.atan(amount))
        return functional.affine(image, **STILL | {"shear": shear}, center=[0, 0])

    ours = warped(batch, sheared(torch.tensor(amounts), side=16), fill=0.0)
    assert torch.allclose(ours, per_image(theirs, batch, amounts), atol=1e-5)


def test_shifted_images_equal_torchvision():
    batch, right, down = photographs(3), [-3, 0, 5], [2, 0, -4]
    theirs = per_image(
        lambda image, x, y: functional.affine(image, **STILL | {"translate": [x, y]}), batch, right, down
    )
    matrices = shifted(torch.tensor(right).float(), torch.tensor(down).float())
    assert torch.allclose(warped(batch, matrices, fill=0.0), theirs, atol=1e-5)


def test_what_was_outside_of_a_turned_image_is_filled():
    after = warped(torch.zeros(1, 3, 16, 16), turned(torch.tensor([45.0])), fill=0.75)
    assert torch.allclose(after[0, :, 0, 0], torch.tensor(0.75))
    assert torch.allclose(after[0, :, 8, 8], torch.tensor(0.0))


def test_rotation_turns_each_image_by_its_own_angle_within_the_bounds():
    batch, drawn = photographs(8), draws(8)
    angles = (2 * drawn(1)[:, 0] - 1) * 30
    assert np.ptp(angles) > 30
    theirs = per_image(lambda image, angle: functional.rotate(image, float(angle), BILINEAR), batch, angles)
    assert torch.allclose(rotation(batch, drawn, degrees=30.0, fill=0.0), theirs, atol=1e-5)


def test_rotation_by_no_degrees_is_the_image_itself():
    assert torch.allclose(rotation(noise(), draws(), degrees=0.0, fill=0.5), noise(), atol=1e-6)
