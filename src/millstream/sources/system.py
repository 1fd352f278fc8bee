"""This machine's own event log: listener -> parser -> topic.

Each source is followed by a thread of its own. A thread reads a bounded piece, parses it, and stores the events
together with the position behind them in one transaction of the engine, before it reads on: a line appears once, also
when the process is killed between any two steps, and when two processes follow this machine into one topic.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol

from millstream.clock import Clock
from millstream.errors import ClosedError, ConflictError, MillstreamError, SchemaError, StorageError, UsageError
from millstream.log.log import Log
from millstream.log.seals.sealer import Sealer, is_sealed
from millstream.log.topic import Topic
from millstream.parsers.event_parser import LogEventParser, event_columns
from millstream.parsers.log_event import LogEvent, event_of
from millstream.parsers.system_event import Severity, text_of
from millstream.records import time_from_us
from millstream.sources.files import FileSource, system_files
from millstream.sources.handling import Handling
from millstream.sources.journal import JournalSource, journal_is_kept
from millstream.sources.linux import linux_sources
from millstream.sources.listener_signs import GROUP, Telling
from millstream.sources.listening import ListenerState, Listening, failures, listenings
from millstream.sources.log_directory import LOG_DIRECTORY
from millstream.sources.macos import MacosSource
from millstream.sources.source import Line, Reading, Source
from millstream.sources.tail import FileTail
from millstream.sources.windows import WindowsSource
from millstream.sources.writer import OnceWriter

if TYPE_CHECKING:
    import polars as pl

__all__ = ["GROUP", "LogEvent", "Severity", "SystemFollower", "follow_system", "system_sources"]

NOTES_MAX: Final = 100
"""A note is for a person; more than this many are not read."""
COLUMNS_FROM: Final = 500
"""Lines of a reading: from here on it is stored as columns."""
FEW_LINES: Final = 100
STOP_S: Final = 10.0
_PAUSE_SECONDS: Final = 2.0
"""Before trying again after a full disk, or after another process was faster: it does the work meanwhile."""

_log = logging.getLogger(__name__)


class HasLog(Protocol):
    """An App."""

    @property
    def log(self) -> Log: ...


def follow_system(
    log: Log | HasLog,
    topic_name: str = "system",
    *,
    lines_first: int = 200,
    sources: Sequence[Source] | None = None,
    sealed: bool = False,
    seal_key: bytes | None = None,
    handling: Handling | None = None,
) -> SystemFollower:
    """Start to write this machine's event log to a topic, in the background; return at once.

    Args:
        log: An open log, or an app; must stay open until `stop` returned.
        topic_name: Created if missing, with one partition, values `LogEvent`, event time `time`.
        lines_first: At the very first start, begin with this many of the newest lines of each file and journal.
        sources: What to follow; None: `system_sources()`.
        sealed: Seal each record as it is stored, so that `doctor --verify` names the first that was altered later. A
            topic that was sealed once always is.
        seal_key: The key of the seals, of `log.seals.key`; None: whoever may write the file could make them anew.
        handling: What is done with events before they are stored: what it takes out never reaches the disk.

    Raises:
        UsageError: `handling` sends events to the topic itself, or to one of other records.

    Guarantees:
        Exactly once into the topic: one transaction of the engine stores lines and positions.
        Never raises for a log that is missing or may not be read: see `SystemFollower.notes`.
    """
    opened = log if isinstance(log, Log) else log.log
    if sources is None:
        sources = system_sources(lines_first=lines_first)
    topic = opened.topic(topic_name, LogEvent, time="time")
    if handling is not None:
        _check_topics(opened, handling.topics, topic_name)
    sealer = Sealer(topic, seal_key) if sealed or is_sealed(topic) else None
    return SystemFollower(topic, sources, clock=opened.clock, sealer=sealer, handling=handling)


def _check_topics(log: Log, names: Sequence[str], own: str) -> None:
    for name in names:
        if name == own:
            raise UsageError(f"events cannot be sent to topic {name!r}: it is where all others are")
        try:
            log.topic(name, LogEvent, time="time")
        except SchemaError as error:
            raise UsageError(f"events cannot be sent to topic {name!r}, which has other records: {error}") from error


def system_sources(*, lines_first: int = 200, follow: bool = True) -> list[Source]:
    """Return what this version can follow on this operating system; may be nothing.

    Args:
        follow: False: they end when they have read what there is.
    """
    if sys.platform == "win32":
        return [WindowsSource(events_first=lines_first, follow=follow)]
    if sys.platform == "darwin":
        # What is in system.log is in the unified log as well.
        files = FileSource([LOG_DIRECTORY / "install.log"], lines_first=lines_first, follow=follow, all_wanted=False)
        return [MacosSource(lines_first=lines_first, follow=follow), files]
    # What programs say goes to the journal, and from there to the syslog daemon: once is enough.
    kept = sys.platform == "linux" and journal_is_kept()
    files = FileSource(system_files(own_only=kept), lines_first=lines_first, follow=follow, all_wanted=False)
    if sys.platform != "linux":
        return [files]
    return [
        JournalSource(lines_first=lines_first, follow=follow),
        files,
        *linux_sources(journal=kept, lines_first=lines_first, follow=follow),
    ]


class SystemFollower:
    """Follows sources into a topic until stopped."""

    def __init__(
        self,
        topic: Topic[LogEvent],
        sources: Sequence[Source],
        *,
        clock: Clock,
        notes: Sequence[str] = (),
        sealer: Sealer | None = None,
        handling: Handling | None = None,
    ) -> None:
        self.topic = topic
        self._handling = handling
        self._counts_lock = threading.Lock()
        self._dropped: Counter[str] = Counter()
        self._routed: Counter[str] = Counter()
        self._clock = clock
        self._sources = tuple(sources)
        self._notes = list(notes)
        self._notes_lock = threading.Lock()
        self._failed = False
        self._owners: dict[bytes, Source] = {}
        """Which source keeps the position of a key: the first that read there."""
        self._stop = threading.Event()
        self._writer = OnceWriter(topic, GROUP, sealer=sealer)
        self._listeners = listenings(self._sources, clock)
        self._telling = Telling(topic.group(GROUP), self._listeners)
        self._threads = [
            threading.Thread(target=self._listen, args=(one,), name=f"millstream-{one.source.name}", daemon=True)
            for one in self._listeners
        ]
        for thread in self._threads:
            thread.start()
        self._telling.begin()

    @property
    def notes(self) -> tuple[str, ...]:
        """What does not exist, may not be read or was lost, in sentences for a person; each once, in order."""
        with self._notes_lock:
            return tuple(self._notes)

    @property
    def failed(self) -> bool:
        """Whether something was to be read, or handed on, and was not."""
        return self._failed or bool(failures([one.sign() for one in self._listeners], ended=True))

    def is_stuck(self, for_s: float) -> bool:
        """Return whether the log has not answered for so long, with a yes or a no: only a new start helps then."""
        return bool(self._listeners) and self._telling.is_stuck(for_s)

    @property
    def following(self) -> tuple[str, ...]:
        """What is being read now: `journal`, and paths."""
        return tuple(origin for source in self._sources for origin in source.following())

    @property
    def records(self) -> int:
        """Lines stored since this start."""
        return self._writer.records

    @property
    def ended(self) -> bool:
        """Whether all sources have ended by themselves."""
        return not any(thread.is_alive() for thread in self._threads)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Events that were left out since this start, by the step that left them out."""
        with self._counts_lock:
            return dict(self._dropped)

    @property
    def routed(self) -> Mapping[str, int]:
        """Events that were stored in other topics since this start, by topic."""
        with self._counts_lock:
            return dict(self._routed)

    def join(self, timeout: float | None = None) -> None:
        """Wait until all sources have ended by themselves, as those do that do not follow; or for so many seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def stop(self, timeout: float = STOP_S) -> bool:
        """Store what was read, then end; True when that took no longer than `timeout` seconds. May be called twice."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout)
        self._telling.end()
        return not any(thread.is_alive() for thread in self._threads)

    def __enter__(self) -> SystemFollower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # In a hurry, what was read and is not stored yet is read again by the next start.
        self.stop(0.0 if kind is not None and issubclass(kind, KeyboardInterrupt) else STOP_S)

    def note(self, sentence: str, *, failed: bool = False) -> None:
        """Add a note, once.

        Args:
            failed: Of something that was to be read, or handed on, and was not.
        """
        with self._notes_lock:
            self._failed = self._failed or failed
            if sentence in self._notes or len(self._notes) >= NOTES_MAX:
                return
            self._notes.append(sentence)
        _log.info("%s", sentence)

    def _listen(self, listener: Listening) -> None:
        try:
            self._follow(listener)
        finally:
            listener.end(told=self._stop.is_set())
        sign = listener.sign()
        if sign.state is ListenerState.BROKEN and sign.why is not None and not listener.has_noted:
            self.note(sign.why)  # the end of what nobody hears of would be silence

    def _follow(self, listener: Listening) -> None:
        """Follow one source: the loop that logs, counts and decides."""
        source = listener.source

        def note(sentence: str) -> None:
            listener.has_noted = True
            self.note(sentence)

        parsers: dict[str, LogEventParser] = {}
        while not self._stop.is_set():
            epoch, positions = self._writer.positions()
            readings = source.read(positions, self._stop, note)
            try:
                for reading in readings:
                    self._take(reading, source, parsers, epoch)
                    listener.stored(len(reading.lines))
                return  # told to stop, or nothing there to follow
            except ConflictError:
                self._writer.reload()
                self.note("another process follows this machine into the same topic; each line is stored once")
            except MillstreamError as error:
                self._hindered(listener, f"the {source.name} cannot be stored: {error}", failed=not error.retryable)
                if not error.retryable:
                    return
            except Exception:  # noqa: BLE001 - a defect in one source must not end the others unseen
                _log.exception("following the %s failed", source.name)
                sentence = f"the {source.name} is no longer followed, because of a defect; see the program's log"
                self._hindered(listener, sentence, failed=True)
                return
            finally:
                readings.close()
                if self._handling is not None:
                    self._handling.forget()
            self._stop.wait(_PAUSE_SECONDS)

    def _hindered(self, listener: Listening, sentence: str, *, failed: bool) -> None:
        listener.hindered(sentence)
        listener.has_noted = True
        self.note(sentence, failed=failed)

    def _take(self, reading: Reading, source: Source, parsers: dict[str, LogEventParser], epoch: int) -> None:
        """Parse and store a reading; a line that its parser fails on, or makes what cannot be stored of, as it is.

        It would come first again at every start, and nothing behind it would ever be read.
        """
        reading = self._owned(reading, source)
        try:
            self._store(self._parse(reading, source, parsers), reading.positions, epoch)
        except (ConflictError, ClosedError, StorageError):
            raise
        except Exception:  # noqa: BLE001 - whichever of them it is, the next ones are to be read
            _log.exception(
                "parsing %s lines of the %s failed, they are parsed one by one", len(reading.lines), source.name
            )
            if self._handling is not None:
                self._handling.forget()
            self._store([self._event(line, parsers) for line in reading.lines], reading.positions, epoch)

    def _owned(self, reading: Reading, source: Source) -> Reading:
        """Return a reading without the files that another source reads too: each line is stored once."""
        twice = {key for key in reading.positions if self._owners.setdefault(key, source) is not source}
        if not twice:
            return reading
        lines = [line for line in reading.lines if FileTail.key_of(Path(line.origin)) not in twice]
        for origin in {line.origin for line in reading.lines} - {line.origin for line in lines}:
            self.note(f"{origin} is read by two sources; what the second of them reads of it is left out")
        return Reading(lines, {key: value for key, value in reading.positions.items() if key not in twice})

    def _event(self, line: Line, parsers: Mapping[str, LogEventParser]) -> LogEvent:
        """Return the event of a line; where that cannot be made or stored, one that has the line for its message."""
        now = time_from_us(self._clock.now_us())
        try:
            [event] = parsers[line.origin].events([line.data], now=now)
            self.topic.encode([event])
        except Exception as error:  # noqa: BLE001 - a defect of a parser; the line is kept for a better one
            self.note(
                f"a line of {line.origin} is kept as it is, as it could not be understood because of a defect: {error}"
            )
            text, exact = text_of(line.data)
            format = parsers[line.origin].format
            return LogEvent(
                time=now, source=line.origin, message=text.strip(), raw=text, raw_bytes=exact, format=format
            )
        return event

    def _store(
        self, values: list[LogEvent] | pl.DataFrame, positions: Mapping[bytes, bytes | None], epoch: int
    ) -> None:
        """Store what is kept of some events."""
        if self._handling is None or not len(values):
            self._writer.store(values, positions, epoch)
            return
        now = time_from_us(self._clock.now_us())
        handled = self._handling.apply(event_columns(values) if isinstance(values, list) else values, now=now)
        kept: list[LogEvent] | pl.DataFrame = handled.kept
        if isinstance(values, list):
            kept = [event_of(row) for row in handled.kept.iter_rows(named=True)]
        log = self.topic.log
        beside = [(log.topic(name, LogEvent, time="time"), frame) for name, frame in handled.routed.items()]
        self._writer.store(kept, positions, epoch, beside=beside, anyway=True)
        with self._counts_lock:
            self._dropped.update(handled.dropped)
            self._routed.update({name: frame.height for name, frame in handled.routed.items()})

    def _parse(
        self, reading: Reading, source: Source, parsers: dict[str, LogEventParser]
    ) -> list[LogEvent] | pl.DataFrame:
        """Return the events of a reading: in its order, or by origin where they are many."""
        now = time_from_us(self._clock.now_us())
        for line in reading.lines:
            if line.origin not in parsers:
                parsers[line.origin] = source.parser(line.origin)
        if len(reading.lines) < COLUMNS_FROM:
            # Together: a parser that chooses its format by the first lines sees more of them than one.
            return [
                event
                for origin, lines in groupby(reading.lines, key=attrgetter("origin"))
                for event in parsers[origin].events([line.data for line in lines], now=now)
            ]
        import polars as pl

        by_origin: dict[str, list[bytes]] = {}
        for line in reading.lines:
            by_origin.setdefault(line.origin, []).append(line.data)
        # Columns take milliseconds to begin with: of an origin with a few lines these are faster one by one.
        few = [origin for origin, lines in by_origin.items() if len(lines) < FEW_LINES]
        frames = [
            parsers[origin].columns(lines, now=now) for origin, lines in by_origin.items() if len(lines) >= FEW_LINES
        ]
        events = [event for origin in few for event in parsers[origin].events(by_origin[origin], now=now)]
        return pl.concat([event_columns(events), *frames] if events else frames)
