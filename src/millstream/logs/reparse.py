"""Reads stored lines again with the parsers of today, into another topic; the old one stays as it is.

The lines are in `raw` (or, not UTF-8, in `raw_bytes`), their format in `format`. A consumer group of the old topic,
named after the new one, keeps how far it is; its move and the new events are one transaction of the engine, so that
each line is there once, in the old order, whenever the process is killed. The time of an event stays that of its first
reading, which knew when a line was read that does not say when it was written.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.engines.protocol import OffsetMove, StateChange
from millstream.errors import UsageError
from millstream.parsers.formats import FORMATS, Format, Parser, format_of, format_of_pattern
from millstream.parsers.log_event import LogEvent

if TYPE_CHECKING:
    import polars as pl

    from millstream.log.group import Group
    from millstream.log.log import Log
    from millstream.log.topic import Topic

RECORDS_AT_ONCE: Final = 5000
WAIT_S: Final = 0.5

WITH_HEADS: Final = ("w3c", "zeek", "csv")
"""Formats in which a line says what the later ones mean: who goes on in the middle reads what was before it again."""

_PARTITION: Final = 0
_WHAT: Final = b"reparse"
_ROW: Final = "_row"


class Reparsing(msgspec.Struct, frozen=True, kw_only=True):
    """What is read again, and into which topic."""

    to: str
    start: int | datetime = 0
    """Of the old topic: an offset, or the first record that was appended at or after a time."""
    format: str | None = None
    """All lines as one format; None: each as the format it was read as."""
    pattern: str | None = None
    """All lines by a pattern of the user's own."""

    def chosen(self) -> Format | None:
        """Return the one format of all lines, if there is one.

        Raises:
            UsageError: There is no such format, its lines do not become events, or the pattern is wrong.
        """
        if self.format is not None and self.pattern is not None:
            raise UsageError("give a format or a pattern, not both")
        if self.pattern is not None:
            return format_of_pattern(self.pattern)
        if self.format is None:
            return None
        found = format_of(self.format)
        if found.type is not LogEvent:
            raise UsageError(f"lines of {self.format!r} do not become events")
        return found


class Reparser:
    """Reads the events of one topic again into another, from where it was before."""

    def __init__(self, log: Log, events: str, what: Reparsing) -> None:
        """Take a topic of events; the new one is made where there is none.

        Raises:
            UsageError: There is no such topic, or the new one was made with another format.
        """
        if events not in log.topics():
            raise UsageError(f"there is no topic {events!r} to read again")
        if what.to == events:
            raise UsageError(f"topic {events!r} cannot be read again into itself; give another name with --to")
        self._chosen = what.chosen()
        self._from: Topic[LogEvent] = log.topic(events, LogEvent, time="time")
        self._to: Topic[LogEvent] = log.topic(what.to, LogEvent, time="time")
        self._group: Group[LogEvent] = self._from.group(f"reparse.{what.to}", start=what.start)
        self._check_same(what)
        self._parsers: dict[tuple[str, str], Parser | None] = {}
        self.records = 0
        """Events written by this run."""
        self.copied = 0
        """Of them those that no parser is known for: they are as they were."""
        self._warm_up()

    @property
    def next_offset(self) -> int:
        """The first record of the old topic that was not read again yet."""
        return self._group.info().committed[_PARTITION]

    def run(
        self,
        *,
        follow: bool = False,
        stop: threading.Event | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> int:
        """Read again all there is; return how many events were written.

        Args:
            follow: Then go on with what comes, until `stop` is set.
            progress: Called with the offset that is reached and the end of the old topic.

        Raises:
            CommitConflictError: Another process does the same at the same time; it goes on, this one did nothing more.
        """
        stopped = stop or threading.Event()
        at = self.next_offset
        while not stopped.is_set():
            end = self._from.end_offsets()[_PARTITION]
            if at >= end:
                if not follow:
                    break
                self._from.wait({_PARTITION: at}, WAIT_S, until=stopped.is_set)
                continue
            upto = min(end, at + RECORDS_AT_ONCE)
            self._store(at, upto)
            at = upto
            if progress is not None:
                progress(at, end)
        return self.records

    def _store(self, start: int, end: int) -> None:
        found = self._read_again(self._from.read_frame(start, end))
        appends = self._to.encode(found)
        self._group.commit([OffsetMove(_PARTITION, start, end)], appends=appends)
        self.records += found.height

    def _read_again(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the new events of old ones, in their order."""
        import polars as pl

        frame = frame.with_row_index(_ROW)
        pieces = [
            self._piece(part) for part in frame.partition_by(["source", "format", "_append_time"], maintain_order=True)
        ]
        whole = pl.concat(pieces).sort(_ROW).drop(_ROW)
        return whole.with_columns(frame.get_column("time"))

    def _piece(self, part: pl.DataFrame) -> pl.DataFrame:
        """Return the new events of lines that were read together."""
        import polars as pl

        names = list(LogEvent.__struct_fields__)
        parser = self._parser(part["source"][0], part["format"][0])
        lines = [_line(raw, exact) for raw, exact in part.select("raw", "raw_bytes").iter_rows()]
        if parser is None or not all(lines):
            if parser is None or not any(lines):
                self.copied += part.height
                return part.select(*names, _ROW)
            there = pl.Series([bool(line) for line in lines])
            return pl.concat([self._piece(part.filter(there)), self._piece(part.filter(~there))]).sort(_ROW)
        made = parser.columns(lines, now=part["_append_time"][0])
        return made.select(names).with_columns(part.get_column(_ROW))

    def _parser(self, source: str, format: str | None) -> Parser | None:
        """Return what reads the lines of a source; None where nothing is known for their format."""
        name = format or ("journal" if source == "journal" else "syslog")
        key = (source, name)
        if key not in self._parsers:
            found = self._chosen or FORMATS.get(name)
            known = found is not None and found.type is LogEvent
            self._parsers[key] = found.parser(source) if found is not None and known else None
        return self._parsers[key]

    def _warm_up(self) -> None:
        """Read what is before the next record, for formats with heads; nothing of it is stored."""
        import polars as pl

        first, at = self._from.info().partitions[_PARTITION].start_offset, self.next_offset
        if at <= first:
            return
        old = self._from.frame(first, at)
        if self._chosen is None:
            old = old.filter(pl.col("format").is_in(WITH_HEADS))
        elif self._chosen not in [FORMATS[name] for name in WITH_HEADS]:
            return
        copied = self.copied
        for frame in old.collect().iter_slices(RECORDS_AT_ONCE):
            self._read_again(frame)
        self.copied = copied

    def _check_same(self, what: Reparsing) -> None:
        """Remember how the new topic is made, or compare."""
        said = msgspec.json.encode([what.format, what.pattern])
        kept = self._group.state(_PARTITION, [_WHAT]).get(_WHAT)
        if kept is None:
            self._group.commit([], state=[StateChange(_PARTITION, _WHAT, said)])
            return
        if kept != said:
            before = msgspec.json.decode(kept)
            raise UsageError(
                f"topic {what.to!r} was made with format {before[0]!r} and pattern {before[1]!r}; "
                "give the same to go on, or another name with --to"
            )


def _line(raw: str | None, exact: bytes | None) -> bytes:
    return exact if exact is not None else (raw or "").encode()
