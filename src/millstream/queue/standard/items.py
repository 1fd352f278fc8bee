"""Items of a standard queue as data, and back the same: what is put as a tuple comes back as a tuple.

msgpack has numbers, text, bytes, lists and maps. Everything else that is data is an extension of it:

| code | type | content |
|---|---|---|
| 1 | tuple | msgpack array |
| 2 | int beyond 64 bits | decimal text |
| 3, 4, 5 | datetime, date, time | ISO 8601 |
| 6 | timedelta | microseconds, decimal text |
| 7, 8 | Decimal, UUID | text |
| 9, 10 | set, frozenset | msgpack array |
| 11 | complex | msgpack array of two floats |
| 12 | text with lone surrogates | UTF-8 that allows them |
| 13 | bytearray | its bytes |
| 14 | dict with keys that msgpack does not have | msgpack array of pairs |

Anything else is no data, and refused. Never pickle.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

import msgspec

T = TypeVar("T")

_SCALARS: Final = frozenset({str, int, float, bool, NoneType, bytes})
"""What msgpack has, and gives back as it was."""

_MICROSECOND: Final = timedelta(microseconds=1)
_DEPTH_MAX: Final = 200
"""Deeper than this is a list that contains itself, or data that no reader should have to follow."""

_encode: Final = msgspec.msgpack.Encoder().encode
_unencodable: Final = (OverflowError, UnicodeEncodeError)


class Items(Generic[T]):
    """How the items of a queue are written to its topic. Without a type: as bytes; with one: as they are."""

    def __init__(self, raw: bool) -> None:
        self.raw = raw

    def encode(self, item: T) -> Any:
        """Return what the topic takes.

        Raises:
            TypeError: Something in the item is no data; says what, and where.
        """
        return encode_item(item) if self.raw else item

    def decode(self, value: Any) -> T:
        item: T = decode_item(value) if self.raw else value
        return item


def encode_item(item: Any) -> bytes:
    """Return an item as msgpack.

    Raises:
        TypeError: Something in it is no data; says what, and where.
    """
    try:
        if type(item) in _SCALARS:
            return _encode(item)
        return _encode(_plain(item, 0))
    except _unencodable:
        return _encode(_plain(item, 0, exact=True))
    except _NoData:
        raise _explain(item, "the item") from None


class _NoData(Exception):  # noqa: N818 - ends the walk; never leaves this module
    """Something in an item is no data; where, is found out by who catches it."""


def _plain(value: Any, depth: int, exact: bool = False) -> Any:
    """Return a value in what msgpack has. `exact`: some text or number in it does not fit."""
    kind = type(value)
    if kind in _SCALARS:
        return _scalar(value) if exact else value
    if depth == _DEPTH_MAX:
        raise TypeError(f"the item is nested more than {_DEPTH_MAX} deep, or contains itself")
    if kind is list:
        return value if not exact and _SCALARS.issuperset(map(type, value)) else _each(value, depth, exact)
    if kind is dict:
        return _dict(value, depth, exact)
    if kind is tuple:
        return msgspec.msgpack.Ext(1, _encode(_each(value, depth, exact)))
    if kind in _TEXTS:
        code, text = _TEXTS[kind]
        return msgspec.msgpack.Ext(code, text(value).encode())
    if kind is set or kind is frozenset:
        return msgspec.msgpack.Ext(9 if kind is set else 10, _encode(_each(value, depth, exact)))
    if kind is complex:
        return msgspec.msgpack.Ext(11, _encode([value.real, value.imag]))
    if kind is bytearray:
        return msgspec.msgpack.Ext(13, bytes(value))
    raise _NoData


def _each(values: Any, depth: int, exact: bool) -> list[Any]:
    return [_plain(value, depth + 1, exact) for value in values]


def _dict(value: dict[Any, Any], depth: int, exact: bool) -> Any:
    if not exact and _SCALARS.issuperset(map(type, value)):
        if _SCALARS.issuperset(map(type, value.values())):
            return value
        return {key: _plain(entry, depth + 1) for key, entry in value.items()}
    return msgspec.msgpack.Ext(14, _encode([[*_each(pair, depth, exact)] for pair in value.items()]))


def _scalar(value: Any) -> Any:
    if type(value) is int and not -(2**63) <= value < 2**64:
        return msgspec.msgpack.Ext(2, str(value).encode())
    if type(value) is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return msgspec.msgpack.Ext(12, value.encode("utf-8", "surrogatepass"))
    return value


_TEXTS: Final[dict[type, tuple[int, Callable[[Any], str]]]] = {
    datetime: (3, datetime.isoformat),
    date: (4, date.isoformat),
    time: (5, time.isoformat),
    timedelta: (6, lambda value: str(value // _MICROSECOND)),
    Decimal: (7, str),
    UUID: (8, str),
}


def _explain(value: Any, where: str) -> TypeError:
    """Return what to raise for the first thing in a value that is no data."""
    kind = type(value)
    inside: list[tuple[str, Any]] = []
    if kind is dict:
        inside = [(f"a key of {where}", key) for key in value]
        inside += [(f"{where}[{key!r}]", entry) for key, entry in value.items()]
    elif kind in (list, tuple):
        inside = [(f"{where}[{place}]", entry) for place, entry in enumerate(value)]
    elif kind in (set, frozenset):
        inside = [(f"an element of {where}", entry) for entry in value]
    for place, entry in inside:
        try:
            _plain(entry, 0, exact=True)
        except _NoData:
            return _explain(entry, place)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    base = kind.__mro__[-2] if len(kind.__mro__) > 1 else kind
    if isinstance(value, type) or callable(value):
        hint = "code cannot be put: put a name, or send calls with @app.task"
    elif dataclass_like(value):
        hint = f"open the queue with type={kind.__name__}, or put a dict of its fields"
    elif base is not kind and base in _SCALARS | {list, dict, tuple}:
        hint = f"it would come back as {base.__name__}: convert it first"
    else:
        hint = "put numbers, text, bytes, dates, and lists, tuples, sets and dicts of them"
    return TypeError(f"{where} is no data, but of type {name}; {hint}")


def dataclass_like(value: object) -> bool:
    """Whether a value, or a class, is of the kinds that a queue can be given as its type."""
    return isinstance(value, msgspec.Struct) or hasattr(type(value), "__dataclass_fields__")


def decode_item(data: bytes) -> Any:
    """Return an item that `encode_item` wrote."""
    return _decode(data)


def _extension(code: int, data: memoryview) -> Any:
    content = bytes(data)
    if code in (1, 9, 10):
        return {1: tuple, 9: set, 10: frozenset}[code](_decode(content))
    if code == 11:
        return complex(*_decode(content))
    if code == 12:
        return content.decode("utf-8", "surrogatepass")
    if code == 13:
        return bytearray(content)
    if code == 14:
        return dict(_decode(content))
    text = content.decode()
    if code == 6:
        return timedelta(microseconds=int(text))
    readers: dict[int, Callable[[str], Any]] = {
        2: int,
        3: datetime.fromisoformat,
        4: date.fromisoformat,
        5: time.fromisoformat,
        7: Decimal,
        8: UUID,
    }
    if code not in readers:
        raise ValueError(f"an item holds a type (extension {code}) that this release does not know; upgrade Millstream")
    return readers[code](text)


_decode: Final = msgspec.msgpack.Decoder(ext_hook=_extension).decode
