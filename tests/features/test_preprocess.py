import numpy as np
import pytest
import torch
from PIL import Image

from src.features.inputs import model_input, unit_images
from src.features.preprocess import Preprocess


def make(**changes) -> Preprocess:
    values = {
        "size": 8,
        "resize": "crop",
        "interpolation": "bilinear",
        "img_size": 8,
        "input_interpolation": "bilinear",
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.3, 0.4),
    }
    return Preprocess(**(values | changes))


def wide_image() -> Image.Image:
    """Red, green and blue thirds, 48 x 16 px."""
    pixels = np.zeros((16, 48, 3), dtype=np.uint8)
    for third in range(3):
        pixels[:, 16 * third : 16 * third + 16, third] = 255
    return Image.fromarray(pixels)


def test_an_image_of_the_right_size_is_packed_untouched():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(make().pack(Image.fromarray(pixels)), pixels)


def test_crop_keeps_the_middle_squash_keeps_all_and_pad_adds_a_black_border():
    # at the very edge the filter reaches into what is cut off, as in torchvision's resize and centre crop
    crop = make().pack(wide_image())[:, 1:-1]
    assert (crop[..., 1] == 255).all()
    assert (crop[..., [0, 2]] == 0).all()
    squash = make(resize="squash", size=12).pack(wide_image())
    assert [squash[5, column].argmax() for column in (1, 6, 10)] == [0, 1, 2]
    pad = make(resize="pad", size=48).pack(wide_image())
    assert (pad[:16] == 0).all()
    assert (pad[32:] == 0).all()
    assert (pad[16:32] == np.asarray(wide_image())).all()


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("size", [(1, 300), (300, 1), (9, 7)])
def test_any_shape_is_packed_to_the_square(resize, size):
    assert make(resize=resize).pack(Image.new("RGB", size)).shape == (8, 8, 3)


def test_settings_survive_the_way_through_json():
    import json

    settings = make(img_size=16)
    assert Preprocess.from_tree(json.loads(json.dumps(settings.as_tree()))) == settings


def test_input_is_scaled_normalised_and_resized_as_torchvision_does():
    from torchvision.transforms.v2 import functional

    pixels = torch.randint(0, 256, (2, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    settings = make(img_size=5)
    expected = functional.resize(pixels.permute(0, 3, 1, 2).float() / 255, [5, 5], antialias=True)
    expected = functional.normalize(expected, settings.mean, settings.std)
    assert torch.allclose(model_input(unit_images(pixels), settings), expected, atol=1e-6)
