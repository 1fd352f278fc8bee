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
        found = _with_parts(pl.sql_expr(quoted))
        used = found.meta.root_names()
        unknown = sorted(set(used) - set(fields))
        if unknown:
            many = "events" if of is LogEvent else f"{of.__name__.lower()}s"
            raise UsageError(
                f"{what}: {many} have no field {unknown[0]!r} in {text!r} (a text goes into single quotes: "
                f"'{unknown[0]}'); they have {', '.join(fields)}"
            )
        _empty(of).select(found.cast(pl.Boolean)).collect()
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


def _with_parts(expression: pl.Expr) -> pl.Expr:
    """Return a condition in which the columns that stand for parts of a field are those parts."""
    import polars as pl

    inner = [name for name in expression.meta.root_names() if _INNER in name]
    if not inner:
        return expression
    parts: dict[str, Any] = {}
    for name in inner:
        within, _, path = name.partition(_INNER)
        part = pl.col(within).str.json_path_match(f"${path}")
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
