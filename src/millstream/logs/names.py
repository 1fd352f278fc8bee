"""What a name means: a field of an event, or a part of its `fields`; the same wherever one is written.

    user                    a field of every event
    fields.http.status      `http.status` in `fields` if it is there, else `status` inside of `http`
    fields.paths[0]         the first of a list
    fields."a.b".c          what is in quotes is one name
    field('any name')       the same as `fields.any name`, for conditions, where a name has no blanks

A part whose value is null is not there. Steps write and remove by the same rule: steps/objects.py one by one,
steps/members.py whole columns.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.errors import UsageError
from millstream.parsers.log_event import LogEvent

if TYPE_CHECKING:
    import polars as pl

FIELDS: Final = LogEvent.__struct_fields__
"""The fields of an event."""
OBJECTS: Final = ("fields", "by")
"""The fields that have names of their own inside: of events, of alerts."""

_WORD: Final = r"[A-Za-z_][A-Za-z_0-9]*"
_PART: Final = rf"(?:\.(?:{_WORD}|\"[^\"]+\")|\[[0-9]{{1,9}}\])"
IN_SQL: Final = rf"(?:{'|'.join(OBJECTS)})(?=\.){_PART}+|field\(\s*'[^']+'\s*\)"
"""A name of a part as a condition can have it."""

_CALL: Final = re.compile(r"field\(\s*'([^']+)'\s*\)", re.DOTALL)
_STEP: Final = r"(?:\"[^\"]+\"|[^.\"\[\]]+)(?:\[[0-9]{1,9}\])*"
_PATH: Final = re.compile(rf"{_STEP}(?:\.{_STEP})*", re.DOTALL)
_STEPS: Final = re.compile(r"\"([^\"]+)\"|\[([0-9]+)\]|([^.\"\[\]]+)", re.DOTALL)


class Name(msgspec.Struct, frozen=True, dict=True):
    """What a name means."""

    column: str
    path: tuple[str | int, ...] = ()
    """Where a part is: names, and places in lists. Empty: the whole field."""

    @functools.cached_property
    def whole(self) -> str:
        """The path as one name, which some sources write: `http.status`. It goes before the path."""
        found = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return found.removeprefix(".")

    @functools.cached_property
    def is_deep(self) -> bool:
        """Whether it is more than one name of an object."""
        return len(self.path) > 1

    @property
    def is_place(self) -> bool:
        """Whether it is a place in a list: others move when one is put in or taken out."""
        return isinstance(self.path[-1], int) if self.path else False


def name_of(text: str, what: str = "by") -> Name:
    """Return what a name means.

    Args:
        what: For messages: where it is written.

    Raises:
        UsageError: Events have no such field.
    """
    found = Name(text) if text in FIELDS else part_of(text)
    if found is None:
        raise UsageError(f"{what}: events have no field {text!r}; they have {', '.join(FIELDS)}, and fields.NAME")
    return found


def part_of(text: str, root: str = OBJECTS[0]) -> Name | None:
    """Return what the name of a part means; None if it is none.

    Args:
        root: The field that `field('a name')` is in.
    """
    call = _CALL.fullmatch(text)
    if call is not None:
        return Name(root, path_of(call[1]))
    if text.startswith(f"{root}.") and len(text) > len(root) + 1:
        return Name(root, path_of(text[len(root) + 1 :]))
    return None


def path_of(text: str) -> tuple[str | int, ...]:
    """Return the names and places in what follows `fields.`; a text that is no path is one name."""
    if _PATH.fullmatch(text) is None:
        return (text,)
    return tuple(int(place) if place else quoted or plain for quoted, place, plain in _STEPS.findall(text))


def expression(name: Name) -> pl.Expr:
    """Return what a name means as an expression: of parts text, JSON of what is no text; null where there is none.

    Raises:
        UsageError: A part has a quote or backslash in it, which a path cannot say.
    """
    import polars as pl

    column = pl.col(name.column)
    if not name.path:
        return column
    path = _json_path(name.path)
    if not name.is_deep:
        return column.str.json_path_match(path)
    # Most objects have only one of both: a look at the text costs little beside reading the object for nothing.
    head = rf'"{re.escape(str(name.path[0]))}":\s*[{{\[]'
    within = _where(column, head).str.json_path_match(path)
    whole = _where(column, f'"{re.escape(name.whole)}"').str.json_path_match(_json_path([name.whole]))
    return pl.coalesce(whole, within)


def value_of(fields: Any, name: Name) -> Any:
    """Return the value of a part of `fields`, as decoded from JSON; None where there is none."""
    if name.is_deep and isinstance(fields, Mapping):
        found = fields.get(name.whole)
        if found is not None:
            return found
    for part in name.path:
        if isinstance(part, str) and isinstance(fields, Mapping):
            fields = fields.get(part)
        elif isinstance(part, int) and isinstance(fields, Sequence) and not isinstance(fields, str):
            fields = fields[part] if part < len(fields) else None
        else:
            return None
    return fields


def _where(column: pl.Expr, pattern: str) -> pl.Expr:
    """Return the objects whose text has something, and those in which it may be written with escapes."""
    import polars as pl

    return pl.when(column.str.contains(rf"{pattern}|\\[u/]")).then(column)


def _json_path(path: Collection[str | int]) -> str:
    for part in path:
        if isinstance(part, str) and set(part) & set("'\\"):
            raise UsageError(f"fields has no name such as {part!r} here: quotes and backslashes cannot be asked for")
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f"['{part}']" for part in path)
