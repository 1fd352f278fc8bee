"""Reads messages, or other texts, as lines of another format."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from millstream.logs.steps.members import none_if_empty, with_all_members
from millstream.logs.steps.step import Step
from millstream.parsers.event_parser import event_columns
from millstream.parsers.formats import Format
from millstream.parsers.log_event import LogEvent

if TYPE_CHECKING:
    import polars as pl

_KEPT: Final = ("source", "raw", "raw_bytes", "format")
"""What another format of the message does not change; the time is that of the line unless the message has one."""


class Parsing(Step):
    """What a text says goes before what was there."""

    def __init__(self, format: Format, text: pl.Expr | None = None) -> None:
        """Read texts as lines of a format.

        Args:
            text: Where they are, in a frame of events; None: the message.
        """
        self._format = format
        self._text = text

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        found = self._columns(frame)
        if found is None:
            return frame
        said = [column for column in found.get_columns() if column.name not in _KEPT and column.name != "fields"]
        fields = with_all_members(frame.get_column("fields"), found.get_column("fields"))
        return frame.with_columns(column.fill_null(frame.get_column(column.name)) for column in said).with_columns(
            none_if_empty(fields)
        )

    def _columns(self, frame: pl.DataFrame) -> pl.DataFrame | None:
        """Return what the texts say; None where there are none."""
        import polars as pl

        if self._text is None:
            return self._read(frame, frame.get_column("message"))
        texts = frame.select(self._text.cast(pl.String)).to_series()
        places = texts.is_not_null().arg_true()
        if not places.len():
            return None
        given = texts.gather(places)
        found = self._read(frame.select("time", "source")[places], given)
        # A text that is not understood is the message of a line, which this event has already.
        message = pl.when(pl.col("message") != pl.lit(given), pl.col("message") != "").then("message")
        each = pl.Series([None], dtype=pl.UInt32).new_from_index(0, len(texts))
        each = each.scatter(places, pl.int_range(places.len(), dtype=pl.UInt32, eager=True))
        return found.with_columns(message=message).select(pl.all().gather(pl.lit(each)))

    def _read(self, frame: pl.DataFrame, texts: pl.Series) -> pl.DataFrame:
        return event_columns(list(self._events(texts, frame.get_column("time"), frame.get_column("source"))))

    def _events(self, *columns: pl.Series) -> Iterable[LogEvent]:
        for text, time, source in zip(*columns, strict=True):
            # A parser of its own for each: the time of another line says nothing here.
            parser: Any = self._format.parser(source)
            yield from parser.events([text.encode()], now=time)
