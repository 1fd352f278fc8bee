"""What becomes of a file when its handler is done, or has given up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from millstream.errors import UsageError
from millstream.triggers.inbox.file import File, Signature, signature_of

MARKS: Final = {"done": ".processed", "failed": ".failed"}
"""What the name of a mark ends in."""


class Aftermath:
    """`move:FOLDER` or `mark`.

    Raises:
        UsageError: Neither.
    """

    def __init__(self, text: str, when: str) -> None:
        action, _, folder = text.partition(":")
        if not ((action == "move" and folder) or text == "mark"):
            raise UsageError(f'{when} is {text!r}; give "move:FOLDER/", or "mark" for an empty file beside it')
        self.folder = Path(folder).absolute() if folder else None
        self._mark = MARKS[when]

    def apply(self, file: File) -> None:
        """Do it, if the file is still the one that was handled.

        Raises:
            OSError: It could not be moved, or no mark be made.
        """
        if signature_of(file.path) != file.signature:
            return  # rewritten meanwhile: that is another version, which is handled for itself
        if self.folder is None:
            Path(file.path + self._mark).touch()
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        _move(Path(file.path), self.folder)

    def was_applied(self, file: File) -> bool:
        """Say whether a file that is gone was moved by an earlier attempt, which ended before that was recorded."""
        if self.folder is None:
            return False
        wanted = file.signature[1:]
        for path in _numbered(self.folder, file.name):
            found = signature_of(str(path))
            if found is None:
                return False
            if Signature(*found)[1:] == wanted:
                return True
        return False


def _move(path: Path, folder: Path) -> None:
    """Move a file into a folder, under a number where there is one of its name."""
    for target in _numbered(folder, path.name):
        if os.path.lexists(target):
            continue
        try:
            os.rename(path, target)
        except OSError:
            # Another file system: the name appears when all of it is there.
            hidden = target.with_name(f".{target.name}.moving")
            shutil.copy2(path, hidden)
            with hidden.open("rb+") as file:
                os.fsync(file.fileno())
            os.rename(hidden, target)
            path.unlink()
        return


def _numbered(folder: Path, name: str) -> Iterator[Path]:
    """Yield `a.csv`, `a-1.csv`, `a-2.csv` and so on."""
    path = folder / name
    yield path
    number = 1
    while True:
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
