"""What is exported comes back equal from an import: every type, every format."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st
from tests.property.test_codings import EVENTS, META, OBJECTS, Event, topics

from millstream.engines.memory import MemoryEngine
from millstream.log import Log
from millstream.log.export.reading import import_files
from millstream.log.export.texts import Format

EXAMPLES = 60


def exported_and_imported(log: Log, name: str, format: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return a topic's frame and that of its copy, without what is new in the copy."""
    frame = log.topic(name).frame().collect()
    with tempfile.TemporaryDirectory() as folder:
        files = log.topic(name).export(Path(folder, "out"), format=format)
        assert [file.suffix for file in files] == [f".{format}"]
        assert sum(import_files(log, "copy", [Path(folder, "out")])) == frame.height
    copy = log.topic("copy").frame().collect()
    assert copy["_offset"].to_list() == list(range(frame.height))
    new = ["_offset", "_append_time", "_partition"]
    return frame.drop(new), copy.drop(new)


def finite(value: Any) -> bool:
    """JSON has no form for infinities."""
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    return all(map(finite, value)) if isinstance(value, (list, tuple)) else True


@pytest.mark.parametrize("format", list(Format))
@given(topics())
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_type_comes_back_equal(format: Format, topic: tuple[Any, list[Any]]) -> None:
    cls, values = topic
    log = Log(MemoryEngine(), housekeeping=False)
    source = log.topic("source", cls)
    note(source.schema.describe())
    source.extend(values)
    if format is not Format.PARQUET:
        assume(all(finite(row) for row in source.frame().collect().drop("_headers").rows()))
    before, after = exported_and_imported(log, "source", format)
    assert after.equals(before)


@pytest.mark.parametrize("format", list(Format))
@given(OBJECTS)
@settings(max_examples=EXAMPLES, deadline=None)
def test_json_objects_come_back_equal(format: Format, objects: list[dict[str, Any]]) -> None:
    assume(finite(objects))  # inside of JSON fields Parquet has no form for infinities either
    log = Log(MemoryEngine(), housekeeping=False)
    log.topic("source", dict).extend(objects)
    before, after = exported_and_imported(log, "source", format)
    assert after.equals(before)


@pytest.mark.parametrize("format", list(Format))
@given(st.lists(st.tuples(EVENTS, META), min_size=1, max_size=6))
@settings(max_examples=EXAMPLES, deadline=None)
def test_keys_times_and_headers_come_back_equal(format: Format, events: list[tuple[Event, Any]]) -> None:
    log = Log(MemoryEngine(), housekeeping=False)
    source = log.topic("source", Event, key="name", time="moment")
    keys, times, headers = zip(*(meta for _, meta in events), strict=True)
    moments = [None if us is None else pl.Series([us]).cast(pl.Datetime("us", "UTC"))[0] for us in times]
    source.extend([event for event, _ in events], keys=keys, times=moments, headers=headers)
    before, after = exported_and_imported(log, "source", format)
    assert after.equals(before)


@pytest.mark.parametrize("format", list(Format))
def test_raw_bytes_come_back_equal(format: Format) -> None:
    log = Log(MemoryEngine(), housekeeping=False)
    log.topic("source").extend([b"", b"\x00\xff", b'a,"b"\n'], keys=[None, b"\xff", b""])
    before, after = exported_and_imported(log, "source", format)
    assert after.equals(before)
