"""The unified log of macOS, followed through `log`.

`log stream` tells what happens now and knows no position; `log show` tells what was kept, from a time on. So each start
shows what was missed, begins to stream, and shows once more what came between the two; entries that come twice by that
are known by their identity (their time, the clock of the machine and the thread) and are stored once. The position is
the newest time, with the identities of the seconds before it, as entries come a little out of order.
"""

from __future__ import annotations

import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from millstream.parsers.event_parser import EventParser, LogEventParser
from millstream.parsers.macos import macos_reader
from millstream.sources.macos_log import LogRun
from millstream.sources.source import Line, Note, Reading
from millstream.sources.troubles import Troubles

COMMAND: Final = "/usr/bin/log"
ORIGIN: Final = "unified log"
POSITION: Final = b"unified-log"
READING_LINES: Final = 1000
OVERLAP_US: Final = 5_000_000
"""How far entries may be out of order, and how far back is looked after a start."""
RECENT_MAX: Final = 2000
"""Identities that are kept with the position, of 8 bytes each."""
BEGIN_S: Final = 5.0
"""For `log stream` to say that it streams."""
RESTART_S_MIN: Final = 1.0
RESTART_S_MAX: Final = 60.0

PREDICATE: Final = " OR ".join(
    (
        'process IN {"sshd", "sshd-session", "sudo", "su", "login", "screensharingd", "authorizationhost"}',
        '(process == "loginwindow" AND (category == "KeyMilestone" OR eventMessage CONTAINS "APEventTouchIDMatch"'
        ' OR eventMessage CONTAINS "unlock success" OR eventMessage CONTAINS "sendSystemBSDNotification"'
        ' OR eventMessage CONTAINS "_PROCESS: "))',
        '(process IN {"authd", "SecurityAgent", "securityd"} AND eventMessage CONTAINS " right \'system.")',
        '(process == "opendirectoryd" AND eventMessage CONTAINS "Authentication failed")',
        '(process == "launchd" AND eventMessage BEGINSWITH "Setting service ")',
        '(process == "kernel" AND (sender == "IOUSBHostFamily" OR eventMessage BEGINSWITH "USBMSC Identifier"'
        ' OR eventMessage BEGINSWITH "hfs: mounted"))',
        '(eventType == "timesyncEvent" AND eventMessage BEGINSWITH "=== system boot")',
    )
)
"""What is read unless told: a Mac writes some thousand entries a second, of which these matter here."""


class _Entry(msgspec.Struct):
    """What makes an entry itself."""

    timestamp: str
    eventMessage: str | None = None  # noqa: N815 - as macOS names it
    machTimestamp: int = 0  # noqa: N815
    threadID: int = 0  # noqa: N815
    eventType: str | None = None  # noqa: N815


_DECODER: Final = msgspec.json.Decoder(_Entry)


class MacosSource:
    """The unified log of this Mac."""

    def __init__(
        self,
        *,
        predicate: str | None = PREDICATE,
        lines_first: int = 200,
        first: str = "1d",
        follow: bool = True,
        command: str = COMMAND,
    ) -> None:
        """Follow the log.

        Args:
            predicate: Which entries, as `log` has it; None: all.
            lines_first: Entries to begin with where there is no position: the newest.
            first: How far back these may be, as `log show --last` has it.
            follow: Go on with new entries; False: end with those there are.
            command: The program to ask.
        """
        self._predicate = predicate
        self._lines_first = lines_first
        self._first = first
        self._follow = follow
        self._command = command
        self._running = False
        self._troubles = Troubles()

    @property
    def name(self) -> str:
        return ORIGIN

    def following(self) -> Sequence[str]:
        return (ORIGIN,) if self._running else ()

    def troubles(self) -> Sequence[str]:
        return self._troubles.sentences()

    def parser(self, origin: str) -> LogEventParser:
        return EventParser(origin, macos_reader(), format="macos")

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        if not os.access(self._command, os.X_OK):
            self._trouble(f"the unified log of macOS is not read: this machine has no {self._command}", note)
            return
        seen = _Seen(positions.get(POSITION))
        pause = RESTART_S_MIN
        while not stop.is_set():
            before = seen.newest_us
            try:
                failure = yield from self._once(seen, stop, note)
            except OSError as error:
                self._trouble(
                    f"the unified log is not read: {self._command} cannot be started ({error.strerror})", note
                )
                return
            if stop.is_set() or (failure is None and not self._follow):
                return
            if failure is not None and _is_forbidden(failure):
                sentence = f"the unified log may not be read by this user ({failure}); an administrator may read it"
                self._trouble(sentence, note)
                return
            then = f"; it is started again, at most once in {RESTART_S_MAX:.0f} seconds" if self._follow else ""
            self._trouble(f"log ended ({failure}){then}", note)
            if not self._follow:
                return
            pause = RESTART_S_MIN if seen.newest_us != before else pause
            stop.wait(pause)
            pause = min(pause * 2, RESTART_S_MAX)

    def _trouble(self, sentence: str, note: Note) -> None:
        self._troubles.have(sentence)
        note(sentence)

    def _once(self, seen: _Seen, stop: threading.Event, note: Note) -> Generator[Reading, None, str | None]:
        """Show what was missed, then stream until that ends; return why it did, None when it should."""
        start = f"@{time.time_ns() // 10**9}"
        failure = yield from self._show(seen, seen.start, stop, note)
        if failure is not None or not self._follow or stop.is_set():
            return failure
        stream = LogRun(self._arguments("stream"))
        try:
            stream.begin(stop, BEGIN_S)
            failure = yield from self._show(seen, seen.start or start, stop, note)
            if failure is not None:
                return failure
            self._running = True
            self._troubles.over()
            for lines in stream.lines(stop):
                yield from seen.readings(lines, note)
            if stop.is_set():
                return None
            stream.wait()
            return stream.failure or "its output ended"
        finally:
            self._running = False
            stream.close()

    def _show(
        self, seen: _Seen, start: str | None, stop: threading.Event, note: Note
    ) -> Generator[Reading, None, str | None]:
        run = LogRun(self._arguments("show", *(["--last", self._first] if start is None else ["--start", start])))
        try:
            newest: deque[bytes] = deque(maxlen=self._lines_first)
            for lines in run.lines(stop):
                if start is None:
                    newest.extend(line for line in lines if _entry(line) is not None)
                else:
                    yield from seen.readings(lines, note, shown=True)
            if stop.is_set():
                return None
            if newest:
                seen.begin_with(newest[0])
            yield from seen.readings(list(newest), note, shown=True)
            run.wait()
            return run.failure
        finally:
            run.close()

    def _arguments(self, what: str, *more: str) -> list[str]:
        chosen = [] if self._predicate is None else ["--predicate", self._predicate]
        return [self._command, what, "--style", "ndjson", *chosen, *more]


class _Position(msgspec.Struct, frozen=True):
    newest_us: int
    since_us: int
    """From here on, what was stored is in `recent`."""
    recent: dict[int, int]
    """Identity -> time."""


class _Seen:
    """Which entries were stored."""

    def __init__(self, position: bytes | None) -> None:
        found = _Position(0, 0, {}) if position is None else msgspec.msgpack.decode(position, type=_Position)
        self.newest_us = found.newest_us
        self._since_us = found.since_us
        self._recent = dict(found.recent)

    @property
    def start(self) -> str | None:
        """Where to show from, as `log show --start` has it; None: nothing was stored."""
        return f"@{self._since_us // 1_000_000}" if self.newest_us else None

    def begin_with(self, line: bytes) -> None:
        """Take this as the first entry of all: those before it are not wanted."""
        entry = _entry(line)
        self._since_us = 0 if entry is None else _time_us(entry.timestamp)

    def readings(self, lines: Sequence[bytes], note: Note, *, shown: bool = False) -> Iterator[Reading]:
        """Yield what is new among lines.

        Args:
            shown: They come from `log show`, which begins before the position.
        """
        new: list[Line] = []
        for line in lines:
            entry = _entry(line)
            if entry is None:
                continue
            if entry.eventType == "lossEvent":
                note("macOS wrote more into the unified log than it could hand out; entries were lost")
            if self._add(entry, shown):
                new.append(Line(ORIGIN, line))
            if len(new) >= READING_LINES:
                yield self._reading(new)
                new = []
        if new:
            yield self._reading(new)

    def _reading(self, lines: list[Line]) -> Reading:
        self._forget()
        position = msgspec.msgpack.encode(_Position(self.newest_us, self._since_us, self._recent))
        return Reading(lines, {POSITION: position})

    def _add(self, entry: _Entry, shown: bool) -> bool:
        time_us = _time_us(entry.timestamp)
        identity = _identity(entry, time_us)
        if identity in self._recent or (shown and time_us < self._since_us):
            return False
        self._recent[identity] = time_us
        self.newest_us = max(self.newest_us, time_us)
        return True

    def _forget(self) -> None:
        """Keep the identities of the last seconds only, and no more than so many."""
        self._since_us = max(self._since_us, self.newest_us - OVERLAP_US)
        if len(self._recent) > RECENT_MAX:
            oldest = sorted(self._recent.values())[-RECENT_MAX]
            self._since_us = max(self._since_us, oldest + 1)
        self._recent = {identity: at for identity, at in self._recent.items() if at >= self._since_us}


def _entry(line: bytes) -> _Entry | None:
    """Return an entry; None for a banner, the line at the end, and what was cut off."""
    if not line.startswith(b"{"):
        return None
    try:
        return _DECODER.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _identity(entry: _Entry, time_us: int) -> int:
    text = f"{time_us} {entry.machTimestamp} {entry.threadID}".encode()
    return zlib.crc32(text) << 32 | zlib.crc32((entry.eventMessage or "").encode(errors="replace"), len(text))


def _time_us(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    moment = moment.astimezone(UTC)
    return round(moment.timestamp() * 1_000_000)


def _is_forbidden(complaint: str) -> bool:
    return any(sign in complaint.lower() for sign in ("must be admin", "not permitted", "permission", "must be root"))
