"""Conditions on events: SQL over the fields of a `LogEvent`.

    kind = 'login' AND NOT success AND user IN ('root', 'admin')
    fields.TargetUserName = 'ann'            what a parser found beyond the fields: text, also of a number
    fields.http.paths[0] = '/'               `paths` inside of `http`, the first of a list
    field('a name with blanks') IS NOT NULL  the same, of any name
    message ILIKE '%denied%'                 whatever the case; ~ and ~* are regular expressions
    in_network(source_ip, '10.0.0.0/8')      an address in a network

Source: the expressions of Polars SQL.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.errors import UsageError
from millstream.logs.networks import network_pattern
from millstream.parsers.log_event import LogEvent

if TYPE_CHECKING:
    import polars as pl

FIELDS: Final = LogEvent.__struct_fields__
"""What a condition may name, and a message."""

_NAME: Final = r"[A-Za-z_][A-Za-z_0-9]*"
_PART: Final = rf"(?:\.(?:{_NAME}|\"[^\"]+\")|\[[0-9]{{1,9}}\])"
_JSON: Final = ("fields", "by")
"""The fields that have names of their own inside: of events, of alerts."""
_FIELD: Final = rf"(?:{'|'.join(_JSON)}){_PART}+|field\(\s*'[^']+'\s*\)"
_TOKEN: Final = re.compile(
    rf"(?P<network>\bin_network\(\s*(?P<address>{_FIELD}|{_NAME})\s*,\s*'(?P<cidr>[^']*)'\s*\))"
    rf"|'(?:[^']|'')*'|(?P<field>\b(?:{_FIELD}))|\"[^\"]*\"|{_NAME}|.",
    re.DOTALL,
)
_INNER: Final = ".$"
"""Between the field and the path, in the name of a column that stands for a part of a field."""


def condition(text: str, *, what: str = "where", of: type[msgspec.Struct] = LogEvent) -> pl.Expr:
    """Return a condition as a Polars expression.

    Args:
        what: For messages: where it is written.
        of: The Struct that it is about.

    Raises:
        UsageError: It is no SQL expression, or names something that events do not have.
    """
    import polars as pl

    # Some fields are words of SQL (`user`): every field is meant as a name.
    fields = of.__struct_fields__
    names = {*fields, *FIELDS}
    root = next((name for name in _JSON if name in fields), _JSON[0])
    quoted = _TOKEN.sub(lambda token: _quoted(token, names, root), text)
    try:
        found = _of_each_event(pl.sql_expr(quoted), text, what)
        used = found.meta.root_names()
        unknown = sorted(set(used) - set(fields))
        if unknown:
            many = "events" if of is LogEvent else f"{of.__name__.lower()}s"
            raise UsageError(
                f"{what}: {many} have no field {unknown[0]!r} in {text!r} (a text goes into single quotes: "
                f"'{unknown[0]}'); they have {', '.join(fields)}"
            )
        _odd_ones(of).select(found.cast(pl.Boolean)).collect()
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        write = "SQL such as kind = 'login'"
        if "cannot compare string with numeric" in reason:
            write = "a number of what is text as TRY_CAST(fields.status AS INT) >= 500"
        raise UsageError(f"{what}: {text!r} is no condition: {reason}; write {write}") from error
    # What names no field is one value for all events; a stream wants one for each.
    return found if used else found & pl.col("time").is_not_null()


def column_of(name: str, *, what: str = "by") -> pl.Expr:
    """Return a field of an event, or a part of `fields`, as a Polars expression.

    Raises:
        UsageError: Events have no such field.
    """
    import polars as pl

    if name in FIELDS:
        return pl.col(name)
    if not is_part(name):
        raise UsageError(f"{what}: events have no field {name!r}; they have {', '.join(FIELDS)}, and fields.NAME")
    return pl.col("fields").str.json_path_match(_path(parts_of(name)))


def is_part(name: str) -> bool:
    """Return whether a text names a part of the `fields` of an event."""
    return re.fullmatch(_FIELD, name) is not None and not name.startswith("by")


def parts_of(name: str) -> list[str | int]:
    """Return the names, and places in lists, of `fields.a."b c"[0]` or `field('a name')`.

    Raises:
        UsageError: A name has a quote or backslash in it, which a path cannot say.
    """
    if name.startswith("field("):
        parts: list[str | int] = [name.split("'")[1]]
    else:
        found = re.findall(rf"\.\"([^\"]+)\"|\.({_NAME})|\[([0-9]+)\]", name)
        parts = [int(place) if place else quoted or plain for quoted, plain, place in found]
    for part in parts:
        if isinstance(part, str) and set(part) & set("'\\"):
            raise UsageError(f"fields has no name such as {part!r} here: quotes and backslashes cannot be asked for")
    return parts


def _path(parts: Sequence[str | int]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f"['{part}']" for part in parts)


def _quoted(token: re.Match[str], names: set[str], root: str) -> str:
    if token["network"]:
        address = _TOKEN.sub(lambda inner: _quoted(inner, names, root), token["address"])
        pattern = network_pattern(token["cidr"])
        return f"({address} ~ '{pattern}')"
    if token["field"]:
        said = token["field"]
        within = root if said.startswith("field(") else re.split(r"[.\[]", said, maxsplit=1)[0]
        return f'"{within}.{_path(parts_of(said))}"'
    return f'"{token[0]}"' if token[0] in names else token[0]


def _of_each_event(expression: pl.Expr, text: str, what: str) -> pl.Expr:
    """Return a condition that has an answer for each event by itself, and never an error.

    Columns that stand for parts of a field become those parts. A number of what is none is null, not an error that
    would stop all rules.

    Raises:
        UsageError: It is about several events: how many are looked at together is chance.
    """
    import polars as pl

    tree = json.loads(expression.meta.serialize(format="json"))
    if _counts(tree):
        raise UsageError(
            f"{what}: {text!r} is about several events; count them with [rule.threshold], or compare fields"
        )
    parts: dict[str, Any] = {}
    for name in expression.meta.root_names():
        within, inner, path = name.partition(_INNER)
        if inner:
            part = pl.col(within).str.json_path_match(f"${path}")
            parts[name] = json.loads(part.meta.serialize(format="json"))
    changed = _replaced(tree, parts)
    return expression if changed == tree else pl.Expr.deserialize(io.StringIO(json.dumps(changed)), format="json")


def _counts(tree: Any) -> bool:
    """Return whether there is a sum, a count, a first or the like in an expression."""
    if isinstance(tree, dict):
        return any(
            name in ("Agg", "Over", "Window") or (name != "Literal" and _counts(one)) for name, one in tree.items()
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
