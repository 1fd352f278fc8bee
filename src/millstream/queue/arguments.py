"""The arguments of a task as data: bound to the function's parameters, checked against its annotations, both ways."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from msgspec import inspect as kinds

from millstream.errors import Reject, SchemaError, UsageError

_UNFIT = (msgspec.ValidationError, TypeError, ValueError, OverflowError, RecursionError)
"""What `convert` and `to_builtins` raise for values that are not the data asked for."""

_FAST_KINDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Arguments:
    """The parameters of one function.

    An annotation is what a value must be: of the same type, or data that msgspec converts to it (a dict to a Struct, an
    int to a float). Without an annotation any JSON data will do. What a call leaves out is left out of the record too,
    so that the default is the one of the program that runs it.

    Raises:
        UsageError: An annotation names what is no data (a file, a connection), or cannot be resolved.
    """

    def __init__(self, task: str, function: Callable[..., Any]) -> None:
        self.task = task
        hints = _hints(task, function)
        self._signature = inspect.signature(function, eval_str=True)
        self._types: dict[str, Any] = {}
        fields: list[Any] = []
        for parameter in self._signature.parameters.values():
            wanted = _type_of(parameter, hints.get(parameter.name, Any))
            _check_is_data(wanted, f"task {task!r}: parameter {parameter.name!r}")
            self._types[parameter.name] = wanted
            if parameter.default is inspect.Parameter.empty and parameter.kind in (
                inspect.Parameter.POSITIONAL_ONLY,
                *_FAST_KINDS,
            ):
                fields.append((parameter.name, wanted))
            else:
                fields.append((parameter.name, typing.Union[wanted, UnsetType], UNSET))  # noqa: UP007 - types at run time
        self._struct = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
        self._by_name = all(parameter.kind in _FAST_KINDS for parameter in self._signature.parameters.values())
        self.result_type = _result_type(hints.get("return", Any))

    @property
    def names(self) -> list[str]:
        """The names of the parameters."""
        return list(self._types)

    def encode(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return a call's arguments as JSON data by parameter.

        Raises:
            SchemaError: They are not what the function takes; names the parameter.
        """
        try:
            given = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise SchemaError(f"task {self.task!r}: {error}; it takes {self._signature}") from error
        try:
            data: dict[str, Any] = msgspec.to_builtins(msgspec.convert(given, self._struct), str_keys=True)
            return data
        except _UNFIT:
            # Once more, one by one, to name the one at fault.
            return {name: self._encode_one(name, value) for name, value in given.items()}

    def _encode_one(self, name: str, value: Any) -> Any:
        try:
            return msgspec.to_builtins(msgspec.convert(value, self._types[name]), str_keys=True)
        except _UNFIT as error:
            raise SchemaError(f"task {self.task!r}: argument {name!r} does not fit: {error}") from error

    def decode(self, arguments: Mapping[str, Any]) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """Return what to call the function with.

        Raises:
            Reject: The function has changed since, and they do not fit any more.
        """
        try:
            values = msgspec.convert(arguments, self._struct, str_keys=True)
        except _UNFIT as error:
            raise Reject(
                f"the arguments do not fit task {self.task!r} as it is now, {self.task}{self._signature}: {error}"
            ) from error
        given = {name: value for name in self._types if (value := getattr(values, name)) is not UNSET}
        if self._by_name:
            return (), given
        bound = inspect.BoundArguments(self._signature, given)
        return bound.args, bound.kwargs


def _hints(task: str, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise UsageError(
            f"task {task!r}: its annotations cannot be resolved ({error}); import their types at the top of its module,"
            " outside `if TYPE_CHECKING`"
        ) from error


def _type_of(parameter: inspect.Parameter, hint: Any) -> Any:
    if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
        return list[hint]
    if parameter.kind is inspect.Parameter.VAR_KEYWORD:
        return dict[str, hint]
    return hint


def _result_type(hint: Any) -> Any:
    try:
        _check_is_data(hint, "")
    except UsageError:
        return Any
    return hint


def _check_is_data(wanted: Any, what: str) -> None:
    try:
        info = kinds.type_info(wanted)
    except (TypeError, NameError) as error:
        raise UsageError(f"{what} is no data: {error}") from error
    for part in _parts(info, set()):
        if isinstance(part, kinds.CustomType):
            raise UsageError(
                f"{what} has the type {part.cls.__module__}.{part.cls.__qualname__}, which is no data; pass what the "
                "worker can find it by: a path as str, an id"
            )


def _parts(info: object, seen: set[int]) -> Iterator[kinds.Type]:
    """Yield a type and all that it is made of."""
    if isinstance(info, tuple):
        for item in info:
            yield from _parts(item, seen)
    elif isinstance(info, kinds.Field):
        yield from _parts(info.type, seen)
    elif isinstance(info, kinds.Type) and id(info) not in seen:
        seen.add(id(info))
        yield info
        for name in info.__struct_fields__:
            yield from _parts(getattr(info, name), seen)
