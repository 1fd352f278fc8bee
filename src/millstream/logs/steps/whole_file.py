"""A file that steps look things up in, in memory, read again when it is another one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from millstream.errors import UsageError

T = TypeVar("T")

REFRESH_US: Final = 60_000_000
"""How often such files are looked at: they change once or twice a week."""
_log = logging.getLogger("millstream.logs")


class WholeFile(Generic[T]):
    """A file, as it was when it was last read whole.

    It is in memory, not mapped: a mapped file that is written anew in its place ends the process that reads it.
    """

    def __init__(self, path: str, what: str, read: Callable[[str], T]) -> None:
        """Read a file.

        Args:
            what: What it is, for messages, such as "database".
            read: Makes of a path what it holds; raises OSError, or UsageError where it is no such file.

        Raises:
            UsageError: It cannot be read, or is none.
        """
        self.path = path
        self._what = what
        self._read = read
        self._stamp = self._stamp_of()
        self.value = self._read_now()
        self._said = False

    def refresh(self) -> bool:
        """Read the file again if it is another one; return whether it was. What cannot be read changes nothing."""
        try:
            stamp = self._stamp_of()
            if stamp == self._stamp:
                return False
            value = self._read_now()
            if self._stamp_of() != stamp:
                return False  # it is being written
        except UsageError as error:
            self.say(f"the {self._what} stays as it was: {error}")
            return False
        self._stamp, self.value, self._said = stamp, value, False
        return True

    def say(self, text: str) -> None:
        """Log what is wrong with the file, once until it is another one."""
        if not self._said:
            _log.warning("%s", text)
        self._said = True

    def _read_now(self) -> T:
        try:
            return self._read(self.path)
        except OSError as error:
            raise self._unreadable(error) from error

    def _stamp_of(self) -> tuple[int, int, int]:
        try:
            status = os.stat(self.path)
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _unreadable(self, error: OSError | ValueError) -> UsageError:
        reason = error.strerror if isinstance(error, OSError) else error
        return UsageError(f"{self._what} {self.path!r} cannot be read: {reason}")
