"""A number that all processes of a log share: it changes whenever somebody begins to listen.

Who sends news keeps a list of the listeners, and would have to look into their folder after every commit. A look at
this number, in memory that is mapped from a file, costs a hundredth of that.
"""

from __future__ import annotations

import mmap
import os
import secrets
from typing import Final

_BYTES: Final = 8


def change(path: str) -> None:
    """Make the number another one; called by a listener when it can be found.

    Raises:
        OSError: The file cannot be written.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        # Written, not through a mapping: a full disk is an error here, and not a signal.
        os.pwrite(file, secrets.token_bytes(_BYTES), 0)
    finally:
        os.close(file)


class Roll:
    """The number, as one who sends news sees it."""

    def __init__(self, path: str) -> None:
        """Take its file; made at the first look where there is none."""
        self._path = path
        self._map: mmap.mmap | None = None
        self._seen: bytes | None = None

    def changed(self) -> bool:
        """Whether it is another number than at the last call; True at the first one, and where nobody can tell.

        Who changed it before this call has listened since before that: who looks for listeners now finds it.
        """
        if self._map is None and not self._open():
            return True
        assert self._map is not None
        number = self._map[:_BYTES]
        if number == self._seen:
            return False
        self._seen = number
        return True

    def forget(self) -> None:
        """Have the next call of `changed` return True."""
        self._seen = None

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
            self._map = None

    def _open(self) -> bool:
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                if os.fstat(file).st_size < _BYTES:
                    os.ftruncate(file, _BYTES)
                self._map = mmap.mmap(file, _BYTES, access=mmap.ACCESS_READ)
            finally:
                os.close(file)
        except (OSError, ValueError):
            return False
        return True
