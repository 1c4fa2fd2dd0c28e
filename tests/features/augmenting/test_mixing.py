import numpy as np
import pytest
import torch
from scipy.stats import beta, kstest
from torchvision.transforms import v2

from src.features.augmenting.mixing import cutmix, mixup
from tests.features.augmenting.drawn import draws, noise

CLASSES = 7


def pairs(count: int = 6, side: int = 16):
    """Images and targets, each with its partner's: the one before it."""
    images, targets = noise(count, side), torch.eye(CLASSES)[torch.arange(count) % CLASSES]
    return (images, images.roll(1, 0)), (targets, targets.roll(1, 0))


def test_mixup_equals_torchvision_given_the_share_of_each_image():
    images, targets = pairs()
    mixed, mixed_targets = mixup(images, targets, draws(), alpha=0.4)
    shares = beta.ppf(draws()(1)[:, 0], 0.4, 0.4)
    for row, share in enumerate(shares):
        theirs = v2.MixUp(num_classes=CLASSES)
        params = {"labels": targets[0], "batch_size": 6, "lam": float(share)}
        assert torch.allclose(mixed[row], theirs.transform(images[0], params)[row], atol=1e-6)
        assert torch.allclose(mixed_targets[row], theirs.transform(targets[0], params)[row], atol=1e-6)
    assert np.ptp(shares) > 0.5


def test_cutmix_equals_torchvision_given_the_box_of_each_image():
    images, targets = pairs(20)
    mixed, mixed_targets = cutmix(images, targets, draws(20), alpha=1.0)
    for row, (share, *centre) in enumerate(draws(20)(3).tolist()):
        # as v2.CutMix.make_params has it; Beta(1, 1) is the uniform distribution
        half = int(0.5 * (1 - share) ** 0.5 * 16)
        y, x = (int(16 * place) for place in centre)
        box = (max(x - half, 0), max(y - half, 0), min(x + half, 16), min(y + half, 16))
        lam = 1 - (box[2] - box[0]) * (box[3] - box[1]) / 256
        params = {"labels": targets[0], "batch_size": 20, "box": box, "lam_adjusted": lam}
        theirs = v2.CutMix(num_classes=CLASSES)
        assert torch.equal(mixed[row], theirs.transform(images[0], params)[row])
        assert torch.allclose(mixed_targets[row], theirs.transform(targets[0], params)[row], atol=1e-6)


def test_the_target_of_cutmix_is_the_share_of_the_pixels():
    count = 50
    images = (torch.ones(count, 3, 16, 16), torch.zeros(count, 3, 16, 16))
    targets = (torch.eye(2)[torch.zeros(count, dtype=torch.long)], torch.eye(2)[torch.ones(count, dtype=torch.long)])
    mixed, mixed_targets = cutmix(images, targets, draws(count), alpha=1.0)
    assert torch.allclose(mixed.mean(dim=(1, 2, 3)), mixed_targets[:, 0], atol=1e-6)
    assert len(mixed_targets[:, 0].unique()) > 10


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_a_mix_of_one_image_depends_on_its_partner_and_on_nothing_else(mix):
    images, targets = pairs()
    whole = mix(images, targets, draws(), alpha=1.0)
    alone = mix((images[0][4:5], images[1][4:5]), (targets[0][4:5], targets[1][4:5]), draws(1, first=4), alpha=1.0)
    assert torch.equal(alone[0], whole[0][4:5])
    assert torch.equal(alone[1], whole[1][4:5])


def test_shares_of_mixup_follow_the_beta_distribution():
    count = 2000
    images = (torch.ones(count, 1, 1, 1), torch.zeros(count, 1, 1, 1))
    targets = (torch.ones(count, 1), torch.zeros(count, 1))
    mixed, _ = mixup(images, targets, draws(count), alpha=0.2)
    assert kstest(mixed.flatten().numpy(), beta(0.2, 0.2).cdf).pvalue > 0.01
