"""Conditions on events: SQL over the fields of a `LogEvent`.

    kind = 'login' AND NOT success AND user IN ('root', 'admin')
    fields.TargetUserName = 'ann'            what a parser found beyond the fields: text, also of a number
    field('a name with blanks') IS NOT NULL  the same, of any name
    message ILIKE '%denied%'                 whatever the case; ~ and ~* are regular expressions
    in_network(source_ip, '10.0.0.0/8')      an address in a network

Source: the expressions of Polars SQL.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
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
_FIELD: Final = rf"fields(?:\.(?:{_NAME}|\"[^\"]+\"))+|field\(\s*'[^']+'\s*\)"
_TOKEN: Final = re.compile(
    rf"(?P<network>\bin_network\(\s*(?P<address>{_FIELD}|{_NAME})\s*,\s*'(?P<cidr>[^']*)'\s*\))"
    rf"|'(?:[^']|'')*'|(?P<field>\b(?:{_FIELD}))|\"[^\"]*\"|{_NAME}|.",
    re.DOTALL,
)
_INNER: Final = "fields."
"""Before the path of a part of `fields`, in the name of a column that stands for it."""


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
    quoted = _TOKEN.sub(lambda token: _quoted(token, names), text)
    try:
        found = _with_parts(pl.sql_expr(quoted))
        used = found.meta.root_names()
        unknown = sorted(set(used) - set(fields))
        if unknown:
            many = "events" if of is LogEvent else f"{of.__name__.lower()}s"
            raise UsageError(f"{what}: {many} have no field {unknown[0]!r} in {text!r}; they have {', '.join(fields)}")
        _empty(of).select(found.cast(pl.Boolean)).collect()
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{what}: {text!r} is no condition: {reason}; write SQL such as kind = 'login'") from error
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
    if re.fullmatch(_FIELD, name) is None:
        raise UsageError(f"{what}: events have no field {name!r}; they have {', '.join(FIELDS)}, and fields.NAME")
    return pl.col("fields").str.json_path_match(_path_said(name))


def path_of(name: str) -> str:
    """Return the JSON path of a part of `fields`: of `a.b` and of `"name with blanks"`.

    Raises:
        UsageError: A name has a quote or backslash in it, which a path cannot say.
    """
    parts = re.findall(rf"\"[^\"]+\"|{_NAME}", name)
    inner = [part.strip('"') for part in parts]
    for part in inner:
        if set(part) & set("'\\"):
            raise UsageError(f"fields has no name such as {part!r} here: quotes and backslashes cannot be asked for")
    return "$" + "".join(f"['{part}']" for part in inner)


def _path_said(said: str) -> str:
    """Return the JSON path of `fields.NAME` or `field('NAME')`."""
    return path_of(said[len(_INNER) :] if said.startswith(_INNER) else f'"{said.split(chr(39))[1]}"')


def _quoted(token: re.Match[str], names: set[str]) -> str:
    if token["network"]:
        address = _TOKEN.sub(lambda inner: _quoted(inner, names), token["address"])
        pattern = network_pattern(token["cidr"])
        return f"({address} ~ '{pattern}')"
    if token["field"]:
        return f'"{_INNER}{_path_said(token["field"])}"'
    return f'"{token[0]}"' if token[0] in names else token[0]


def _with_parts(expression: pl.Expr) -> pl.Expr:
    """Return a condition in which the columns that stand for parts of `fields` are those parts."""
    import polars as pl

    inner = [name for name in expression.meta.root_names() if name.startswith(_INNER)]
    if not inner:
        return expression
    parts: dict[str, Any] = {}
    for name in inner:
        part = pl.col("fields").str.json_path_match(name.removeprefix(_INNER))
        parts[name] = json.loads(part.meta.serialize(format="json"))
    tree = _replaced(json.loads(expression.meta.serialize(format="json")), parts)
    return pl.Expr.deserialize(io.StringIO(json.dumps(tree)), format="json")


def _replaced(tree: Any, parts: Mapping[str, Any]) -> Any:
    if isinstance(tree, dict):
        if len(tree) == 1 and tree.get("Column") in parts:
            return parts[tree["Column"]]
        return {name: _replaced(inner, parts) for name, inner in tree.items()}
    return [_replaced(inner, parts) for inner in tree] if isinstance(tree, list) else tree


def _empty(of: type[msgspec.Struct]) -> pl.LazyFrame:
    import polars as pl

    from millstream.log.frames import frame_schema
    from millstream.log.types import schema_of

    return pl.LazyFrame(schema=frame_schema(schema_of(of, time="time")))
