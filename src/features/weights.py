"""Weights from a local file: read without running code from it, and fitted to a network."""

import logging
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

PREFIXES = ("module.", "_orig_mod.", "model.")
WRAPPERS = ("state_dict", "model", "model_state_dict")
PICKLED = (".pth", ".pt", ".bin")
COUNTERS = "num_batches_tracked"
MOST_SHOWN = 5


def load_weights(model: nn.Module, path: Path, *, heads: tuple[str, ...]) -> int:
    """How many of the model's tensors were taken from the file; a head of another class count is left out.

    Args:
        model: its tensors are overwritten.
        path: a .safetensors file, or a .pth, .pt or .bin file of a state dict.
        heads: names of the modules that end in the classes.

    Raises:
        ValueError: no such file, a damaged or foreign one, or one that does not fit the model.
    """
    return fit_weights(model, read_weights(path), heads=heads, source=f"model.pretrained_path={path}")


def fit_weights(model: nn.Module, tensors: Mapping[str, Tensor], *, heads: tuple[str, ...], source: str) -> int:
    """How many of the model's tensors were taken from `tensors`; what was not is logged.

    Args:
        model: its tensors are overwritten.
        tensors: by name.
        heads: names of the modules that end in the classes; where shapes differ they are left as they are.
        source: where the tensors come from, as messages begin.

    Raises:
        ValueError: they do not fit the model.
    """
    own = model.state_dict()
    found = {_plain_key(key, own): value for key, value in tensors.items()}
    fitting = {key: value for key, value in found.items() if key in own and own[key].shape == value.shape}
    _check_shapes(source, own=own, found=found, heads=heads)
    if 2 * len(fitting) < len(own):
        absent = [key for key in own if key not in fitting]
        raise ValueError(
            f"{source} does not fit the model: only {len(fitting)} of its {len(own)} tensors are "
            f"in the file (absent: {_listed(absent)}); check model.name and model.options"
        )
    model.load_state_dict(fitting, strict=False)
    log.info("%s: %d of the model's %d tensors taken", source, len(fitting), len(own))
    _tell_differences(own=own, found=found, heads=heads)
    return len(fitting)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, without the dicts that trainers wrap around them.

    Raises:
        ValueError: no such file, a damaged one, or one that holds no tensors.
    """
    if not path.is_file():
        raise ValueError(f"model.pretrained_path={path} is no file; give a .safetensors, .pth, .pt or .bin file")
    if path.suffix != ".safetensors" and path.suffix not in PICKLED:
        raise ValueError(f"model.pretrained_path={path} cannot be read; allowed: .safetensors, .pth, .pt, .bin")
    tree = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)
    for wrapper in WRAPPERS:
        if isinstance(tree, Mapping) and isinstance(tree.get(wrapper), Mapping):
            tree = tree[wrapper]
    pairs = tree.items() if isinstance(tree, Mapping) else ()
    tensors = {key: value for key, value in pairs if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"model.pretrained_path={path} holds no tensors by name; give a file made from a state_dict")
    return tensors


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"model.pretrained_path={path} is damaged ({error}); fetch or copy it again") from None


def _read_pickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"model.pretrained_path={path} was refused: it is damaged, or holds objects other than tensors, which "
            "could run code when loaded; ask whoever made it for a .safetensors file"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise ValueError(f"model.pretrained_path={path} is damaged ({reason}); fetch or copy it again") from None


def _check_shapes(
    source: str, *, own: Mapping[str, Tensor], found: Mapping[str, Tensor], heads: tuple[str, ...]
) -> None:
    body = [key for key in found if key in own and not _in_head(key, heads)]
    misfits = [key for key in body if own[key].shape != found[key].shape]
    if misfits:
        shapes = [f"{key} is {_shape(found[key])} and should be {_shape(own[key])}" for key in misfits]
        raise ValueError(
            f"{source} does not fit the model: {len(misfits)} tensors have another shape "
            f"({_listed(shapes)}); check model.name, model.options, model.img_size and model.stem"
        )


def _tell_differences(*, own: Mapping[str, Tensor], found: Mapping[str, Tensor], heads: tuple[str, ...]) -> None:
    """Log what was not taken: a head as a matter of course, anything else as a warning."""
    new_head = [key for key in own if _in_head(key, heads) and (key not in found or found[key].shape != own[key].shape)]
    absent = [key for key in own if key not in found and key not in new_head and not key.endswith(COUNTERS)]
    foreign = [key for key in found if key not in own and not _in_head(key, heads)]
    if new_head:
        log.info("head for other classes, so not taken: %s", _listed(new_head))
    if absent:
        log.warning("not there, so initialised at random: %s", _listed(absent))
    if foreign:
        log.warning("there and not in the model: %s", _listed(foreign))


def _in_head(key: str, heads: tuple[str, ...]) -> bool:
    return key.startswith(tuple(f"{head}." for head in heads))


def _plain_key(key: str, own: Iterable[str]) -> str:
    """The key without the prefixes that DDP, torch.compile and trainers put before it."""
    while key not in own and key.startswith(PREFIXES):
        key = key.partition(".")[2]
    return key


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return ", ".join(names[:MOST_SHOWN]) + more
