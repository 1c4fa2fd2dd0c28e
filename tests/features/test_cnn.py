import pytest
import torch

from src.features.cnn import BaselineCNN, num_halvings


@pytest.mark.parametrize("img_size", [4, 5, 8, 9, 28, 32, 64, 96])
def test_any_image_size_gives_one_row_of_logits_per_image(img_size):
    net = BaselineCNN(num_classes=7, img_size=img_size, width=8)
    assert net(torch.randn(2, 3, img_size, img_size)).shape == (2, 7)


def test_side_is_halved_only_while_it_is_larger_than_four():
    assert [num_halvings(side) for side in (4, 5, 8, 16, 32, 64, 224)] == [0, 1, 1, 2, 3, 4, 4]


@pytest.mark.parametrize("img_size", [8, 32, 96, 224])
def test_last_feature_map_is_at_least_two_px(img_size):
    features = BaselineCNN(num_classes=2, img_size=img_size, width=8).features
    assert features(torch.zeros(1, 3, img_size, img_size)).shape[-1] >= 2


def test_width_doubles_with_each_halving_up_to_eight_times():
    features = BaselineCNN(num_classes=2, img_size=224, width=8).features
    assert [stage[-2].num_features for stage in features] == [8, 16, 32, 64, 64]


def test_grey_images_are_taken_when_asked_for():
    assert BaselineCNN(num_classes=2, in_chans=1, img_size=8)(torch.zeros(2, 1, 8, 8)).shape == (2, 2)


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    net = BaselineCNN(num_classes=4, img_size=8, dropout=0.5)
    images = torch.randn(8, 3, 8, 8)
    net.eval()
    assert torch.equal(net(images), net(images))
    net.train()
    assert not torch.equal(net(images), net(images))


def test_first_loss_is_that_of_even_odds():
    torch.manual_seed(0)
    net = BaselineCNN(num_classes=10, img_size=16)
    loss = torch.nn.functional.cross_entropy(net(torch.randn(32, 3, 16, 16)), torch.arange(32) % 10)
    assert loss.item() == pytest.approx(2.303, abs=0.1)
