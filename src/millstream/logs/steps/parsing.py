"""Reads messages as lines of another format."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from millstream.logs.steps.members import none_if_empty, with_all_members
from millstream.logs.steps.step import Step
from millstream.parsers.event_parser import event_columns
from millstream.parsers.formats import format_of
from millstream.parsers.log_event import LogEvent

if TYPE_CHECKING:
    import polars as pl

_KEPT: Final = ("source", "raw", "raw_bytes", "format")
"""What another format of the message does not change; the time is that of the line unless the message has one."""


class Parsing(Step):
    """What a message says goes before what was there."""

    def __init__(self, format: str) -> None:
        self._format = format_of(format)

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        used = (frame.get_column(name) for name in ("message", "time", "source"))
        found = event_columns(list(self._read(zip(*used, strict=True))))
        said = [column for column in found.get_columns() if column.name not in _KEPT and column.name != "fields"]
        fields = with_all_members(frame.get_column("fields"), found.get_column("fields"))
        return frame.with_columns(column.fill_null(frame.get_column(column.name)) for column in said).with_columns(
            none_if_empty(fields)
        )

    def _read(self, rows: Iterable[tuple[str, datetime, str]]) -> Iterable[LogEvent]:
        for message, time, source in rows:
            # A parser of its own for each: the time of another line says nothing here.
            parser: Any = self._format.parser(source)
            yield from parser.events([message.encode()], now=time)
