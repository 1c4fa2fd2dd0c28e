"""The relabel page: one HTML document, and what its script is told before and after each decision."""

import string
from dataclasses import asdict
from typing import Any

from src.data.overrides import DROP
from src.visualization.pages import render
from src.visualization.relabeling.session import Session

COMMAND_KEYS = "ynkdus"
"""Yes, no, keep, drop, undo, skip: letters that choose no class."""


def page(session: Session, *, nonce: str) -> str:
    """The whole page; every name in it is escaped. `nonce` marks its own style and script, nothing else is run."""
    return render("relabel.html.j2", state=_state(session), nonce=nonce)


def progress(session: Session) -> dict[str, Any]:
    """What changes with each decision."""
    return {"done": session.done(), "labels": session.labels(), "tally": session.tally()}


def keys_of(class_names: list[str]) -> list[str]:
    """The key of each class: 1 to 9, then the letters that are no command, then none (an empty string)."""
    keys = [*string.digits[1:], *(letter for letter in string.ascii_lowercase if letter not in COMMAND_KEYS)]
    return [keys[index] if index < len(keys) else "" for index in range(len(class_names))]


def _state(session: Session) -> dict[str, Any]:
    names = session.class_names
    return {
        "classes": [{"name": name, "key": key} for name, key in zip(names, keys_of(names), strict=True)],
        "items": [asdict(item) for item in session.items],
        "file": session.path.as_posix(),
        "drop": DROP,
        **progress(session),
    }
