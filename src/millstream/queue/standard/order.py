"""The order of a PriorityQueue: from an item to bytes that sort as Python sorts the items.

Each value begins with a tag for its kind, so that a prefix decides wherever Python compares. What Python cannot compare
(a dict, None) ends the key: items that are equal up to there leave in the order in which they came.

| kind | bytes after the tag |
|---|---|
| bool, int, float | the float at or below it, in an order of bytes; then what an int is more than that float |
| str, bytes | UTF-8 or the bytes; 0 is followed by 255, so that the end (0) sorts first |
| tuple, list | each element with its tag; the end (0) sorts before any tag |
| datetime, date, time, timedelta | microseconds as a signed number |

Source: the tuple layer of FoundationDB (design/tuple.md).
"""

from __future__ import annotations

import dataclasses
import math
import struct
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

import msgspec

RANK_BYTES_MAX: Final = 4096
"""What follows these bytes of an item does not decide; each is kept in an index until the item is taken."""

_END: Final = b"\x00"
_NUMBER: Final = b"\x10"
_TEXT: Final = b"\x20"
_BYTES: Final = b"\x28"
_TUPLE: Final = b"\x30"
_LIST: Final = b"\x38"
_NAIVE, _AWARE, _DATE, _TIME, _SPAN = b"\x40", b"\x41", b"\x42", b"\x43", b"\x44"
_INT_BITS_MAX: Final = 1000
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - naive times are compared with naive times
_EPOCH_UTC: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Unordered(Exception):  # noqa: N818 - ends the walk; never leaves this module
    """Python could not compare this value with another of its kind."""


def rank(item: Any) -> bytes:
    """Return bytes in the order of items of one kind; equal where Python could not tell them apart, or not compare."""
    parts: list[bytes] = []
    try:
        _write(parts, item)
    except _Unordered:
        pass
    return b"".join(parts)[:RANK_BYTES_MAX]


def kind_of(item: Any) -> str:
    """Return what an item is compared with: `number`, `tuple of number`, ...; items of other kinds cannot be.

    Raises:
        TypeError: Items of its kind cannot be compared at all.
    """
    if isinstance(item, bool | int | float):
        return "number"
    if type(item) in (tuple, list):
        name = type(item).__name__
        if not item or _is_unordered(item[0]):
            return name
        return f"{name} of {kind_of(item[0])}"
    if isinstance(item, datetime):
        return "datetime" if item.tzinfo is None else "datetime with a time zone"
    if isinstance(item, msgspec.Struct) or dataclasses.is_dataclass(item):
        if not is_ordered(type(item)):
            raise _cannot(item, "declare it with order=True")
        return type(item).__name__
    if _is_unordered(item):
        raise _cannot(item, "put (priority, item)")
    return type(item).__name__


def is_ordered(kind: type) -> bool:
    """Whether a Struct or dataclass compares by its fields."""
    if issubclass(kind, msgspec.Struct):
        return bool(kind.__struct_config__.order)
    return bool(getattr(kind, "__dataclass_params__").order)  # noqa: B009 - not in the type's stubs


def can_be_compared(kind: str, other: str) -> bool:
    """Whether items of two kinds can; an empty tuple is compared with any other."""
    return kind == other or kind.startswith(other + " of ") or other.startswith(kind + " of ")


def _cannot(item: Any, hint: str) -> TypeError:
    name = type(item).__name__
    return TypeError(f"'<' not supported between instances of {name!r} and {name!r}: {hint}")


def _is_unordered(value: Any) -> bool:
    try:
        _write([], value)
    except _Unordered:
        return not isinstance(value, tuple | list)
    return False


def _write(parts: list[bytes], value: Any) -> None:
    kind = type(value)
    if kind in (int, float, bool):
        parts.append(_NUMBER + _number(value))
    elif kind is str:
        parts.append(_TEXT + value.encode("utf-8", "surrogatepass").replace(b"\x00", b"\x00\xff") + _END)
    elif kind in (bytes, bytearray):
        parts.append(_BYTES + bytes(value).replace(b"\x00", b"\x00\xff") + _END)
    elif kind in (tuple, list):
        parts.append(_TUPLE if kind is tuple else _LIST)
        for element in value:
            _write(parts, element)
        parts.append(_END)
    elif isinstance(value, msgspec.Struct):
        _write(parts, msgspec.structs.astuple(value))
    elif dataclasses.is_dataclass(value):
        _write(parts, tuple(getattr(value, field.name) for field in dataclasses.fields(value) if field.compare))
    else:
        tag, us = _microseconds(value)
        parts.append(tag + (us + (1 << 63)).to_bytes(8, "big"))


def _number(value: float) -> bytes:
    rest = 0
    if type(value) is int and value.bit_length() > 53:
        if value.bit_length() > _INT_BITS_MAX:
            raise TypeError(f"an int of {value.bit_length()} bits is too large to be a priority")
        floor = float(value)
        if int(floor) > value:
            floor = math.nextafter(floor, -math.inf)
        rest = value - int(floor)
        value = floor
    # Zero is one number, whatever its sign.
    (bits,) = struct.unpack(">Q", struct.pack(">d", value + 0.0))
    bits ^= (1 << 64) - 1 if bits >> 63 else 1 << 63
    more = rest.to_bytes((rest.bit_length() + 7) // 8, "big")
    return int(bits).to_bytes(8, "big") + bytes((len(more),)) + more


def _microseconds(value: Any) -> tuple[bytes, int]:
    if type(value) is datetime:
        if value.tzinfo is None:
            return _NAIVE, (value - _EPOCH) // _MICROSECOND
        return _AWARE, (value - _EPOCH_UTC) // _MICROSECOND
    if type(value) is date:
        return _DATE, value.toordinal()
    if type(value) is time and value.tzinfo is None:
        span = timedelta(hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond)
        return _TIME, span // _MICROSECOND
    if type(value) is timedelta:
        return _SPAN, value // _MICROSECOND
    raise _Unordered
