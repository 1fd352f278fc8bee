"""Conditions on events, and values made of them: SQL over the fields of a `LogEvent`.

    kind = 'login' AND NOT success AND user IN ('root', 'admin')
    fields.TargetUserName = 'ann'            what a parser found beyond the fields: text, also of a number
    fields.http.paths[0] = '/'               `paths` inside of `http`, the first of a list: see `names`
    field('a name with blanks') IS NOT NULL  the same, of any name
    message ILIKE '%denied%'                 whatever the case; ~ and ~* are regular expressions
    in_network(source_ip, '10.0.0.0/8')      an address in a network

Source: the expressions of Polars SQL.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.errors import UsageError
from millstream.logs.names import FIELDS, IN_SQL, OBJECTS, Name, expression, name_of, part_of
from millstream.logs.networks import network_pattern
from millstream.parsers.log_event import LogEvent

if TYPE_CHECKING:
    import polars as pl

_NAME: Final = r"[A-Za-z_][A-Za-z_0-9]*"
_TOKEN: Final = re.compile(
    rf"(?P<network>\bin_network\(\s*(?P<address>{IN_SQL}|{_NAME})\s*,\s*'(?P<cidr>[^']*)'\s*\))"
    rf"|'(?:[^']|'')*'|(?P<field>\b(?:{IN_SQL}))|\"[^\"]*\"|{_NAME}|.",
    re.DOTALL,
)
_OF_SEVERAL: Final = ("Agg", "Over", "Window", "Explode")
"""What Polars calls expressions that are about several events, or make several of one."""
_STANDS_FOR: Final = "part "
"""Before the number of a part, in the name of the column that stands for it until the condition is read."""


def condition(text: str, *, what: str = "where", of: type[msgspec.Struct] = LogEvent) -> pl.Expr:
    """Return a condition as a Polars expression.

    Args:
        what: For messages: where it is written.
        of: The Struct that it is about.

    Raises:
        UsageError: It is no SQL expression, or names something that events do not have.
    """
    import polars as pl

    found = _read(text, what, of, "condition", lambda found: found.cast(pl.Boolean))
    # What names no field is one value for all events; a stream wants one for each.
    return found if found.meta.root_names() else found & pl.col("time").is_not_null()


def value(text: str, *, what: str) -> pl.Expr:
    """Return what SQL makes of an event as a Polars expression; of what names no field, one value for all events.

    Args:
        what: For messages: where it is written.

    Raises:
        UsageError: It is no SQL expression, or names something that events do not have.
    """
    return _read(text, what, LogEvent, "expression", lambda found: found)


def _read(text: str, what: str, of: type[msgspec.Struct], kind: str, tried: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    import polars as pl

    fields = of.__struct_fields__
    reading = _Reading({*fields, *FIELDS}, next((name for name in OBJECTS if name in fields), OBJECTS[0]))
    try:
        found = _of_each_event(pl.sql_expr(reading.quoted(text)), reading.parts, text, what)
        unknown = sorted(set(found.meta.root_names()) - set(fields))
        if unknown:
            many = "events" if of is LogEvent else f"{of.__name__.lower()}s"
            raise UsageError(
                f"{what}: {many} have no field {unknown[0]!r} in {text!r} (a text goes into single quotes: "
                f"'{unknown[0]}'); they have {', '.join(fields)}"
            )
        _odd_ones(of).select(tried(found)).collect()
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        write = "SQL such as kind = 'login'" if kind == "condition" else "SQL such as lower(user)"
        if "cannot compare string with numeric" in reason:
            write = "a number of what is text as TRY_CAST(fields.status AS INT) >= 500"
        raise UsageError(f"{what}: {text!r} is no {kind}: {reason}; write {write}") from error
    return found


def column_of(name: str, *, what: str = "by") -> pl.Expr:
    """Return a field of an event, or a part of `fields`, as a Polars expression.

    Raises:
        UsageError: Events have no such field.
    """
    return expression(name_of(name, what))


class _Reading:
    """A condition with its names as Polars takes them."""

    def __init__(self, names: set[str], root: str) -> None:
        self.parts: dict[str, Name] = {}
        """The columns that stand for parts of a field."""
        self._names = names
        self._root = root

    def quoted(self, text: str) -> str:
        """Return SQL in which every field is meant as a name: some of them are words of SQL, such as `user`."""
        return _TOKEN.sub(self._token, text)

    def _token(self, token: re.Match[str]) -> str:
        if token["network"]:
            return f"({self.quoted(token['address'])} ~ '{network_pattern(token['cidr'])}')"
        if token["field"]:
            return f'"{self._column(token["field"])}"'
        return f'"{token[0]}"' if token[0] in self._names else token[0]

    def _column(self, text: str) -> str:
        root = self._root if text.startswith("field(") else text.partition(".")[0]
        part = part_of(text, root)
        assert part is not None
        column = f"{_STANDS_FOR}{len(self.parts)}"
        self.parts[column] = part
        return column


def _of_each_event(expr: pl.Expr, named: Mapping[str, Name], text: str, what: str) -> pl.Expr:
    """Return a condition that has an answer for each event by itself, and never an error.

    Columns that stand for parts of a field become those parts. A number of what is none is null, not an error that
    would stop all rules.

    Args:
        named: The columns that stand for parts.

    Raises:
        UsageError: It is about several events: how many are looked at together is chance.
    """
    import polars as pl

    tree = _tree(expr)
    if _counts(tree):
        raise UsageError(
            f"{what}: {text!r} is about several events; count them with [rule.threshold], or compare fields"
        )
    changed = _replaced(tree, {column: _tree(expression(name)) for column, name in named.items()})
    return expr if changed == tree else pl.Expr.deserialize(io.StringIO(json.dumps(changed)), format="json")


def _tree(expr: pl.Expr) -> Any:
    return json.loads(expr.meta.serialize(format="json"))


def _counts(tree: Any) -> bool:
    """Return whether there is a sum, a count, a first or the like in an expression, or what makes several of one."""
    if isinstance(tree, dict):
        return any(
            name in ("Agg", "Over", "Window", "Explode") or (name != "Literal" and _counts(one))
            for name, one in tree.items()
        )
    return any(map(_counts, tree)) if isinstance(tree, list) else tree == "Len"


def _replaced(tree: Any, parts: Mapping[str, Any]) -> Any:
    if isinstance(tree, dict):
        if len(tree) == 1 and tree.get("Column") in parts:
            return parts[tree["Column"]]
        if "Literal" in tree:
            return tree
        return {
            name: "NonStrict" if (name, inner) == ("options", "Strict") else _replaced(inner, parts)
            for name, inner in tree.items()
        }
    return [_replaced(inner, parts) for inner in tree] if isinstance(tree, list) else tree


def _odd_ones(of: type[msgspec.Struct]) -> pl.LazyFrame:
    """Return events without values and with odd ones: what fails of these would stop all rules some day."""
    import polars as pl

    from millstream.log.frames import frame_schema
    from millstream.log.types import schema_of

    schema = frame_schema(schema_of(of, time="time"))
    odd = {name: "x'\n{" if dtype == pl.String else None for name, dtype in schema.items()}
    numbers = {name: 0 if dtype.is_numeric() else None for name, dtype in schema.items()}
    return pl.LazyFrame([odd, numbers], schema=schema)
