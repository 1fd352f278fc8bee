"""A file layer for SQLite that remembers what a power cut would forget.

    disk = Disk(tmp_path / "live")
    with CrashVFS(disk) as vfs:
        connection = apsw.Connection(str(disk.root / "x.db"), vfs=vfs.name)
        ...                                     # any number of connections and threads
        disk.cut_at(1234)                       # or disk.cut()
    disk.crash(seed, tmp_path / "after")        # open these files with the normal VFS

It stands on the operating system's own VFS: locks, shared memory and reads are the real ones, writes are passed through
and recorded in the `Disk`. Only syncs are not passed on: the live files need not survive anything, and 500 crashes take
a minute instead of ten.

Names follow SQLite's unix layer: the first sync of a journal or WAL handle that may have created its file also syncs
the directory; so does a delete that asks for it; nothing else does. Temporary files and the shared memory are not
recorded: SQLite rebuilds both. Files that a program keeps beside the database on its own are not seen.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Final

import apsw

from millstream.testing.disk import Disk

_RECORDED: Final = (
    apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL
)
_JOURNALS: Final = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL | apsw.SQLITE_OPEN_WAL


class CrashVFS(apsw.VFS):
    """The default VFS, recording in a `Disk`. Its name is free to use until `close` (or the end of the `with`)."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.name = f"millstream-crash-{id(disk):x}"
        super().__init__(self.name, "")

    def xOpen(  # noqa: N802 - SQLite's name
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        if name is None or not flags[0] & _RECORDED:
            return apsw.VFSFile("", name, flags)
        path = name if isinstance(name, str) else name.filename()
        # Only at the first opening: a close of any handle of a file drops all locks that the process has on it.
        existing = None if self.disk.knows(path) else _content(path)
        file = _CrashFile(self.disk, path, name, flags)
        self.disk.open(path, content=existing)
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(filename, False)
        self.disk.delete(filename, directory=syncdir)

    def close(self) -> None:
        """Free the name; connections that are open go on."""
        self.unregister()

    def __enter__(self) -> CrashVFS:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _CrashFile(apsw.VFSFile):
    def __init__(self, disk: Disk, path: str, name: str | apsw.URIFilename, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._path = path
        self._directory_unsynced = bool(flags[0] & apsw.SQLITE_OPEN_CREATE and flags[0] & _JOURNALS)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._disk.write(self._path, offset, bytes(data))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        super().xTruncate(newsize)
        self._disk.truncate(self._path, newsize)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._disk.sync(self._path, directory=self._directory_unsynced)
        self._directory_unsynced = False


def _content(path: str) -> bytes | None:
    """Return what a file holds, None when there is none."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        return None
