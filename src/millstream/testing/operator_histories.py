"""Random histories of a stream's operator: records of several partitions, interleaved, chopped, stored, loaded again.

A history is played to an operator the way a stream does it: the watermark is the least of all partitions, state is
stored after each micro-batch, and a crash loses what was not. What comes out is for the test to compare with the same
thing computed once over all records. Needs hypothesis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from hypothesis import strategies as st

from millstream.stream.operators import Operator
from millstream.stream.piece import Piece

if TYPE_CHECKING:
    import polars as pl

NEVER_US: Final = 1 << 60
"""A watermark after everything."""


class Event(msgspec.Struct, frozen=True):
    """A record that reaches an operator."""

    port: int
    partition: int
    key: int | None
    time: int
    """Event time in us."""
    number: int
    """Unique; its order is that of the log within a partition."""
    watermark: int | None
    """Of its partition, just before it."""


class Batch(msgspec.Struct, frozen=True):
    """Records of one input that come at once."""

    events: tuple[Event, ...]
    watermark: int | None
    """Of all partitions, after them."""
    after: str
    """`go`: store; `crash`: lose it, load the last commit, read it again; `load`: store, then start anew."""


class History(msgspec.Struct, frozen=True):
    """Records as they are in their partitions, and how they are read."""

    events: list[Event]
    batches: list[Batch]


@st.composite
def histories(draw: Any, ports: Sequence[int] = (0, 0, 1, 1), keys_of_partition: bool = False) -> History:
    """Return histories.

    Args:
        ports: The input that each partition belongs to.
        keys_of_partition: A key is found in one partition only.
    """
    disorder = draw(st.sampled_from([0, 3, 10]))
    spread = draw(st.sampled_from([5, 30, 200]))
    logs: list[list[Event]] = []
    for partition, port in enumerate(ports):
        times = draw(st.lists(st.integers(-20, spread), max_size=14))
        if draw(st.booleans()):
            times = [time + draw(st.integers(-12, 0)) for time in sorted(times)]
        log: list[Event] = []
        for number, time in enumerate(times):
            mark = max((event.time - disorder for event in log), default=None)
            key = draw(st.sampled_from([1, 1, 2, 3, None]))
            if keys_of_partition and key is not None:
                key += 10 * partition
            log.append(Event(port, partition, key, time, partition * 100 + number, mark))
        logs.append(log)
    order = draw(st.permutations([place for place, log in enumerate(logs) for _ in log]))
    rests = [list(log) for log in logs]
    batches = _chopped(draw, [rests[place].pop(0) for place in order], disorder)
    return History([event for log in logs for event in log], batches)


def _chopped(draw: Any, events: list[Event], disorder: int) -> list[Batch]:
    marks: dict[int, int | None] = {event.partition: None for event in events}
    batches: list[Batch] = []
    while events:
        size = draw(st.integers(1, 6))
        taken = tuple(event for event in events[:size] if event.port == events[0].port)
        events = [event for event in events if event not in taken]
        for event in taken:
            mark = marks[event.partition]
            marks[event.partition] = max(event.time - disorder, event.time - disorder if mark is None else mark)
        known = [mark for mark in marks.values() if mark is not None]
        watermark = min(known) if len(known) == len(marks) else None
        batches.append(Batch(taken, watermark, draw(st.sampled_from(["go", "go", "crash", "load"]))))
    return batches


class Playing:
    """A history played to an operator.

    Args:
        make: Returns a new operator, bound to its inputs; its prefix is `p`.
        columns: Returns the columns of some records.
    """

    def __init__(self, make: Callable[[], Operator], columns: Callable[[Sequence[Event]], pl.DataFrame]) -> None:
        self._make = make
        self._columns = columns
        self.state: dict[bytes, bytes] = {}
        """What is stored."""
        self.out: list[Piece] = []
        """What came out, of what was stored."""
        self.operator = make()
        self._promised_us: int | None = None

    def play(self, history: History) -> None:
        """Play a history to its end, where everything closes."""
        self.read(history.batches)
        self._commit(self.operator.advance(NEVER_US))

    def read(self, batches: Sequence[Batch]) -> None:
        """Play a part of a history."""
        for batch in batches:
            if batch.after == "crash":
                self._take(batch)
                self.operator.changes()
                self._anew()
            self._commit(self._take(batch))
            if batch.watermark is not None:
                self._promised_us = self.operator.out_us(batch.watermark)
            if batch.after == "load":
                self._anew()

    def _anew(self) -> None:
        self.operator = self._make()
        self.operator.load(dict(self.state))

    def _take(self, batch: Batch) -> list[Piece]:
        port = batch.events[0].port
        piece = piece_of(batch.events, self._columns(batch.events))
        self.operator.bind(port, piece.columns().schema)
        pieces = self.operator.process(port, piece)
        if batch.watermark is not None:
            pieces += self.operator.advance(batch.watermark)
        self._check(pieces)
        return pieces

    def _check(self, pieces: list[Piece]) -> None:
        """Check that nothing comes out that was said to be over: it is late by its own watermark, or in time."""
        if self._promised_us is None:
            return
        for piece in pieces:
            for time_us, mark_us in zip(times_of(piece), piece.carried["_watermark"].to_list(), strict=True):
                assert mark_us is not None or time_us >= self._promised_us

    def _commit(self, pieces: list[Piece]) -> None:
        for key, value in self.operator.changes():
            assert key.startswith(b"p")
            if value is None:
                del self.state[key]
            else:
                self.state[key] = value
        self.out += pieces


def piece_of(events: Sequence[Event], columns: pl.DataFrame) -> Piece:
    """Return records with their columns; the key is their number."""
    import polars as pl

    times = pl.Series([event.time for event in events], dtype=pl.Int64)
    carried = pl.DataFrame(
        {
            "_key": pl.Series([str(event.number).encode() for event in events], dtype=pl.Binary),
            "_event_time": times.cast(pl.Datetime("us", "UTC")),
            "_watermark": pl.Series([event.watermark for event in events], dtype=pl.Int64),
        }
    )
    return Piece(carried, columns=columns)


def times_of(piece: Piece) -> list[int]:
    """Return the event times of records in us."""
    times: list[int] = piece.carried["_event_time"].to_physical().to_list()
    return times
