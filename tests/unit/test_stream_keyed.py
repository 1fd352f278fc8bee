"""Functions with state, one operator at a time: types, errors, what is shared, timers of the clock."""

from __future__ import annotations

import asyncio
import enum
import gc
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import polars as pl
import pytest

from millstream.errors import Reject, SchemaError, UsageError
from millstream.stream.keyed.awaiting import AsyncCaller
from millstream.stream.keyed.context import Context
from millstream.stream.keyed.entry import Memory
from millstream.stream.keyed.failing import Guard, OnError
from millstream.stream.keyed.keys import keys_of
from millstream.stream.keyed.operator import StatefulOperator
from millstream.stream.keyed.step import StatefulStep
from millstream.stream.piece import Piece, columns_of

SECOND_US = 1_000_000


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Profile:
    name: str = ""
    seen: dict[str, int] = field(default_factory=dict)


class Frozen(msgspec.Struct, frozen=True):
    total: int = 0


class Colour(enum.Enum):
    RED = "red"


class Engine:
    """State as the log keeps it."""

    def __init__(self) -> None:
        self.state: dict[bytes, bytes] = {}
        self.reads: list[int] = []

    def __call__(self, keys: Any = None, *, within: Any = None) -> dict[bytes, bytes]:
        if within is not None:
            there = sorted(key for key in self.state if within.first <= key < within.past)
            return {key: self.state[key] for key in there[: within.keys_max]}
        self.reads.append(len(keys))
        return {key: self.state[key] for key in keys if key in self.state}

    def commit(self, operator: StatefulOperator) -> int:
        changes = operator.changes()
        for key, value in changes:
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value
        return len(changes)


def piece_of(values: Sequence[Any], keys: Sequence[bytes | None] | None = None, start_us: int = 0) -> Piece:
    times = [start_us + place * SECOND_US for place in range(len(values))]
    carried = pl.DataFrame(
        {
            "_key": pl.Series(keys or [b"k"] * len(values), dtype=pl.Binary),
            "_event_time": pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "_watermark": pl.Series([None, *times[:-1]][: len(values)], dtype=pl.Int64),
        }
    )
    return Piece(carried, values=values)


def opened(
    function: Callable[..., Any], init: Any, engine: Engine | None = None, guard: Guard | None = None, **more: Any
) -> StatefulOperator:
    memory = more.pop("memory", Memory())
    operator = StatefulOperator(StatefulStep(function, init, **more), b"p", guard, memory)
    operator.attach(engine or Engine())
    return operator


def values_of(pieces: Sequence[Piece]) -> list[Any]:
    return [value for piece in pieces for value in piece.values()]


# --- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("init", "first"),
    [
        (0, 7),
        (0, 2**63 + 5),
        (0.0, math.nan),
        ("", "é"),
        (b"", b"\xff"),
        (None, None),
        (False, True),
        (Decimal("0"), Decimal("1.10")),
        (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),
        (timedelta(0), timedelta(microseconds=1)),
        (Colour.RED, Colour.RED),
        (Point(0, 0), Point(1, 2)),
        (Profile, Profile("a", {"x": 1})),
        (Frozen(), Frozen(3)),
        (dict, {"a": [1, {"b": None}], "n": 2.5}),
        ([], [1, "two", 3.0]),
        (frozenset(), frozenset()),
    ],
)
def test_state_comes_back_as_it_was(init: Any, first: Any) -> None:
    engine = Engine()

    def put(state: Any, value: Any) -> tuple[Any, Any]:
        return value, None

    opened_with = opened(put, init, engine)
    opened_with.process(0, piece_of([first]))
    engine.commit(opened_with)

    def look(state: Any, value: Any) -> tuple[Any, Any]:
        return state, [type(state), state]

    [(found_type, found)] = values_of(opened(look, init, engine).process(0, piece_of(["go"])))
    # The fingerprint is the function's name, not of interest here: the operator is given its prefix.
    assert found_type is type(first) or first is None
    assert found == first or (isinstance(first, float) and math.isnan(found))


def test_containers_of_classes_need_an_annotation_and_say_so() -> None:
    def loose(state: dict, value: Any) -> tuple[Any, Any]:  # type: ignore[type-arg]
        return {"p": Frozen(1)}, None

    def typed(state: dict[str, Frozen], value: Any) -> tuple[Any, Any]:
        return {"p": Frozen(state["p"].total + 1 if state else 1)}, state

    operator = opened(loose, dict)
    operator.process(0, piece_of([1]))
    with pytest.raises(SchemaError, match=r"key 'k'.*would come back.*say its type"):
        operator.changes()

    engine = Engine()
    operator = opened(typed, dict, engine)
    operator.process(0, piece_of([1]))
    engine.commit(operator)
    assert values_of(opened(typed, dict, engine).process(0, piece_of([1]))) == [{"p": Frozen(1)}]


@pytest.mark.parametrize(
    ("state", "told"), [((1, 2), "would come back"), ({1, 2}, "would come back"), (object(), "cannot be kept")]
)
def test_a_state_that_would_come_back_as_something_else_is_refused(state: Any, told: str) -> None:
    operator = opened(lambda _, __: (state, None), 0)
    operator.process(0, piece_of([1]))
    with pytest.raises(SchemaError, match=told):
        operator.changes()


class Live:
    pass


@pytest.mark.parametrize("init", [Live, threading.Lock(), lambda: Live(), {1: Live()}])
def test_what_is_not_data_is_refused_when_the_stream_is_described(init: Any) -> None:
    with pytest.raises((UsageError, SchemaError), match="kept"):
        opened(lambda state, value: (state, None), init)


def test_a_state_whose_type_has_changed_says_what_to_do() -> None:
    engine = Engine()
    operator = opened(lambda state, value: (state, None), lambda: {"total": "many"}, engine)
    operator.process(0, piece_of([1]))
    engine.commit(operator)
    with pytest.raises(SchemaError, match=r"key 'k' is no Frozen.*another name"):
        opened(lambda state, value: (state, None), Frozen(), engine).process(0, piece_of([1]))


# --- what the function does -------------------------------------------------------------------------------------------


def test_what_came_out_does_not_change_with_the_state() -> None:
    def count(state: dict[str, int], value: str) -> tuple[Any, Any]:
        state[value] = state.get(value, 0) + 1
        return state, state

    found = values_of(opened(count, dict).process(0, piece_of(["a", "b", "a"])))
    assert found == [{"a": 1}, {"a": 1, "b": 1}, {"a": 2, "b": 1}]
    many = opened(lambda state, value: (count(state, value)[0], [state, value]), dict, many=True)
    assert values_of(many.process(0, piece_of(["a", "a"]))) == [{"a": 1}, "a", {"a": 2}, "a"]


def test_keys_do_not_share_a_first_state_that_can_be_changed() -> None:
    def add(state: list[int], value: int) -> tuple[Any, Any]:
        state.append(value)
        return state, tuple(state)

    assert values_of(opened(add, []).process(0, piece_of([1, 2, 3], [b"a", b"b", b"a"]))) == [(1,), (2,), (1, 3)]


def test_none_forgets_the_state() -> None:
    engine = Engine()
    operator = opened(lambda state, value: (None if value == "end" else state + 1, state), 0, engine)
    assert values_of(operator.process(0, piece_of(["a", "a", "end", "a"]))) == [0, 1, 2, 0]
    assert engine.commit(operator) == 1
    operator.process(0, piece_of(["end"]))
    assert engine.commit(operator) == 1
    assert engine.state == {}
    operator.process(0, piece_of(["end"]))
    assert engine.commit(operator) == 0, "what was never stored is not deleted"


@pytest.mark.parametrize("returned", [None, 3, (1, 2, 3)])
@pytest.mark.parametrize("more", [{}, {"many": True}, {"ttl_us": 1}])
def test_a_function_that_returns_no_pair_is_told_what_to_return(returned: Any, more: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"returns \(state, output\)"):
        opened(lambda state, value: returned, 0, **more).process(0, piece_of([1]))


@pytest.mark.parametrize(
    "function", [lambda: None, lambda state: None, lambda a, b, c, d: None, "text"], ids=["0", "1", "4", "text"]
)
def test_functions_that_take_something_else_are_refused(function: Any) -> None:
    with pytest.raises(UsageError, match="function"):
        opened(function, 0)


def test_methods_say_the_type_of_their_state() -> None:
    class Counter:
        def count(self, state: dict[str, Frozen], value: str) -> tuple[dict[str, Frozen], int]:
            return {**state, value: Frozen(1)}, len(state)

    engine = Engine()
    operator = opened(Counter().count, dict, engine)
    operator.process(0, piece_of(["a"]))
    engine.commit(operator)
    assert values_of(opened(Counter().count, dict, engine).process(0, piece_of(["b"]))) == [1]


def test_a_third_argument_is_the_context_where_it_must_be_given_or_is_called_so() -> None:
    def must(state: int, value: int, anything: Context) -> tuple[int, Any]:
        return state, anything is not None

    def named(state: int, value: int, context: Context | None = None) -> tuple[int, Any]:
        return state, context is not None

    def other(state: int, value: int, factor: Context | None = None) -> tuple[int, Any]:
        return state, factor is not None

    assert [values_of(opened(f, 0).process(0, piece_of([1]))) for f in (must, named, other)] == [
        [True],
        [True],
        [False],
    ]


def test_columns_of_the_key_must_be_there() -> None:
    operator = opened(lambda state, value: (state, None), 0, by=("user",))
    with pytest.raises(UsageError, match="no column 'user'"):
        operator.bind(0, pl.Schema({"page": pl.String()}))


class Renamed(msgspec.Struct, rename={"user": "page", "page": "user"}):
    user: str
    page: str


@pytest.mark.parametrize(
    "values",
    [
        [{"user": "a"}, {"user": "é"}],
        [{"user": 1}, {"user": -(2**40)}],
        [{"user": 1}, {"user": None}],
        [{"user": b"a"}, {"user": b"b"}],
        [{"user": True}, {"user": False}],
        [{"user": 1.5}, {"user": 2.0}],
        [Renamed("a", "b"), Renamed("c", "d")],
        [{"user": "a"}, {}],
    ],
    ids=str,
)
def test_keys_are_the_same_from_values_and_from_columns(values: list[Any]) -> None:
    of_values = piece_of(values)
    of_values.type = type(values[0])
    columns = columns_of(values, type(values[0]))
    of_columns = Piece(of_values.carried, columns=columns)
    assert keys_of(of_values, ("user",)) == keys_of(of_columns, ("user",))


# --- errors -----------------------------------------------------------------------------------------------------------


def fragile(state: list[int], value: int) -> tuple[list[int], tuple[int, ...]]:
    state.append(value)
    if value < 0:
        raise ValueError("negative")
    return state, tuple(state)


@pytest.mark.parametrize("more", [{}, {"ttl_us": 1 << 40}])
def test_a_record_that_is_skipped_leaves_the_state_as_it_was(more: dict[str, Any]) -> None:
    guard = Guard(OnError(skips=True))
    operator = opened(fragile, list, guard=guard, **more)
    pieces = operator.process(0, piece_of([1, -1, 2, -2]))
    assert values_of(pieces) == [(1,), (1, 2)]
    assert pieces[0].carried["_event_time"].to_physical().to_list() == [0, 2 * SECOND_US]
    assert [(failed.place, str(failed.error)) for failed in operator.failed()] == [(1, "negative"), (3, "negative")]
    assert operator.failed() == []


def test_a_generator_that_raises_gives_nothing() -> None:
    def some(state: int, value: int) -> tuple[int, Any]:
        def each() -> Any:
            yield value
            if value < 0:
                raise ValueError("negative")

        return state + 1, each()

    operator = opened(some, 0, guard=Guard(OnError(skips=True)), many=True)
    assert values_of(operator.process(0, piece_of([1, -1, 2]))) == [1, 2]
    assert [failed.place for failed in operator.failed()] == [1]


def test_an_attempt_that_fails_leaves_no_timer() -> None:
    class Twice:
        attempts = 2

        def rule(self, error: BaseException) -> Any:
            return self

        def delay_us(self, attempt: int, draw: float) -> int:
            return 0

    calls = []

    def once(state: int, value: int, context: Context) -> tuple[int, Any]:
        calls.append(value)
        if len(calls) == 1:
            context.set_timer("5s", "left over")
            raise ValueError("first")
        context.set_timer("7s", "meant")
        return state, None

    def fired(state: int, context: Context) -> tuple[int, Any]:
        return state, context.timer

    guard = Guard(OnError(retry=Twice()), wait=lambda seconds: False)
    operator = opened(once, 0, guard=guard, on_timer=fired)
    operator.process(0, piece_of([1]))
    assert values_of(operator.advance(100 * SECOND_US)) == ["meant"]


def test_stop_raises_what_the_function_raised() -> None:
    operator = opened(fragile, list)
    with pytest.raises(ValueError, match="negative"):
        operator.process(0, piece_of([1, -1]))


def test_reject_is_for_the_dead_letters_whatever_the_policy() -> None:
    def reject(value: int) -> int:
        if value == 2:
            raise Reject("no")
        return value

    guard = Guard(OnError())
    assert guard.each(reject, [1, 2, 3]) == [1, None, 3]
    assert [failed.place for failed in guard.failed()] == [1]


def test_stop_iteration_of_a_function_is_an_error_like_any_other() -> None:
    def first(value: list[int]) -> int:
        return next(iter(value))

    guard = Guard(OnError(skips=True))
    assert guard.each(first, [[1], [], [3]]) == [1, None, 3]
    [failed] = guard.failed()
    assert (failed.place, type(failed.error)) == (1, RuntimeError)
    with pytest.raises(RuntimeError, match="StopIteration"):
        Guard(OnError()).each(first, [[1], []])


def test_an_event_loop_that_is_not_used_any_more_can_end_while_another_runs() -> None:
    left: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            left.append("cancelled")

    async def leave(value: int) -> int:
        tasks.append(asyncio.ensure_future(forever()))
        await asyncio.sleep(0)
        return value

    async def drop(value: int) -> int:
        unused.pop()
        gc.collect()
        return value

    tasks: list[Any] = []
    unused = [AsyncCaller(leave)]
    assert unused[0].each([1], Guard(OnError())) == [1]
    assert AsyncCaller(drop).each([2], Guard(OnError())) == [2]
    assert left == ["cancelled"]


# --- timers -----------------------------------------------------------------------------------------------------------


def test_timers_of_the_clock_fire_by_the_clock_alone() -> None:
    engine = Engine()

    def ask(state: int, value: str, context: Context) -> tuple[int, Any]:
        context.set_timer(datetime(2030, 1, 1, tzinfo=UTC), "answer", clock=True)
        if value == "clear":
            context.clear_timer("answer", clock=True)
        return state + 1, None

    def answer(state: int, context: Context) -> tuple[int, Any]:
        assert context.clock
        return state, (context.key, context.timer, state)

    due_us = int(datetime(2030, 1, 1, tzinfo=UTC).timestamp()) * SECOND_US
    operator = opened(ask, 0, engine, on_timer=answer)
    operator.process(0, piece_of(["", "", "clear"], [b"a", b"b", b"b"]))
    engine.commit(operator)
    operator = opened(ask, 0, engine, on_timer=answer)
    assert operator.due_us() is None
    assert operator.tick_due_us() == due_us
    assert operator.advance(due_us * 2) == []
    assert operator.tick(due_us - 1) == []
    [piece] = operator.tick(due_us)
    assert piece.values() == [(b"a", "answer", 1)]
    assert piece.carried["_event_time"].to_physical().to_list() == [due_us]
    assert operator.tick_due_us() is None
    engine.commit(operator)
    assert not [key for key in engine.state if key.startswith(b"pc")]


def test_timers_fire_in_order_of_time_across_keys() -> None:
    def wait(state: int, value: int, context: Context) -> tuple[int, Any]:
        context.set_timer(timedelta(seconds=value))
        return state, None

    def fired(state: int, context: Context) -> tuple[int, Any]:
        if state == 0:
            context.set_timer(timedelta(seconds=3))
        return state + 1, (context.key, context.event_time.second)

    for memory in (Memory(), Memory(state_bytes=0, few_keys=0, due_keys=2, page_keys=2)):
        operator = opened(wait, 0, on_timer=fired, memory=memory)
        operator.process(0, piece_of([9, 6, 4, 6], [b"a", b"b", None, b""]))
        out = values_of(operator.advance(100 * SECOND_US))
        assert [second for _, second in out] == sorted(second for _, second in out)
        assert sorted(out, key=str) == sorted(
            [(b"a", 9), (b"a", 12), (b"b", 7), (b"b", 10), (None, 6), (None, 9), (b"", 9), (b"", 12)], key=str
        )


def test_a_timer_cannot_set_one_for_the_past() -> None:
    def wait(state: int, value: int, context: Context) -> tuple[int, Any]:
        context.set_timer("1s")
        return state, None

    def again(state: int, context: Context) -> tuple[int, Any]:
        context.set_timer(context.event_time)
        return state, None

    operator = opened(wait, 0, on_timer=again)
    operator.process(0, piece_of([1]))
    with pytest.raises(UsageError, match="for ever"):
        operator.advance(100 * SECOND_US)


def test_a_timer_needs_a_function_to_call() -> None:
    def wait(state: int, value: int, context: Context) -> tuple[int, Any]:
        context.set_timer("1s")
        return state, None

    with pytest.raises(UsageError, match="on_timer="):
        opened(wait, 0).process(0, piece_of([1]))


def test_outputs_of_timers_and_records_keep_where_records_came_from() -> None:
    def wait(state: int, value: int, context: Context) -> tuple[int, Any]:
        context.set_timer("1s", str(value))
        return state, value

    operator = opened(wait, 0, on_timer=lambda state, context: (state, -1))
    piece = piece_of([1, 2, 3])
    piece.carried = piece.carried.with_columns(_offset=pl.Series([7, 8, 9]))
    [out] = operator.process(0, piece)
    assert out.values() == [1, 2, -1, 3]
    assert out.carried["_offset"].to_list() == [7, 8, None, 9]


# --- memory -----------------------------------------------------------------------------------------------------------


def test_a_micro_batch_reads_its_missing_keys_in_one_call_and_writes_what_changed() -> None:
    engine = Engine()
    keys = [b"%d" % number for number in range(1000)]
    small = Memory(state_bytes=0, few_keys=1000)
    operator = opened(lambda state, value: (state + 1, state), 0, engine, memory=small)
    for _ in range(3):
        operator.process(0, piece_of(keys, keys))
        assert engine.commit(operator) == 1000
    assert operator.status().rows <= 2000
    engine.reads.clear()
    other = opened(lambda state, value: (state + 1, state), 0, engine, memory=small)
    assert values_of(other.process(0, piece_of(keys[:10], keys[:10]))) == [3] * 10
    assert engine.reads == [10]
    assert engine.commit(other) == 10
    other.process(0, piece_of(keys[5:15], keys[5:15]))
    assert engine.reads == [10, 5], "what was used lately is still in memory"


def test_what_has_lived_long_enough_is_forgotten_though_its_key_never_comes_again() -> None:
    engine = Engine()
    operator = opened(lambda state, value: (state + 1, state), 0, engine, ttl_us=10 * SECOND_US)
    operator.process(0, piece_of(["a", "b"], [b"a", b"b"]))
    engine.commit(operator)
    assert operator.due_us() == 10 * SECOND_US
    operator.process(0, piece_of(["a"], [b"a"], start_us=9 * SECOND_US))
    operator.advance(12 * SECOND_US)
    engine.commit(operator)
    assert [key for key in engine.state if key.startswith(b"pv")] == [b"pv\x01a"]
    operator.advance(19 * SECOND_US)
    engine.commit(operator)
    assert engine.state == {}
