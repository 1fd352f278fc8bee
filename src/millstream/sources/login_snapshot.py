"""Who is logged in now, by utmp: what wtmp has no record of.

utmp has a record for each terminal, written over at the next login there. Those that were told are remembered with the
positions, so that each is told once.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from millstream.sources.login_records import LAYOUTS, TYPES, Layout, address_of, decode, layout_of, line_of, time_text
from millstream.sources.source import Line, Note, Reading

FILE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of utmp; ten thousand terminals."""

_USER: Final = TYPES.index("user_process")
_DEAD: Final = TYPES.index("dead_process")


class Login(msgspec.Struct, frozen=True, array_like=True):
    """One record of somebody who is logged in."""

    data: bytes
    layout: str


Logins = dict[str, Login]
"""By terminal and process, `pts/0 7`."""

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Logins)


class LoginSnapshot:
    """utmp, looked at again and again."""

    def __init__(self, path: Path, positions: Mapping[bytes, bytes], *, decides: bool, note: Note) -> None:
        self._path = path
        self._decides = decides
        self._note = note
        self._key = b"logins-now:" + bytes(path)
        self._told = _decoded(positions.get(self._key))
        self._was_told = False
        """Whether what was there at the start has been told."""
        self._seen: bytes | None = None

    def look(self) -> Logins | None:
        """Return who is logged in; None where that is the same as at the last look, or not known."""
        try:
            with self._path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._note(f"{self._path} cannot be read: {error.strerror}")
            return None
        if data == self._seen:
            return None
        self._seen = data
        layout = layout_of(data)
        return {} if layout is None else _logins(data, layout)

    def reading(self, now: Logins, in_wtmp: Collection[tuple[str, int]], *, live: bool) -> Reading | None:
        """Return the logins that are to be told, and the ends of those that were; None where there are none.

        Args:
            in_wtmp: Terminals and processes of the logins that wtmp knows.
            live: Tell also of those that come after the first look: nothing else does.
        """
        first, self._was_told = not self._was_told, True
        if not first and not live:
            return None
        wanted = {name: login for name, login in now.items() if _known_as(name) not in in_wtmp}
        begun = [login for name, login in wanted.items() if name not in self._told]
        ended = [login for name, login in self._told.items() if name not in now]
        kept = {name: login for name, login in self._told.items() if name in now}
        self._told = kept | wanted
        lines = [self._line(login, _DEAD) for login in ended if live] + [self._line(login, _USER) for login in begun]
        if not lines:
            return None
        return Reading(lines, {self._key: _ENCODER.encode(self._told)})

    def _line(self, login: Login, type_number: int) -> Line:
        layout = LAYOUTS[login.layout]
        more: dict[str, Any] = {"decides": self._decides}
        if type_number == _DEAD:
            record = decode(login.data, layout)
            # There is no record of the end: the time of the line is that of its reading.
            more |= {
                "type": TYPES[_DEAD],
                "time": None,
                "login": {"time": time_text(record.seconds, record.microseconds)},
            }
            more["login"] |= {
                "user": record.user.decode(errors="backslashreplace"),
                "host": record.host.decode(errors="backslashreplace"),
                "address": address_of(record.address),
                "pid": record.pid,
                "session": record.session,
            }
        return Line(str(self._path), line_of("utmp", login.data, layout, more))


def _logins(data: bytes, layout: Layout) -> Logins:
    found: Logins = {}
    for start in range(0, len(data) - layout.size + 1, layout.size):
        piece = data[start : start + layout.size]
        record = decode(piece, layout)
        if record.is_possible and record.type == _USER and record.user:
            line = record.line.decode(errors="backslashreplace")
            found[f"{line} {record.pid}"] = Login(piece, layout.name)
    return found


def _known_as(name: str) -> tuple[str, int]:
    line, _, pid = name.rpartition(" ")
    return line, int(pid)


def _decoded(stored: bytes | None) -> Logins:
    try:
        return {} if stored is None else _DECODER.decode(stored)
    except msgspec.DecodeError:
        return {}  # of another version: who is logged in is told once more
