"""Files that nobody is to see yet: in a hidden folder of the same file system, durable, renamed when complete."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

from millstream.errors import SinkError

FOLDER: Final = ".millstream"
"""In the sink's folder: a rename within a file system is atomic. Globs and data tools pass over names with a dot."""


_PIECE_BYTES: Final = 1 << 20


class Staging:
    """The hidden folder of one sink, and the visible ones around it.

    Args:
        root: The sink's folder, made if it is missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / FOLDER

    def make(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        return self.folder / name

    def write(self, name: str, length: int, data: bytes) -> int:
        """Write data after the first `length` bytes of a file, and drop what was behind them; return its new length.

        Durable when it returns; called again after an error, it does the same.
        """
        with self.path(name).open("r+b" if length else "wb") as file:
            file.truncate(length)
            file.seek(length)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        return length + len(data)

    def copy(self, source: str, length: int, target: str) -> None:
        """Copy the first bytes of a file, durably.

        Raises:
            SinkError: They are not there.
        """
        try:
            with self.path(source).open("rb") as old, self.path(target).open("wb") as new:
                _copy(old, new, length)
                new.flush()
                os.fsync(new.fileno())
                copied = new.tell()
        except FileNotFoundError:
            copied = -1
        if copied != length:
            raise SinkError(
                f"{self.path(source)} held {length:,} bytes of results that are committed and not published yet, and "
                + ("is gone" if copied < 0 else f"has {copied:,}")
                + '; put it back, or give these results up with @app.stream(..., changed="drop")',
                retryable=False,
            )

    def publish(self, name: str, target: Path) -> bool:
        """Give a staged file the name it was made for; False where that was done before.

        Raises:
            SinkError: There is another file of that name.
        """
        staged, path = self.path(name), self.root / target
        if not staged.exists():
            return False
        if path.exists() and staged.exists():  # else another run has just renamed it
            raise SinkError(
                f"{path} exists, and this stream did not write it; move it away: nothing is overwritten",
                retryable=False,
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        staged.rename(path)
        return True

    def sync(self, folders: set[Path]) -> None:
        """Make the names in folders durable, and those of the folders in the folders above them."""
        above = {path for folder in folders for path in self._above(folder)}
        for path in sorted(folders | above):
            sync_folder(path)

    def remove(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    def _above(self, folder: Path) -> list[Path]:
        return [path for path in folder.parents if path == self.root or self.root in path.parents]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system has a way to (Windows has none)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(old: BinaryIO, new: BinaryIO, length: int) -> None:
    left = length
    while left and (data := old.read(min(_PIECE_BYTES, left))):
        new.write(data)
        left -= len(data)
