"""Where the weights of a run came from, and under which licence: what its model card says of them."""

from pathlib import Path
from typing import Any

from src.config import EmbeddingsConfig, ModelConfig
from src.features.backbones import OWN_NETS, timm_record

NOT_STATED = "not stated"


def weights_origin(cfg: ModelConfig | EmbeddingsConfig, *, init_from: str | None = None) -> dict[str, str]:
    """`source` and `licence` of the weights that training starts from; empty where they are random.

    A local file says nothing of itself: the licence is then what timm's record states of its own weights for the
    architecture, and `note` says so.
    """
    if init_from is not None:
        return {"source": f"the run {init_from}", "licence": NOT_STATED, "note": "that of the run it started from"}
    if not cfg.pretrained and cfg.pretrained_path is None:
        return {}
    record = None if cfg.name in OWN_NETS else timm_record(cfg.name)
    licence, name = _stated(record), _full_name(cfg.name, record)
    if cfg.pretrained_path is None:
        return {"source": f"timm, {name}", "licence": licence}
    note = f"the file states none; this is what timm's record of {name} states of the weights that timm names"
    return {"source": f"a file, {Path(cfg.pretrained_path).name}", "licence": licence, "note": note}


def _stated(record: Any) -> str:
    return str(getattr(record, "license", None) or NOT_STATED)


def _full_name(name: str, record: Any) -> str:
    tag = getattr(record, "tag", "")
    return f"{name.partition('.')[0]}.{tag}" if tag else name
