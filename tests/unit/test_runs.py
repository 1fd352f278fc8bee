"""Rows of state in runs: what is taken, what is stored, what a restart finds."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.errors import StorageCorruptError, UsageError
from millstream.stream.run_values import SMALL_ROWS_MAX, read_value, write_value
from millstream.stream.runs import Runs

PREFIX = b"t"


def runs(merge: Any = None, state: dict[bytes, bytes] | None = None) -> Runs:
    made = Runs(PREFIX, leave="leave", merge=merge)
    made.load(state or {})
    return made


def store(state: dict[bytes, bytes], changes: list[tuple[bytes, bytes | None]]) -> None:
    for key, value in changes:
        assert key.startswith(PREFIX)
        if value is None:
            del state[key]
        else:
            state[key] = value


def rows_of(frame: pl.DataFrame | None) -> list[tuple[Any, ...]]:
    return [] if frame is None else sorted(frame.rows())


def added(*leaves: int, first: int = 0) -> pl.DataFrame:
    return pl.DataFrame({"n": [first + i for i in range(len(leaves))], "leave": leaves})


def summed(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("k").agg(pl.col("n").sum(), pl.col("leave").max())


Act = tuple[str, Any]
acts = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(0, 30), min_size=1, max_size=150)),
        st.tuples(st.just("take"), st.integers(0, 30)),
        st.tuples(st.just("discard"), st.integers(0, 30)),
        st.tuples(st.just("save"), st.none()),
        st.tuples(st.just("restart"), st.none()),
        st.tuples(st.just("clear"), st.none()),
    ),
    max_size=40,
)


@given(acts)
def test_rows_leave_once_whatever_is_saved_and_loaded(given_acts: list[Act]) -> None:
    model: list[tuple[int, int]] = []
    saved: list[tuple[int, int]] = []
    state: dict[bytes, bytes] = {}
    kept, number = runs(), 0
    for act, argument in given_acts:
        if act == "add":
            frame = added(*argument, first=number)
            kept.add(frame)
            model += frame.rows()
            number += frame.height
        elif act in ("take", "discard"):
            gone = sorted(row for row in model if row[1] <= argument)
            model = [row for row in model if row[1] > argument]
            if act == "take":
                assert rows_of(kept.take(argument)) == gone
            else:
                assert kept.discard(argument) == len(gone)
        elif act == "save":
            store(state, kept.changes())
            saved = list(model)
        elif act == "restart":
            kept, model = runs(state=state), list(saved)
        else:
            kept.clear()
            model = []
        assert rows_of(kept.frame()) == sorted(model)
        assert kept.height == len(model)
        assert (kept.first_us(), kept.last_us()) == (
            min((row[1] for row in model), default=None),
            max((row[1] for row in model), default=None),
        )
        assert rows_of(kept.leaving(5, 20)) == sorted(row for row in model if 5 <= row[1] <= 20)


def test_merged_rows_are_combined_and_the_state_stays_small() -> None:
    kept, state = runs(summed), {}
    for i in range(1000):
        kept.add(pl.DataFrame({"k": [i % 5, 5], "n": [1, 1], "leave": [100, 200]}))
        store(state, kept.changes())
    assert kept.height < 100
    assert len(state) < 40
    again = runs(summed, state)
    assert rows_of(again.take(100)) == [(k, 200, 100) for k in range(5)]
    assert rows_of(again.frame()) == [(5, 1000, 200)]


def test_what_a_commit_writes_grows_with_what_changed_and_not_with_the_state() -> None:
    kept = runs()
    kept.add(pl.DataFrame({"n": range(200_000), "leave": range(200_000)}))
    kept.changes()
    kept.take(5)
    kept.add(added(7, 8))
    assert sum(len(key) + len(value or b"") for key, value in kept.changes()) < 500


def test_a_run_of_which_most_has_gone_is_written_anew() -> None:
    kept, state = runs(), {}
    kept.add(pl.DataFrame({"n": range(10_000), "leave": range(10_000)}))
    store(state, kept.changes())
    before = sum(map(len, state.values()))
    kept.take(9_900)
    store(state, kept.changes())
    assert sum(map(len, state.values())) < before / 10
    assert runs(state=state).height == kept.height == 99


def test_a_large_run_is_stored_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("millstream.stream.runs.PART_BYTES_MAX", 4096)
    kept, state = runs(), {}
    kept.add(pl.DataFrame({"n": range(2_000), "leave": range(2_000)}))
    store(state, kept.changes())
    assert len(state) > 4
    again = runs(state=state)
    assert rows_of(again.frame()) == rows_of(kept.frame())
    again.clear()
    store(state, again.changes())
    assert not [key for key in state if key[1:2] == b"r"]


def test_a_column_may_be_added_or_widened() -> None:
    kept = runs()
    kept.add(pl.DataFrame({"n": [1], "leave": [1]}))
    kept.add(pl.DataFrame({"n": [2.5], "leave": [1], "more": ["x"]}))
    assert rows_of(kept.take(1)) == [(1.0, 1, None), (2.5, 1, "x")]


def test_a_column_of_another_kind_is_refused_with_both_named() -> None:
    kept = runs()
    kept.add(pl.DataFrame({"n": [1], "leave": [1]}))
    kept.add(pl.DataFrame({"n": [[2]], "leave": [1]}))
    with pytest.raises(UsageError, match="cast the column"):
        kept.frame()


PLAIN = pl.DataFrame(
    {
        "i": [1, None, -(2**63)],
        "u": pl.Series([2**64 - 1, 0, None], dtype=pl.UInt64),
        "f": [0.1, float("nan"), None],
        "s": ["a", None, "ü"],
        "b": [b"\x00", None, b""],
        "t": [True, None, False],
        "d": pl.Series([0, None, 10**15], dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
        "day": pl.Series([0, None, 20_000], dtype=pl.Int32).cast(pl.Date),
    }
)
WIDE = pl.DataFrame({"i": pl.Series([2**100, None], dtype=pl.Int128)})
NESTED = pl.DataFrame({"l": [[1, 2], None], "s": [{"a": 1}, None]})


@pytest.mark.parametrize("frame", [PLAIN, WIDE, NESTED, pl.concat([PLAIN] * 50), WIDE.clear()])
def test_a_frame_comes_back_as_it_was(frame: pl.DataFrame) -> None:
    again = read_value(write_value(frame, 3), {3: frame.schema})
    assert again.schema == frame.schema
    assert again.equals(frame)


def test_a_few_rows_are_small() -> None:
    assert len(write_value(PLAIN, 0)) < 200
    assert SMALL_ROWS_MAX < 100


@pytest.mark.parametrize("value", [b"", b"a", b"aXYZ", b"m\xff", b"m\x93\x07\x01\x90"])
def test_damaged_state_is_named_as_such(value: bytes) -> None:
    with pytest.raises(StorageCorruptError, match="doctor"):
        read_value(value, {})
