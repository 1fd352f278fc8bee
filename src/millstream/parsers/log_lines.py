"""The lines of a text log: what `LineParser` says of each, and what the message means; a few, or many at once.

Most lines of a file have one of two shapes, and these are taken apart column by column. The rest is left to
`LineParser`, line by line.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, ClassVar, Final

from millstream.parsers.log_event import LogEvent
from millstream.parsers.messages.tables import read_message, read_messages
from millstream.parsers.pattern import Pattern
from millstream.parsers.syslog import LineParser, level_column, time_without_year
from millstream.parsers.system_event import severity_of, text_of
from millstream.parsers.texts import columns_of

if TYPE_CHECKING:
    import polars as pl

_CLOCK: Final = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
# Narrower than what `LineParser` takes for a host, a program, a message: the odd ones are left to it.
_TAG: Final = (
    r"(?P<host>[!-~]+) (?P<program>[!-9;-Z^-~]{1,128})(?:\[(?P<pid>[0-9]{1,10})\])?: "
    r"(?P<message>[^ \x1c-\x1f][^\x1c-\x1f]*)"
)
_PRIORITY: Final = r"(?:<(?P<priority>[0-9]{1,3})>)?"
_TRADITIONAL: Final = Pattern(rf"{_PRIORITY}(?P<time>[A-Z][a-z]{{2}} [ 0-9][0-9] {_CLOCK}) {_TAG}")
_ISO: Final = Pattern(
    rf"{_PRIORITY}(?P<time>[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T{_CLOCK}(?:\.[0-9]{{1,9}})?"
    rf"(?:Z|[+-][0-9]{{2}}:[0-9]{{2}})) {_TAG}"
)
_LAST_SECOND: Final = timedelta(seconds=3599)


class LogParser:
    """Parses the lines of one text log, in order."""

    format: ClassVar[str] = "syslog"

    def __init__(self, source: str, *, program: str | None = None, zone: tzinfo | None = None) -> None:
        """Parse lines of `source`; arguments as those of `LineParser`."""
        self._source = source
        self._program = program
        self._zone = zone
        self._lines = LineParser(source, program=program, zone=zone)
        self._time_before: datetime | None = None

    def events(self, lines: Iterable[bytes], *, now: datetime) -> list[LogEvent]:
        """Return the event of each line, in their order. Never fails on a line.

        Args:
            now: The time of reading, with a zone; also gives traditional lines their year.
        """
        return [self._event(line, now) for line in lines]

    def fits(self, line: bytes, *, now: datetime) -> bool:
        """Return whether a line begins as this format has it."""
        return self._lines.header(text_of(line)[0], now).time is not None

    def _event(self, line: bytes, now: datetime) -> LogEvent:
        text, exact = text_of(line)
        header = self._lines.header(text, now)
        if header.time is not None:
            self._time_before = header.time
        return LogEvent(
            time=header.time or self._time_before or now.astimezone(UTC),
            source=self._source,
            message=header.message,
            host=header.host,
            program=header.program,
            pid=header.pid,
            severity=header.severity,
            raw=text,
            raw_bytes=exact,
            format=self.format,
            **read_message(header.program, header.message),
        )

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return what `events` does as columns, a row for each line; for a hundred lines or more it is faster."""
        import polars as pl

        raw, raw_bytes = columns_of(lines)
        found = self._headers(raw, now)
        before = self._time_before or now.astimezone(UTC)
        found = found.with_columns(pl.col("time").forward_fill().fill_null(before))
        if len(found):
            self._time_before = found["time"][-1]
        return found.select(
            "time", pl.lit(self._source).alias("source"), "message", "host", "program", "pid", "severity"
        ).with_columns(
            raw,
            raw_bytes,
            *read_messages(found["program"], found["message"]),
            fields=pl.lit(None, pl.String),
            format=pl.lit(self.format),
        )

    def _headers(self, raw: pl.Series, now: datetime) -> pl.DataFrame:
        """Return time (null where it has none), host, program, pid, severity and message of each line, by itself."""
        import polars as pl

        found = _TRADITIONAL.extract(raw)
        found = found.with_columns(self._traditional_times(found["time"], now))
        left = found["time"].is_null().arg_true()
        if len(left):
            iso = _ISO.extract(raw.gather(left))
            text = pl.col("time").str.replace("Z$", "+00:00")
            iso = iso.with_columns(text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", strict=False))
            found = found.with_columns(_put(found[name], left, iso[name]) for name in found.columns)
        odd = found["time"].is_null().arg_true()
        found = found.select(
            "time",
            *(pl.when(pl.col(name) != "-").then(name).alias(name) for name in ("host", "program")),
            pl.col("pid").cast(pl.Int64),
            _severity().alias("severity"),
            pl.col("message").str.strip_chars(),
        ).with_columns(program=pl.coalesce("program", pl.lit(self._program, pl.String)))
        if not len(odd):
            return found
        rows = [self._lines.header(text, now) for text in raw.gather(odd)]
        slow = pl.DataFrame(rows, schema=found.schema, orient="row")
        return found.with_columns(_put(found[name], odd, slow[name]) for name in found.columns)

    def _traditional_times(self, texts: pl.Series, now: datetime) -> pl.Series:
        """Return times without a year as times; null for what is none.

        A log has many lines of each hour: its first and last second are understood exactly, and where an hour lies
        between them, what is between them is counted. Hours in which clocks are set or years begin are done one by one.
        """
        import polars as pl

        kind = pl.Datetime("us", "UTC")

        def exactly(times: Sequence[str]) -> list[datetime | None]:
            return [time_without_year(text[:3], text[4:6], text[7:], now, self._zone) for text in times]

        hours = texts.str.head(9)
        different = hours.unique().drop_nulls().to_list()
        firsts = exactly([f"{hour}:00:00" for hour in different])
        lasts = exactly([f"{hour}:59:59" for hour in different])
        starts = {
            hour: first
            for hour, first, last in zip(different, firsts, lasts, strict=True)
            if first is not None and last is not None and last - first == _LAST_SECOND
        }
        parts = texts.to_frame("text").with_columns(
            hour=hours, minute=texts.str.slice(10, 2).cast(pl.Int64), second=texts.str.slice(13, 2).cast(pl.Int64)
        )
        start = pl.col("hour").replace_strict(
            list(starts), pl.Series(list(starts.values()), dtype=kind), default=None, return_dtype=kind
        )
        is_clock = (pl.col("minute") < 60) & (pl.col("second") < 60)
        counted = start + pl.duration(minutes=pl.col("minute"), seconds=pl.col("second"))
        times = parts.select(pl.when(is_clock).then(counted).alias("time"))["time"]
        uncounted = (times.is_null() & texts.is_not_null()).arg_true()
        if not len(uncounted):
            return times
        return times.scatter(uncounted, pl.Series(exactly(texts.gather(uncounted).to_list()), dtype=kind))


def _severity() -> pl.Expr:
    import polars as pl

    said = level_column("message")
    # The priority of RFC 3164 and 5424 comes first, whatever the message says.
    numbers = {number: level.value for number in range(8) if (level := severity_of(number)) is not None}
    given = (pl.col("priority").cast(pl.Int64) % 8).replace_strict(numbers, default=None, return_dtype=pl.String)
    return pl.when(pl.col("priority").is_null()).then(said).otherwise(given)


def _put(column: pl.Series, rows: pl.Series, values: pl.Series) -> pl.Series:
    """Return a column with values in place of those of some rows."""
    return values if len(rows) == len(column) else column.scatter(rows, values)
