"""The channels of this machine's Windows event log, followed with bookmarks.

Each channel has its own position: the bookmark of the last event that was stored, as Windows writes it. A channel that
may not be read, or is not there, is said once and left out; when the service of the log is away, it is asked again.
What is asked of Windows is in `windows_api`, how in `windows_wevtapi`.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Final

from millstream.parsers.event_parser import EventParser, LogEventParser
from millstream.parsers.windows import windows_reader
from millstream.sources.source import Line, Note, Reading
from millstream.sources.troubles import Troubles
from millstream.sources.windows_api import (
    ACCESS_DENIED,
    CHANNEL_NOT_FOUND,
    INVALID_CHANNEL,
    NOT_FOUND,
    RESULT_STALE,
    EventLogError,
    EventLogs,
    RenderedEvent,
    Subscription,
)

CHANNELS: Final = (
    "Security",
    "System",
    "Application",
    "Microsoft-Windows-Kernel-PnP/Configuration",
    "Microsoft-Windows-DriverFrameworks-UserMode/Operational",
    "Microsoft-Windows-TerminalServices-LocalSessionManager/Operational",
    "Microsoft-Windows-TerminalServices-RemoteConnectionManager/Operational",
)
READING_EVENTS: Final = 500
WAIT_S: Final = 1.0
"""Windows says when there is something; this is the safety net, and how long a stop may take."""
RETRY_S_MIN: Final = 1.0
RETRY_S_MAX: Final = 60.0
_STOP_CHECK_S: Final = 0.5

_RECORD: Final = re.compile(r"RecordId=['\"](\d{1,20})['\"]")


class WindowsSource:
    """Channels of the event log of this machine."""

    def __init__(
        self,
        channels: Sequence[str] = CHANNELS,
        *,
        events_first: int = 200,
        follow: bool = True,
        logs: Callable[[], EventLogs] | None = None,
    ) -> None:
        """Follow channels.

        Args:
            channels: Their names, as `wevtutil enum-logs` lists them.
            events_first: Of each channel without a position, to begin with: the newest.
            follow: Go on with new events; False: end with those there are.
            logs: What gives the event log, on the thread that reads; None: this machine's.
        """
        self._names = tuple(channels)
        self._events_first = events_first
        self._follow = follow
        self._logs = logs
        self._channels: list[_Channel] = []
        self._troubles = Troubles()

    @property
    def name(self) -> str:
        return "Windows event log"

    def following(self) -> Sequence[str]:
        return tuple(channel.name for channel in self._channels if channel.subscription is not None)

    def troubles(self) -> Sequence[str]:
        return self._troubles.sentences()

    def parser(self, origin: str) -> LogEventParser:
        return EventParser(origin, windows_reader(), format="windows")

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        logs = self._open(note)
        if logs is None:
            return
        channels = [_Channel(name, positions.get(_key(name)), logs, note, self._troubles) for name in self._names]
        self._channels = channels
        try:
            while not stop.is_set():
                found = False
                for channel in channels:
                    reading = channel.read(self._events_first)
                    if reading is not None:
                        found = True
                        yield reading
                if found:
                    continue
                if not self._follow or all(channel.is_given_up for channel in channels):
                    return
                open_ones = [channel.subscription for channel in channels if channel.subscription is not None]
                if open_ones:
                    logs.wait(open_ones, WAIT_S)
                else:
                    stop.wait(_STOP_CHECK_S)
        finally:
            for channel in channels:
                channel.close()
            self._channels = []

    def _open(self, note: Note) -> EventLogs | None:
        if self._logs is not None:
            return self._logs()
        if sys.platform == "win32":
            from millstream.sources.windows_wevtapi import this_machine

            return this_machine()
        sentence = (
            "the Windows event log is not read: this machine runs another system; .evtx files of it are read anywhere"
        )
        self._troubles.have(sentence)
        note(sentence)
        return None


class _Channel:
    """One channel, and how far it is read."""

    def __init__(self, name: str, position: bytes | None, logs: EventLogs, note: Note, troubles: Troubles) -> None:
        self.name = name
        self.subscription: Subscription | None = None
        self.is_given_up = False
        self._bookmark = None if position is None else position.decode()
        self._is_new = position is None
        self._logs = logs
        self._note = note
        self._troubles = troubles
        self._retry_at = 0.0
        self._pause_s = RETRY_S_MIN

    def read(self, events_first: int) -> Reading | None:
        """Return what is new; None for nothing now."""
        if self.is_given_up or time.monotonic() < self._retry_at:
            return None
        try:
            if self.subscription is None:
                first = self._begin(events_first)
                if first is not None:
                    return first
            assert self.subscription is not None
            found = self.subscription.take(READING_EVENTS)
            self._troubles.over(self.name)
            return self._reading(found)
        except EventLogError as error:
            self.close()
            return self.read(events_first) if self._goes_on(error) else None

    def close(self) -> None:
        subscription, self.subscription = self.subscription, None
        if subscription is not None:
            subscription.close()

    def _begin(self, events_first: int) -> Reading | None:
        """Subscribe behind the position; where there is none, return the newest events first."""
        if self._is_new:
            self._is_new = False
            first = self._reading(self._logs.newest(self.name, events_first)) if events_first else None
            if first is not None:
                return first
        self.subscription = self._logs.subscribe(self.name, self._bookmark)
        return None

    def _reading(self, events: Sequence[RenderedEvent]) -> Reading | None:
        if not events:
            return None
        self._pause_s = RETRY_S_MIN
        self._bookmark = events[-1].bookmark
        lines = [Line(self.name, one_line(event.xml).encode(errors="replace")) for event in events]
        return Reading(lines, {_key(self.name): self._bookmark.encode()})

    def _goes_on(self, error: EventLogError) -> bool:
        """Decide what comes after an error; return whether to read on at once."""
        if error.code == ACCESS_DENIED:
            self.is_given_up = True
            self._trouble(
                f"the channel {self.name} may not be read by this user; an administrator may, "
                "and members of the group Event Log Readers"
            )
        elif error.code in (CHANNEL_NOT_FOUND, INVALID_CHANNEL):
            self.is_given_up = True
            self._trouble(f"this machine has no channel {self.name}")
        elif error.code in (RESULT_STALE, NOT_FOUND) and self._bookmark is not None:
            self._note(self._lost())
            self._bookmark = None
            return True
        else:
            self._trouble(f"the channel {self.name} cannot be read now: {error}; it is tried again")
            self._retry_at = time.monotonic() + self._pause_s
            self._pause_s = min(self._pause_s * 2, RETRY_S_MAX)
        return False

    def _trouble(self, sentence: str) -> None:
        self._troubles.have(sentence, self.name)
        self._note(sentence)

    def _lost(self) -> str:
        """Return what to say of a channel in which the last record that was read is no more."""
        found = _RECORD.search(self._bookmark or "")
        oldest = self._logs.oldest(self.name)
        if found is not None and oldest is not None and oldest > int(found[1]) + 1:
            lost = oldest - int(found[1]) - 1
            return f"the channel {self.name}: {lost:,} events were written over before they were read"
        return f"the channel {self.name} was cleared; it is read from its oldest event"


def one_line(xml: str) -> str:
    """Return an event as one line: line ends in its texts as XML can write them otherwise."""
    return xml.strip().replace("\r", "&#13;").replace("\n", "&#10;")


def _key(channel: str) -> bytes:
    return b"windows:" + channel.encode()
