"""The last login of each user: which of them are new, and how glibc's lastlog keeps them.

A file has one place for each user, written over at the next login: of two logins of one user between two looks, and of
two in one second, only the last is seen.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

LASTLOG: Final = Path("/var/log/lastlog")
SLACK_S: Final = 600
"""A login may be written so much later than one with a later time."""
_NARROW: Final = struct.Struct("=i32s256s")
_WIDE: Final = struct.Struct("=q32s256s")
_PIECE_RECORDS: Final = 3000
_USERS: Final = 2**32
_SECONDS_MAX: Final = 253_402_300_799


class LastLogin(msgspec.Struct, frozen=True, kw_only=True):
    """When a user last logged in, and from where."""

    user: str
    seconds: int
    line: str | None = None
    host: str | None = None
    service: str | None = None
    uid: int | None = None


class _Position(msgspec.Struct, frozen=True, array_like=True):
    newest: int = 0
    seen: dict[str, int] = {}
    """User -> time, of those within `SLACK_S` of the newest."""
    floor: int = 0
    """Where the very first start began: what is older is not told of later either."""


class LastLogins:
    """Which logins are stored."""

    def __init__(self, position: bytes | None) -> None:
        try:
            self._at = _Position() if position is None else msgspec.msgpack.decode(position, type=_Position)
        except msgspec.DecodeError:
            self._at = _Position()  # of another version: as if it were not there

    @property
    def since(self) -> int:
        """The time before which nothing new is looked for."""
        return max(self._at.floor, self._at.newest - SLACK_S)

    def begin(self, found: Sequence[LastLogin], count: int) -> None:
        """Leave out all but the last so many, at the very first start."""
        left, kept = found[: max(len(found) - count, 0)], found[max(len(found) - count, 0) :]
        if left and kept:
            self._at = _Position(0, {one.user: one.seconds for one in left}, kept[0].seconds)

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self._at)

    def take(self, found: Sequence[LastLogin], count: int) -> Sequence[LastLogin]:
        """Return the new ones of those since `since`, oldest first, at most `count`; they count as stored then."""
        new = [one for one in found if self._at.seen.get(one.user) != one.seconds and one.seconds >= self.since][:count]
        if new:
            newest = max(self._at.newest, new[-1].seconds)
            seen = self._at.seen | {one.user: one.seconds for one in new}
            kept = {user: at for user, at in seen.items() if at >= newest - SLACK_S}
            self._at = _Position(newest, kept, self._at.floor)
        return new


def lastlog_since(path: Path, seconds: int) -> list[LastLogin]:
    """Return the records of lastlog since a time, oldest first. Holes of the file are passed over.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        form = _WIDE if size % _NARROW.size and not size % _WIDE.size else _NARROW
        found = [
            (at, number, line, host)
            for start, data in _data(file.fileno(), size, form.size)
            for number, (at, line, host) in enumerate(form.iter_unpack(data), start // form.size)
            if max(seconds, 1) <= at <= _SECONDS_MAX
        ]
    return [
        LastLogin(user=_name(number), uid=number, seconds=at, line=_text(line), host=_text(host))
        for at, number, line, host in sorted(found)
    ]


def _data(descriptor: int, size: int, record: int) -> Iterator[tuple[int, bytes]]:
    """Yield where there are bytes in a sparse file, in whole records."""
    place = 0
    while place + record <= min(size, _USERS * record):
        try:
            start = os.lseek(descriptor, place, os.SEEK_DATA)
        except OSError:
            return  # only a hole is left
        start -= start % record
        piece = os.pread(descriptor, _PIECE_RECORDS * record, max(start, place))
        piece = piece[: len(piece) - len(piece) % record]
        if not piece:
            return
        yield max(start, place), piece
        place = max(start, place) + len(piece)


def _name(uid: int) -> str:
    import pwd  # not on Windows

    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def _text(data: bytes) -> str | None:
    return data.partition(b"\0")[0].decode(errors="backslashreplace") or None
