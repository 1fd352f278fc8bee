"""State as data: which types can be kept, and how."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import inspect as types

from millstream.errors import SchemaError, UsageError
from millstream.log.rows import array_header, explain

_UNCHANGING: Final = (int, float, str, bytes, bool, type(None), datetime, date, time, timedelta, Decimal, UUID, Enum)
"""Values that no function can change in place."""

UNCHANGING: Final = frozenset(_UNCHANGING)
"""The same, to look up the class of a value itself, which is faster."""

_SELF_DESCRIBING: Final = (int, float, str, bytes, bool, type(None), list, dict)
"""What msgpack gives back as it was, without being told the type."""

_SIMPLE: Final = (
    types.AnyType,
    types.NoneType,
    types.BoolType,
    types.IntType,
    types.FloatType,
    types.StrType,
    types.BytesType,
    types.DateTimeType,
    types.TimeType,
    types.DateType,
    types.TimeDeltaType,
    types.UUIDType,
    types.DecimalType,
    types.EnumType,
    types.LiteralType,
)

_encode = msgspec.msgpack.Encoder().encode


class StateCoding:
    """States of one step to and from msgpack.

    Raises:
        UsageError: The type is not data: it holds something that could only be kept as code or as a live object.
    """

    def __init__(self, type: Any, step: str) -> None:
        self._step = step
        self.type = type
        try:
            info = types.type_info(type)
            self._one = msgspec.msgpack.Decoder(type)
            self._many = msgspec.msgpack.Decoder(list[type])
        except (TypeError, ValueError) as error:
            raise UsageError(f"{step}: its state cannot be kept: {error}") from None
        if (other := _not_data(info)) is not None:
            raise UsageError(
                f"{step}: its state cannot be kept, for {other} is not data; use a Struct, a dataclass, dicts, lists, "
                "numbers, text, bytes and times"
            )
        self.unchanging = _is_unchanging(info)
        """Whether no state can be changed in place, so that a new one takes the place of the old."""

    def encode(self, states: Sequence[Any], keys: Sequence[bytes | None]) -> list[bytes]:
        """Return each state as data, which `decode` gives back as it is.

        Raises:
            SchemaError: A state would come back as something else, so that a restart would change the answer.
        """
        try:
            encoded = [_encode(state) for state in states]
            again = self.decode(encoded)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
            self._blame(states, keys)
        if again != states:
            self._compare(states, again, keys)
        return encoded

    def decode(self, encoded: Sequence[bytes]) -> list[Any]:
        """Return states; raises what msgspec does where the type has changed."""
        return self._many.decode(b"".join((array_header(len(encoded)), *encoded)))

    def stored(self, encoded: Sequence[bytes], keys: Sequence[bytes | None]) -> list[Any]:
        """Return the states that an earlier run kept.

        Raises:
            SchemaError: The type of the state has changed since.
        """
        try:
            return self.decode(encoded)
        except (msgspec.MsgspecError, TypeError, ValueError):
            pass
        found: list[Any] = []
        for key, data in zip(keys, encoded, strict=True):
            try:
                found.append(self._one.decode(data))
            except (msgspec.MsgspecError, TypeError, ValueError) as error:
                raise SchemaError(
                    f"{self._step}: the state kept of key {shown(key)} is no {name_of(self.type)}: "
                    f"{explain(error)}; give fields that were added a default, or give the step another name to "
                    "start with new state"
                ) from error
        return found

    def copy(self, state: Any) -> Any:
        """Return the same state as an object of its own."""
        return state if state.__class__ in UNCHANGING or isinstance(state, Enum) else self._one.decode(_encode(state))

    def _blame(self, states: Sequence[Any], keys: Sequence[bytes | None]) -> typing.NoReturn:
        for state, key in zip(states, keys, strict=True):
            try:
                self._one.decode(_encode(state))
            except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
                raise SchemaError(
                    f"{self._step}: the state of key {shown(key)} cannot be kept as {name_of(self.type)}: "
                    f"{explain(error)}"
                ) from error
        raise AssertionError("every state can be kept on its own, and together they cannot")

    def _compare(self, states: Sequence[Any], again: Sequence[Any], keys: Sequence[bytes | None]) -> None:
        for state, back, key in zip(states, again, keys, strict=True):
            # What is not equal to itself (NaN, classes that compare by identity) is compared by what it shows.
            if back != state and repr(back) != repr(state):
                raise SchemaError(
                    f"{self._step}: the state of key {shown(key)}, {_short(state)}, would come back after a restart as "
                    f"{_short(back)}; say its type where the function takes it, such as "
                    "`state: dict[str, tuple[int, int]]`"
                )


def new_of(init: Any, coding: StateCoding) -> Callable[[], Any]:
    """Return what makes the state of a key without any: `init` is called, or copied where it could be changed."""
    if callable(init):
        return typing.cast(Callable[[], Any], init)
    if isinstance(init, _UNCHANGING):
        return lambda: init
    return lambda: coding.copy(init)


def state_type(init: Any, function: Callable[..., Any]) -> Any:
    """Return the type of the states: what the function's first parameter says, else that of the first state."""
    annotation = _annotation(function)
    if annotation is not Any:
        return annotation
    sample = init() if callable(init) else init
    return Any if type(sample) in _SELF_DESCRIBING else type(sample)


def shown(key: bytes | None) -> str:
    """Return a key as people read it."""
    return "null" if key is None else repr(key.decode("utf-8", "backslashreplace"))


def name_of(type: Any) -> str:
    return getattr(type, "__name__", None) or str(type)


def _annotation(function: Callable[..., Any]) -> Any:
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        names = list(inspect.signature(function).parameters)
    except (NameError, TypeError, ValueError, AttributeError):
        return Any
    return hints.get(names[0], Any) if names else Any


def _not_data(info: types.Type, seen: frozenset[Any] = frozenset()) -> str | None:
    """Return the name of something in a type that is not data; None where all is."""
    if isinstance(info, _SIMPLE):
        return None
    if isinstance(info, types.Metadata):
        return _not_data(info.type, seen)
    if isinstance(info, types.UnionType):
        return _first(info.types, seen)
    if isinstance(info, types.ListType | types.VarTupleType | types.SetType | types.FrozenSetType):
        return _not_data(info.item_type, seen)
    if isinstance(info, types.TupleType):
        return _first(info.item_types, seen)
    if isinstance(info, types.DictType):
        return _first((info.key_type, info.value_type), seen)
    if isinstance(info, types.StructType | types.DataclassType | types.TypedDictType | types.NamedTupleType):
        if info.cls in seen:
            return None
        return _first([field.type for field in info.fields], seen | {info.cls})
    return name_of(getattr(info, "cls", info))


def _first(infos: Sequence[types.Type], seen: frozenset[Any]) -> str | None:
    return next((found for info in infos if (found := _not_data(info, seen)) is not None), None)


def _is_unchanging(info: types.Type) -> bool:
    if isinstance(info, types.AnyType):
        return False
    if isinstance(info, _SIMPLE):
        return True
    if isinstance(info, types.Metadata):
        return _is_unchanging(info.type)
    if isinstance(info, types.UnionType):
        return all(map(_is_unchanging, info.types))
    if isinstance(info, types.VarTupleType | types.FrozenSetType):
        return _is_unchanging(info.item_type)
    if isinstance(info, types.TupleType):
        return all(map(_is_unchanging, info.item_types))
    if isinstance(info, types.StructType):
        # A struct inside itself would go on for ever; it counts as one that can be changed.
        return bool(info.cls.__struct_config__.frozen) and all(
            not isinstance(field.type, types.StructType) and _is_unchanging(field.type) for field in info.fields
        )
    return False


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
