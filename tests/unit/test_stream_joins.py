"""Joins of streams: columns, keys, errors, and what inputs that change or stay silent do to them."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from millstream.errors import UsageError
from millstream.stream.deduping import DedupeOperator, DedupeStep
from millstream.stream.joining import AsOfStep, JoinOperator, JoinStep, TableOperator, TableStep, versions
from millstream.stream.operators import Operator
from millstream.stream.piece import Piece
from millstream.stream.windows import Sliding, Tumbling


def piece(times: list[int], keys: list[str] | None = None, **columns: Any) -> Piece:
    given = pl.Series([key.encode() for key in keys] if keys else [None] * len(times), dtype=pl.Binary)
    carried = pl.DataFrame(
        {
            "_key": given,
            "_event_time": pl.Series(times, dtype=pl.Int64).cast(pl.Datetime("us", "UTC")),
            "_watermark": pl.Series([None] * len(times), dtype=pl.Int64),
        }
    )
    return Piece(carried, columns=pl.DataFrame(columns))


def put(operator: Operator, port: int, records: Piece) -> list[dict[str, Any]]:
    operator.bind(port, records.columns().schema)
    return rows(operator.process(port, records))


def rows(pieces: list[Piece]) -> list[dict[str, Any]]:
    return [row for out in pieces for row in out.columns().to_dicts()]


def join(how: Any = "inner", on: tuple[str, ...] = ("id",), right: tuple[str, ...] | None = None) -> JoinOperator:
    return JoinOperator(JoinStep(on, right or on, how=how, within_us=(-10, 10)), b"p")


def test_columns_are_the_left_ones_then_the_right_ones_without_the_key() -> None:
    operator = join()
    operator.bind(0, pl.Schema({"id": pl.Int64(), "name": pl.String()}))
    out = operator.bind(1, pl.Schema({"name": pl.String(), "id": pl.Int64(), "age": pl.Int8()}))
    assert out == pl.Schema({"id": pl.Int64(), "name": pl.String(), "name_right": pl.String(), "age": pl.Int8()})


def test_columns_are_not_known_before_both_inputs_are() -> None:
    assert join().bind(1, pl.Schema({"id": pl.Int64()})) is None


def test_names_that_clash_in_spite_of_the_suffix_are_refused() -> None:
    operator = join()
    operator.bind(0, pl.Schema({"id": pl.Int64(), "name": pl.String(), "name_right": pl.String()}))
    with pytest.raises(UsageError, match="two columns would be named 'name_right'"):
        operator.bind(1, pl.Schema({"id": pl.Int64(), "name": pl.String()}))


def test_a_missing_key_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(UsageError, match="the right input has no column 'id' to join on; it has key, age"):
        join().bind(1, pl.Schema({"key": pl.Int64(), "age": pl.Int8()}))


def test_keys_that_are_never_equal_are_refused() -> None:
    operator = join(right=("name",))
    operator.bind(0, pl.Schema({"id": pl.Int64()}))
    with pytest.raises(UsageError, match="the left 'id' is Int64 and the right 'name' is String: they are never equal"):
        operator.bind(1, pl.Schema({"name": pl.String()}))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pl.Series([1, 2, 3], dtype=pl.Int8), pl.Series([2, 3, 300], dtype=pl.Int64)),
        (pl.Series([1, 2, 3], dtype=pl.UInt64), pl.Series([2, 3, -1], dtype=pl.Int64)),
        (pl.Series(["1", "2", "3"], dtype=pl.Categorical), pl.Series(["2", "3", "4"])),
        (pl.Series([1, 2, 3]).cast(pl.Datetime("ms")), pl.Series([2000, 3000, 4]).cast(pl.Datetime("us"))),
        (pl.Series([b"1", b"2", b"3"]), pl.Series(["2", "3", "4"])),
        (pl.Series([1, 2, 3]).cast(pl.Decimal(9, 1)), pl.Series([2, 3, 4]).cast(pl.Decimal(9, 3))),
        (pl.Series([1.0, 2.0, 3.0], dtype=pl.Float32), pl.Series([2.0, 3.0, 4.0])),
        (pl.Series([1, 2, 3]), pl.Series([b"2", b"3", b"x"])),
    ],
)
def test_keys_of_related_types_are_compared_by_value(left: pl.Series, right: pl.Series) -> None:
    operator = join("outer", ("id",), ("key",))
    operator.bind(0, pl.DataFrame({"id": left, "l": [1, 2, 3]}).schema)
    operator.bind(1, pl.DataFrame({"key": right, "r": [2, 3, 4]}).schema)
    put(operator, 0, piece([0, 1, 2], id=left, l=[1, 2, 3]))
    found = put(operator, 1, piece([0, 1, 2], key=right, r=[2, 3, 4]))
    assert [(row["l"], row["r"]) for row in found] == [(2, 2), (3, 3)]
    alone = operator.advance(1000)
    assert [(row["l"], row["r"]) for row in rows(alone)] == [(1, None), (None, 4)]


def test_keys_of_several_columns_and_other_names() -> None:
    operator = join("inner", ("a", "b"), ("x", "y"))
    put(operator, 0, piece([0, 0], a=[1, 1], b=["u", "v"], l=[1, 2]))
    assert put(operator, 1, piece([5, 5], x=[1, 2], y=["v", "v"], r=[3, 4])) == [{"a": 1, "b": "v", "l": 2, "r": 3}]


def test_a_record_key_can_be_joined_on() -> None:
    operator = join("inner", ("id",), ("_key",))
    put(operator, 0, piece([0, 0], id=["a", "b"], l=[1, 2]))
    assert put(operator, 1, piece([5], ["b"], r=[3])) == [{"id": "b", "l": 2, "r": 3}]


def test_records_whose_partners_have_never_been_seen_come_without_their_columns() -> None:
    operator = join("outer")
    put(operator, 1, piece([0], id=[7], r=[3]))
    assert rows(operator.advance(1000)) == [{"id": 7, "r": 3}]


def test_a_table_without_times_remembers_a_deletion_until_the_row_is_set_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the row that is set again would be the first one, and count for the time before it."""
    monkeypatch.setattr(versions, "SPARE_ROWS", 0)
    day = 86_400_000_000
    operator = TableOperator(TableStep(("id",), ("id",), timeless=True), b"p")
    put(operator, 1, piece([0], id=[1], r=[1]))
    put(operator, 1, piece([day], id=[1], r=pl.Series([None], dtype=pl.Int64)))
    operator.advance(3 * day)
    again = TableOperator(TableStep(("id",), ("id",), timeless=True), b"p")
    again.load({key: value for key, value in operator.changes() if value is not None})
    put(again, 1, piece([5 * day], id=[1], r=[2]))
    found = put(again, 0, piece([4 * day, 5 * day], id=[1, 1], l=[1, 2]))
    assert [(row["l"], row["r"]) for row in found] == [(1, None), (2, 2)]


def test_columns_of_a_silent_input_are_known_from_the_run_before() -> None:
    before = join("left")
    put(before, 1, piece([0], id=[7], r=[3]))
    after = join("left")
    after.load({key: value for key, value in before.changes() if value is not None})
    put(after, 0, piece([500], id=[1], l=[1]))
    assert rows(after.advance(1000)) == [{"id": 1, "l": 1, "r": None}]


def test_a_column_that_is_added_is_null_in_older_rows_and_a_wider_number_widens_them() -> None:
    operator = join()
    put(operator, 0, piece([0], id=pl.Series([1], dtype=pl.Int32), l=pl.Series([1], dtype=pl.Int32)))
    put(operator, 0, piece([1], id=pl.Series([1], dtype=pl.Int64), l=pl.Series([2**40], dtype=pl.Int64), more=["x"]))
    assert put(operator, 1, piece([2], id=[1])) == [
        {"id": 1, "l": 1, "more": None},
        {"id": 1, "l": 2**40, "more": "x"},
    ]


def test_records_without_the_key_that_others_had_meet_nothing() -> None:
    """Of records without a type some have a field and some do not, and a micro-batch ends anywhere."""
    operator = join("left")
    put(operator, 0, piece([0], id=[1], l=[1]))
    assert operator.process(0, piece([1], l=[2])) == []
    put(operator, 1, piece([2], id=[1], r=[7]))
    assert rows(operator.advance(1000)) == [{"id": None, "l": 2, "r": None}]
    once = DedupeOperator(DedupeStep(("id",), 10), b"p")
    assert len(rows(once.process(0, piece([0, 1], id=[1, 1])))) == 1
    assert rows(once.process(0, piece([2, 3], other=[5, 5]))) == [{"other": 5}, {"other": 5}]


def test_a_column_that_changes_its_type_is_refused() -> None:
    operator = join()
    operator.bind(0, pl.Schema({"id": pl.Int64(), "at": pl.Date()}))
    for other in (pl.List(pl.Int64()), pl.String()):
        with pytest.raises(UsageError, match="columns of the left input changed their types"):
            operator.bind(0, pl.Schema({"id": pl.Int64(), "at": other}))
    operator.bind(0, pl.Schema({"id": pl.Int64(), "at": pl.Date()}))


def test_every_pair_of_equal_keys_comes_out_once_in_order_of_time() -> None:
    operator = join()
    put(operator, 0, piece([3, 1], id=[1, 1], l=["late", "early"]))
    operator.bind(1, pl.Schema({"id": pl.Int64(), "r": pl.Int64()}))
    found = operator.process(1, piece([2, 2], id=[1, 1], r=[1, 2]))
    assert [(row["l"], row["r"]) for row in rows(found)] == [("early", 1), ("early", 2), ("late", 1), ("late", 2)]
    assert found[0].carried["_event_time"].to_physical().to_list() == [2, 2, 3, 3]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JoinStep((), (), within_us=(0, 0)), "join needs a key"),
        (lambda: JoinStep(("a",), ("b", "c"), within_us=(0, 0)), "1 columns on the left"),
        (lambda: JoinStep(("a",), ("a",)), "say which records can meet"),
        (lambda: JoinStep(("a",), ("a",), within_us=(0, 0), window=Tumbling(5)), "say which records can meet"),
        (lambda: JoinStep(("a",), ("a",), window=Sliding(5)), "records meet in tumbling windows"),  # type: ignore[arg-type]
        (lambda: JoinStep(("a",), ("a",), within_us=(5, -5)), "from the earliest to the latest"),
        (lambda: JoinStep(("a",), ("a",), how="right", within_us=(0, 0)), "how='right' is not known"),  # type: ignore[arg-type]
        (lambda: TableStep(("a",), ("a",), how="outer"), "cannot be had of a table"),  # type: ignore[arg-type]
        (lambda: AsOfStep((), ()), "join_asof needs a key"),
        (lambda: DedupeStep((), 5), "dedupe needs a key"),
        (lambda: DedupeStep(("a",), 0), "dedupe needs a time"),
    ],
)
def test_a_step_that_cannot_work_says_so(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_a_fingerprint_is_that_of_the_state() -> None:
    step = JoinStep(("a",), ("a",), within_us=(0, 5))
    assert step.fingerprint() == JoinStep(("a",), ("a",), within_us=(0, 5), lateness_us=9, name="j").fingerprint()
    others = [
        JoinStep(("b",), ("a",), within_us=(0, 5)),
        JoinStep(("a",), ("a",), within_us=(0, 6)),
        JoinStep(("a",), ("a",), window=Tumbling(5)),
        JoinStep(("a",), ("a",), "left", within_us=(0, 5)),
    ]
    assert len({step.fingerprint(), *(other.fingerprint() for other in others)}) == 5


def test_rows_of_a_table_are_found_by_any_column_and_by_the_record_key() -> None:
    by_column = TableOperator(TableStep(("author",), ("id",)), b"p")
    put(by_column, 1, piece([0, 0], id=[1, 2], name=["ann", "bob"]))
    assert put(by_column, 0, piece([5, 5], author=[2, 3])) == [
        {"author": 2, "name": "bob"},
        {"author": 3, "name": None},
    ]
    by_key = TableOperator(TableStep(("author",), ("_key",), how="inner"), b"p")
    put(by_key, 1, piece([0, 0], ["1", "2"], name=["ann", "bob"]))
    assert put(by_key, 0, piece([5, 5], author=[2, 3])) == [{"author": 2, "name": "bob"}]


def test_a_row_of_nulls_deletes_until_a_new_one_comes() -> None:
    operator = TableOperator(TableStep(("id",), ("id",)), b"p")
    put(operator, 1, piece([0, 10, 20], id=[1, 1, 1], name=["ann", None, "eve"]))
    found = put(operator, 0, piece([-1, 5, 10, 15, 20], id=[1, 1, 1, 1, 1]))
    assert [row["name"] for row in found] == [None, "ann", None, None, "eve"]


def test_a_table_keeps_a_row_for_each_key_however_often_it_changes() -> None:
    operator = TableOperator(TableStep(("id",), ("id",)), b"p")
    state: dict[bytes, bytes] = {}
    for turn in range(30):
        times = list(range(turn * 1000, turn * 1000 + 1000))
        put(operator, 1, piece(times, id=[time % 10 for time in times], seen=times))
        operator.advance(times[-1])
        for key, value in operator.changes():
            if value is None:
                del state[key]
            else:
                state[key] = value
    assert operator.status().rows < 10_000
    again = TableOperator(TableStep(("id",), ("id",)), b"p")
    again.load(state)
    assert put(again, 0, piece([40_000], id=[3])) == [{"id": 3, "seen": 29_993}]


def test_without_a_key_nothing_repeats() -> None:
    operator = DedupeOperator(DedupeStep(("id",), 10), b"p")
    assert rows(operator.process(0, piece([0, 1, 2, 3], id=[None, 1, None, 1]))) == [
        {"id": None},
        {"id": 1},
        {"id": None},
    ]


def test_dedupe_names_a_column_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="there is no column 'id'; there are name"):
        DedupeOperator(DedupeStep(("id",), 10), b"p").bind(0, pl.Schema({"name": pl.String()}))


def test_dedupe_gives_on_the_values_as_they_came() -> None:
    values = [{"id": 1}, {"id": 1}, {"id": 2}]
    operator = DedupeOperator(DedupeStep(("id",), 10), b"p")
    [out] = operator.process(0, Piece(piece([0, 1, 2], id=[1, 1, 2]).carried, values=values, type=dict))
    assert out.has_values
    assert out.values() == [values[0], values[2]]
    assert operator.process(0, piece([3], id=[2])) == []
