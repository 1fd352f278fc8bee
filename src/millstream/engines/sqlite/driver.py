"""Opening the file, and turning the driver's errors into ours: the one place that knows APSW's exceptions."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from millstream.engines.sqlite.statements import schema
from millstream.errors import (
    ForeignFileError,
    NetworkFileSystemError,
    NewerFormatError,
    StorageBusyError,
    StorageCorruptError,
    StorageError,
    StorageFullError,
    StorageReadOnlyError,
)

APPLICATION_ID = 0x4D696C6C
""""Mill": tells our files from other SQLite files."""

FORMAT = 1
"""Version of the file format, kept in `user_version`. A new one adds its migration to `MIGRATIONS`."""

MIGRATIONS: dict[int, str] = {}
"""Statements that take a file from the version that is the key to the next one."""

BUSY_TIMEOUT_MS = 60_000
"""Our own writers wait in line elsewhere; this is for other programs that hold the file."""

CACHE_KIB = 8 * 1024
"""Page cache of a connection: enough for the inner pages of any b-tree here; records are read once."""

PAGE_BYTES = 8192
"""Half as many pages to write for a batch of 100 kB than with SQLite's 4096, and no more for a single record."""

_NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "smb2", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs", "ncpfs"}
)


@contextmanager
def wrapped(path: str) -> Iterator[None]:
    """Raise errors of the driver as ours, naming the file."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        if (ours := as_ours(error, path)) is not None:
            raise ours from error
        raise


def as_ours(error: Exception, path: str) -> StorageError | None:
    """Return an error of the driver as ours, naming the file; None for one that is a fault of this program."""
    match error:
        case apsw.FullError():
            return StorageFullError(
                f"no room left for {path}; nothing of this call was stored: free some space, then try again"
            )
        case apsw.IOError() if getattr(error, "extendedresult", 0) == apsw.SQLITE_IOERR_SHMSIZE:
            return StorageFullError(f"no room left for {path}-shm: free some space, then try again")
        case apsw.ReadOnlyError():
            return StorageReadOnlyError(f"{path} may not be written: check the rights of the file and its folder")
        case apsw.BusyError() | apsw.LockedError():
            return StorageBusyError(f"another program holds {path} (an open transaction in a SQLite tool?)")
        case apsw.NotADBError():
            return ForeignFileError(
                f"{path} is not a Millstream log: choose another name for the log (nothing was changed)"
            )
        case apsw.CorruptError():
            return StorageCorruptError(f"{path} is damaged; `millstream doctor --url {path}` tells what is left")
        case apsw.CantOpenError():
            return StorageError(f"cannot open {path}: {_why_not_opened(path)}")
        case apsw.IOError():
            return StorageError(f"reading or writing {path} failed: {error}")
        case apsw.NoMemError():
            return StorageError(f"no memory left while using {path}")
        case apsw.SchemaChangeError():
            return StorageError(f"{path} was changed by another program: {error}")
        case apsw.SQLError() if "no such table" in str(error):
            # A connection that was opened later than the others sees the empty file that took its place.
            return StorageError(f"{path} was removed, or replaced, while it was in use; start again")
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return StorageFullError(f"no room left beside {path}: free some space, then try again")
        case OSError(errno=errno.EACCES | errno.EPERM | errno.EROFS):
            where = error.filename or path
            return StorageReadOnlyError(f"{where} may not be written: check the rights of the file and its folder")
        case OSError():
            return StorageError(f"{error.strerror or error}: {error.filename or path}")
    return None


class LogConnection(apsw.Connection):
    """A connection that remembers how it syncs; asking costs as much as a small statement."""

    fsync: bool | None = None
    at_once: apsw.Cursor
    """For statements whose rows are taken before the next one begins: a cursor for each costs half as much as it."""

    def sync_by(self, fsync: bool) -> None:
        """Sync at every commit, or leave it to the system; not within a transaction."""
        if fsync is not self.fsync:
            self.execute("PRAGMA synchronous = FULL" if fsync else "PRAGMA synchronous = NORMAL")
            self.fsync = fsync


def connect(path: str, *, vfs: str | None, read_only: bool) -> LogConnection:
    """Open a connection with the settings that every one of ours has."""
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    connection = LogConnection(path, flags=flags, vfs=vfs, statementcachesize=200)
    connection.at_once = connection.cursor()
    # Else SQLite compiles a statement anew whenever a bound LIMIT or bound of a range is another one than last time, to
    # plan by its value: that takes longer than most of our statements, whose plan is the same in any case.
    connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    connection.set_busy_timeout(BUSY_TIMEOUT_MS)
    connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}; PRAGMA temp_store = MEMORY")
    return connection


def is_prepared(connection: apsw.Connection, path: str) -> bool:
    """Whether the file is a log of this format; False for one that is empty or older. Changes nothing.

    The file is looked at through SQLite only. What a power cut left in the file itself may be half a page, with the
    whole one in the write-ahead log; and closing any other handle of it would drop the process's locks on it.

    Raises:
        ForeignFileError: A file of something else.
        NewerFormatError: Written by a newer release.
    """
    # In one view: another process may make it a log between two of these.
    connection.execute("BEGIN")
    try:
        application = connection.pragma("application_id")
        version = connection.pragma("user_version")
        things = connection.execute("SELECT count(*) FROM sqlite_schema").get
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    if application == APPLICATION_ID:
        if version > FORMAT:
            raise NewerFormatError(
                f"{path} has file format {version}, this Millstream knows {FORMAT}: "
                "upgrade it (pip install -U millstream)"
            )
        return bool(version == FORMAT)
    if application or things:
        raise ForeignFileError(
            f"{path} is a SQLite file of another program: choose another name for the log (nothing was changed)"
        )
    return False


def prepare_file(connection: apsw.Connection, path: str) -> None:
    """Make a new file ours, migrate an older one. The caller holds the writers' lock.

    Raises:
        ForeignFileError: A file of something else.
        NewerFormatError: Written by a newer release.
    """
    if is_prepared(connection, path):
        return  # another process was faster
    if connection.pragma("application_id") == APPLICATION_ID:
        _migrate(connection, connection.pragma("user_version"))
        return
    connection.execute(
        f"PRAGMA page_size = {PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL; "
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL"
    )
    with connection:
        connection.execute(schema())
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}")


def _migrate(connection: apsw.Connection, version: int) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    with connection:
        for step in range(version, FORMAT):
            connection.execute(MIGRATIONS[step])
        connection.execute(f"PRAGMA user_version = {FORMAT}")


def check_place(path: str) -> None:
    """Refuse a place where the log cannot be kept safely.

    Raises:
        NetworkFileSystemError: The folder is on another machine.
        StorageError: The folder does not exist, or the path is a folder.
    """
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise StorageError(f"the folder {folder} does not exist: create it, or name another place for the log")
    if os.path.isdir(path):
        raise StorageError(f"{path} is a folder: name a file in it, such as {os.path.join(path, 'millstream.db')}")
    if kind := network_file_system(folder):
        raise NetworkFileSystemError(
            f"{folder} is on a network file system ({kind}), where SQLite's locks do not hold: "
            "put the log on a local disk, or use a NATS or Kafka engine"
        )


def network_file_system(folder: str, mounts: str | None = None) -> str | None:
    """Return the kind of network file system a folder is on, None for a local one or where the system does not tell.

    Args:
        mounts: Text in the form of /proc/self/mounts; None reads it.
    """
    if sys.platform == "win32":
        import ctypes

        drive_remote = 4
        drive = os.path.splitdrive(folder)[0]
        if drive.startswith("\\\\"):
            return "a share"
        return "a network drive" if ctypes.windll.kernel32.GetDriveTypeW(drive + "\\") == drive_remote else None
    if mounts is None:
        try:
            with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as file:
                mounts = file.read()
        except OSError:
            return None
    best, kind = "", ""
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = parts[1].replace("\\040", " ").rstrip("/") + "/"
        # Later lines are mounted over earlier ones.
        if (folder.rstrip("/") + "/").startswith(point) and len(point) >= len(best):
            best, kind = point, parts[2]
    return kind if kind in _NETWORK_FILE_SYSTEMS else None


def _why_not_opened(path: str) -> str:
    if not os.path.isdir(os.path.dirname(path) or "."):
        return f"there is no folder {os.path.dirname(path)}"
    if not os.access(os.path.dirname(path) or ".", os.W_OK):
        return "its folder may not be written (the log keeps two more files beside it)"
    if os.path.exists(path) and not os.access(path, os.R_OK):
        return "the file may not be read"
    return "the system refused it"
