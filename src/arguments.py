"""Words of a command line for verbs that take runs by name: `compare first second compare.split=val`.

They come from the command line, or from the variable PIPELINE_ARGS, in which make hands on its ARGS as they were typed.
"""

import os
import re
import sys
from collections.abc import Callable, Sequence

from src.config import Config
from src.guard import run_guarded

ARGS_VARIABLE = "PIPELINE_ARGS"

# text between spaces, where a pair of quotes may hold spaces too; the quotes stay, Hydra reads them
WORD = re.compile(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""")

# a setting is `section.key=value`; a run may be any other word
SETTING = re.compile(r"[A-Za-z_][\w.]*=.*", re.DOTALL)


def run_on_runs(action: Callable[[Config, list[str]], None], *, about: str) -> None:
    """Run `action` with the configuration and the runs that the words name; a fault becomes one sentence."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.stdout.write(f"{about.strip()}\n")
        return
    run_guarded(lambda: _run(action, given()))


def _run(action: Callable[[Config, list[str]], None], words: Sequence[str]) -> None:
    from src.compose import compose
    from src.selection import parse

    flags = [word for word in words if word.startswith("-")]
    if flags:
        raise ValueError(f"unknown flags {' '.join(flags)}; give runs by name or folder, and settings as key=value")
    settings = settings_of(words)
    action(compose(parse(settings)), [word for word in words if word not in settings])


def given() -> list[str]:
    """The words of the command line, or of the variable where there are none.

    Raises:
        ValueError: a quote without its partner.
    """
    return sys.argv[1:] or split_args(os.environ.get(ARGS_VARIABLE, ""))


def settings_of(words: Sequence[str] | None = None) -> list[str]:
    """The settings among the words, of those given where none are named."""
    return [word for word in (given() if words is None else words) if SETTING.fullmatch(word)]


def split_args(text: str) -> list[str]:
    """The words in `text`; quotes protect spaces and are kept, a backslash is a character like any other.

    Raises:
        ValueError: a quote without its partner.
    """
    if WORD.sub("", text).strip():
        raise ValueError(f"ARGS={text} has a quote without its partner")
    words = WORD.findall(text)
    return [word[1:-1] if word[0] in "'\"" and word.find(word[0], 1) == len(word) - 1 else word for word in words]
