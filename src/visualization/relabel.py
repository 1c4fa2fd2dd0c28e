"""Decide labels one by one, on a page of this machine: suspects and copies with different labels, a key press each.

Reads data/interim/label_issues/suspects.csv (make label-issues) and data/interim/dataset (make data); adds the
decisions to the file that data.overrides names, which the next make data applies. Ctrl-C ends it.

  --port N       listen there; without it at a free port
  --no-browser   open no browser; the address is printed in any case
"""

import logging
import signal
import subprocess
import sys
import webbrowser
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import environ
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from src.artifacts import Manifest
from src.cli import run_verb
from src.config import Config
from src.layout import DATASET_DIR, LABEL_ISSUES_DIR

if TYPE_CHECKING:
    from src.visualization.relabeling.items import Item

log = logging.getLogger(__name__)

SUSPECTS = LABEL_ISSUES_DIR / "suspects.csv"
GIT_TIMEOUT_S = 10


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the page is served (0: a free port), and whether a browser is opened."""

    port: int
    browser: bool


def relabel(cfg: Config, options: Options) -> None:
    """Serve the page until it is ended from the keyboard.

    Raises:
        ValueError: nothing was searched for wrong labels yet and no copies disagree, or a file cannot be read.
    """
    from src.visualization.relabeling.pictures import Pictures
    from src.visualization.relabeling.server import RelabelServer
    from src.visualization.relabeling.session import Session

    manifest = Manifest.load(DATASET_DIR)
    path = overrides_path(cfg, manifest)
    items = items_to_decide(manifest, path)
    if not items:
        log.info("nothing is left to decide; the decisions are in %s", path)
        return
    session = Session(items, manifest.class_names, path=path, who=who(environ))
    ids = [picture.id for item in items for picture in item.pictures]
    with RelabelServer(session, Pictures(manifest, ids, max_pixels=cfg.data.max_pixels), port=options.port) as server:
        # Python raises no KeyboardInterrupt where the shell had it ignore interrupts, as for a job in the background
        signal.signal(signal.SIGINT, lambda *_: Thread(target=server.shutdown).start())
        log.info("%d to decide: %s (Ctrl-C ends it)", len(items), server.address)
        if options.browser:
            webbrowser.open(server.address)
        server.serve_forever()
        log.info("%s", session.summary())


def overrides_path(cfg: Config, manifest: Manifest) -> Path:
    """The file that the decisions go into: the one that the data set at hand was made with.

    Raises:
        ValueError: there is none, or the configuration names another one.
    """
    if cfg.data.overrides is None:
        raise ValueError(
            "data.overrides is null, so that decisions would go nowhere; "
            "set data.overrides=<CSV file> and run make data"
        )
    used = manifest.settings.get("overrides")
    if used != cfg.data.overrides:
        raise ValueError(
            f"{DATASET_DIR.as_posix()} was made with data.overrides={used}, here it is {cfg.data.overrides}; "
            "run make data, or give the same here"
        )
    return Path(cfg.data.overrides).expanduser()


def items_to_decide(manifest: Manifest, overrides: Path) -> "list[Item]":
    """What nobody has decided yet.

    Raises:
        ValueError: nothing was searched for wrong labels yet and no copies disagree, or a file cannot be read.
    """
    from src.data.overrides import load_overrides
    from src.visualization.relabeling.items import DUPLICATE_COLUMNS, SUSPECT_COLUMNS, open_items, read_rows

    suspects = read_rows(SUSPECTS, SUSPECT_COLUMNS, made_by="make label-issues") if SUSPECTS.exists() else None
    duplicates = read_rows(DATASET_DIR / "duplicates.csv", DUPLICATE_COLUMNS, made_by="make data")
    items = open_items(manifest, suspects, duplicates, load_overrides(overrides))
    if suspects is None:
        absent = f"{SUSPECTS.as_posix()} does not exist, so that no suspects are known; run make label-issues"
        if not items:
            raise ValueError(f"{absent} (no copies of an image have different labels, either)")
        log.warning("%s; going on with copies whose labels differ", absent)
    return items


def who(environ: Mapping[str, str]) -> str:
    """The name of the one who decides: git's user.name, else the account's; empty where neither is known."""
    try:
        command = ["git", "config", "user.name"]
        found = subprocess.run(command, check=False, capture_output=True, timeout=GIT_TIMEOUT_S)
        name = found.stdout.decode("utf-8", "replace").strip()
    except (OSError, subprocess.TimeoutExpired):
        name = ""
    accounts = (environ.get(variable, "") for variable in ("LOGNAME", "USER", "USERNAME"))
    return name or next(filter(None, accounts), "")


def taken_options(arguments: Sequence[str], *, at_terminal: bool) -> tuple[Options, list[str]]:
    """This verb's own options, and what is left of the arguments for the configuration.

    A browser is opened only for someone at a terminal with a screen.
    """
    parser = ArgumentParser(prog="python -m src.visualization.relabel", add_help=False, allow_abbrev=False)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--no-browser", action="store_true")
    found, left = parser.parse_known_args(arguments)
    screen = sys.platform in ("win32", "darwin") or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))
    return Options(port=found.port, browser=at_terminal and screen and not found.no_browser), left


def main() -> None:
    """Run the verb as the command line asks."""
    options, sys.argv[1:] = taken_options(sys.argv[1:], at_terminal=sys.stdout.isatty())

    def verb(cfg: Config) -> None:
        relabel(cfg, options)

    run_verb(verb, about=__doc__ or "")


if __name__ == "__main__":
    main()
