import copy
import io
from dataclasses import replace

import pytest
import timm
import torch

from src.compose import compose
from src.config_training import LookaheadConfig, OptimizerConfig
from src.features.cnn import BaselineCNN
from src.models.recipes.optimizers import accepted_options, build_optimizer, parameter_groups, set_lr
from src.selection import Selection, groups

PRESETS = groups()["optimizer"]
LOOKAHEAD = LookaheadConfig(alpha=0.5, every=3)
MODEL = {"num_classes": 3, "img_size": 8, "width": 16}


def optimizer(name: str, **options):
    model = BaselineCNN(**MODEL)
    return build_optimizer(settings(name=name, options=options), model), model


def settings(**changes) -> OptimizerConfig:
    values = {"name": "sgd", "lr": 0.01, "weight_decay": 0.1, "head_scale": 1.0, "layer_decay": None, "lookahead": None}
    return OptimizerConfig(**(values | {"options": {}, "decay_norms": False} | changes))


def preset(name: str, **changes) -> OptimizerConfig:
    return replace(compose(Selection({"optimizer": name})).optimizer, **changes)


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Noise in which the channel of the label is brighter."""
    labels = torch.arange(12) % 3
    noise = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return noise + 2 * torch.eye(3)[labels][:, :, None, None], labels


def trained(model, opt, steps: int) -> list[float]:
    """Losses of so many steps on one batch."""
    images, labels = batch()
    losses = []
    for _ in range(steps):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        opt.zero_grad()
        loss.backward()
        opt.step()
        losses.append(loss.item())
    return losses


def net(seed: int = 0) -> BaselineCNN:
    torch.manual_seed(seed)
    return BaselineCNN(**MODEL, dropout=0.0)


def rates(model, **changes) -> dict[str, float]:
    """The rate of each weight when the schedule says 1."""
    opt = build_optimizer(settings(**changes), model)
    set_lr(opt, 1.0)
    by_id = {id(weight): group["lr"] for group in opt.param_groups for weight in group["params"]}
    return {name: by_id[id(weight)] for name, weight in model.named_parameters()}


@pytest.mark.parametrize("lookahead", [None, LOOKAHEAD], ids=["alone", "lookahead"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_lowers_the_loss_of_a_batch(name, lookahead):
    model = net()
    opt = build_optimizer(preset(name, lookahead=lookahead), model)
    losses = trained(model, opt, 60)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("lookahead", [None, LOOKAHEAD], ids=["alone", "lookahead"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_goes_on_from_its_saved_state_bit_for_bit(name, lookahead):
    cfg = preset(name, lookahead=lookahead)
    model = net().to(memory_format=torch.channels_last)
    opt = build_optimizer(cfg, model)
    trained(model, opt, 4)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": opt.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    unbroken = trained(model, opt, 7)
    again = net(seed=1).to(memory_format=torch.channels_last)
    resumed = build_optimizer(cfg, again)
    again.load_state_dict(saved["model"])
    resumed.load_state_dict(saved["optimizer"])
    assert trained(again, resumed, 7) == unbroken
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("lookahead", [None, LOOKAHEAD], ids=["alone", "lookahead"])
@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_spares_biases_and_norms_and_has_rates_by_part(name, lookahead):
    model = timm.create_model("resnet18", num_classes=3)
    cfg = preset(name, lookahead=lookahead, weight_decay=0.1, head_scale=10.0, layer_decay=0.5)
    opt = build_optimizer(cfg, model)
    set_lr(opt, 1.0)
    found = {id(weight): group for group in opt.param_groups for weight in group["params"]}
    for key, weight in model.named_parameters():
        assert found[id(weight)]["weight_decay"] == (0.1 if weight.ndim > 1 else 0.0), key
    assert found[id(model.fc.weight)]["lr"] == found[id(model.fc.bias)]["lr"] == 10.0
    assert found[id(model.conv1.weight)]["lr"] < found[id(model.layer4[0].conv1.weight)]["lr"] <= 1.0


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_refuses_an_option_that_its_optimizer_does_not_take(name):
    cfg = preset(name)
    option = accepted_options(cfg.name)[0]
    with pytest.raises(
        ValueError, match=rf"optimizer.options.{option}x: {cfg.name} takes no .*; did you mean {option}"
    ):
        build_optimizer(replace(cfg, options={f"{option}x": 1}), net())


@pytest.mark.parametrize("name", PRESETS)
def test_every_option_of_a_preset_reaches_its_optimizer(name):
    cfg = preset(name)
    opt = build_optimizer(cfg, net())
    assert all(group[key] == value for key, value in cfg.options.items() for group in opt.param_groups)


TORCH = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "sgd_nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {}),
    "rmsprop": (torch.optim.RMSprop, {"momentum": 0.9}),
}


@pytest.mark.parametrize("name", TORCH)
def test_what_torch_has_equals_torch(name):
    kind, options = TORCH[name]
    cfg, ours, theirs = preset(name), net(), net()
    opt = build_optimizer(cfg, ours)
    groups_of_torch = [
        {"params": group["params"], "weight_decay": group["weight_decay"]} for group in parameter_groups(theirs, cfg)
    ]
    assert trained(ours, opt, 10) == trained(theirs, kind(groups_of_torch, lr=cfg.lr, **options), 10)


def test_muon_turns_matrices_and_kernels_and_leaves_the_rest_to_adamw():
    model = timm.create_model("mobilenetv2_100", num_classes=10)
    opt = build_optimizer(preset("muon"), model)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    opt.step()
    turned = {key for key, weight in model.named_parameters() if opt.state[weight]["use_muon"]}
    assert {"conv_stem.weight", "blocks.1.0.conv_pw.weight", "classifier.weight"} <= turned
    assert not {"bn1.weight", "classifier.bias", "blocks.1.0.conv_dw.weight"} & turned


def test_lookahead_goes_back_a_share_of_the_way_of_every_few_steps():
    ours, plain = net(), net()
    opt = build_optimizer(settings(lr=0.1, lookahead=LOOKAHEAD), ours)
    inner = build_optimizer(settings(lr=0.1), plain)
    start = copy.deepcopy(plain.state_dict())
    trained(ours, opt, 2)
    trained(plain, inner, 2)
    assert all(torch.equal(one, other) for one, other in zip(ours.parameters(), plain.parameters(), strict=True))
    trained(ours, opt, 1)
    trained(plain, inner, 1)
    for key, weight in ours.named_parameters():
        went = plain.state_dict()[key]
        assert torch.allclose(weight, (start[key] + went) / 2, atol=1e-6), key


def test_lookahead_that_keeps_all_of_the_way_changes_nothing():
    ours, plain = net(), net()
    opt = build_optimizer(settings(lookahead=LookaheadConfig(alpha=1.0, every=1)), ours)
    assert trained(ours, opt, 6) == trained(plain, build_optimizer(settings(), plain), 6)


def test_a_state_without_lookahead_is_not_taken_for_one_with_it():
    with_it, without = (build_optimizer(settings(lookahead=found), net()) for found in (LOOKAHEAD, None))
    with pytest.raises(KeyError):
        with_it.load_state_dict(without.state_dict())
    with pytest.raises(KeyError):
        without.load_state_dict(with_it.state_dict())


def test_biases_and_norms_are_not_decayed():
    opt, model = optimizer("adamw")
    decay = {id(p): group["weight_decay"] for group in opt.param_groups for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0.1 if parameter.ndim > 1 else 0.0), name


@pytest.mark.parametrize("layer_decay", [None, 0.5])
def test_biases_and_norms_are_decayed_where_that_is_asked_for(layer_decay):
    groups_of = parameter_groups(net(), settings(decay_norms=True, layer_decay=layer_decay))
    assert {group["weight_decay"] for group in groups_of} == {0.1}


def test_options_reach_the_optimizer():
    opt, _ = optimizer("adamw", betas=[0.8, 0.9], eps=1e-6)
    assert tuple(opt.defaults["betas"]) == (0.8, 0.9)
    assert opt.defaults["eps"] == 1e-6
    opt, _ = optimizer("sgd", momentum=0.5)
    assert opt.defaults["momentum"] == 0.5


def test_option_that_the_optimizer_does_not_take_is_refused_by_name():
    with pytest.raises(ValueError, match=r"optimizer.options.betas: sgd takes no betas"):
        optimizer("sgd", betas=[0.9, 0.99])
    with pytest.raises(ValueError, match=r"optimizer.options.momentum: adamw takes no momentum"):
        optimizer("adamw", momentum=0.9)


def test_unknown_optimizer_offers_near_names():
    with pytest.raises(ValueError, match=r"optimizer.name=adamww is unknown; did you mean .*adamw"):
        optimizer("adamww")


def test_rate_is_set_in_every_group_times_its_own_scale():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    opt = torch.optim.SGD([{"params": weights[:1], "lr_scale": 0.5}, {"params": weights[1:]}], lr=1.0)
    set_lr(opt, 0.2)
    assert [group["lr"] for group in opt.param_groups] == [0.1, 0.2]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "convnextv2_atto", "vit_tiny_patch16_224"])
def test_the_head_alone_gets_a_rate_of_its_own(name):
    model = timm.create_model(name, num_classes=3)
    found = rates(model, head_scale=10.0)
    head = {key for key, rate in found.items() if rate == 10.0}
    assert head == {key for key in found if model.get_submodule(key.rpartition(".")[0]) is model.get_classifier()}
    assert set(found.values()) == {1.0, 10.0}


def test_the_head_of_our_own_net_gets_a_rate_of_its_own():
    found = rates(BaselineCNN(**MODEL), head_scale=3.0)
    assert {key for key, rate in found.items() if rate == 3.0} == {"head.weight", "head.bias"}


def test_layer_decay_lowers_the_rate_towards_the_input():
    found = rates(timm.create_model("resnet18", num_classes=3), layer_decay=0.5)
    stages = [found[f"layer{stage}.0.conv1.weight"] for stage in (1, 2, 3, 4)]
    assert found["conv1.weight"] < stages[0] < stages[1] < stages[2] < stages[3] < found["fc.weight"] == 1.0


def test_frozen_weights_are_left_out():
    model = BaselineCNN(**MODEL)
    model.features.requires_grad_(False)
    opt = build_optimizer(settings(), model)
    trained = {id(weight) for group in opt.param_groups for weight in group["params"]}
    assert trained == {id(weight) for weight in model.parameters() if weight.requires_grad}
