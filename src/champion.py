"""The champion: the run that serving, monitoring and `run_dir=champion` follow, kept in one small file."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from src.files import read_json, write_json
from src.layout import CHAMPION, CHAMPION_FILE, PIPELINE_RUN, RunFolder

TEXTS = ("run", "run_id", "checkpoint", "data_digest", "promoted", "reason")


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
    def folder(self) -> RunFolder:
        """Its run folder."""
        return RunFolder(Path(self.run))

    def located(self) -> tuple[RunFolder, str]:
        """Its run and which of its checkpoints was promoted, `best` or `last`.

        Raises:
            ValueError: it is gone or another by now.
        """
        paths = {which: self.folder.checkpoint(which) / "model.json" for which in ("best", "last")}
        digests = {
            which: read_json(path, made_by="train_model")["sha256"] for which, path in paths.items() if path.exists()
        }
        for which, digest in digests.items():
            if digest == self.checkpoint:
                return self.folder, which
        found = "other weights than it was promoted with" if digests else "no checkpoint"
        raise ValueError(f"the champion {self.run} holds {found}; bring it back, or promote it or another again")

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
    if not isinstance(content, dict):
        raise ValueError(f"{CHAMPION_FILE.as_posix()} holds no champion; remove it and promote again")
    strange = {field.name for field in fields(Champion)} ^ set(content)
    strange |= {name for name in TEXTS if not isinstance(content.get(name), str)}
    if strange:
        raise ValueError(
            f"{CHAMPION_FILE.as_posix()} differs in {', '.join(sorted(strange))}; remove it and promote again"
        )
    return Champion(**content)


def reigning() -> Champion:
    """The present champion.

    Raises:
        ValueError: none was chosen yet, or its file is damaged.
    """
    champion = current()
    if champion is None:
        raise ValueError(f'{CHAMPION_FILE.as_posix()} does not exist; choose a champion: make promote ARGS="<run>"')
    return champion


def run_folder(run_dir: str | None) -> RunFolder:
    """The run that `run_dir` names: a folder, `champion`, or that of the pipeline where it is None.

    Raises:
        ValueError: there is no champion yet, its file is damaged, or its checkpoint is gone or another by now.
    """
    if run_dir != CHAMPION:
        return RunFolder(Path(run_dir or PIPELINE_RUN))
    return reigning().located()[0]
