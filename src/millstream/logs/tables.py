"""Tables of a TOML file as Structs, with messages that say which table, which key, and what is allowed."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, get_args

import msgspec

from millstream.errors import UsageError
from millstream.logs.wrong_types import wrong_type

T = TypeVar("T", bound=msgspec.Struct)

KIND: Final = "kind"
"""The key that says which Struct a table is, where there are several."""

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_PATH: Final = re.compile(r" - at `\$\.?(.*)`$")


def read_toml(text: str, origin: str) -> dict[str, Any]:
    """Return a TOML text as plain values.

    Raises:
        UsageError: It is none; says where.
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{origin} is not in TOML, as a configuration is: {error}") from error


def tables_of(found: Mapping[str, Any], name: str, text: str, origin: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield each table `[[name]]` and how a message calls it: file, number and line.

    Raises:
        UsageError: The key is there and is no list of tables.
    """
    tables = found.get(name, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{origin}: {name} is no list of tables; write [[{name}]] above the keys of each")
    lines = _lines_of(name, text)
    for number, table in enumerate(tables, 1):
        # Tables in one line (`source = [{...}]`) have no heads to find.
        at = f" (line {lines[number - 1]})" if len(lines) == len(tables) else ""
        yield table, f"{origin}, {name} {number}{at}"


def read_table(table: Mapping[str, Any], types: Any, what: str) -> Any:
    """Return a table as a Struct.

    Args:
        types: A Struct type; or a union of tagged ones, of which the key `kind` chooses.

    Raises:
        UsageError: A key is missing, unknown or of another type; says which are there.
    """
    chosen = _chosen(table, get_args(types) or (types,), what)
    try:
        return msgspec.convert(table, chosen)
    except msgspec.ValidationError as error:
        raise UsageError(_message(error, table, chosen, what)) from error


def with_environment(value: Any, environment: Mapping[str, str], what: str) -> Any:
    """Return a value in which each `${NAME}` of its texts is replaced, so that secrets are in no file.

    Raises:
        UsageError: There is no such variable.
    """
    if isinstance(value, dict):
        return {key: with_environment(part, environment, f"{what}, {key}") for key, part in value.items()}
    if isinstance(value, list):
        return [with_environment(part, environment, what) for part in value]
    return _VARIABLE.sub(lambda found: _variable(found[1], environment, what), value) if _is_text(value) else value


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _variable(name: str, environment: Mapping[str, str], what: str) -> str:
    if name not in environment:
        raise UsageError(f"{what}: the environment has no {name}; set it before the start")
    return environment[name]


def _chosen(table: Mapping[str, Any], types: Sequence[type[msgspec.Struct]], what: str) -> type[msgspec.Struct]:
    if len(types) == 1:
        return types[0]
    by_kind = {str(one.__struct_config__.tag): one for one in types}
    kind = table.get(KIND)
    if kind is None:
        raise UsageError(f"{what}: {KIND} is missing; give one of {', '.join(by_kind)}")
    if not isinstance(kind, str) or kind not in by_kind:
        raise UsageError(f"{what}: there is no {KIND} {kind!r}; there is {', '.join(by_kind)}")
    return by_kind[kind]


def _message(error: msgspec.ValidationError, table: Mapping[str, Any], type: type[msgspec.Struct], what: str) -> str:
    said = str(error)
    place = _PATH.search(said)
    where = f"{what}, {place[1]}" if place and place[1] else what
    if "invalid enum value" not in said and place is not None and (allowed := _allowed(type, place[1])):
        return f"{where}: there is no {table.get(place[1])!r}; there is {', '.join(allowed)}"
    sentence = wrong_type(said, place[1] if place else "", table, type)
    if sentence is not None:
        kind = f", kind {type.__struct_config__.tag}" if type.__struct_config__.tag is not None else ""
        return f"{where.replace(what, what + kind)}: {sentence}"
    said = _PATH.sub("", said)
    said = said[0].lower() + said[1:]
    if "unknown field" in said and (place is None or not place[1]):
        keys = (*_kind_key(type), *type.__struct_encode_fields__)
        return (
            f"{where}: {said.replace('object contains unknown field', 'there is no key')}; there is {', '.join(keys)}"
        )
    if "invalid enum value" in said and place is not None and (allowed := _allowed(type, place[1])):
        return f"{where}: {said.replace('invalid enum value', 'there is no')}; there is {', '.join(allowed)}"
    if "missing required field" in said:
        return f"{where}: {said.replace('object missing required field', 'the key')} is missing"
    return f"{where}: {said}"


def _allowed(type: type[msgspec.Struct], key: str) -> list[str]:
    """Return the words that a key of the table itself takes; none where it is another kind of key."""
    info = msgspec.inspect.type_info(type)
    assert isinstance(info, msgspec.inspect.StructType)
    [*found] = (field.type for field in info.fields if field.encode_name == key)
    parts = [part for one in found for part in (one.types if isinstance(one, msgspec.inspect.UnionType) else (one,))]
    words: list[str] = []
    for part in parts:
        if isinstance(part, msgspec.inspect.LiteralType):
            words += map(str, part.values)
        elif isinstance(part, msgspec.inspect.EnumType):
            words += [str(member.value) for member in part.cls]
    return words


def _kind_key(type: type[msgspec.Struct]) -> Sequence[str]:
    return (KIND,) if type.__struct_config__.tag is not None else ()


def _lines_of(name: str, text: str) -> Sequence[int]:
    head = re.compile(rf"\s*\[\[\s*{re.escape(name)}\s*\]\]")
    return [number for number, line in enumerate(text.splitlines(), 1) if head.match(line)]
