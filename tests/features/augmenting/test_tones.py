import torch
from torchvision.transforms.v2 import functional

from src.features.augmenting.tones import equalized, posterized, solarized, stretched
from tests.features.augmenting.drawn import levels, noise, per_image, photographs


def unit(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.float() / 255


def test_posterized_levels_equal_those_of_torchvision():
    bits = [8, 7, 5, 4, 2, 0]
    theirs = unit(per_image(functional.posterize, levels(), bits))
    assert torch.allclose(posterized(photographs(), torch.tensor(bits).float()), theirs, atol=1e-6)


def test_solarized_images_equal_torchvision():
    thresholds = [0.0, 0.25, 0.5, 0.7, 0.9, 1.0]
    theirs = per_image(functional.solarize, photographs(), thresholds)
    assert torch.equal(solarized(photographs(), torch.tensor(thresholds)), theirs)


def test_stretched_images_equal_torchvision_and_a_flat_channel_stays():
    batch = photographs()
    batch[0, 1] = 0.3
    assert torch.allclose(stretched(batch), functional.autocontrast(batch.clone()), atol=1e-6)
    assert torch.equal(stretched(batch)[0, 1], batch[0, 1])


def test_equalized_images_equal_torchvision_level_by_level():
    pixels = levels(6, 32)
    pixels[0, 1] = 77
    pixels[1, 2, :16] = 255
    assert torch.allclose(equalized(unit(pixels)), unit(functional.equalize(pixels)), atol=1e-6)


def test_equalizing_leaves_an_image_of_too_few_pixels_as_it_is():
    # as Pillow does: 8 x 8 pixels are fewer than the levels
    assert torch.equal(equalized(noise(2, 8)), noise(2, 8))
