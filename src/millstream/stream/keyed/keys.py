"""The keys of the records of a piece."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, itemgetter
from typing import Any

import msgspec

from millstream.stream.keyed.store import Key
from millstream.stream.piece import Piece
from millstream.stream.record_keys import key_series


def keys_of(piece: Piece, by: tuple[str, ...]) -> list[Key]:
    """Return a key for each record: that of columns, as `key_series` makes it, or without any the record's own."""
    if not by:
        return piece.carried.get_column("_key").to_list()
    if len(by) == 1 and not piece.has_own_columns and (keys := _of_values(piece.values(), by[0])) is not None:
        return keys
    return key_series(piece.columns(), by).to_list()


def _of_values(values: Sequence[Any], name: str) -> list[Key] | None:
    """Return the same from Python values, which are not made columns for that; None where only columns can tell."""
    if not values:
        return []
    first = values[0]
    renamed = isinstance(first, msgspec.Struct) and first.__struct_fields__ != first.__struct_encode_fields__
    if renamed:
        return None
    get = itemgetter(name) if isinstance(first, dict) else attrgetter(name)
    try:
        found = list(map(get, values))
    except (KeyError, AttributeError, TypeError):
        return None
    kinds = set(map(type, found))
    if kinds == {str}:
        return list(map(str.encode, found))
    return [b"%d" % number for number in found] if kinds == {int} else None
