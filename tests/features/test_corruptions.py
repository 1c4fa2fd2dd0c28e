import numpy as np
import pytest

from src.compose import compose
from src.features.corruptions import CORRUPTIONS, corrupted
from src.selection import parse


def photographs() -> np.ndarray:
    """Smooth images with edges, as corruptions meet them."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :48]
    image = 60 + 90 * (rows > 20) + columns
    return np.stack([np.clip(image[..., None] + rng.normal(0, 4, (48, 48, 3)), 0, 255) for _ in range(3)]).astype(
        "uint8"
    )


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_is_the_same_on_every_call_and_changes_more_with_its_strength(name):
    images = photographs()
    found = [corrupted(images, name, strength, seed=1) for strength in (1, 2, 3)]
    assert all(each.dtype == np.uint8 and each.shape == images.shape for each in found)
    assert (found[0] == corrupted(images, name, 1, seed=1)).all()
    changes = [np.abs(each.astype(float) - images).mean() for each in found]
    assert 0 < changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("name", ["noise", "fog"])
def test_each_image_and_each_seed_has_draws_of_its_own(name):
    images = np.repeat(photographs()[:1], 2, axis=0)
    first, second = corrupted(images, name, 2, seed=1)
    assert (first != second).any()
    assert (first != corrupted(images, name, 2, seed=2)[0]).any()


def test_brightness_contrast_and_blur_do_what_they_are_called():
    images = photographs()
    assert corrupted(images, "brightness", 3, seed=0).mean() > images.mean() + 50
    assert corrupted(images, "contrast", 3, seed=0).std() < 0.5 * images.std()
    steps = [
        np.abs(np.diff(each.astype(float), axis=1)).max() for each in (images, corrupted(images, "blur", 3, seed=0))
    ]
    assert steps[1] < 0.7 * steps[0]


def test_every_entry_is_allowed_by_the_configuration_and_no_other():
    for name in CORRUPTIONS:
        assert compose(parse([f"predict.corruptions.names=[{name}]"])).predict.corruptions.names == [name]
    with pytest.raises(ValueError, match=r"predict.corruptions.names.0=\"rain\" should be 'noise', 'blur'"):
        compose(parse(["predict.corruptions.names=[rain]"]))
