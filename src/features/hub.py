"""Weights from the hub: found in its cache, or asked for only where the hub answers.

The hub's own client takes most of a minute to give up without a network (46 s for one model), hence the question
beforehand.
"""

import logging
import ssl
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from src.choices import near

log = logging.getLogger(__name__)

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
PATIENCE_S = 4.0
NON_COMMERCIAL = ("-nc", "noncommercial", "non-commercial", "amlr")
WAYS_OUT = (
    "connect once so that it fills its cache (HF_HOME; with HF_HUB_OFFLINE=1 only the cache is read), give "
    "model.pretrained_path=<local .safetensors or .pth file>, or train from scratch with model.pretrained=false"
)


def hub_source(name: str, record: Any) -> dict[str, str]:
    """What to lay over timm's record so that cached weights are read without a network; empty to have them fetched.

    Args:
        name: timm's name of the model.
        record: timm's `PretrainedCfg` of it.

    Raises:
        ValueError: timm names no weights for the model, or they are neither cached nor to be had now.
    """
    if record is None or not record.has_weights:
        raise ValueError(f"model.pretrained=true, but timm has no weights for {name}; {_with_weights(name)}")
    _tell_licence(name, record)
    cached = _cached(record)
    if cached is not None:
        log.info("weights of %s from the cache: %s", name, cached)
        return {"file": cached}
    where, offline = _origin(record)
    if offline:
        raise ValueError(f"weights of {name} are not in the cache and HF_HUB_OFFLINE is set; {WAYS_OUT}")
    if not answers(where):
        raise ValueError(f"weights of {name} are not in the cache and {where} does not answer; {WAYS_OUT}")
    return {}


def answers(address: str, *, patience_s: float = PATIENCE_S) -> bool:
    """Whether a web server answers, with whatever status, before the patience ends (name look-up included)."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(_reached(address, patience_s)), daemon=True)
    thread.start()
    thread.join(patience_s)
    return bool(found and found[0])


def _reached(address: str, patience_s: float) -> bool:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=patience_s):
            return True
    except urllib.error.HTTPError:
        return True
    except (urllib.error.URLError, OSError, ValueError) as error:
        # the client brings its own certificates: it may succeed where these are too old
        return isinstance(getattr(error, "reason", error), ssl.SSLError)


def _cached(record: Any) -> str | None:
    """The cached file that timm would read; None where there is none."""
    if record.hf_hub_id:
        from huggingface_hub import try_to_load_from_cache

        repository, _, revision = record.hf_hub_id.partition("@")
        for name in (record.hf_hub_filename,) if record.hf_hub_filename else HUB_FILES:
            found = try_to_load_from_cache(repository, name, revision=revision or None)
            if isinstance(found, str):
                return found
        return None
    from torch.hub import get_dir

    path = Path(get_dir()) / "checkpoints" / Path(urlsplit(record.url).path).name if record.url else None
    return str(path) if path is not None and path.is_file() else record.file


def _origin(record: Any) -> tuple[str, bool]:
    """The address of the server that has the weights, and whether the network is switched off for it."""
    if record.hf_hub_id:
        from huggingface_hub import constants

        return constants.ENDPOINT, constants.HF_HUB_OFFLINE
    parts = urlsplit(record.url)
    return f"{parts.scheme}://{parts.netloc}", False


def _with_weights(name: str) -> str:
    """A clause that names what has weights: other tags of the architecture, else models of a like name."""
    import timm

    architecture = name.partition(".")[0]
    tags = timm.list_pretrained(f"{architecture}.*")
    others = tags or near(architecture, timm.list_models(pretrained=True))
    return f"it has some for {', '.join(others[:5])}" if others else "use model.pretrained=false"


def _tell_licence(name: str, record: Any) -> None:
    licence = record.license or "not stated"
    full_name = f"{name.partition('.')[0]}.{record.tag}" if record.tag else name
    log.info("pretrained weights %s, licence %s", full_name, licence)
    if any(mark in licence for mark in NON_COMMERCIAL):
        log.warning("the licence of %s (%s) allows no commercial use", full_name, licence)
    elif licence in ("not stated", "unknown"):
        log.warning("timm's record of %s states no licence; look it up before you publish", full_name)
