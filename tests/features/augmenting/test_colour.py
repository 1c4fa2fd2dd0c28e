import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from src.features.augmenting import colour
from src.features.augmenting.colour import brightness_contrast, colour_jitter, grayscale, luminance
from tests.features.augmenting.drawn import draws, noise, per_image, photographs

FACTORS = [0.0, 0.3, 1.0, 1.7]
OFF = dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (colour.with_brightness, functional.adjust_brightness),
        (colour.with_contrast, functional.adjust_contrast),
        (colour.with_saturation, functional.adjust_saturation),
    ],
)
def test_factors_act_as_in_torchvision(ours, theirs):
    batch = photographs(4)
    assert torch.allclose(ours(batch, torch.tensor(FACTORS)), per_image(theirs, batch, FACTORS), atol=1e-6)


def test_hue_turns_as_in_torchvision():
    batch, turns = torch.cat([noise(2), photographs(3)]), [-0.5, -0.2, 0.0, 0.1, 0.5]
    theirs = per_image(functional.adjust_hue, batch, turns)
    assert torch.allclose(colour.with_hue(batch, torch.tensor(turns)), theirs, atol=1e-5)


def test_hue_of_grey_white_and_black_stays_as_it_is():
    batch = torch.tensor([0.0, 0.4, 1.0]).view(3, 1, 1, 1).expand(3, 3, 4, 4).contiguous()
    assert torch.equal(colour.with_hue(batch, torch.tensor([0.3, 0.3, 0.3])), batch)


def test_luminance_equals_torchvision():
    assert torch.allclose(luminance(photographs()), functional.rgb_to_grayscale(photographs()), atol=1e-6)


def test_grayscale_takes_the_colour_of_exactly_those_drawn_below_p():
    batch, drawn = photographs(40), draws(40)
    below = drawn(1)[:, 0] < 0.3
    after = grayscale(batch, drawn, p=0.3)
    theirs = functional.rgb_to_grayscale(batch, num_output_channels=3)
    assert 0 < below.sum() < 40
    assert torch.allclose(after[below], theirs[below], atol=1e-6)
    assert torch.equal(after[~below], batch[~below])


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("brightness", functional.adjust_brightness),
        ("contrast", functional.adjust_contrast),
        ("saturation", functional.adjust_saturation),
    ],
)
def test_a_jitter_of_one_kind_is_that_change_by_a_factor_of_each_images_own(name, theirs):
    batch, drawn = photographs(), draws()
    place = list(OFF).index(name)
    factors = 0.6 + 0.8 * drawn(8)[:, 0]
    after = colour_jitter(batch, drawn, **OFF | {name: 0.4})
    assert place < 3
    assert torch.allclose(after, per_image(theirs, batch, factors.tolist()), atol=1e-6)


def test_a_jitter_of_the_hue_turns_it_by_a_share_of_each_images_own():
    batch, drawn = photographs(), draws()
    turns = 0.1 * (2 * drawn(8)[:, 0] - 1)
    theirs = per_image(functional.adjust_hue, batch, turns.tolist())
    assert torch.allclose(colour_jitter(batch, drawn, **OFF | {"hue": 0.1}), theirs, atol=1e-5)


def test_a_jitter_applies_its_changes_in_an_order_of_each_images_own():
    batch, drawn = photographs(20), draws(20)
    numbers = drawn(8)
    factors = 0.5 + numbers[:, :2]
    brightness_first = np.argsort(numbers[:, 4:6], axis=1)[:, 0] == 0
    after = colour_jitter(batch, drawn, **OFF | {"brightness": 0.5, "contrast": 0.5})
    assert 0 < brightness_first.sum() < 20
    for image, result, (gain, stretch), first in zip(batch, after, factors.tolist(), brightness_first, strict=True):
        brighter = functional.adjust_brightness
        starker = functional.adjust_contrast
        one = starker(brighter(image, gain), stretch)
        other = brighter(starker(image, stretch), gain)
        assert torch.allclose(result, one if first else other, atol=1e-6)


def test_changes_of_strength_zero_are_none():
    assert torch.equal(colour_jitter(noise(), draws(), **OFF), noise())
    assert torch.allclose(brightness_contrast(noise(), draws(), brightness=0.0, contrast=0.0), noise(), atol=1e-6)


def test_strong_jitter_never_asks_for_a_negative_factor():
    after = colour_jitter(photographs(50), draws(50), brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5)
    assert float(after.min()) >= 0
    assert float(after.max()) <= 1
