"""What is packed in a text: JSON, pairs, the query of an address; as parts of `fields`."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from millstream.errors import UsageError
from millstream.logs.names import Name, part_of
from millstream.logs.steps.changes import changed_name
from millstream.logs.steps.members import with_values
from millstream.logs.steps.step import Step, StepTable
from millstream.logs.where import column_of
from millstream.parsers.key_values import listed_pairs_of, pairs_of

if TYPE_CHECKING:
    import polars as pl

PAIRS_MAX: Final = 1000
"""Of a query; of more it is left as it is."""
_LONG_NUMBER: Final = re.compile("[0-9]{19}")
_PACKED: Final = {"json": r"^\s*[{\[]", "pairs": "[=:]", "query": "="}
"""How a text looks that may have something in it; in the syntax of Polars."""


class UnpackTable(StepTable, frozen=True, kw_only=True, tag="unpack"):
    """What is packed in a text, as parts of `fields`."""

    field: str
    """Where the text is."""
    format: Literal["json", "pairs", "query"]
    into: str | None = None
    """Where it goes, `fields.NAME`; None: into the place of the text."""

    def check(self) -> None:
        super().check()
        column_of(self.field, what="field")
        self._into()

    def open(self, environment: Mapping[str, str]) -> Step:
        return Unpacking(column_of(self.field), self.format, self._into())

    def _into(self) -> Name:
        if self.into is None and part_of(self.field) is None:
            raise UsageError(f"into is missing: {self.field} stays a text; say where it goes, such as fields.details")
        into = self.field if self.into is None else self.into
        if part_of(into) is None:
            raise UsageError(f"into is {into!r}; it goes into a part of fields, such as fields.details")
        return changed_name(into, "into")


class Unpacking(Step):
    """Unpacks texts; what is none of its format stays as it is."""

    def __init__(self, text: pl.Expr, format: Literal["json", "pairs", "query"], into: Name) -> None:
        """Unpack texts.

        Args:
            text: Where the text is, in a frame of events.
            into: Where it goes.
        """
        self._text = text
        self._format = format
        self._into = into

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        import polars as pl

        texts = frame.select(self._text.cast(pl.String)).to_series()
        places = texts.str.contains(_PACKED[self._format]).fill_null(value=False).arg_true()
        if not places.len():
            return frame
        unpacked = _UNPACKED[self._format]
        said = texts.clear(len(texts)).scatter(places, [_json(unpacked(text)) for text in texts.gather(places)])
        return frame.with_columns(with_values(frame.get_column("fields"), {self._into: said}))


def _of_json(text: str) -> Any:
    try:
        found = msgspec.json.decode(text)
        if _LONG_NUMBER.search(text):
            msgspec.msgpack.encode(found)  # fails on a number that is larger than a log can store
    except (msgspec.MsgspecError, RecursionError, OverflowError):
        return None
    return found


def _of_pairs(text: str) -> Any:
    return pairs_of(text) or listed_pairs_of(text)


def _of_query(text: str) -> Any:
    """Return the pairs after the `?` of an address, or of a text without one; of a name that is there often a list."""
    _, question, query = text.partition("?")
    try:
        pairs = urllib.parse.parse_qsl(
            query.partition("#")[0] if question else text, keep_blank_values=True, max_num_fields=PAIRS_MAX
        )
    except ValueError:
        return None
    found: dict[str, Any] = {}
    for name, value in pairs:
        before = found.get(name)
        found[name] = value if before is None else [*(before if isinstance(before, list) else [before]), value]
    return found or None


_UNPACKED: Final[Mapping[str, Callable[[str], Any]]] = {"json": _of_json, "pairs": _of_pairs, "query": _of_query}


def _json(value: Any) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()
