"""The objects in `fields`, one at a time: what a name means is asked for, put in and taken out.

See `logs/names.py` for what a name means:

- Asked for: what is there under all of the name, else at the end of the path; null is not there.
- Taken out: from both places, with the objects that are empty then.
- Put in: in the place of what is there; else at the end of the path, where objects are made as needed. Where something
  else than an object is on the way: under all of the name, so that nothing is lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from millstream.logs.names import Name, value_of

Object = dict[str, Any]

_DECODER: Final = msgspec.json.Decoder(Object)
_ENCODER: Final = msgspec.json.Encoder()


def object_of(fields: str | None) -> Object:
    """Return the members of an object; none of null."""
    return {} if fields is None else _DECODER.decode(fields)


def text_of_object(found: Object) -> str | None:
    """Return an object without the members that are null; None where no member is left."""
    kept = {name: value for name, value in found.items() if value is not None} if None in found.values() else found
    return _ENCODER.encode(kept).decode() if kept else None


def text_of(value: Any) -> str:
    """Return a value as text: what is none as JSON."""
    return value if isinstance(value, str) else _ENCODER.encode(value).decode()


def with_members(fields: str | None, values: Mapping[Name, Any]) -> str | None:
    """Return any object with other members, and without those that are None or null; None where none is left."""
    found = object_of(fields)
    for name, value in values.items():
        if value is None:
            take(found, name)
        else:
            put(found, name, value)
    return text_of_object(found)


def with_only(fields: str, names: Sequence[Name]) -> str | None:
    """Return any object with what some names mean, in its place, and nothing else; None where none of it is there."""
    found = object_of(fields)
    kept: Object = {}
    for name in names:
        value = value_of(found, name)
        if value is not None and found.get(name.whole) is None:
            put(kept, name, value)
        elif value is not None:
            kept[name.whole] = value
    return text_of_object(kept)


def take(found: Object, name: Name) -> None:
    """Take out what has a name."""
    if name.is_deep:
        found.pop(name.whole, None)
    _take(found, name.path)


def put(found: Object, name: Name, value: Any) -> None:
    """Put a value in the place of a name."""
    if not name.is_deep:
        found[str(name.path[0])] = value
        return
    under_all_of_it = found.get(name.whole) is not None or not _is_open(found, name.path)
    take(found, name)
    if under_all_of_it:
        found[name.whole] = value
    else:
        _put(found, name.path, value)


def nested(path: Sequence[str | int], value: Any) -> Any:
    """Return a value within objects of the names of a path."""
    for part in reversed(path):
        value = {part: value}
    return value


def _is_open(value: Any, path: Sequence[str | int]) -> bool:
    """Return whether nothing but objects, and places in lists that there are, is on the way to the end of a path."""
    for part in path:
        if not (isinstance(part, str) if value is None else _can_have(value, part)):
            return False
        value = _inside(value, part)
    return True


def _inside(value: Any, part: Any) -> Any:
    if value is None:
        return None
    return value.get(part) if isinstance(part, str) else value[part]


def _can_have(value: Any, part: str | int) -> bool:
    if isinstance(part, str):
        return isinstance(value, dict)
    return isinstance(value, list) and part < len(value)


def _take(found: Any, path: Sequence[str | int]) -> None:
    """Take out the end of a path, and what is empty then; a place in a list stays."""
    part, rest = path[0], path[1:]
    if not _can_have(found, part):
        return
    if not rest:
        if isinstance(part, str):
            found.pop(part, None)
        return
    inner = _inside(found, part)
    if not inner:
        return
    _take(inner, rest)
    if inner == {} and isinstance(part, str):
        del found[part]


def _put(found: Any, path: Sequence[str | int], value: Any) -> None:
    part, rest = path[0], path[1:]
    if not rest:
        found[part] = value
        return
    inner = _inside(found, part)
    if inner is None:
        found[part] = nested(rest, value)
    else:
        _put(inner, rest, value)
