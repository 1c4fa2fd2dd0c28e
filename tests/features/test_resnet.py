import pytest
import torch
from torch import nn

from src.features.resnet import ResidualBlock, ResidualCNN


def _block(in_width, out_width, stride, **options):
    settings = {"drop_path": 0.0, "zero_init": True, **options}
    return ResidualBlock(in_width, out_width, stride=stride, **settings)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("in_width", "out_width", "stride"), [(8, 8, 1), (8, 16, 1), (8, 8, 2), (8, 16, 2)])
def test_block_with_zeroed_branch_returns_its_shortcut_exactly(in_width, out_width, stride, training):
    block = _block(in_width, out_width, stride).train(training)
    images = torch.randn(4, in_width, 9, 9)
    assert torch.equal(block(images), block.shortcut(images))


def test_block_that_is_not_zeroed_adds_its_branch():
    block = _block(8, 16, 2, zero_init=False).eval()
    images = torch.randn(4, 8, 9, 9)
    assert not torch.allclose(block(images), block.shortcut(images))
    assert torch.equal(block(images), block.shortcut(images) + block.branch(images))


def test_shortcut_of_equal_dimensions_is_the_input_itself():
    images = torch.randn(2, 8, 6, 6)
    assert _block(8, 8, 1).shortcut(images) is images


def test_shortcut_of_other_dimensions_averages_pixels_and_adds_zero_channels():
    images = torch.randn(2, 8, 6, 6)
    shortcut = _block(8, 12, 2).shortcut(images)
    averages = images.unfold(2, 2, 2).unfold(3, 2, 2).mean((-1, -2))
    assert shortcut.shape == (2, 12, 3, 3)
    assert torch.allclose(shortcut[:, :8], averages, atol=1e-6)
    assert torch.equal(shortcut[:, 8:], torch.zeros(2, 4, 3, 3))


def test_every_parameter_of_a_block_is_in_its_branch():
    block = _block(8, 16, 2)
    images = torch.randn(2, 8, 8, 8, requires_grad=True)
    block.shortcut(images).sum().backward()
    assert all(parameter.grad is None for parameter in block.parameters())
    block.branch(images).sum().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())


def test_net_has_exactly_four_residual_blocks():
    net = ResidualCNN(num_classes=3, img_size=32, width=0.125)
    assert sum(isinstance(module, ResidualBlock) for module in net.modules()) == 4


def test_zeroed_net_equals_its_stem_pooled_and_padded_before_the_head():
    net = ResidualCNN(num_classes=3, img_size=32, width=0.125).eval()
    images = torch.randn(2, 3, 32, 32)
    maps = net.stem(images)
    for block in net.blocks:
        maps = block.shortcut(maps)
    assert torch.equal(net.blocks(net.stem(images)), maps)


@pytest.mark.parametrize(("img_size", "side"), [(4, 4), (8, 4), (28, 4), (32, 4), (64, 4), (96, 3), (224, 7)])
def test_last_feature_map_has_a_few_px_at_any_image_size(img_size, side):
    net = ResidualCNN(num_classes=3, img_size=img_size, width=0.125).eval()
    images = torch.zeros(1, 3, img_size, img_size)
    assert net.blocks(net.stem(images)).shape[-1] == side
    assert net(images).shape == (1, 3)


def test_width_scales_all_widths_in_steps_of_eight():
    net = ResidualCNN(num_classes=3, img_size=32, width=0.6, widths=(64, 128, 192, 256))
    assert [block.conv2.out_channels for block in net.blocks] == [40, 80, 112, 152]


@pytest.mark.parametrize("widths", [(64, 128, 256), (64, 32, 128, 256)])
def test_wrong_widths_are_refused_with_what_is_allowed(widths):
    with pytest.raises(ValueError, match=r"model.options.widths=\[64, .*4 widths that never fall"):
        ResidualCNN(num_classes=3, img_size=32, widths=widths)


def test_drop_path_of_one_is_refused():
    with pytest.raises(ValueError, match=r"model.options.drop_path=1.0 should be .* less than 1"):
        ResidualCNN(num_classes=3, img_size=32, drop_path=1.0)


def test_drop_path_leaves_some_images_their_shortcut_and_scales_the_others():
    torch.manual_seed(0)
    block = _block(8, 8, 1, drop_path=0.5, zero_init=False).train()
    images = torch.randn(64, 8, 4, 4)
    with torch.no_grad():
        added, branch = block(images) - images, block.branch(images)
    dropped = (added == 0).flatten(1).all(1)
    assert 16 < int(dropped.sum()) < 48
    assert torch.allclose(added[~dropped], 2 * branch[~dropped], atol=1e-4)


def test_drop_path_does_nothing_in_evaluation():
    block = _block(8, 8, 1, drop_path=0.5, zero_init=False).eval()
    images = torch.randn(16, 8, 4, 4)
    assert torch.equal(block(images), images + block.branch(images))


def test_net_learns_to_tell_two_textures():
    torch.manual_seed(0)
    net = ResidualCNN(num_classes=2, img_size=8, width=0.125)
    stripes = (torch.arange(8) % 2).float().expand(3, 8, 8)
    images = torch.stack([stripes, stripes.mT] * 16) + 0.3 * torch.randn(32, 3, 8, 8)
    labels = torch.tensor([0, 1] * 16)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(12):
        loss = nn.functional.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (net.eval()(images).argmax(1) == labels).float().mean() == 1.0
