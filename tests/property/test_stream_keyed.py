"""Functions with state: whatever the micro-batches, restarts and memory, the answer is that of a loop over each key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from millstream.engines.protocol import StateRange
from millstream.records import time_from_us, time_to_us
from millstream.stream.keyed.context import Context
from millstream.stream.keyed.entry import Memory
from millstream.stream.keyed.journal import joined
from millstream.stream.keyed.operator import StatefulOperator
from millstream.stream.keyed.step import StatefulStep
from millstream.stream.piece import Piece

END_US = 1 << 50


class Event(msgspec.Struct, frozen=True):
    """A record, and what the function is to do with it."""

    partition: int
    key: bytes | None
    time: int
    watermark: int | None
    number: int
    do: tuple[str, str, int]


class Kept(msgspec.Struct):
    """A state that is changed in place."""

    numbers: list[int] = []
    fired: int = 0


Out = tuple[str, int, tuple[int, ...]]


def on_record(state: Kept, value: Event, context: Context) -> tuple[Kept | None, Any]:
    state.numbers.append(value.number)
    what, name, after = value.do
    assert context.key == value.key
    assert time_to_us(context.event_time) == value.time
    if what == "set":
        context.set_timer(time_from_us(value.time + after), name)
    elif what == "after":
        context.set_timer(timedelta(microseconds=max(after, 0)), name)
    elif what == "clear":
        context.clear_timer(name)
    elif what == "forget":
        return None, {"of": "forget", "at": value.time, "numbers": tuple(state.numbers)}
    elif what == "silent":
        return state, None
    return state, {"of": what, "at": value.time, "numbers": tuple(state.numbers)}


def on_timer(state: Kept, context: Context) -> tuple[Kept | None, Any]:
    state.fired += 1
    at = time_to_us(context.event_time)
    name = context.timer or ""
    if state.fired % 3 == 1 and len(name) < 3:
        context.set_timer(timedelta(microseconds=4), name + "+")
    if state.fired % 5 == 4:
        return None, None
    return state, {"of": f"timer {name}", "at": at, "numbers": (*state.numbers, state.fired)}


def brute_force(events: Sequence[Event], ttl_us: int | None) -> list[tuple[str, int, tuple[int, ...]]]:
    """Return what comes out for the records of one key."""
    out: list[Out] = []
    state: Kept | None = None
    touched = None
    timers: dict[str, int] = {}

    def fire(until: int) -> None:
        nonlocal state, touched
        while True:
            name = min(timers, key=lambda name: (timers[name], name), default=None)
            at = END_US * 2 if name is None else timers[name]
            expires = END_US * 2 if ttl_us is None or state is None or touched is None else touched + ttl_us
            if min(at, expires) > until:
                return
            if expires < at:
                state = touched = None
                continue
            assert name is not None
            del timers[name]
            state = state or Kept([], 0)
            state.fired += 1
            if state.fired % 3 == 1 and len(name) < 3:
                timers[name + "+"] = at + 4
            if state.fired % 5 == 4:
                state = touched = None
                continue
            touched = max(at, at if touched is None else touched)
            out.append((f"timer {name}", at, (*state.numbers, state.fired)))

    for event in events:
        passed = event.time if event.watermark is None else event.watermark
        fire(passed)
        state = state or Kept([], 0)
        state.numbers.append(event.number)
        what, name, after = event.do
        if what == "set":
            timers[name] = event.time + after if event.watermark is None else max(event.time + after, event.watermark)
        elif what == "after":
            at = event.time + max(after, 0)
            timers[name] = at if event.watermark is None else max(at, event.watermark)
        elif what == "clear":
            timers.pop(name, None)
        if what != "silent":
            out.append((what, event.time, tuple(state.numbers)))
        touched = max(event.time, event.time if touched is None else touched)
        if what == "forget":
            state = touched = None
        fire(passed)
    fire(END_US)
    return out


class Playing:
    """Micro-batches, each stored while the next one is under way, as a stream does it."""

    def __init__(self, step: StatefulStep, memory: Memory) -> None:
        self._step = step
        self._memory = memory
        self.state: dict[bytes, bytes] = {}
        self._committing: list[tuple[bytes, bytes | None]] = []
        self.out: list[Piece] = []
        self._start()

    def _start(self) -> None:
        self.operator = StatefulOperator(self._step, b"p", memory=self._memory)
        self.operator.attach(self._read)

    def _read(self, keys: Any = None, *, within: StateRange | None = None) -> dict[bytes, bytes]:
        if within is not None:
            there = sorted(key for key in self.state if within.first <= key < within.past)
            return {key: self.state[key] for key in there[: within.keys_max]}
        return {key: self.state[key] for key in keys if key in self.state}

    def take(self, events: Sequence[Event], watermark: int | None, after: str) -> None:
        if after == "crash":
            self._process(events, watermark)
            self.finish()
            self._start()
        pieces = self._process(events, watermark)
        changes = self.operator.changes()
        self.finish()
        self._committing = changes
        self.out += pieces
        if after == "load":
            self.finish()
            self._start()

    def finish(self) -> None:
        """End the commit that is under way."""
        for key, value in self._committing:
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value
        self._committing = []

    def _process(self, events: Sequence[Event], watermark: int | None) -> list[Piece]:
        pieces = self.operator.process(0, piece_of(events)) if events else []
        return pieces if watermark is None else pieces + self.operator.advance(watermark)


def piece_of(events: Sequence[Event]) -> Piece:
    carried = pl.DataFrame(
        {
            "_key": pl.Series([event.key for event in events], dtype=pl.Binary),
            "_event_time": pl.Series([event.time for event in events], dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "_watermark": pl.Series([event.watermark for event in events], dtype=pl.Int64),
        }
    )
    return Piece(carried, values=list(events), type=Event)


def outputs(pieces: Sequence[Piece]) -> Iterator[tuple[bytes | None, Out]]:
    for piece in pieces:
        rows = zip(piece.carried.rows(), piece.values(), strict=True)
        for (key, time, _), value in rows:
            assert time_to_us(time) == value["at"]
            yield key, (value["of"], value["at"], value["numbers"])


@st.composite
def histories(draw: Any) -> tuple[list[Event], list[tuple[list[Event], int | None, str]]]:
    delay = draw(st.sampled_from([0, 3]))
    derived = draw(st.booleans()) and draw(st.booleans())
    events: list[Event] = []
    marks: dict[int, int] = {}
    batches: list[tuple[list[Event], int | None, str]] = []
    partitions = draw(st.sampled_from([1, 1, 2]))
    for _ in range(draw(st.integers(1, 8))):
        batch: list[Event] = []
        for _ in range(draw(st.integers(0, 6))):
            partition = draw(st.integers(0, partitions - 1))
            time = draw(st.integers(0, 40))
            if derived:
                # What comes out of another step is in order of time and has no watermark of its own.
                time += max((event.time for event in (*events, *batch)), default=0)
            key = draw(st.sampled_from([b"", b"a", b"b", None] if partition == 0 else [b"c", b"d"]))
            what = draw(st.sampled_from(["set", "set", "after", "clear", "forget", "silent", "add", "add"]))
            do = (what, draw(st.sampled_from(["", "x"])), draw(st.integers(-5, 30)))
            mark = None if derived else marks.get(partition)
            batch.append(Event(partition, key, time, mark, len(events) + len(batch), do))
            marks[partition] = max(marks.get(partition, time - delay), time - delay)
        events += batch
        known = min(marks.values()) if len(marks) == partitions and not derived else None
        if derived and events:
            known = max(event.time for event in events) - draw(st.integers(0, 3))
        batches.append((batch, known, draw(st.sampled_from(["go", "go", "go", "crash", "load"]))))
    return events, batches


SMALL = Memory(state_bytes=0, few_keys=0, due_keys=2, page_keys=2)


@given(history=histories(), ttl_us=st.sampled_from([None, 1, 10, 35]), memory=st.sampled_from([Memory(), SMALL]))
def test_timers_and_state_do_not_depend_on_where_micro_batches_end(
    history: tuple[list[Event], list[tuple[list[Event], int | None, str]]], ttl_us: int | None, memory: Memory
) -> None:
    events, batches = history
    step = StatefulStep(on_record, Kept, on_timer=on_timer, ttl_us=ttl_us)
    playing = Playing(step, memory)
    for batch in batches:
        playing.take(*batch)
    playing.take([], END_US, "load")
    found = list(outputs(playing.out))
    for key in {event.key for event in events}:
        wanted = brute_force([event for event in events if event.key == key], ttl_us)
        assert [out for of, out in found if of == key] == wanted
    assert {of for of, _ in found} <= {event.key for event in events}
    if ttl_us is not None:
        rows = {key: value for key, value in playing.state.items() if key.startswith(b"pj")}
        left = {**{key: value for key, value in playing.state.items() if key not in rows}, **joined(rows, b"pv")}
        assert not any(left.values()), "what has lived long enough is not there any more"
    else:
        assert not any(key.startswith((b"pt", b"pc")) for key in playing.state)


def test_the_brute_force_can_fail() -> None:
    events = [Event(0, b"a", 5, None, 0, ("set", "", 3)), Event(0, b"a", 9, 5, 1, ("add", "", 0))]
    assert brute_force(events, None) == [
        ("set", 5, (0,)),
        ("add", 9, (0, 1)),
        ("timer ", 8, (0, 1, 1)),
        ("timer +", 12, (0, 1, 2)),
    ]
