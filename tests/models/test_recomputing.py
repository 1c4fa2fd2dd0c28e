"""Gradient checkpointing trains the same network with less memory, or says that it cannot."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from src.features.backbones import OWN_NETS, build_model
from src.models.engine.preparing import prepare
from src.models.engine.recomputing import recompute
from src.models.signals import StopFlag
from tests.models.conftest import configured
from tests.models.test_resume import stopped_after
from tests.models.test_team import VIT

# stochastic depth and dropout draw random numbers in the blocks that are computed twice
RANDOM_VIT = [
    *VIT,
    "model.options={patch_size: 4, depth: 3, embed_dim: 48, num_heads: 2, drop_path_rate: 0.3, proj_drop_rate: 0.2}",
]
RESNET = ["model=timm", "model.name=test_resnet", "model.options={}", "model.stem=plain", "model.img_size=32"]


def rows(config, *overrides: str) -> list[dict[str, float]]:
    training = prepare(config(*overrides))
    training.run(StopFlag())
    return [[row[key] for key in ("train/loss", "train/acc", "val/loss", "val/acc")] for row in training.rows]


@pytest.mark.parametrize("settings", [RANDOM_VIT, RESNET], ids=["vit", "resnet"])
def test_a_run_has_the_same_losses_with_it_as_without(project, config, settings):
    plain = rows(config, *settings, "run_dir=models/plain")
    again = rows(config, *settings, "run_dir=models/again", "train.gradient_checkpointing=true")
    for one, other in zip(plain, again, strict=True):
        assert other == pytest.approx(one, rel=1e-5)


def network(*overrides: str, twice: bool) -> torch.nn.Module:
    torch.manual_seed(0)
    cfg = configured(*overrides).model
    model = build_model(cfg, num_classes=3, img_size=cfg.img_size).train()
    if twice:
        recompute(model, name=cfg.name)
    return model


def kept_bytes(model: torch.nn.Module, images: torch.Tensor) -> int:
    """Bytes that the forward pass keeps for the backward one, weights left out."""
    weights = {weight.data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(images).sum()
    total = sum(kept.values())
    loss.backward()
    return total


@pytest.mark.parametrize(("settings", "share"), [(RANDOM_VIT, 0.5), (RESNET, 0.8)], ids=["vit", "resnet"])
def test_less_is_kept_for_the_backward_pass(settings, share):
    side = configured(*settings).model.img_size
    images = torch.randn(4, 3, side, side)
    plain, again = (kept_bytes(network(*settings, twice=twice), images) for twice in (False, True))
    assert again < share * plain


def test_running_statistics_of_batch_norm_are_those_of_one_pass():
    images = torch.randn(4, 3, 32, 32)
    plain, again = (network(*RESNET, twice=twice) for twice in (False, True))
    for model in (plain, again):
        for _ in range(2):
            model(images).square().sum().backward()
    before, after = dict(plain.named_buffers()), dict(again.named_buffers())
    assert any(name.endswith("num_batches_tracked") for name in before)
    assert all(torch.equal(before[name], after[name]) for name in before)
    for (name, one), other in zip(plain.named_parameters(), again.parameters(), strict=True):
        assert torch.allclose(one.grad, other.grad, rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("name", [*OWN_NETS, "vgg11_bn"])
def test_a_network_that_cannot_is_refused_with_other_ways(project, config, name):
    small = ["model.options={}"] if name in OWN_NETS else ["model.options={mlp_ratio: 0.01}", "model.img_size=32"]
    with pytest.raises(
        ValueError, match=rf"train.gradient_checkpointing=true: {name} cannot .*set train.micro_batch_size, or take"
    ):
        prepare(config("model=timm", f"model.name={name}", *small, "train.gradient_checkpointing=true"))


def test_a_run_may_go_on_with_it_that_began_without(project, config):
    stopped_after(config, *RANDOM_VIT, "run_dir=models/cut", steps=3)
    training = prepare(config(*RANDOM_VIT, "run_dir=models/cut", "train.gradient_checkpointing=true"))
    assert training.state.step == 3
    assert training.run(StopFlag()) == "finished"
