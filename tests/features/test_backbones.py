import dataclasses
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from src.config import ModelConfig
from src.features.backbones import InputFacts, build_model, input_facts, num_params
from src.features.stems import STEMS

PLAIN = ModelConfig(
    name="test_resnet",
    pretrained=False,
    pretrained_path=None,
    img_size=None,
    mean=None,
    std=None,
    stem="plain",
    options={},
)
STATISTICS = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}


def _config(name="test_resnet", **changes):
    return dataclasses.replace(PLAIN, name=name, **changes)


def _built(name="test_resnet", *, img_size=32, num_classes=5, **changes):
    return build_model(_config(name, **changes), num_classes=num_classes, img_size=img_size)


def _refused(name="test_resnet", *, img_size=32, **changes):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - each caller reads the message
        _built(name, img_size=img_size, **changes)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "near"),
    [("resnet81", "resnet18"), ("residual_cn", "residual_cnn"), ("baselinecnn", "baseline_cnn")],
)
def test_unknown_name_is_answered_with_near_names_of_timm_and_ours(name, near):
    message = _refused(name)
    assert f"model.name={name} is unknown" in message
    assert near in message


def test_unknown_tag_is_answered_with_the_tags_there_are():
    assert "unknown tag; did you mean" in _refused("resnet18.a1_in2k")
    assert "resnet18.a1_in1k" in _refused("resnet18.a1_in2k")


@pytest.mark.parametrize(
    ("name", "option", "near"),
    [
        ("residual_cnn", "drop_pth", "drop_path"),
        ("baseline_cnn", "widht", "width"),
        ("test_resnet", "drop_path_rat", "drop_path_rate"),
        ("test_vit", "num_head", "num_heads"),
        ("mobilenetv3_small_100", "drop_rat", "drop_rate"),
    ],
)
def test_option_that_a_model_does_not_take_is_refused_with_near_ones(name, option, near):
    message = _refused(name, options={option: 1})
    assert f"model.options.{option}: {name} takes no {option}" in message
    assert near in message


@pytest.mark.parametrize("option", ["num_classes", "img_size", "in_chans", "pretrained", "checkpoint_path"])
@pytest.mark.parametrize("name", ["residual_cnn", "test_resnet"])
def test_option_that_another_key_sets_is_refused(name, option):
    assert f"model.options.{option} cannot be set here" in _refused(name, options={option: 3})


def test_option_without_a_value_is_refused_as_timm_would_drop_it():
    assert "model.options.dorp_rate=null says nothing" in _refused(options={"dorp_rate": None})


@pytest.mark.parametrize("name", ["residual_cnn", "test_vit"])
def test_option_of_a_wrong_value_is_refused_with_the_options_shown(name):
    option = {"residual_cnn": "width", "test_vit": "num_heads"}[name]
    message = _refused(name, options={option: "many"})
    assert f"model.name={name} cannot be built with model.options={{'{option}': 'many'}}" in message


def test_options_reach_the_builder():
    assert _built("residual_cnn", options={"drop_path": 0.25}).blocks[0].drop_path == 0.25
    assert _built("test_resnet", options={"drop_rate": 0.25}).drop_rate == 0.25


@pytest.mark.parametrize("name", ["residual_cnn", "baseline_cnn", "test_resnet", "test_convnext"])
def test_same_seed_gives_the_same_network_and_another_seed_another(name):
    states = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        states.append(_built(name, stem="auto").state_dict())
    first, again, other = states
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_network_comes_in_training_mode_with_untouched_statistics():
    model = _built()
    assert all(module.training for module in model.modules())
    assert model.bn1.num_batches_tracked == 0


def test_image_too_small_is_refused_with_the_least_size_that_works():
    narrow = {"mlp_ratio": 0.01}
    message = _refused("vgg11_bn", img_size=8, options=narrow)
    assert "model.name=vgg11_bn cannot take images of 8 px and needs at least 32 px: set model.img_size=32" in message
    assert _built("vgg11_bn", img_size=32, options=narrow)(torch.zeros(2, 3, 32, 32)).shape == (2, 5)


def test_model_of_fixed_input_size_is_built_for_the_size_asked():
    model = _built("test_vit", img_size=48)
    assert model(torch.zeros(2, 3, 48, 48)).shape == (2, 5)
    assert model.pos_embed.shape[1] < _built("test_vit", img_size=160).pos_embed.shape[1]


def test_num_params_counts_what_is_trained():
    model = _built("baseline_cnn")
    everything = sum(parameter.numel() for parameter in model.parameters())
    assert num_params(model) == everything
    model.head.requires_grad_(False)
    assert num_params(model) == everything - 256 * 5 - 5


def test_weights_file_gives_the_body_and_leaves_a_head_of_other_classes_out(tmp_path):
    source = _built(num_classes=9)
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    model = _built(pretrained_path=str(tmp_path / "weights.safetensors"), stem="auto", num_classes=5)
    assert torch.equal(model.conv1[0].weight, source.conv1[0].weight)
    assert model.fc.weight.shape[0] == 5


def test_a_new_head_on_trained_features_starts_at_zero_and_one_from_scratch_does_not(tmp_path):
    save_file(_built(num_classes=9).state_dict(), tmp_path / "weights.safetensors")
    model = _built(pretrained_path=str(tmp_path / "weights.safetensors"), num_classes=5)
    assert not model.fc.weight.any()
    assert not model.fc.bias.any()
    assert _built(num_classes=5).fc.weight.any()


def test_weights_file_of_as_many_classes_gives_the_whole_network(tmp_path):
    source = _built(num_classes=5).eval()
    save_file(source.state_dict(), tmp_path / "weights.safetensors")
    model = _built(pretrained_path=str(tmp_path / "weights.safetensors"), num_classes=5).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(model(images), source(images))


def test_from_scratch_input_follows_the_packed_split():
    facts = input_facts(_config(), packed_size=28, statistics=STATISTICS)
    assert facts == InputFacts(img_size=28, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), interpolation="bilinear")


@pytest.mark.parametrize("weights", [{"pretrained": True}, {"pretrained_path": "any.safetensors"}])
def test_from_weights_input_follows_the_backbone(weights):
    facts = input_facts(_config("convnextv2_atto", **weights), packed_size=28, statistics=STATISTICS)
    assert facts.img_size == 224
    assert facts.mean == (0.485, 0.456, 0.406)
    assert facts.std == (0.229, 0.224, 0.225)
    assert facts.interpolation == "bicubic"


def test_input_set_in_the_config_comes_before_the_backbone_and_the_data():
    set_keys = {"img_size": 96, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    for weights in ({}, {"pretrained": True}):
        facts = input_facts(_config("resnet18", **weights, **set_keys), packed_size=28, statistics=STATISTICS)
        assert (facts.img_size, facts.mean, facts.std) == (96, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_input_of_an_unknown_pretrained_model_is_refused():
    with pytest.raises(ValueError, match=r"model.name=resnet81 is unknown; did you mean"):
        input_facts(_config("resnet81", pretrained=True), packed_size=28, statistics=STATISTICS)


@pytest.mark.parametrize(
    ("name", "img_size", "side"),
    [
        ("test_resnet", 8, 1),
        ("test_resnet", 32, 4),
        ("test_resnet", 64, 4),
        ("resnet18", 32, 4),
        ("test_convnext", 32, 4),
        ("test_convnext", 64, 4),
        ("test_efficientnet", 8, 2),
        ("test_efficientnet", 32, 4),
        ("mobilenetv3_small_100", 32, 4),
    ],
)
def test_small_stem_keeps_the_last_feature_map_at_four_px_where_it_can(name, img_size, side):
    model = _built(name, img_size=img_size, stem="auto").eval()
    assert model.forward_features(torch.zeros(1, 3, img_size, img_size)).shape[-1] == side


@pytest.mark.parametrize("changes", [{"stem": "plain"}, {"img_size": 96}])
def test_stem_is_left_as_timm_has_it_when_plain_or_large(changes):
    model = _built("resnet18", **{"stem": "auto", **changes})
    assert model.conv1.stride == (2, 2)
    assert isinstance(model.maxpool, torch.nn.MaxPool2d)


def test_weights_keep_the_stem_they_were_made_with(tmp_path):
    save_file(_built("resnet18", num_classes=5).state_dict(), tmp_path / "weights.safetensors")
    model = _built("resnet18", pretrained_path=str(tmp_path / "weights.safetensors"), stem="auto")
    assert model.conv1.stride == (2, 2)


def test_small_stem_that_a_family_has_not_is_refused_by_name_and_left_alone_when_auto():
    message = _refused("test_nfnet", stem="small")
    assert "model.stem=small is not known for NormFreeNet" in message
    assert all(family in message for family in STEMS)
    auto, plain = (_built("test_nfnet", stem=stem).forward_features for stem in ("auto", "plain"))
    assert auto(torch.zeros(1, 3, 32, 32)).shape == plain(torch.zeros(1, 3, 32, 32)).shape


def test_small_stem_at_a_large_size_halves_as_before():
    assert num_params(_built("resnet18", img_size=128, stem="small")) == num_params(_built("resnet18", img_size=128))


def test_real_weights_fit_with_the_options_they_were_trained_with(weights_file):
    path = weights_file("mobilenetv2_100-in1k.safetensors")
    model = _built("mobilenetv2_100", pretrained_path=str(path), options={"pad_type": "same"}, img_size=64).eval()
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 5)
    assert model.conv_stem.weight.std() > 0.05


def test_real_weights_of_another_model_are_refused(weights_file):
    path = weights_file("mobilenetv3_small_050-plant12.safetensors")
    assert "does not fit the model" in _refused("mobilenetv2_100", pretrained_path=str(path))


@pytest.mark.slow
def test_unreachable_hub_is_said_within_ten_seconds_of_the_start_of_the_process(tmp_path):
    code = (
        "import dataclasses, time; start = time.monotonic()\n"
        "from tests.features.test_backbones import PLAIN\n"
        "from src.features.backbones import build_model\n"
        "cfg = dataclasses.replace(PLAIN, name='resnet18', pretrained=True)\n"
        "try: build_model(cfg, num_classes=2, img_size=32)\n"
        "except ValueError as error: print(error)\n"
    )
    environment = {"HF_HOME": str(tmp_path), "HF_ENDPOINT": "http://127.0.0.1:9", "PATH": "", "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True, timeout=60
    )
    assert "weights of resnet18 are not in the cache and http://127.0.0.1:9 does not answer" in done.stdout
    assert "model.pretrained_path=" in done.stdout
    assert "model.pretrained=false" in done.stdout
