"""Steps that change fields: set, rename, remove, host, received, parse."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from millstream.errors import UsageError
from millstream.logs.steps.parsing import Parsing
from millstream.logs.steps.renaming import Renaming
from millstream.logs.steps.setting import FURTHER, Setting
from millstream.logs.steps.step import TEXT_FIELDS, Step, StepTable, check_field
from millstream.parsers.formats import format_of
from millstream.parsers.log_event import LogEvent

if TYPE_CHECKING:
    import polars as pl

SETTABLE: Final = (*(name for name in TEXT_FIELDS if name != "raw"), "action")


class SetTable(StepTable, frozen=True, kw_only=True, tag="set"):
    """Fields with a fixed text."""

    values: dict[str, str]

    def check(self) -> None:
        super().check()
        for name in self.values:
            _check_name(name, "values")

    def open(self, environment: Mapping[str, str]) -> Step:
        return Setting(lambda now: self.values)


class RenameTable(StepTable, frozen=True, kw_only=True, tag="rename"):
    """Fields under another name; the old one is empty then."""

    names: dict[str, str]

    def check(self) -> None:
        super().check()
        for pair in self.names.items():
            for name in pair:
                _check_name(name, "names")

    def open(self, environment: Mapping[str, str]) -> Step:
        return Renaming(self.names)


class RemoveTable(StepTable, frozen=True, kw_only=True, tag="remove"):
    """Fields made empty. The line itself stays in `raw`."""

    names: list[str]

    def check(self) -> None:
        super().check()
        for name in self.names:
            _check_name(name, "names")

    def open(self, environment: Mapping[str, str]) -> Step:
        gone = dict.fromkeys(self.names)
        return Setting(lambda now: gone)


class HostTable(StepTable, frozen=True, kw_only=True, tag="host"):
    """The name of this machine, where a line has none."""

    name: str | None = None
    """None: as the system says."""

    def open(self, environment: Mapping[str, str]) -> Step:
        import polars as pl

        return _Columns(lambda now: pl.col("host").fill_null(self.name or socket.gethostname()))


class ReceivedTable(StepTable, frozen=True, kw_only=True, tag="received"):
    """When a line was read: `fields.received`."""

    def open(self, environment: Mapping[str, str]) -> Step:
        return Setting(lambda now: {"fields.received": now.isoformat()})


class ParseTable(StepTable, frozen=True, kw_only=True, tag="parse"):
    """Reads the message as lines of another format: what it says goes before what was there."""

    format: str

    def check(self) -> None:
        super().check()
        found = format_of(self.format)
        if found.type is not LogEvent or not hasattr(found.parser(""), "events"):
            raise UsageError(f"format: lines of {self.format!r} do not become events")

    def open(self, environment: Mapping[str, str]) -> Step:
        return Parsing(self.format)


class _Columns(Step):
    """Changes a column."""

    def __init__(self, change: Callable[[datetime], pl.Expr]) -> None:
        self._change = change

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        return frame.with_columns(self._change(now))


def _check_name(name: str, what: str) -> None:
    if not name.startswith(FURTHER) or name == FURTHER:
        check_field(name, f"{what} (or fields.NAME for one of your own)", SETTABLE)
