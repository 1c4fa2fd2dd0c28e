import pytest
import torch
from timm.utils import adaptive_clip_grad
from torch import nn

from src.compose import compose
from src.features.cnn import BaselineCNN
from src.models.recipes.clipping import CLIPS, build_clip
from src.schema import Component
from src.selection import Selection

OPTIONS = {"norm": {"limit": 0.05}, "value": {"limit": 0.001}, "adaptive": {"limit": 0.01, "floor": 1e-3}}


@pytest.fixture
def model() -> nn.Module:
    """A net with gradients."""
    return with_gradients()


def with_gradients() -> nn.Module:
    torch.manual_seed(0)
    made = BaselineCNN(num_classes=3, img_size=8, width=4)
    made(torch.randn(6, 3, 8, 8)).square().sum().backward()
    return made


def clip(name: str, **options):
    return build_clip(Component(name=name, options=OPTIONS[name] | options))


def grads(model: nn.Module) -> list[torch.Tensor]:
    return [weight.grad.clone() for weight in model.parameters()]


def norm(found: list[torch.Tensor]) -> float:
    return float(torch.cat([grad.flatten() for grad in found]).norm())


def test_every_entry_of_the_table_is_tested():
    assert set(OPTIONS) == set(CLIPS)


@pytest.mark.parametrize("name", CLIPS)
def test_every_clip_shrinks_large_gradients_and_leaves_small_ones_as_they_are(name, model):
    before = grads(model)
    clip(name, limit=1e9)(model)
    assert all(torch.equal(one, other) for one, other in zip(before, grads(model), strict=True))
    clip(name)(model)
    assert norm(grads(model)) < norm(before)


@pytest.mark.parametrize("name", CLIPS)
def test_every_clip_takes_weights_without_a_gradient(name, model):
    model.head.bias.grad = None
    clip(name)(model)
    assert model.head.bias.grad is None


def test_norm_equals_torch(model):
    other = with_gradients()
    clip("norm")(model)
    nn.utils.clip_grad_norm_(other.parameters(), 0.05)
    assert norm(grads(model)) == pytest.approx(0.05, rel=1e-4)
    assert all(torch.equal(one, two) for one, two in zip(grads(model), grads(other), strict=True))


def test_value_equals_torch(model):
    other = with_gradients()
    clip("value")(model)
    nn.utils.clip_grad_value_(other.parameters(), 0.001)
    assert all(torch.equal(one, two) for one, two in zip(grads(model), grads(other), strict=True))
    assert max(float(grad.abs().max()) for grad in grads(model)) <= 0.001 * 1.0001


def test_adaptive_equals_timm_and_spares_the_head(model):
    other = with_gradients()
    clip("adaptive")(model)
    adaptive_clip_grad(other.features.parameters(), clip_factor=0.01, eps=1e-3)
    assert all(torch.equal(one, two) for one, two in zip(grads(model), grads(other), strict=True))


def test_adaptive_bounds_each_unit_by_its_own_weights(model):
    clip("adaptive")(model)
    for weight in model.features.parameters():
        if weight.ndim > 1:
            units = weight.flatten(1).norm(dim=1).clamp(min=1e-3)
            assert (weight.grad.flatten(1).norm(dim=1) <= 0.01 * units * 1.0001).all()


def test_without_a_clip_gradients_stay(model):
    before = grads(model)
    build_clip(None)(model)
    assert all(torch.equal(one, other) for one, other in zip(before, grads(model), strict=True))


def test_the_default_is_the_norm_of_one():
    assert compose(Selection()).train.clip == Component(name="norm", options={"limit": 1.0})


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (Component(name="norms", options={}), r"train.clip.name=norms is unknown; did you mean norm"),
        (Component(name="norm", options={}), r"train.clip.options: norm needs limit"),
        (
            Component(name="norm", options={"limit": 1.0, "floor": 1.0}),
            r"train.clip.options.floor: norm takes no floor",
        ),
        (Component(name="value", options={"limit": 0}), r"train.clip.options.limit=0 should be a number above 0"),
        (Component(name="value", options={"limit": "a"}), r"train.clip.options.limit=a should be a number above 0"),
    ],
)
def test_a_wrong_clip_is_one_sentence_that_names_it(component, message):
    with pytest.raises(ValueError, match=message):
        build_clip(component)
