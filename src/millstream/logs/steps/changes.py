"""Steps that change fields: set, rename, remove, host, received, parse."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final

from millstream.errors import UsageError
from millstream.logs.names import Name, part_of
from millstream.logs.steps.parsing import Parsing
from millstream.logs.steps.renaming import Renaming
from millstream.logs.steps.setting import Keeping, Setting
from millstream.logs.steps.step import TEXT_FIELDS, Step, StepTable, check_field
from millstream.logs.where import column_of
from millstream.parsers.formats import Format, format_of, format_of_pattern
from millstream.parsers.log_event import LogEvent

if TYPE_CHECKING:
    import polars as pl

SETTABLE: Final = (*(name for name in TEXT_FIELDS if name != "raw"), "action")


RECEIVED: Final = Name("fields", ("received",))


class SetTable(StepTable, frozen=True, kw_only=True, tag="set"):
    """Fields with a fixed text."""

    values: dict[str, str]

    def check(self) -> None:
        super().check()
        for name in self.values:
            changed_name(name, "values")

    def open(self, environment: Mapping[str, str]) -> Step:
        values = {changed_name(name, "values"): value for name, value in self.values.items()}
        return Setting(lambda now: values)


class RenameTable(StepTable, frozen=True, kw_only=True, tag="rename"):
    """Fields under another name; the old one is empty then."""

    names: dict[str, str]

    def check(self) -> None:
        super().check()
        for pair in self.names.items():
            for name in pair:
                changed_name(name, "names")

    def open(self, environment: Mapping[str, str]) -> Step:
        return Renaming({changed_name(old, "names"): changed_name(new, "names") for old, new in self.names.items()})


class RemoveTable(StepTable, frozen=True, kw_only=True, tag="remove"):
    """Fields made empty, or all parts of `fields` but some. The line itself stays in `raw`."""

    names: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    """Parts of `fields`: all others go."""

    def check(self) -> None:
        super().check()
        if bool(self.names) == bool(self.keep):
            raise UsageError(
                'give names of what goes, or keep: the parts of fields that stay, such as ["fields.status"]'
            )
        for name in self.names:
            changed_name(name, "names")
        self._kept()

    def open(self, environment: Mapping[str, str]) -> Step:
        if self.keep:
            return Keeping(self._kept())
        gone = dict.fromkeys(changed_name(name, "names") for name in self.names)
        return Setting(lambda now: gone)

    def _kept(self) -> list[Name]:
        kept = [part for name in self.keep if (part := part_of(name)) is not None]
        if len(kept) < len(self.keep) or any(isinstance(step, int) for part in kept for step in part.path):
            raise UsageError(
                f"keep is {list(self.keep)}; give parts of fields, such as fields.status, and no places in lists"
            )
        return kept


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
        return Setting(lambda now: {RECEIVED: now.isoformat()})


class ParseTable(StepTable, frozen=True, kw_only=True, tag="parse"):
    """Reads a text as lines of another format: what it says goes before what was there."""

    format: str | None = None
    pattern: str | None = None
    """Of the user's own, with names of grok."""
    field: str = "message"
    """Where the text is."""

    def check(self) -> None:
        super().check()
        column_of(self.field, what="field")
        found = self._format()
        if found.type is not LogEvent or not hasattr(found.parser(""), "events"):
            raise UsageError(f"format: lines of {self.format!r} do not become events")

    def open(self, environment: Mapping[str, str]) -> Step:
        return Parsing(self._format(), None if self.field == "message" else column_of(self.field))

    def _format(self) -> Format:
        if (self.format is None) == (self.pattern is None):
            raise UsageError('give format, such as "json", or pattern, such as "took %{NUMBER:took:float} s"')
        return format_of(self.format or "") if self.pattern is None else format_of_pattern(self.pattern)


class _Columns(Step):
    """Changes a column."""

    def __init__(self, change: Callable[[datetime], pl.Expr]) -> None:
        self._change = change

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        return frame.with_columns(self._change(now))


def changed_name(text: str, what: str, among: tuple[str, ...] = SETTABLE) -> Name:
    """Return what is changed by a name.

    Raises:
        UsageError: It cannot be changed.
    """
    part = part_of(text)
    if part is None:
        check_field(text, f"{what} (or fields.NAME for one of your own)", among)
        return Name(text)
    if part.is_place:
        raise UsageError(
            f"{what}: {text!r} is a place in a list, which is neither put in nor taken out alone; give what is inside "
            f"of it, such as {text}.NAME, or the whole list"
        )
    return part
