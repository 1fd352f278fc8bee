"""One writer at a time among processes: a lock that writers wait on in line, without polling.

SQLite's own write lock is found free by trying again and again. Here a writer sleeps in the kernel until its turn. Two
locks make the line: whoever waits holds the *gate* while it waits for the *door*, so a process that has just left the
door and lines up finds the gate closed and cannot push in front. Where nobody waits, lining up is a waste: a process
tries the door first, but only so many times in a row.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType

_WITHOUT_LINE_MAX = 8
"""Times in a row that a process may enter without lining up: what somebody who waits may have to wait longer."""


class FileLock:
    """An exclusive lock between processes; not for threads of one process (the group commit orders those)."""

    def __init__(self, path: str) -> None:
        self._gate = _Lock(path, 0)
        self._door = _Lock(path, 1)
        self._without_line = 0

    def acquire(self) -> None:
        """Wait in line until it is this process's turn."""
        if self._without_line < _WITHOUT_LINE_MAX and self._door.try_acquire():
            self._without_line += 1
            return
        self._without_line = 0
        self._gate.acquire()
        try:
            self._door.acquire()
        finally:
            self._gate.release()

    def release(self) -> None:
        """Let the next one in."""
        self._door.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def close(self) -> None:
        """Close the files; releases what is held."""
        self._gate.close()
        self._door.close()


if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    class _Overlapped(ctypes.Structure):
        _fields_ = (
            ("internal", ctypes.c_void_p),
            ("internal_high", ctypes.c_void_p),
            ("offset", wintypes.DWORD),
            ("offset_high", wintypes.DWORD),
            ("event", wintypes.HANDLE),
        )

    _AT_ONCE = 0x1
    _EXCLUSIVE = 0x2

    class _Lock:
        """LockFileEx on one byte: the system queues waiters."""

        def __init__(self, path: str, place: int) -> None:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOINHERIT, 0o666)
            self._place = place
            self._kernel = ctypes.WinDLL("kernel32", use_last_error=True)

        def try_acquire(self) -> bool:
            where = _Overlapped(offset=self._place)
            handle = wintypes.HANDLE(msvcrt.get_osfhandle(self._file))
            return bool(self._kernel.LockFileEx(handle, _EXCLUSIVE | _AT_ONCE, 0, 1, 0, ctypes.byref(where)))

        def acquire(self) -> None:
            where = _Overlapped(offset=self._place)
            handle = wintypes.HANDLE(msvcrt.get_osfhandle(self._file))
            if not self._kernel.LockFileEx(handle, _EXCLUSIVE, 0, 1, 0, ctypes.byref(where)):
                raise ctypes.WinError(ctypes.get_last_error())

        def release(self) -> None:
            where = _Overlapped(offset=self._place)
            handle = wintypes.HANDLE(msvcrt.get_osfhandle(self._file))
            self._kernel.UnlockFileEx(handle, 0, 1, 0, ctypes.byref(where))

        def close(self) -> None:
            os.close(self._file)

else:
    import fcntl

    class _Lock:
        """flock on a file of its own: it belongs to the open file, so no other `close` of this process drops it."""

        def __init__(self, path: str, place: int) -> None:
            name = path if place else path + "-line"
            self._file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)

        def try_acquire(self) -> bool:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        def acquire(self) -> None:
            fcntl.flock(self._file, fcntl.LOCK_EX)

        def release(self) -> None:
            fcntl.flock(self._file, fcntl.LOCK_UN)

        def close(self) -> None:
            os.close(self._file)
