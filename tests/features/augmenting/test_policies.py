import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from torchvision.transforms import InterpolationMode, v2

from src.features.augmenting import policies
from src.features.augmenting.policies import (
    AUG_MIX,
    RAND_AUGMENT,
    TRIVIAL_AUGMENT,
    aug_mix,
    mixture_weights,
    operations,
    rand_augment,
    trivial_augment,
)
from tests.features.augmenting.drawn import draws, levels, photographs

THEIRS = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "color": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "auto_contrast": "AutoContrast",
    "equalize": "Equalize",
}
SPACES = [(RAND_AUGMENT, v2.RandAugment, 31), (TRIVIAL_AUGMENT, v2.TrivialAugmentWide, 31), (AUG_MIX, v2.AugMix, 10)]


@pytest.mark.parametrize(("ours", "theirs", "bins"), SPACES)
def test_operations_and_their_amounts_are_those_of_torchvision(ours, theirs, bins):
    space = theirs._AUGMENTATION_SPACE
    assert {THEIRS[name] for name in ours} == set(space)
    for name, reach in ours.items():
        amounts, signed = space[THEIRS[name]]
        expected = amounts(bins, 96, 96)
        assert reach.signed == signed
        if expected is None:
            assert not reach.spread(bins, side=96).any()
        else:
            assert np.allclose(reach.spread(bins, side=96), expected, atol=1e-5), name


@pytest.mark.parametrize("name", operations(fill=0.0))
@pytest.mark.parametrize("level", [0, 13, 30])
@pytest.mark.parametrize("sign", [-1, 1])
def test_an_operation_by_its_amount_equals_torchvision(name, level, sign):
    reach = TRIVIAL_AUGMENT[name]
    amount = float(reach.spread(31, side=32)[level]) * (sign if reach.signed else 1)
    pixels = levels(2, 32)
    # brightness and its like are rounded to whole levels by torchvision where it is given such
    images = pixels if name in ("posterize", "equalize") else pixels.float() / 255
    theirs = v2.TrivialAugmentWide()._apply_image_or_video_transform(
        images, THEIRS[name], amount, InterpolationMode.BILINEAR, {torch.Tensor: None}
    )
    ours = operations(fill=0.0)[name](pixels.float() / 255, torch.tensor([amount, amount]))
    assert torch.allclose(ours, theirs / 255 if theirs.dtype == torch.uint8 else theirs, atol=2e-5)


def expected(batch, space, choices, amounts):
    """Each image after the operation and amount that are its own, one image at a time."""
    names, known = list(space), operations(fill=0.5)
    return torch.cat(
        [
            known[names[choice]](image[None], torch.tensor([amount], dtype=torch.float32))
            for image, choice, amount in zip(batch, choices, amounts, strict=True)
        ]
    )


def amount_of(space, choice, level, number, bins):
    reach = list(space.values())[choice]
    sign = -1 if reach.signed and number < 0.5 else 1
    return sign * reach.spread(bins, side=32)[level]


def test_trivial_augment_applies_to_each_image_its_own_operation_and_amount():
    batch, numbers = photographs(60, 32), draws(60)(3)
    choices = (numbers[:, 0] * 14).astype(int)
    amounts = [
        amount_of(TRIVIAL_AUGMENT, choice, int(31 * third), second, 31)
        for choice, (_, second, third) in zip(choices, numbers, strict=True)
    ]
    after = trivial_augment(batch, draws(60), num_bins=31, fill=0.5)
    assert set(choices) == set(range(14))
    assert torch.allclose(after, expected(batch, TRIVIAL_AUGMENT, choices, amounts), atol=1e-6)


def test_rand_augment_applies_its_operations_one_after_the_other_at_one_level():
    batch, numbers = photographs(30, 32), draws(30)(4).reshape(30, 2, 2)
    choices = (numbers[..., 0] * 14).astype(int)
    images = batch
    for step in range(2):
        signs = numbers[:, step, 1]
        amounts = [amount_of(RAND_AUGMENT, c, 9, sign, 31) for c, sign in zip(choices[:, step], signs, strict=True)]
        images = expected(images, RAND_AUGMENT, choices[:, step], amounts)
    after = rand_augment(batch, draws(30), num_ops=2, magnitude=9, num_bins=31, fill=0.5)
    assert torch.allclose(after, images, atol=1e-6)


def test_a_magnitude_beyond_the_levels_is_refused():
    with pytest.raises(ValueError, match=r"magnitude=31 is no level of num_bins=31; allowed: 0 to 30"):
        rand_augment(photographs(), draws(), num_ops=2, magnitude=31, num_bins=31, fill=0.5)


def test_weights_of_aug_mix_add_up_to_one_and_follow_the_beta_distribution():
    itself, weights = mixture_weights(draws(2000)(5), 1.0)
    assert np.allclose(itself + weights.sum(axis=1), 1)
    assert kstest(itself, beta(1, 1).cdf).pvalue > 0.01
    # of a Dirichlet number of three equal parts each is Beta(1, 2)
    assert kstest(weights[:, 0] / (1 - itself), beta(1, 2).cdf).pvalue > 0.01


def test_aug_mix_is_the_weighted_sum_of_the_image_and_its_chains():
    batch, numbers = photographs(4, 32), draws(4)(3 * 10 + 5)
    itself, weights = mixture_weights(numbers[:, 30:], 1.0)
    for row, image in enumerate(batch):
        mixed = itself[row] * image
        for number in range(3):
            first, *steps = numbers[row, 10 * number : 10 * number + 10].tolist()
            chain = image[None]
            for step in range(1 + int(3 * first)):
                pick, way, level = steps[3 * step : 3 * step + 3]
                amount = amount_of(AUG_MIX, int(13 * pick), int(3 * level), way, 10)
                chain = expected(chain, AUG_MIX, [int(13 * pick)], [amount])
            mixed = mixed + weights[row, number] * chain[0]
        ours = aug_mix(batch, draws(4), severity=3, width=3, alpha=1.0, fill=0.5)[row]
        assert torch.allclose(ours, mixed.float(), atol=1e-5)


def test_every_operation_is_in_a_space():
    assert set(operations(fill=0.0)) == {*RAND_AUGMENT, *TRIVIAL_AUGMENT, *AUG_MIX}
    assert policies.SEVERITIES == v2.AugMix()._PARAMETER_MAX
