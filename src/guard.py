"""Around every command: `.env` is read, a fault a person can mend becomes one sentence, an exit becomes a code."""

import errno
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from src.logs import start_logging

ENV_FILE = Path(__file__).resolve().parents[1] / ".env"

SHUT = "change the owner or mode of it and of its folder, and give the command again"
WAYS_OUT = {
    errno.ENOSPC: "free some of the disk (make doctor tells how much is left) and give the command again; "
    "what was finished before is as it was",
    errno.EACCES: SHUT,
    errno.EPERM: SHUT,
    errno.EROFS: "mount that disk for writing, or work on another, and give the command again",
}
"""What to do, by the number of a system error."""

EXIT_FAULT = 2
EXIT_INTERRUPTED = 130


def run_guarded(action: Callable[[], None]) -> None:
    """Run `action`; a fault a person can mend ends in one sentence and exit code 2, not in a traceback."""
    if not logging.getLogger().handlers:
        start_logging()
    log = logging.getLogger(f"src.{Path(sys.argv[0]).stem}")
    try:
        read_env_file(ENV_FILE)
        action()
    except KeyboardInterrupt:
        log.warning("interrupted")
        raise SystemExit(EXIT_INTERRUPTED) from None
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        log.error("%s", told(error))
        raise SystemExit(EXIT_FAULT) from None


def told(error: Exception) -> str:
    """What a person reads of the error: of a disk that is full or shut also what to do about it."""
    if not isinstance(error, OSError) or error.errno not in WAYS_OUT:
        return str(error)
    place = "a file" if error.filename is None else str(error.filename)
    return f"{place}: {str(error.strerror).lower()}; {WAYS_OUT[error.errno]}"


def read_env_file(path: Path) -> None:
    """Set the variables of a `.env` file; one that is set already stays as it is."""
    if path.is_file():
        from dotenv import load_dotenv

        load_dotenv(path, override=False)
