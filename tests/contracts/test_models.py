"""Every preset of `configs/model` is a network that can be trained: a new preset is tested by being there."""

import pytest
import torch

from src.compose import compose
from src.features.backbones import build_model, num_params
from src.selection import groups, parse

PRESETS = [preset for preset in groups()["model"] if preset not in ("timm", "linear_probe")]
NEEDS_32 = {"vgg11_bn", "vgg16_bn"}
NUM_CLASSES = 3
# the classifier of VGG holds 120 million weights that teach nothing here
NARROW = {preset: ["model.options.mlp_ratio=0.01"] for preset in NEEDS_32}


def _built(preset, img_size, *, seed=0):
    torch.manual_seed(seed)
    cfg = compose(parse([f"model={preset}", *NARROW.get(preset, [])])).model
    return build_model(cfg, num_classes=NUM_CLASSES, img_size=img_size)


@pytest.fixture(scope="module", params=PRESETS)
def built(request):
    """A preset's network at 32 px, built once for all tests of it."""
    return request.param, _built(request.param, 32)


def test_preset_gives_finite_logits_and_gradients_of_every_parameter_at_32_px(built):
    _, model = built
    logits = model.train()(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, NUM_CLASSES)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2]))
    loss.backward()
    assert torch.isfinite(loss)
    assert loss.item() < 20
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    not_finite = [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter.grad).all()]
    assert without == []
    assert not_finite == []
    model.zero_grad(set_to_none=True)


def test_state_dict_of_a_preset_gives_the_same_logits_in_a_fresh_network(built):
    preset, model = built
    fresh = _built(preset, 32, seed=1).eval()
    images = torch.randn(2, 3, 32, 32)
    model.eval()
    with torch.no_grad():
        assert not torch.equal(fresh(images), model(images))
        fresh.load_state_dict(model.state_dict())
        assert torch.equal(fresh(images), model(images))


@pytest.mark.parametrize("preset", PRESETS)
def test_preset_takes_8_px_digits_or_says_what_it_needs(preset):
    if preset in NEEDS_32:
        with pytest.raises(ValueError, match=r"cannot take images of 8 px and needs at least 32 px"):
            _built(preset, 8)
        return
    model = _built(preset, 8)
    logits = model(torch.randn(4, 3, 8, 8))
    logits.sum().backward()
    assert logits.shape == (4, NUM_CLASSES)
    assert torch.isfinite(logits).all()


@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted(NEEDS_32))
def test_vgg_at_its_full_size_gives_gradients(preset):
    model = build_model(compose(parse([f"model={preset}"])).model, num_classes=NUM_CLASSES, img_size=32)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert num_params(model) > 100_000_000
    assert all(parameter.grad is not None for parameter in model.parameters())
