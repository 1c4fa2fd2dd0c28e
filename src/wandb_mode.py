"""Whether Weights & Biases is used online, offline or not at all, decided before it starts, so that nothing prompts."""

import configparser
import logging
import netrc
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from src.config import WandbConfig

log = logging.getLogger(__name__)

Mode = Literal["online", "offline", "disabled"]

MODES: dict[str, Mode] = {"online": "online", "offline": "offline", "dryrun": "offline", "disabled": "disabled"}
CLOUD_URL = "https://api.wandb.ai"


def resolve_mode(cfg: WandbConfig, environ: Mapping[str, str], *, home: Path) -> Mode:
    """How W&B is used: as the configuration says, else WANDB_MODE, else online where a key is found.

    Without a key the answer is never `online`, so that nothing prompts. `home` holds `.netrc` and wandb's settings.
    """
    key, wanted = ("run.wandb.mode", cfg.mode) if cfg.mode != "auto" else ("WANDB_MODE", environ.get("WANDB_MODE"))
    mode = MODES.get(wanted or "online")
    if mode is None:
        log.warning("%s=%s is unknown; allowed: %s; W&B is used as if it were unset", key, wanted, ", ".join(MODES))
    if mode in ("offline", "disabled"):
        return mode
    if _has_key(environ, home=home):
        return "online"
    if mode and wanted:
        log.warning("%s=%s, but no W&B key is found: offline; run `wandb login` or set WANDB_API_KEY", key, wanted)
    return "offline"


def _has_key(environ: Mapping[str, str], *, home: Path) -> bool:
    """Whether wandb would find credentials without asking: in the environment, a netrc file or its settings file."""
    if environ.get("WANDB_API_KEY") or environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    settings = _wandb_settings(Path(environ.get("WANDB_CONFIG_DIR") or home / ".config" / "wandb") / "settings")
    host = urlsplit(environ.get("WANDB_BASE_URL") or settings.get("base_url") or CLOUD_URL).netloc
    files = [Path(environ["NETRC"]).expanduser()] if environ.get("NETRC") else [home / ".netrc", home / "_netrc"]
    return bool(settings.get("api_key")) or any(_netrc_has(path, host) for path in files)


def _wandb_settings(path: Path) -> Mapping[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict({"default": {}})
    with suppress(configparser.Error, OSError, UnicodeDecodeError):
        parser.read(path)
    return parser["default"]


def _netrc_has(path: Path, host: str) -> bool:
    with suppress(netrc.NetrcParseError, OSError, UnicodeDecodeError):
        entry = netrc.netrc(path).authenticators(host)
        return entry is not None and bool(entry[2])
    return False
