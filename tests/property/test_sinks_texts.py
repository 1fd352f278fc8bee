"""Lines of JSON that sinks write say what is in the columns, few rows or many, JSON in them or none."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Any

import msgspec
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from millstream.log.schema import FieldType, Kind
from millstream.records import time_from_us
from millstream.sinks.rows import Rows
from millstream.sinks.texts import json_lines

JSON = FieldType(Kind.JSON, nullable=True)
MANY = 101
"""Times so many rows are not written one by one any more."""

some_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
json_texts = st.none() | some_json.map(lambda value: msgspec.json.encode(value).decode())
names = st.text(min_size=1, max_size=5).filter(lambda name: not name.startswith(("_", "^", "*")) and '"' not in name)
PLAIN: Mapping[Any, st.SearchStrategy[Any]] = MappingProxyType(
    {
        pl.String(): st.text(),
        pl.Int64(): st.integers(-(2**63), 2**63 - 1),
        pl.Boolean(): st.booleans(),
        pl.List(pl.String()): st.lists(st.none() | st.text(), max_size=3),
        pl.Null(): st.none(),
    }
)
OTHERS: Mapping[Any, st.SearchStrategy[Any]] = MappingProxyType(
    {
        pl.Float64(): st.floats(allow_nan=False, allow_infinity=False),
        pl.Datetime("us", "UTC"): st.integers(-(10**15), 10**17).map(time_from_us),
        pl.Date(): st.dates(date(1, 1, 1)),
        pl.Time(): st.times(),
        pl.Struct({"a": pl.Int64(), "b": pl.String()}): st.fixed_dictionaries({"a": st.just(1), "b": st.text()}),
        pl.Binary(): st.binary(),
    }
)


@st.composite
def frames(draw: st.DrawFn, types: Mapping[Any, st.SearchStrategy[Any]]) -> tuple[pl.DataFrame, set[str]]:
    """Return columns and the names of those that are JSON."""
    height = draw(st.integers(1, 4))
    json: set[str] = set()
    columns: list[pl.Series] = []
    for name in draw(st.lists(names, min_size=1, max_size=6, unique=True)):
        dtype = draw(st.sampled_from(["json", *types]))
        values = json_texts if dtype == "json" else st.none() | types[dtype]
        if dtype == "json":
            json.add(name)
            dtype = pl.String()
        cells = draw(st.lists(values, min_size=height, max_size=height))
        columns.append(pl.Series(name, cells, dtype=dtype))
    return pl.DataFrame(columns), json


def rows_of(frame: pl.DataFrame, json: set[str]) -> Rows:
    nothing = {"_key": pl.Binary(), "_event_time": pl.Datetime("us", "UTC")}
    carried = pl.DataFrame(schema=nothing).clear(frame.height)
    return Rows(carried, lambda: frame, json=dict.fromkeys(json, JSON))


@given(frames(PLAIN))
def test_few_rows_and_many_are_the_same_text(found: tuple[pl.DataFrame, set[str]]) -> None:
    frame, json = found
    few = json_lines(rows_of(frame, json))
    assert json_lines(rows_of(pl.concat([frame] * MANY), json)) == few * MANY
    expected = [
        row | {name: None if row[name] is None else msgspec.json.decode(row[name]) for name in json}
        for row in frame.to_dicts()
    ]
    assert [msgspec.json.decode(line) for line in few.split(b"\n")[:-1]] == expected
    assert rows_of(frame, json).values() == expected


@given(frames(PLAIN | OTHERS))
def test_columns_beside_json_are_as_they_are_without_it(found: tuple[pl.DataFrame, set[str]]) -> None:
    frame, json = found
    with_json = [msgspec.json.decode(line) for line in json_lines(rows_of(frame, json)).splitlines()]
    without = [msgspec.json.decode(line) for line in json_lines(rows_of(frame, set())).splitlines()]
    for row in without:
        row |= {name: row[name] and msgspec.json.decode(row[name]) for name in json}
    assert with_json == without
    assert all(list(row) == frame.columns for row in with_json)


def test_what_is_no_column_any_more_is_none() -> None:
    assert json_lines(rows_of(pl.DataFrame({"a": ["{}"]}), {"a", "b"})) == b'{"a":{}}\n'


def test_no_rows_are_no_lines() -> None:
    assert json_lines(rows_of(pl.DataFrame(schema={"a": pl.String(), "t": pl.Time()}), {"a"})) == b""
