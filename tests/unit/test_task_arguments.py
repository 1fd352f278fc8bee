"""A function's arguments as data, and back."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.errors import Reject, SchemaError, UsageError
from millstream.queue.arguments import Arguments


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Point:
    x: int
    y: int = 0


class Tree(msgspec.Struct):
    name: str
    children: list[Tree] = []


def everything(
    number: int,
    ratio: float,
    text: str,
    data: bytes,
    moment: datetime,
    day: date,
    wait: timedelta,
    price: Decimal,
    identity: uuid.UUID,
    colour: Colour,
    size: Literal["s", "m"],
    point: Point,
    tree: Tree,
    many: dict[int, list[str]],
    either: int | None,
    free: Any,
) -> None: ...


def through_json(arguments: Arguments, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Send arguments the way they go: as JSON data."""
    return arguments.decode(msgspec.json.decode(msgspec.json.encode(arguments.encode(args, kwargs))))


@given(
    st.fixed_dictionaries(
        {
            "number": st.integers(-(2**63), 2**63 - 1),
            "ratio": st.floats(allow_nan=False, allow_infinity=False),
            "text": st.text(),
            "data": st.binary(),
            "moment": st.datetimes(timezones=st.just(UTC)),
            "day": st.dates(),
            "wait": st.timedeltas(timedelta(0), timedelta(days=1000)),
            "price": st.decimals(allow_nan=False, allow_infinity=False),
            "identity": st.uuids(),
            "colour": st.sampled_from(Colour),
            "size": st.sampled_from(["s", "m"]),
            "point": st.builds(Point, st.integers(-9, 9), st.integers(-9, 9)),
            "tree": st.builds(Tree, st.text(), st.lists(st.builds(Tree, st.text()))),
            "many": st.dictionaries(st.integers(-9, 9), st.lists(st.text())),
            "either": st.none() | st.integers(-9, 9),
            "free": st.none() | st.booleans() | st.lists(st.integers(-9, 9)),
        }
    )
)
def test_what_is_sent_is_what_arrives(values: dict[str, Any]) -> None:
    args, kwargs = through_json(Arguments("everything", everything), **values)
    assert (args, kwargs) == ((), values)


def plain(a: int, b: int = 2) -> None: ...
def keyword_only(a: int, *, b: int = 2) -> None: ...
def position_only(a: int, /, b: int = 2) -> None: ...
def rest(a: int, *b: int, **c: int) -> None: ...
def nothing() -> None: ...


@pytest.mark.parametrize(
    ("function", "args", "kwargs"),
    [
        (plain, (1,), {}),
        (plain, (1, 3), {}),
        (plain, (), {"b": 1, "a": 3}),
        (keyword_only, (1,), {"b": 3}),
        (position_only, (1,), {}),
        (position_only, (1,), {"b": 5}),
        (rest, (1, 2, 3), {"x": 4, "y": 5}),
        (rest, (1,), {}),
        (nothing, (), {}),
    ],
)
def test_a_call_arrives_as_the_same_call(function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    got_args, got_kwargs = through_json(Arguments("f", function), *args, **kwargs)
    signature = inspect.signature(function)
    assert signature.bind(*got_args, **got_kwargs) == signature.bind(*args, **kwargs)


def test_defaults_are_not_sent() -> None:
    assert Arguments("plain", plain).encode((1,), {}) == {"a": 1}


@pytest.mark.parametrize("wrong", [{"a": "x"}, {"a": 1, "zoom": 1}, {}, {"a": 1, "b": None}])
def test_data_that_does_not_fit_is_rejected_with_the_function_as_it_is(wrong: dict[str, Any]) -> None:
    with pytest.raises(Reject, match=r"do not fit task 'plain' as it is now, plain\(a: int, b: int = 2\) -> None: "):
        Arguments("plain", plain).decode(wrong)


def untyped(a, b=2): ...  # type: ignore[no-untyped-def]


def test_without_annotations_any_json_data_will_do() -> None:
    assert through_json(Arguments("untyped", untyped), {"x": [1]}, b=None) == ((), {"a": {"x": [1]}, "b": None})
    with pytest.raises(SchemaError, match="argument 'b' does not fit"):
        Arguments("untyped", untyped).encode((1, object()), {})


def of_a_list(paths: list[Callable[[], int]]) -> None: ...
def of_a_struct(handler: Holder) -> None: ...
def unresolved(path: NoSuchType) -> None: ...  # type: ignore[name-defined]  # noqa: F821


class Holder(msgspec.Struct):
    log: Arguments


@pytest.mark.parametrize("function", [of_a_list, of_a_struct])
def test_what_is_no_data_is_found_wherever_it_is(function: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="no data"):
        Arguments("f", function)


def test_an_annotation_that_cannot_be_resolved_says_so() -> None:
    with pytest.raises(UsageError, match=r"'NoSuchType' is not defined.*at the top of its module"):
        Arguments("f", unresolved)
