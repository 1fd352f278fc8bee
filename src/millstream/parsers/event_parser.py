"""A parser whose format is read line by line: what all of those share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

from millstream.parsers.log_event import LogEvent
from millstream.parsers.system_event import text_of
from millstream.parsers.texts import columns_of

if TYPE_CHECKING:
    import polars as pl

ReadLine = Callable[[str, datetime], Mapping[str, Any] | None]
"""Takes a line and the time of reading; returns the fields of a `LogEvent` that it says, `time` None where it has none;
None for a line of another shape."""


class LogEventParser(Protocol):
    """Reads the lines of one source, in order, as events. It never fails on a line: an odd one is a message, whole."""

    @property
    def format(self) -> str:
        """The name of the format, which its events carry."""
        ...

    def events(self, lines: Sequence[bytes], *, now: datetime) -> list[LogEvent]:
        """Return the event of each line, in their order.

        Args:
            lines: Without their ends.
            now: The time of reading, with a zone.
        """
        ...

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return the same as columns; faster where there are many lines."""
        ...


class EventParser:
    """Parses the lines of one source, in order, each by itself.

    A line of another shape is the message, whole. A line without a time has that of the last line before it that had
    one, else the time of its reading.
    """

    def __init__(self, source: str, read: ReadLine, *, format: str) -> None:
        self.format = format
        self._source = source
        self._read = read
        self._time_before: datetime | None = None

    def events(self, lines: Iterable[bytes], *, now: datetime) -> list[LogEvent]:
        """Return the event of each line, in their order. Never fails on a line."""
        return [self._event(line, now) for line in lines]

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return the same as columns."""
        import polars as pl

        raw, raw_bytes = columns_of(lines)
        said = [self._said(text, now) for text in raw]
        time = pl.Series([self._time(one, now) for one in said], dtype=event_schema()["time"])
        frame = said_columns(said, {"time": time, "raw": raw, "raw_bytes": raw_bytes})
        return frame.with_columns(source=pl.lit(self._source), format=pl.lit(self.format))

    def fits(self, line: bytes, *, now: datetime) -> bool:
        """Return whether a line is of this format."""
        return self._read(text_of(line)[0], now) is not None

    def _event(self, line: bytes, now: datetime) -> LogEvent:
        text, exact = text_of(line)
        said = self._said(text, now)
        own = {"time": self._time(said, now), "source": self._source, "raw": text, "raw_bytes": exact}
        return LogEvent(**{**said, **own, "format": self.format})

    def _said(self, text: str, now: datetime) -> Mapping[str, Any]:
        return self._read(text, now) or {"message": text.strip()}

    def _time(self, said: Mapping[str, Any], now: datetime) -> datetime:
        """Return the time of the next line."""
        time: datetime | None = said.get("time")
        if time is not None:
            self._time_before = time
        return time or self._time_before or now.astimezone(UTC)


def said_columns(said: Sequence[Mapping[str, Any]], own: Mapping[str, pl.Series]) -> pl.DataFrame:
    """Return what lines say as the columns of their topic.

    Args:
        said: The fields of an event, by name.
        own: Columns that count instead.
    """
    import msgspec
    import polars as pl

    columns: dict[str, Any] = dict(own)
    for name in {name for one in said for name in one} - own.keys():
        columns[name] = [one.get(name) for one in said]
    if "fields" in columns:
        fields = columns["fields"]
        columns["fields"] = [None if value is None else msgspec.json.encode(value).decode() for value in fields]
    kinds = event_schema()
    frame = pl.DataFrame(columns, schema_overrides={name: kinds[name] for name in columns}, strict=True)
    missing = [pl.lit(None, kind).alias(name) for name, kind in kinds.items() if name not in columns]
    return frame.with_columns(missing).select(*kinds)


def event_columns(events: Sequence[LogEvent]) -> pl.DataFrame:
    """Return events as the columns of their topic."""
    import msgspec
    import polars as pl

    kinds = event_schema()
    columns = dict(zip(kinds, map(list, zip(*map(attrgetter(*kinds), events), strict=True)), strict=False))
    if not columns:
        return pl.DataFrame(schema=kinds)
    columns["fields"] = [None if value is None else msgspec.json.encode(value).decode() for value in columns["fields"]]
    return pl.DataFrame(columns, schema=kinds, strict=True)


@lru_cache(maxsize=1)  # Asked for by every reading, and 1 ms to make.
def event_schema() -> Mapping[str, pl.DataType]:
    """Return the columns of a topic of events."""
    from millstream.log.schema import METADATA_COLUMNS
    from millstream.log.storage import dtypes
    from millstream.log.types import schema_of

    return {name: kind for name, kind in dtypes(schema_of(LogEvent)).items() if name not in METADATA_COLUMNS}
