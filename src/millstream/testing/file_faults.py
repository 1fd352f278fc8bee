"""File operations of SQLite that fail on purpose: full disks and I/O errors, at a chosen call.

    with FileFaults(path) as faults:
        connection = apsw.Connection(str(path))
        with faults.fail(FileFault.DISK_FULL, call=7):
            ...                              # the 7th write from here on, and all after it, find the disk full
        faults.calls                         # how many there were: a scenario is through when it had fewer than 7
        connection.close()

The faults are put in below SQLite and beside Python: files that the operating system's VFS opens get a method table of
ours. A Python VFS cannot do this faithfully. An exception raised in it reaches the caller even where SQLite decides
that the error does not matter (an automatic checkpoint after a commit), and a commit that took place looks as if it
had failed.

Source: SQLite's own loops over I/O errors, "for every n of a scenario" (`test/malloc_common.tcl`).
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import apsw

_POINTER = ctypes.c_void_p
_INT = ctypes.c_int
_INT64 = ctypes.c_int64

_CLOSE: Final = ctypes.CFUNCTYPE(_INT, _POINTER)
_TRANSFER: Final = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER, _INT, _INT64)
_TRUNCATE: Final = ctypes.CFUNCTYPE(_INT, _POINTER, _INT64)
_SYNC: Final = ctypes.CFUNCTYPE(_INT, _POINTER, _INT)
_OPEN: Final = ctypes.CFUNCTYPE(_INT, _POINTER, _POINTER, _POINTER, _INT, _POINTER)


class _Methods(ctypes.Structure):
    """`sqlite3_io_methods`, version 3; the methods that are not exchanged are plain addresses."""

    _fields_ = (
        ("iVersion", _INT),
        ("xClose", _POINTER),
        ("xRead", _POINTER),
        ("xWrite", _POINTER),
        ("xTruncate", _POINTER),
        ("xSync", _POINTER),
        *((f"other{index}", _POINTER) for index in range(13)),
    )


class _FileLayer(ctypes.Structure):
    """The beginning of `sqlite3_vfs`."""

    _fields_ = (
        ("iVersion", _INT),
        ("szOsFile", _INT),
        ("mxPathname", _INT),
        ("pNext", _POINTER),
        ("zName", ctypes.c_char_p),
        ("pAppData", _POINTER),
        ("xOpen", _POINTER),
    )


class FileFault(Enum):
    """What goes wrong: the operation that is counted, SQLite's error code, whether it stays until it is lifted."""

    DISK_FULL = ("write", apsw.SQLITE_FULL, True)
    """From the chosen call on there is no room."""
    WRITE_ERROR = ("write", apsw.SQLITE_IOERR_WRITE, False)
    SYNC_ERROR = ("sync", apsw.SQLITE_IOERR_FSYNC, False)
    TRUNCATE_ERROR = ("truncate", apsw.SQLITE_IOERR_TRUNCATE, False)
    READ_ERROR = ("read", apsw.SQLITE_IOERR_READ, False)
    DEVICE_GONE = ("any", apsw.SQLITE_IOERR, True)
    """From the chosen call on every read, write, truncation and sync fails."""


class FileFaults:
    """Fails operations on one database's files (main file, WAL, journal) in this process. Safe for many threads.

    Sees the files that are opened through the operating system's VFS inside the `with`; these must be closed inside it,
    too. One at a time in a process.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path.resolve()).encode()
        self.calls = 0
        """Calls of the current or last `fail` that it counted."""
        self.failures = 0
        """How many of these it failed."""
        self._fault: FileFault | None = None
        self._call = 0
        self._suffix: bytes | None = None
        self._lock = threading.Lock()
        self._open_files = 0
        self._tables: dict[tuple[int, bytes], _Methods] = {}
        self._kept: list[object] = []  # what C code points to

    @contextmanager
    def fail(self, fault: FileFault, *, call: int = 1, suffix: str | None = None) -> Iterator[None]:
        """Let the `call`-th operation (1 up) of the fault's kind fail, and all after it where the fault stays.

        Args:
            fault: What goes wrong.
            call: Counted from here on.
            suffix: Only operations on this file: "" is the main file, "-wal" the write-ahead log; None counts all.
        """
        with self._lock:
            self.calls = self.failures = 0
            self._fault, self._call = fault, call
            self._suffix = None if suffix is None else suffix.encode()
        try:
            yield
        finally:
            with self._lock:
                self._fault = None

    def __enter__(self) -> FileFaults:
        self._layer = _default_layer()
        self._layer_open = self._layer.xOpen
        opens = _OPEN(self._opening(_OPEN(self._layer_open)))
        self._kept.append(opens)
        self._layer.xOpen = ctypes.cast(opens, _POINTER).value
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._layer.xOpen = self._layer_open
        if self._open_files:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))  # their methods must stay where they are
            if error is None:
                raise RuntimeError(f"{self._open_files} files of {self._path.decode()} are still open")

    def _code(self, operation: str, suffix: bytes) -> int:
        """Count an operation; return the error code it shall end with, or 0."""
        with self._lock:
            if self._fault is None or self._suffix not in (None, suffix):
                return 0
            counted, code, stays = self._fault.value
            if counted not in (operation, "any"):
                return 0
            self.calls += 1
            if self.calls == self._call or (stays and self.calls > self._call):
                self.failures += 1
                return code
            return 0

    # --- what C code calls: an exception in here could not be raised to anybody ------------------------------------

    def _opening(self, original: Callable[..., int]) -> Callable[..., int]:
        def call(layer: int, name: int | None, file: int, flags: int, out: int | None) -> int:
            code = original(layer, name, file, flags, out)
            path = ctypes.string_at(name) if name else b""
            if code == apsw.SQLITE_OK and path.startswith(self._path):
                methods = _POINTER.from_address(file)
                if methods.value:
                    methods.value = ctypes.addressof(self._table(methods.value, path[len(self._path) :]))
                    with self._lock:
                        self._open_files += 1
            return code

        return call

    def _table(self, original: int, suffix: bytes) -> _Methods:
        """Return a copy of a method table whose file operations ask `_code` first."""
        with self._lock:
            if (original, suffix) not in self._tables:
                table = _Methods.from_buffer_copy(ctypes.string_at(original, ctypes.sizeof(_Methods)))
                for field, operation, kind in (
                    ("xRead", "read", _TRANSFER),
                    ("xWrite", "write", _TRANSFER),
                    ("xTruncate", "truncate", _TRUNCATE),
                    ("xSync", "sync", _SYNC),
                ):
                    self._exchange(table, field, kind, self._asking(operation, suffix, kind(getattr(table, field))))
                self._exchange(table, "xClose", _CLOSE, self._closing(_CLOSE(table.xClose)))
                self._tables[original, suffix] = table
            return self._tables[original, suffix]

    def _exchange(self, table: _Methods, field: str, kind: Any, method: Callable[..., int]) -> None:
        function = kind(method)
        self._kept.append(function)
        setattr(table, field, ctypes.cast(function, _POINTER).value)

    def _asking(self, operation: str, suffix: bytes, original: Callable[..., int]) -> Callable[..., int]:
        def call(*args: Any) -> int:
            return self._code(operation, suffix) or original(*args)

        return call

    def _closing(self, original: Callable[..., int]) -> Callable[..., int]:
        def call(file: int) -> int:
            with self._lock:
                self._open_files -= 1
            return original(file)

        return call


def _default_layer() -> _FileLayer:
    """Return the `sqlite3_vfs` that files are opened with unless another is named."""
    connection = apsw.Connection(":memory:")
    address = _POINTER()
    connection.file_control("main", apsw.SQLITE_FCNTL_VFS_POINTER, ctypes.addressof(address))
    connection.close()
    assert address.value is not None
    return _FileLayer.from_address(address.value)
