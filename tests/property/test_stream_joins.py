"""Joins of two streams against brute force: however they are interleaved, chopped, stored and loaded again."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.stream.joining import JoinOperator, JoinStep
from millstream.stream.piece import Piece
from millstream.stream.windows import Tumbling

NEVER_US = 1 << 60
"""A watermark after everything."""


class Event(msgspec.Struct, frozen=True):
    """A record of an input, with the watermark of its partition before it."""

    port: int
    partition: int
    key: int | None
    time: int
    number: int
    watermark: int | None = None


class Batch(msgspec.Struct, frozen=True):
    """Records of one input that come at once, and what is done after them."""

    events: tuple[Event, ...]
    after: str
    """`go`: store; `crash`: lose it, load the last commit, read it again; `load`: store, then start anew."""


@st.composite
def histories(draw: Any) -> tuple[list[Event], list[Batch]]:
    """Some records of two inputs of one or two partitions, and how they are read."""
    disorder = draw(st.sampled_from([0, 3, 10]))
    spread = draw(st.sampled_from([5, 30, 200]))
    partitions = [(0, 0), (0, 1), (1, 2), (1, 3)][:: draw(st.sampled_from([1, 2]))]
    logs: list[list[Event]] = []
    for port, partition in partitions:
        times = draw(st.lists(st.integers(-20, spread), max_size=14))
        if draw(st.booleans()):
            times = [t + draw(st.integers(-12, 0)) for t in sorted(times)]
        log: list[Event] = []
        for number, time in enumerate(times):
            newest = max((e.time for e in log), default=None)
            mark = None if newest is None else newest - disorder
            key = draw(st.sampled_from([1, 1, 2, 3, None]))
            log.append(Event(port, partition, key, time, partition * 100 + number, mark))
        logs.append(log)
    order = draw(st.permutations([i for i, log in enumerate(logs) for _ in log]))
    rests = [list(log) for log in logs]
    events = [rests[i].pop(0) for i in order]
    batches: list[Batch] = []
    while events:
        port = events[0].port
        size = draw(st.integers(1, 6))
        run = events[:size]
        while run[-1].port != port:
            run.pop()
        same = tuple(e for e in run if e.port == port)
        events = [e for e in events if e not in same]
        batches.append(Batch(same, draw(st.sampled_from(["go", "go", "crash", "load"]))))
    return [event for log in logs for event in log], batches


def piece_of(events: tuple[Event, ...]) -> Piece:
    side = "lr"[events[0].port]
    frame = pl.DataFrame(
        {
            "k": pl.Series([e.key for e in events], dtype=pl.Int64),
            side: pl.Series([e.number for e in events], dtype=pl.Int64),
            "v": pl.Series([f"{side}{e.number}" for e in events], dtype=pl.String),
        }
    )
    moment = pl.Datetime("us", "UTC")
    carried = pl.DataFrame(
        {
            "_key": pl.Series([str(e.number).encode() for e in events], dtype=pl.Binary),
            "_event_time": pl.Series([e.time for e in events], dtype=pl.Int64).cast(moment),
            "_watermark": pl.Series([e.watermark for e in events], dtype=pl.Int64),
        }
    )
    return Piece(carried, columns=frame)


class Runner:
    """One operator as a stream uses it: state stored after each batch, a watermark of all partitions."""

    def __init__(self, step: JoinStep, partitions: set[int]) -> None:
        self.step = step
        self.state: dict[bytes, bytes] = {}
        self.anew()
        self.marks: dict[int, int | None] = dict.fromkeys(partitions)
        self.out: list[Piece] = []
        self.promised: int | None = None

    def anew(self) -> None:
        self.operator = JoinOperator(self.step, b"p")
        for port, side in enumerate("lr"):
            self.operator.bind(port, pl.Schema({"k": pl.Int64(), side: pl.Int64(), "v": pl.String()}))
        self.operator.load(dict(self.state))

    def watermark(self, batch: Batch, disorder_of: dict[int, int]) -> int | None:
        marks = dict(self.marks)
        for event in batch.events:
            mark = event.time - disorder_of[event.partition]
            old = marks[event.partition]
            marks[event.partition] = mark if old is None else max(old, mark)
        self.marks = marks
        known = [mark for mark in marks.values() if mark is not None]
        return min(known) if len(known) == len(marks) else None

    def take(self, batch: Batch, watermark: int | None) -> list[Piece]:
        piece = piece_of(batch.events)
        self.operator.bind(batch.events[0].port, piece.columns().schema)
        pieces = self.operator.process(batch.events[0].port, piece)
        if watermark is not None:
            pieces += self.operator.advance(watermark)
        if self.promised is not None:
            # What came out before said that nothing earlier would.
            assert all(us >= self.promised for p in pieces for us in p.carried["_event_time"].to_physical())
        return pieces

    def commit(self, pieces: list[Piece]) -> None:
        for key, value in self.operator.changes():
            assert key.startswith(b"p")
            if value is None:
                del self.state[key]
            else:
                self.state[key] = value
        self.out += pieces


def run(step: JoinStep, events: list[Event], batches: list[Batch]) -> tuple[Runner, list[tuple[Any, ...]]]:
    disorder_of = _disorders(events)
    runner = Runner(step, {event.partition for event in events})
    for batch in batches:
        watermark = runner.watermark(batch, disorder_of)
        if batch.after == "crash":
            runner.take(batch, watermark)
            runner.operator.changes()
            runner.anew()
        pieces = runner.take(batch, watermark)
        runner.commit(pieces)
        if watermark is not None:
            runner.promised = runner.operator.out_us(watermark)
        if batch.after == "load":
            runner.anew()
    runner.commit(runner.operator.advance(NEVER_US))
    return runner, [row for piece in runner.out for row in rows_of(piece)]


def _disorders(events: list[Event]) -> dict[int, int]:
    found: dict[int, int] = {event.partition: 0 for event in events}
    newest: dict[int, int] = {}
    for event in events:
        if event.watermark is not None:
            found[event.partition] = newest[event.partition] - event.watermark
        newest[event.partition] = max(event.time, newest.get(event.partition, event.time))
    return found


def rows_of(piece: Piece) -> list[tuple[Any, ...]]:
    frame = piece.frame()
    out = pl.DataFrame(
        {
            name: frame[name] if name in frame.columns else [None] * frame.height
            for name in ("k", "l", "v", "r", "v_right")
        }
    )
    assert frame["_watermark"].null_count() == frame.height
    times = frame["_event_time"].to_physical().to_list()
    assert times == sorted(times)
    return list(zip(*(out[name].to_list() for name in out.columns), times, frame["_key"].to_list(), strict=True))


def expected(step: JoinStep, events: list[Event]) -> tuple[list[tuple[Any, ...]], int]:
    """Return the rows of a join by comparing everything with everything, and how many records are late."""
    good = [event for event in events if not is_late(step, event)]
    lefts, rights = ([e for e in good if e.port == port] for port in (0, 1))
    rows: list[tuple[Any, ...]] = []
    met: set[int] = set()
    for left in lefts:
        for right in rights:
            if left.key is not None and left.key == right.key and meet(step, left, right):
                met |= {left.number, right.number}
                rows.append(row(left, right))
    if step.how != "inner":
        rows += [row(left, None) for left in lefts if left.number not in met]
    if step.how == "outer":
        rows += [row(None, right) for right in rights if right.number not in met]
    return rows, len(events) - len(good)


def row(left: Event | None, right: Event | None) -> tuple[Any, ...]:
    one = left or right
    assert one is not None
    return (
        one.key,
        left.number if left else None,
        f"l{left.number}" if left else None,
        right.number if right else None,
        f"r{right.number}" if right else None,
        max(e.time for e in (left, right) if e),
        str(one.number).encode(),
    )


def meet(step: JoinStep, left: Event, right: Event) -> bool:
    if step.window is not None:
        return left.time // step.window.size_us == right.time // step.window.size_us
    assert step.within_us is not None
    return step.within_us[0] <= right.time - left.time <= step.within_us[1]


def is_late(step: JoinStep, event: Event) -> bool:
    if event.watermark is None:
        return False
    if step.window is not None:
        end = (event.time // step.window.size_us + 1) * step.window.size_us
        return end + step.lateness_us <= event.watermark
    assert step.within_us is not None
    forward = max(0, step.within_us[1] if event.port == 0 else -step.within_us[0])
    return event.time + forward + step.lateness_us < event.watermark


TIMES = st.one_of(
    st.sampled_from([(0, 0), (-5, 5), (-10, 0), (0, 10), (3, 9), (-9, -3), (-50, 20)]).map(lambda w: {"within_us": w}),
    st.sampled_from([1, 7, 50]).map(lambda size: {"window": Tumbling(size)}),
)


@settings(max_examples=250, deadline=None)
@given(histories(), TIMES, st.sampled_from(["inner", "left", "outer"]), st.sampled_from([0, 0, 4]))
def test_joins_equal_brute_force(
    history: tuple[list[Event], list[Batch]], times: dict[str, Any], how: Any, lateness: int
) -> None:
    events, batches = history
    step = JoinStep(("k",), ("k",), how=how, lateness_us=lateness, **times)
    runner, found = run(step, events, batches)
    rows, late = expected(step, events)
    assert Counter(found) == Counter(rows)
    assert runner.operator.status().late == late
    assert runner.operator.status().rows == 0
    assert runner.operator.end_us() is None
    left = {key: value for key, value in runner.state.items() if key[:2] in (b"pl", b"pr") and key[3:4] == b"r"}
    assert not left
