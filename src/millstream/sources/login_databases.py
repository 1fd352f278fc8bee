"""Logins in databases: wtmpdb, which newer systems have in place of wtmp, and the last login of each user.

| file | what it has |
|---|---|
| wtmpdb | a row for each login, to which its end is added; SQLite |
| lastlog2 | the last login of each user; SQLite |
| lastlog | the same, a record for each number of a user; sparse |

They are opened to be read only, with Python's own sqlite3: the rules of these files are their writers'.

Source: https://github.com/thkukuk/wtmpdb, lib/sqlite.c; util-linux, liblastlog2; glibc, bits/utmp.h.
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final

import msgspec

from millstream.parsers.event_parser import EventParser, LogEventParser
from millstream.parsers.logins import login_reader
from millstream.sources.last_logins import LastLogin, LastLogins, lastlog_since
from millstream.sources.log_file import is_missing
from millstream.sources.login_records import time_text
from millstream.sources.looks import looks
from millstream.sources.source import Line, Note, Reading
from millstream.sources.troubles import Troubles, unreadable

WTMPDB: Final = Path("/var/lib/wtmpdb/wtmp.db")
LASTLOG2: Final = Path("/var/lib/lastlog/lastlog2.db")

ROWS_MAX: Final = 1000
"""Of one reading."""
OPEN_MAX: Final = 10_000
"""Logins whose end is waited for; of more, the oldest are forgotten."""
BUSY_S: Final = 1.0
_TYPES: Final = {1: ("boot_time", "shutdown"), 2: ("run_level", "run_level"), 3: ("user_process", "dead_process")}
"""What a row of wtmpdb begins with, and ends with."""


class LoginDatabaseSource:
    """One database of logins, followed as it changes."""

    def __init__(
        self,
        path: Path,
        *,
        what: str | None = None,
        decides: bool = True,
        records_first: int = 200,
        follow: bool = True,
    ) -> None:
        """Follow a file, which may be missing until later.

        Args:
            what: `wtmpdb`, `lastlog2` or `lastlog`; None: as its name says.
            decides: See `LoginSource`.
            records_first: Records to begin with where there is no position: the last.
            follow: Go on with what is added; False: end with what there is.
        """
        self._path = path
        self._what = what or what_of(path)
        self._decides = decides
        self._records_first = records_first
        self._follow = follow
        self._reading = False
        self._troubles = Troubles()

    @property
    def name(self) -> str:
        return self._what

    def following(self) -> Sequence[str]:
        return (str(self._path),) if self._reading and not is_missing(self._path) else ()

    def troubles(self) -> Sequence[str]:
        said = unreadable(self._path)
        return self._troubles.sentences() if said is None else (f"{self._path}: {said}",)

    def parser(self, origin: str) -> LogEventParser:
        return EventParser(origin, login_reader(), format="logins")

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        key = f"logins:{self._what}:{self._path}".encode(errors="surrogateescape")
        kind = _Sessions if self._what == "wtmpdb" else _LastLogins
        reader = kind(self._path, self._what, positions.get(key), self._records_first)
        self._reading = True
        try:
            yield from self._all(reader, key, stop, note)
            if not self._follow:
                return
            watched = [self._path, *(self._path.with_name(self._path.name + end) for end in ("-wal", "-journal"))]
            before: object = None
            for _ in looks(watched, stop, note):
                seen = [_look(path) for path in watched]
                if seen != before:
                    yield from self._all(reader, key, stop, note)
                before = seen
        finally:
            self._reading = False

    def _all(self, reader: _Sessions | _LastLogins, key: bytes, stop: threading.Event, note: Note) -> Iterator[Reading]:
        while not stop.is_set() and not is_missing(self._path):
            try:
                found = reader.read()
            except sqlite3.Error as error:
                if "locked" not in str(error) and "no such table" not in str(error):
                    self._trouble(f"{self._path} cannot be read: {error}", note)
                return
            except OSError as error:
                self._trouble(f"{self._path} cannot be read: {error.strerror}", note)
                return
            self._troubles.over()
            if not found:
                return
            said = [{"login_file": self._what, "decides": self._decides, **one} for one in found]
            yield Reading([Line(str(self._path), msgspec.json.encode(one)) for one in said], {key: reader.position()})

    def _trouble(self, sentence: str, note: Note) -> None:
        self._troubles.have(sentence)
        note(sentence)


def what_of(path: Path) -> str:
    """Return what a file is, by its name."""
    if path.suffix != ".db":
        return "lastlog"
    return "lastlog2" if path.name.startswith("lastlog") else "wtmpdb"


class _SessionsPosition(msgspec.Struct, frozen=True, array_like=True):
    row: int
    login_us: int
    """Of the newest login that is stored."""
    opened: list[int]
    """Rows without an end."""


class _Sessions:
    """wtmpdb: what was added, and which logins ended."""

    def __init__(self, path: Path, what: str, position: bytes | None, records_first: int) -> None:
        self._path = path
        self._at = _decoded(position, _SessionsPosition)
        self._records_first = records_first

    def position(self) -> bytes:
        return msgspec.msgpack.encode(self._at)

    def read(self) -> list[dict[str, Any]]:
        """Return what is new; none when nothing is."""
        with closing(_opened(self._path)) as database:
            at = self._at or self._begin(database)
            at, login_us = self._restarted(database, at)
            ended = self._ended(database, at)
            rows = database.execute(_statements()["sessions_after"], (at.row, ROWS_MAX)).fetchall()
        said: list[dict[str, Any]] = []
        opened = set(at.opened)
        for row in ended:
            opened.discard(row[0])
            if row[4] is not None:
                said.append(_end(row))
        for row in rows:
            if (row[3] or 0) <= login_us:
                continue  # stored under the number that it had before
            said.append(_begin(row))
            if row[4] is None:
                opened.add(row[0])
            else:
                said.append(_end(row))
        newest_us = max([at.login_us, *(row[3] or 0 for row in rows)])
        self._at = _SessionsPosition(rows[-1][0] if rows else at.row, newest_us, sorted(opened)[-OPEN_MAX:])
        return said

    def _begin(self, database: sqlite3.Connection) -> _SessionsPosition:
        found = database.execute(_statements()["session_before_last"], (self._records_first,)).fetchone()
        return _SessionsPosition(found[0] if found else 0, 0, [])

    def _restarted(self, database: sqlite3.Connection, at: _SessionsPosition) -> tuple[_SessionsPosition, int]:
        """Return where to go on, and the time up to which logins are stored; numbers begin anew in an emptied table."""
        (newest,) = database.execute(_statements()["newest_session"]).fetchone()
        if (newest or 0) >= at.row:
            return at, -1
        return _SessionsPosition(0, at.login_us, []), at.login_us

    def _ended(self, database: sqlite3.Connection, at: _SessionsPosition) -> list[tuple[Any, ...]]:
        """Return the open logins that have an end now; those that are gone have one without a time."""
        asked = msgspec.json.encode(at.opened).decode()
        found = {row[0]: row for row in database.execute(_statements()["sessions_among"], (asked,))}
        return [
            found.get(row, (row, None, None, None, None, None, None, None))
            for row in at.opened
            if row not in found or found[row][4] is not None
        ]


def _begin(row: tuple[Any, ...]) -> dict[str, Any]:
    number, kind, user, login_us, _, line, host, service = row
    return {
        "type": _TYPES.get(kind, (str(kind), ""))[0],
        "row": number,
        "user": user,
        "line": line,
        "host": host,
        "service": service,
        "time": _time(login_us),
    }


def _end(row: tuple[Any, ...]) -> dict[str, Any]:
    begun = _begin(row)
    return {
        "type": _TYPES.get(row[1], ("", str(row[1])))[1],
        "row": row[0],
        "time": _time(row[4]),
        "service": begun["service"],
        "login": begun,
    }


class _LastLogins:
    """lastlog2 and lastlog: logins that are newer than what is stored."""

    def __init__(self, path: Path, what: str, position: bytes | None, records_first: int) -> None:
        self._path = path
        self._what = what
        self._logins = LastLogins(position)
        self._is_new = position is None
        self._records_first = records_first

    def position(self) -> bytes:
        return self._logins.encode()

    def read(self) -> list[dict[str, Any]]:
        """Return what is new; none when nothing is."""
        found = self._since(self._logins.since)
        if self._is_new:
            self._logins.begin(found, self._records_first)
            self._is_new = False
        return [
            {
                "type": "user_process",
                "uid": one.uid,
                "user": one.user,
                "line": one.line,
                "host": one.host,
                "service": one.service,
                "time": time_text(one.seconds),
            }
            for one in self._logins.take(found, ROWS_MAX)
        ]

    def _since(self, seconds: int) -> list[LastLogin]:
        """Return the last login of each user since a time, oldest first."""
        if self._what == "lastlog":
            return lastlog_since(self._path, seconds)
        with closing(_opened(self._path)) as database:
            if self._is_new:
                before = database.execute(_statements()["last_login_before_last"], (self._records_first,)).fetchone()
                seconds = before[0] if before else seconds
            rows = database.execute(_statements()["last_logins_since"], (seconds, 10 * ROWS_MAX)).fetchall()
        return [LastLogin(user=name, seconds=at, line=line, host=host, service=by) for name, at, line, host, by in rows]


def _opened(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_S)


@cache
def _statements() -> dict[str, str]:
    """Return the statements of login_databases.sql by name."""
    text = resources.files(__package__).joinpath("login_databases.sql").read_text(encoding="utf-8")
    found = re.findall(r"^-- (\w+): .*\n((?:(?!--).+\n)+)", text, re.MULTILINE)
    return {name: statement.strip().removesuffix(";") for name, statement in found}


def _decoded(position: bytes | None, kind: type[_SessionsPosition]) -> _SessionsPosition | None:
    try:
        return None if position is None else msgspec.msgpack.decode(position, type=kind)
    except msgspec.DecodeError:
        return None  # of another version: as if it were not there


def _look(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _time(at_us: Any) -> str | None:
    return time_text(at_us // 1_000_000, at_us % 1_000_000) if isinstance(at_us, int) else None
