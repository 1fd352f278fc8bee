"""A file on its way to disk: written beside its place, synced, then given its name. Nobody sees half of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from millstream.triggers.http.safe_name import safe_name

WRITE_BYTES: Final = 1024 * 1024
"""Written at once: what comes in pieces of some 64 kB is gathered up to this, and memory holds no more of a file."""

PART: Final = ".millstream-part"
"""What the names of unfinished files end in; they begin with a dot."""

ABANDONED_S: Final = 86_400
"""An unfinished file that nothing was written to for this long is of a process that died."""


class Receiving:
    """One file. Blocking: called from threads."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = safe_name(name)
        self.size = 0
        self.path: Path | None = None
        """Its place, once it has one."""
        self._digest = hashlib.sha256()
        self._part = folder / f".{secrets.token_hex(8)}{PART}"
        self._file = self._part.open("xb", buffering=0)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._digest.update(data)
        self.size += len(data)

    def sync(self) -> None:
        """Make its content durable: all of it is there."""
        os.fsync(self._file.fileno())
        self._file.close()

    def place(self) -> Path:
        """Give it its name, with a number behind it where that is taken."""
        for path in _numbered(self.folder / self.name):
            if _place(self._part, path):
                self.path = path
                break
        assert self.path is not None
        return self.path

    def discard(self) -> None:
        """Take it away, finished or not."""
        self._file.close()
        self._part.unlink(missing_ok=True)
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None


def sweep(folder: Path) -> None:
    """Make the folder, and take unfinished files of processes that died out of it."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob(f".*{PART}"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > ABANDONED_S:
                path.unlink()


def sync_names(folder: Path) -> None:
    """Make the names in a folder durable, where the system has a way to (Windows has none)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _place(part: Path, path: Path) -> bool:
    """Give a file its name; False where there is one of that name. Never replaces a file."""
    if os.name == "nt":
        try:
            part.rename(path)
        except FileExistsError:
            return False
        return True
    try:
        os.link(part, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links: the name is taken first, then the file put there
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        except FileExistsError:
            return False
        part.replace(path)
        return True
    part.unlink()
    return True


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    number = 1
    while True:
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
