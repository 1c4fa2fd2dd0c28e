import pytest
import torch
from torchvision.transforms.v2 import functional

from src.features.augmenting.filters import blurred, gaussian_blur, sharpened
from tests.features.augmenting.drawn import draws, noise, per_image, photographs


@pytest.mark.parametrize("radius", [1, 4, 15])
def test_blurred_images_equal_torchvision(radius):
    batch, deviations = noise(4), [0.1, 0.7, 1.5, 3.0]
    taps = 2 * radius + 1
    theirs = per_image(lambda image, sigma: functional.gaussian_blur(image, [taps, taps], [sigma]), batch, deviations)
    assert torch.allclose(blurred(batch, torch.tensor(deviations), radius=radius), theirs, atol=1e-5)


def test_gaussian_blur_takes_exactly_those_drawn_below_p_by_their_own_deviation():
    batch, drawn = noise(20), draws(20)
    numbers = drawn(2)
    after = gaussian_blur(batch, drawn, sigma=[0.5, 1.5], p=0.5)
    for image, result, (chance, place) in zip(batch, after, numbers.tolist(), strict=True):
        theirs = functional.gaussian_blur(image, [11, 11], [0.5 + place])
        assert torch.allclose(result, theirs if chance < 0.5 else image, atol=1e-5)
    assert 0 < (numbers[:, 0] < 0.5).sum() < 20


def test_a_blur_wider_than_the_image_stays_inside_it():
    after = gaussian_blur(noise(2, 4), draws(2), sigma=[3.0, 3.0], p=1.0)
    assert float(after.std()) < 0.5 * float(noise(2, 4).std())


def test_sharpened_images_equal_torchvision():
    batch, factors = photographs(5), [0.0, 0.5, 1.0, 1.4, 1.99]
    theirs = per_image(functional.adjust_sharpness, batch, factors)
    assert torch.allclose(sharpened(batch, torch.tensor(factors)), theirs, atol=1e-6)


def test_an_image_without_an_inside_is_not_sharpened():
    assert torch.equal(sharpened(noise(2, 2), torch.tensor([0.0, 2.0])), noise(2, 2))
