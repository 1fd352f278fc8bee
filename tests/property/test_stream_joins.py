"""Joins of two streams against brute force: however they are interleaved, chopped, stored and loaded again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream.stream.joining import JoinOperator, JoinStep, keyed_rows, meeting
from millstream.stream.piece import Piece
from millstream.stream.windows import Tumbling
from millstream.testing.operator_histories import Event, History, Playing, histories, times_of

SCHEMAS = [pl.Schema({"k": pl.Int64(), side: pl.Int64(), "v": pl.String()}) for side in "lr"]


@pytest.fixture(autouse=True, scope="module", params=["small", "large"])
def thresholds(request: pytest.FixtureRequest) -> Iterator[None]:
    """Few rows take the ways that only many take otherwise."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "small":
            patch.setattr(meeting, "PAIRS_CHEAP", 0)
            patch.setattr(meeting, "KEY_ROWS_FEW", 0)
            patch.setattr(keyed_rows, "INDEXED_ROWS_MIN", 0)
            patch.setattr(keyed_rows, "FEW", 0)
            patch.setattr(keyed_rows, "RECENT_ROWS_MAX", 3)
            patch.setattr(keyed_rows, "INDEXES_MAX", 2)
        yield


def columns_of(events: Sequence[Event]) -> pl.DataFrame:
    side = "lr"[events[0].port]
    rows = [(event.key, event.number, f"{side}{event.number}") for event in events]
    return pl.DataFrame(rows, schema=SCHEMAS[events[0].port], orient="row")


def operator_of(step: JoinStep) -> JoinOperator:
    operator = JoinOperator(step, b"p")
    for port, schema in enumerate(SCHEMAS):
        operator.bind(port, schema)
    return operator


def rows_of(piece: Piece) -> list[tuple[Any, ...]]:
    frame = piece.frame()
    assert frame["_watermark"].null_count() == frame.height
    times = times_of(piece)
    assert times == sorted(times)
    out = [frame[name].to_list() for name in ("k", "l", "v", "r", "v_right")]
    return list(zip(*out, times, frame["_key"].to_list(), strict=True))


def expected(step: JoinStep, events: list[Event]) -> tuple[list[tuple[Any, ...]], int]:
    """Return the rows of a join by comparing everything with everything, and how many records are late."""
    good = [event for event in events if not is_late(step, event)]
    lefts, rights = ([event for event in good if event.port == port] for port in (0, 1))
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
        max(event.time for event in (left, right) if event),
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


@settings(max_examples=150, deadline=None)
@given(histories(), TIMES, st.sampled_from(["inner", "left", "outer"]), st.sampled_from([0, 0, 4]))
def test_joins_equal_brute_force(history: History, times: dict[str, Any], how: Any, lateness: int) -> None:
    step = JoinStep(("k",), ("k",), how=how, lateness_us=lateness, **times)
    playing = Playing(lambda: operator_of(step), columns_of)
    playing.play(history)
    rows, late = expected(step, history.events)
    assert Counter(row for piece in playing.out for row in rows_of(piece)) == Counter(rows)
    assert playing.operator.status().late == late
    assert playing.operator.status().rows == 0
    assert playing.operator.end_us() is None
    assert not [key for key in playing.state if key[1:2] in (b"l", b"r") and key[3:4] == b"r"]
