import numpy as np
import pytest

from src.features.appearance import appearance

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)


def flat(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((1, 16, 16, 3), colour, dtype=np.uint8)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (flat((255, 255, 255)), (1, 0, 0, 0)),
        (flat((0, 0, 0)), (0, 0, 0, 0)),
        (flat((255, 0, 0)), (0.299, 0, 1, 0)),
        (
            np.tile(flat((0, 0, 0)), 1) + np.uint8(255) * (np.arange(16) % 2).astype(np.uint8)[None, :, None, None],
            (0.5, 0.5, 0, 0.5),
        ),
    ],
)
def test_measures_are_what_they_say(pixels, expected):
    found = appearance(pixels)
    names = ("brightness", "contrast", "saturation", "sharpness")
    assert [float(found[name][0]) for name in names] == pytest.approx(expected, abs=1e-5)


def test_each_image_is_measured_by_itself():
    together = appearance(NOISE)
    for row in range(len(NOISE)):
        alone = appearance(NOISE[row : row + 1])
        assert all(np.allclose(alone[name], values[row], atol=1e-6) for name, values in together.items())


def test_a_dark_picture_is_darker_and_a_blurred_one_less_sharp():
    looks, dark = appearance(NOISE), appearance(NOISE // 2)
    smooth = ((NOISE.astype(int) + np.roll(NOISE, 1, axis=2).astype(int)) // 2).astype(np.uint8)
    assert (dark["brightness"] < looks["brightness"]).all()
    assert (appearance(smooth)["sharpness"] < looks["sharpness"]).all()
