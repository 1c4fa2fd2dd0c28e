"""Networks by name: our own, and every model of timm, with weights from the hub or from a file."""

import inspect
import logging
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from src.choices import bound, suggestion
from src.config import ModelConfig
from src.features.cnn import BaselineCNN
from src.features.hub import hub_source
from src.features.resnet import ResidualCNN
from src.features.stems import fit_stem, wants_small
from src.features.weights import load_weights

log = logging.getLogger(__name__)

OWN_NETS: dict[str, Callable[..., nn.Module]] = {"baseline_cnn": BaselineCNN, "residual_cnn": ResidualCNN}

RESERVED = {
    "num_classes": "it follows from the data",
    "img_size": "use model.img_size",
    "in_chans": "packed images have three channels",
    "pretrained": "use model.pretrained",
    "pretrained_cfg": "use model.pretrained_path",
    "pretrained_cfg_overlay": "use model.pretrained_path",
    "checkpoint_path": "use model.pretrained_path",
    "features_only": "the network has to end in classes",
}

TRIED_SIDES = (8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224, 256, 299, 384)
NOT_TAKEN = re.compile(r"(\w+)\.__init__\(\) got (?:an )?unexpected keyword argument(?:\(s\))?:? \[?'(\w+)'")
SHAPE_ERRORS = (RuntimeError, AssertionError, ValueError, IndexError, ZeroDivisionError)


@dataclass(frozen=True, kw_only=True)
class InputFacts:
    """What images look like when they enter the network: side in px, and what is subtracted and divided by."""

    img_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str


def input_facts(cfg: ModelConfig, *, packed_size: int, statistics: Mapping[str, Any]) -> InputFacts:
    """The backbone's own facts where it starts from weights, else the packed size and the statistics of train.

    `statistics` holds `mean` and `std` of the train split. What the config itself sets comes first.

    Raises:
        ValueError: there is no model of that name, or timm knows nothing of its weights.
    """
    size, mean, std, interpolation = packed_size, statistics["mean"], statistics["std"], "bilinear"
    if _starts_from_weights(cfg):
        record = timm_record(cfg.name)
        if record is None:
            raise ValueError(f"timm has no record of weights for {cfg.name}; use model.pretrained=false")
        size, mean, std, interpolation = record.input_size[-1], record.mean, record.std, record.interpolation
    return InputFacts(
        img_size=cfg.img_size or size,
        mean=tuple(cfg.mean or mean),
        std=tuple(cfg.std or std),
        interpolation=interpolation,
    )


def build_model(cfg: ModelConfig, *, num_classes: int, img_size: int) -> nn.Module:
    """The network that `cfg` names, for images of (3, img_size, img_size), on the CPU.

    Its random weights come from torch's own generator: the same seed gives the same network.

    Raises:
        ValueError: an unknown name or option, weights that cannot be had, or images too small for it.
    """
    _check_options(cfg.options)
    if cfg.name in OWN_NETS:
        return _own_net(cfg, num_classes=num_classes, img_size=img_size)
    model = _timm_model(cfg, num_classes=num_classes, img_size=img_size)
    fit_stem(model, cfg.stem, img_size=img_size, pretrained=_starts_from_weights(cfg))
    if cfg.pretrained_path is not None or (cfg.pretrained and num_classes != _pretrained_classes(model)):
        _start_heads_at_zero(model)
    if cfg.pretrained_path is not None:
        load_weights(model, Path(cfg.pretrained_path), heads=heads_of(model))
    _check_side(model, cfg.name, img_size)
    return model


def stem_of(cfg: ModelConfig, *, img_size: int) -> str:
    """`small` or `plain`: what `model.stem` comes to at this side, in families that have both."""
    small = wants_small(cfg.stem, img_size=img_size, pretrained=_starts_from_weights(cfg))
    return "small" if small and cfg.name not in OWN_NETS else "plain"


def without_weights(cfg: ModelConfig) -> ModelConfig:
    """The section that builds the same network and starts from no weights: `stem=auto` looks at them, too."""
    stem = "plain" if cfg.stem == "auto" and _starts_from_weights(cfg) else cfg.stem
    return replace(cfg, pretrained=False, pretrained_path=None, stem=stem)


def check_name(cfg: ModelConfig) -> None:
    """Nothing, where there is a network of that name.

    Raises:
        ValueError: there is none; the message offers the near names.
    """
    if cfg.name not in OWN_NETS:
        timm_record(cfg.name)


def num_params(model: nn.Module) -> int:
    """Number of trainable weights."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _starts_from_weights(cfg: ModelConfig) -> bool:
    return cfg.pretrained or cfg.pretrained_path is not None


def _check_options(options: Mapping[str, Any]) -> None:
    for option, value in options.items():
        if option in RESERVED:
            raise ValueError(f"model.options.{option} cannot be set here: {RESERVED[option]}")
        if value is None:
            raise ValueError(f"model.options.{option}=null says nothing; give it a value or leave it out")


def _own_net(cfg: ModelConfig, *, num_classes: int, img_size: int) -> nn.Module:
    own = OWN_NETS[cfg.name]
    facts = {"num_classes": num_classes, "img_size": img_size}
    arguments = bound(own, {**cfg.options, **facts}, name=cfg.name, key="model.options")
    try:
        return own(**arguments)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"model.name={cfg.name} cannot be built with model.options={cfg.options}: {error}") from None


def timm_record(name: str) -> Any:
    """What timm knows of the weights of a model, its `PretrainedCfg`; None where it knows nothing.

    Raises:
        ValueError: timm has no model, or no weights, of that name.
    """
    import timm

    architecture = name.partition(".")[0]
    if not timm.is_model(architecture):
        raise ValueError(f"model.name={name} is unknown; {suggestion(name, [*OWN_NETS, *timm.list_models()])}")
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError:
        tags = timm.list_pretrained(f"{architecture}.*")
        raise ValueError(f"model.name={name} has an unknown tag; {suggestion(name, tags)}") from None


def _timm_model(cfg: ModelConfig, *, num_classes: int, img_size: int) -> nn.Module:
    import timm

    record = timm_record(cfg.name)
    overlay = hub_source(cfg.name, record) if cfg.pretrained else {}
    takes_side = record is not None and record.fixed_input_size
    arguments = {**cfg.options, **({"img_size": img_size} if takes_side else {})}
    try:
        model: nn.Module = timm.create_model(
            cfg.name,
            pretrained=cfg.pretrained,
            pretrained_cfg_overlay=overlay,
            num_classes=num_classes,
            **arguments,
        )
    except (SafetensorError, UnpicklingError, EOFError) as error:
        raise ValueError(
            f"weights of {cfg.name} are damaged ({error}); delete {overlay.get('file', 'the cached file')} to have "
            "them fetched again"
        ) from None
    except (TypeError, OSError, *SHAPE_ERRORS) as error:
        raise ValueError(_refusal(cfg, error, img_size=img_size)) from None
    return model


def _refusal(cfg: ModelConfig, error: Exception, *, img_size: int) -> str:
    """The sentence that says which option, size or weights a builder of timm did not take."""
    match = NOT_TAKEN.search(str(error))
    if match:
        option = match[2]
        taken = _taken(cfg.name, class_name=match[1])
        return f"model.options.{option}: {cfg.name} takes no {option}; {suggestion(option, taken)}"
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    weights = ", model.pretrained=true" if cfg.pretrained else ""
    return (
        f"model.name={cfg.name} cannot be built with model.options={cfg.options}, {img_size} px{weights}: {reason}; "
        "change model.options or model.img_size"
    )


def _taken(name: str, *, class_name: str) -> list[str]:
    """Arguments of the class that refused an option, less those that other keys set."""
    import timm

    home = sys.modules[timm.model_entrypoint(name.partition(".")[0]).__module__]
    owner = getattr(home, class_name, None)
    names = inspect.signature(owner).parameters if owner is not None else {}
    return [parameter for parameter in names if parameter not in {*RESERVED, "cfg", "kwargs", "device", "dtype"}]


def heads_of(model: nn.Module) -> tuple[str, ...]:
    """Names of the modules that end in the classes: as timm's record has them, `head` in our own nets."""
    record: Any = getattr(model, "pretrained_cfg", {"classifier": "head"})
    heads = record.get("classifier") or ()
    return (heads,) if isinstance(heads, str) else tuple(heads)


def _pretrained_classes(model: nn.Module) -> int:
    """How many classes the weights that timm names were trained on."""
    record: Any = model.pretrained_cfg
    return int(record.get("num_classes") or 0)


def _start_heads_at_zero(model: nn.Module) -> None:
    """A new head that says nothing at first sends no noise into trained features (Kolesnikov et al., BiT, 2020)."""
    for name in heads_of(model):
        for parameter in model.get_submodule(name).parameters():
            nn.init.zeros_(parameter)


def _check_side(model: nn.Module, name: str, img_size: int) -> None:
    """Try one image.

    Raises:
        ValueError: the network cannot take images of that size; names the smallest that it can take.
    """
    fault = fault_at(model, img_size)
    if fault is None:
        return
    larger = [side for side in TRIED_SIDES if side > img_size]
    fitting = next((side for side in larger if fault_at(model, side) is None), None)
    advice = f"needs at least {fitting} px: set model.img_size={fitting}" if fitting else "needs another model.img_size"
    raise ValueError(f"model.name={name} cannot take images of {img_size} px and {advice} or larger ({fault})")


def fault_at(model: nn.Module, side: int) -> str | None:
    """What the network says against an image of that side; None when it takes it."""
    model.eval()
    device = next(model.parameters()).device
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, side, side, device=device))
    except SHAPE_ERRORS as error:
        return str(error).strip().partition("\n")[0] or type(error).__name__
    finally:
        model.train()
    return None
