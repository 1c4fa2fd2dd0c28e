"""The champion: the run that serving, monitoring and `run_dir=champion` follow, kept in one small file."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from src.files import read_json, write_json
from src.layout import CHAMPION_FILE


@dataclass(frozen=True, kw_only=True)
class Champion:
    """A run folder, the digest of its checkpoint, its metrics by split, and when and why it was chosen."""

    run: str
    run_id: str
    checkpoint: str
    data_digest: str
    metrics: dict[str, Any]
    promoted: str
    reason: str
    before: str | None

    @property
    def folder(self) -> Path:
        """Its run folder."""
        return Path(self.run)

    def save(self) -> None:
        """Write models/champion.json; a reader finds the old one or the new one."""
        write_json(CHAMPION_FILE, asdict(self))


def current() -> Champion | None:
    """The present champion; None where none was chosen yet.

    Raises:
        ValueError: the file is damaged or of another version.
    """
    if not CHAMPION_FILE.exists():
        return None
    content = read_json(CHAMPION_FILE, made_by="promote")
    strange = sorted({field.name for field in fields(Champion)} ^ set(content))
    if strange:
        raise ValueError(f"{CHAMPION_FILE.as_posix()} differs in {', '.join(strange)}; remove it and promote again")
    return Champion(**content)
