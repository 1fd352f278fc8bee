"""The login records of this machine: wtmp and btmp as they grow, utmp where those say nothing.

| file | what is read |
|---|---|
| wtmp | logins, logouts, boots; also what it was rotated to |
| btmp | logins that failed |
| utmp | who is logged in at the start and not in wtmp; where there is no wtmp, also who comes and goes |

Each record is one line of JSON. That of a logout names only its terminal; whose it was is added from the login, which
is remembered with the positions.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from millstream.clock import Clock, SystemClock
from millstream.parsers.event_parser import EventParser, LogEventParser
from millstream.parsers.logins import login_reader
from millstream.sources.log_file import is_missing
from millstream.sources.login_file import login_tail, record_of
from millstream.sources.login_records import (
    TYPES,
    Layout,
    LoginRecord,
    address_of,
    decode,
    line_of,
    part_line,
    time_text,
)
from millstream.sources.login_snapshot import LoginSnapshot
from millstream.sources.looks import looks
from millstream.sources.source import Line, Note, Reading
from millstream.sources.tail import FileTail
from millstream.sources.troubles import unreadable

WTMP: Final = Path("/var/log/wtmp")
BTMP: Final = Path("/var/log/btmp")
UTMP: Final = Path("/run/utmp")

OPEN_MAX: Final = 4096
"""Terminals whose login is remembered; of more, the oldest is forgotten and its end has no name."""

_USER: Final = TYPES.index("user_process")
_DEAD: Final = TYPES.index("dead_process")
_BOOT: Final = TYPES.index("boot_time")


class LoginSource:
    """Files of login records; each begun with its last records at the first start."""

    def __init__(
        self,
        *,
        wtmp: Sequence[Path] = (WTMP,),
        btmp: Sequence[Path] = (BTMP,),
        utmp: Path | None = UTMP,
        decides: bool = True,
        records_first: int = 200,
        follow: bool = True,
        clock: Clock | None = None,
    ) -> None:
        """Follow files, any of which may be missing until later.

        Args:
            utmp: Who is logged in now; None: not asked.
            decides: These records say whether a login succeeded. False where a text log says it too: then each
                attempt is counted there.
            records_first: Records to begin with of a file that has no position: the last.
            follow: Go on with what is added; False: end with what there is.
        """
        self._wtmp = tuple(wtmp)
        self._btmp = tuple(btmp)
        self._utmp = utmp
        self._decides = decides
        self._records_first = records_first
        self._follow = follow
        self._clock = clock or SystemClock()
        self._logs: Sequence[_LoginLog] = ()

    @property
    def name(self) -> str:
        return "login records"

    def following(self) -> Sequence[str]:
        return tuple(str(log.tail.path) for log in self._logs if log.tail.open)

    def troubles(self) -> Sequence[str]:
        """No machine has all of these files: it is one that it can read none of them."""
        found = [f"{path}: {said}" for path in self._paths() if (said := unreadable(path))]
        return tuple(found) if len(found) == len(self._paths()) else ()

    def parser(self, origin: str) -> LogEventParser:
        return EventParser(origin, login_reader(), format="logins")

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        logs = [self._log(path, "wtmp", positions, note) for path in self._wtmp]
        logs += [self._log(path, "btmp", positions, note) for path in self._btmp]
        self._logs = logs
        snapshot = (
            None if self._utmp is None else LoginSnapshot(self._utmp, positions, decides=self._decides, note=note)
        )
        try:
            yield from self._round(logs, snapshot, stop)
            if not self._follow:
                return
            for _ in looks(self._paths(), stop, note):
                yield from self._round(logs, snapshot, stop)
            # What is in the files at the moment of the stop is read, one bounded piece a file.
            yield from _pieces(logs)
        finally:
            for log in logs:
                log.tail.close()
            self._logs = ()

    def _paths(self) -> list[Path]:
        return [*self._wtmp, *self._btmp, *([self._utmp] if self._utmp is not None else [])]

    def _log(self, path: Path, means: str, positions: Mapping[bytes, bytes], note: Note) -> _LoginLog:
        return _LoginLog(
            path,
            means,
            positions,
            decides=self._decides,
            records_first=self._records_first,
            clock=self._clock,
            note=note,
        )

    def _round(
        self, logs: Sequence[_LoginLog], snapshot: LoginSnapshot | None, stop: threading.Event
    ) -> Iterator[Reading]:
        """Yield all there is, a piece of each file in turn; then what only utmp says."""
        # utmp is written before wtmp: asked first, what it says of a login is in wtmp by the time that is read.
        now = None if snapshot is None else snapshot.look()
        more = True
        while more and not stop.is_set():
            more = False
            for reading in _pieces(logs):
                more = True
                yield reading
        if snapshot is None or now is None or stop.is_set():
            return
        wtmp = [log for log in logs if log.means == "wtmp"]
        rest = snapshot.reading(
            now, {login for log in wtmp for login in log.logins}, live=not any(map(_is_there, wtmp))
        )
        if rest is not None:
            yield rest


def _is_there(log: _LoginLog) -> bool:
    return not is_missing(log.tail.path)


def _pieces(logs: Sequence[_LoginLog]) -> Iterator[Reading]:
    for log in logs:
        reading = log.read()
        if reading is not None:
            yield reading


class _Login(msgspec.Struct, frozen=True, array_like=True):
    """A login whose end has not come."""

    user: str
    host: str
    address: str | None
    pid: int
    session: int
    time: str | None


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(dict[str, _Login])


class _LoginLog:
    """One file, and who is logged in by what it says."""

    def __init__(
        self,
        path: Path,
        means: str,
        positions: Mapping[bytes, bytes],
        *,
        decides: bool,
        records_first: int,
        clock: Clock,
        note: Note,
    ) -> None:
        self.means = means
        self._decides = decides
        self._key = b"logins-open:" + bytes(path)
        self._stored = positions.get(self._key)
        self._open = _open_logins(self._stored)
        """Terminal -> login."""
        self.tail = login_tail(
            path,
            positions.get(FileTail.key_of(path)),
            records_first=records_first,
            clock=clock,
            note=note,
            before=lambda data, layout: self._follow(decode(data, layout)),
        )

    @property
    def logins(self) -> Iterator[tuple[str, int]]:
        """Terminals and processes of who is logged in."""
        return ((line, login.pid) for line, login in self._open.items())

    def read(self) -> Reading | None:
        reading = self.tail.read()
        if reading is None:
            return None
        records = (record_of(line.data) for line in reading.lines)
        lines = [self._line(data, layout) for data, layout in records if any(data)]
        positions = dict(reading.positions)
        opened = _ENCODER.encode(self._open)
        if opened != (self._stored or _ENCODER.encode({})):
            positions[self._key] = self._stored = opened
        return Reading(lines, positions)

    def _line(self, data: bytes, layout: Layout | None) -> Line:
        origin = str(self.tail.path)
        if layout is None:
            return Line(origin, part_line(self.means, data))
        more: dict[str, Any] = {"decides": self._decides}
        login = self._follow(decode(data, layout))
        if login is not None:
            more["login"] = msgspec.structs.asdict(login)
        return Line(origin, line_of(self.means, data, layout, more))

    def _follow(self, record: LoginRecord) -> _Login | None:
        """Remember a login; return the one that ends here."""
        if self.means != "wtmp" or not record.is_possible:
            return None
        line = record.line.decode(errors="backslashreplace")
        if record.type == _BOOT or line.startswith("~"):
            self._open.clear()  # nobody stays logged in over a boot
        elif record.type == _DEAD or (record.type == _USER and not record.user):
            return self._open.pop(line, None)
        elif record.type == _USER:
            self._open.pop(line, None)
            self._open[line] = _Login(
                record.user.decode(errors="backslashreplace"),
                record.host.decode(errors="backslashreplace"),
                address_of(record.address),
                record.pid,
                record.session,
                time_text(record.seconds, record.microseconds),
            )
            if len(self._open) > OPEN_MAX:
                del self._open[next(iter(self._open))]
        return None


def _open_logins(stored: bytes | None) -> dict[str, _Login]:
    try:
        return {} if stored is None else _DECODER.decode(stored)
    except msgspec.DecodeError:
        return {}  # of another version: the ends of those logins have no name
