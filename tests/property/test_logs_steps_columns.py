"""set, rename, remove, received and parse work on columns: the same as event by event, whatever fields look like."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from millstream.logs.steps.chain import Chain
from millstream.logs.steps.changes import SETTABLE, ParseTable, RemoveTable, RenameTable, SetTable
from millstream.logs.steps.step import StepTable
from millstream.parsers.event_parser import event_columns
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent, event_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FURTHER = "fields."


def changed(event: LogEvent, values: Mapping[str, Any]) -> LogEvent:
    """The model: one event with other values; those that are None go."""
    own = {name: value for name, value in values.items() if not name.startswith(FURTHER)}
    if "message" in own and own["message"] is None:
        own["message"] = ""
    further = {name.removeprefix(FURTHER): value for name, value in values.items() if name.startswith(FURTHER)}
    if further:
        fields = {**(event.fields or {}), **further}
        own["fields"] = {name: value for name, value in fields.items() if value is not None} or None
    return replace(event, **own) if own else event


def renamed(event: LogEvent, names: Mapping[str, str]) -> LogEvent:
    def said(name: str) -> Any:
        further = event.fields or {}
        return further.get(name.removeprefix(FURTHER)) if name.startswith(FURTHER) else getattr(event, name)

    def as_text(value: Any) -> str:
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()

    found = {old: value for old in names if (value := said(old)) is not None}
    new = {names[old]: value if names[old].startswith(FURTHER) else as_text(value) for old, value in found.items()}
    return changed(event, dict.fromkeys(found) | new)


OWN = st.sampled_from(["message", "user", "session", "host"])
KEYS = st.sampled_from(["a", "b", "c", "a.b", "x y", "null", 'a"b', "\\", "é", "{", "a-b", "\n", "", "s", "a+", "user"])
NAMES = OWN | KEYS.filter(bool).map(lambda key: FURTHER + key)
TEXTS = st.sampled_from(
    ["", "x", "a,", '"', "\\", "null", '"a":1', "{", "}", "[", '{"a":"b"}', ': "', "é\n", "1", "a,b", ',"b":2,', "\x00"]
) | st.text(max_size=5)
SCALARS = TEXTS | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
VALUES = SCALARS | st.none() | st.lists(SCALARS, max_size=3) | st.dictionaries(KEYS, SCALARS, max_size=2)
EVENTS = st.builds(
    lambda message, user, session, fields: LogEvent(
        time=NOW, source="s", message=message, raw=message, user=user, session=session, fields=fields
    ),
    TEXTS,
    st.none() | TEXTS,
    st.none() | TEXTS,
    st.none() | st.dictionaries(KEYS, VALUES, max_size=4) | st.dictionaries(KEYS, st.integers(0, 9), max_size=4),
)


def through(table: StepTable, events: list[LogEvent]) -> list[LogEvent]:
    frame = Chain([table], {}).apply(event_columns(events), now=NOW).kept
    assert frame.schema == event_columns([]).schema
    return [event_of(row) for row in frame.iter_rows(named=True)]


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=8), st.dictionaries(NAMES, TEXTS, min_size=1, max_size=3))
def test_fields_are_set_as_they_are_in_single_events(events: list[LogEvent], values: dict[str, str]) -> None:
    assert through(SetTable(values=values), events) == [changed(event, values) for event in events]


@settings(max_examples=300, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=8), st.lists(NAMES, min_size=1, max_size=3))
def test_fields_are_removed_as_they_are_from_single_events(events: list[LogEvent], names: list[str]) -> None:
    assert through(RemoveTable(names=names), events) == [changed(event, dict.fromkeys(names)) for event in events]


@settings(max_examples=500, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=8), st.dictionaries(NAMES, NAMES, min_size=1, max_size=3))
def test_fields_are_renamed_as_they_are_in_single_events(events: list[LogEvent], names: dict[str, str]) -> None:
    assert through(RenameTable(names=names), events) == [renamed(event, names) for event in events]


def parsed(event: LogEvent, format: str) -> LogEvent:
    parser: Any = FORMATS[format].parser(event.source)
    [found] = parser.events([event.message.encode()], now=event.time)
    new = {name: value for name in LogEvent.__struct_fields__ if (value := getattr(found, name)) is not None}
    fields = {**(event.fields or {}), **new.pop("fields", {})}
    kept = {name: value for name, value in new.items() if name not in ("source", "raw", "raw_bytes", "format")}
    return replace(event, **kept, fields=fields or None)


MESSAGES = st.sampled_from(
    [
        'level=warn msg="it works" a=1',
        "level=info",
        '{"a":{"b":null},"msg":"x","time":"2026-03-01T10:00:00Z"}',
        "{}",
        "2026-03-01 10:00:00 ERROR no room",
        "plain text",
        "",
        "Mar  1 10:00:00 web sshd[1]: Accepted publickey for ann",
    ]
)
PARSED_BY = st.sampled_from(["logfmt", "json", "application", "syslog"])


@settings(max_examples=150, deadline=None)
@given(
    st.lists(EVENTS, min_size=1, max_size=6), st.data(), st.sampled_from(["logfmt", "json", "application", "syslog"])
)
def test_messages_are_parsed_as_those_of_single_events(events: list[LogEvent], data: Any, format: str) -> None:
    given = [replace(event, message=data.draw(MESSAGES), pid=7) for event in events]
    assert through(ParseTable(format=format), given) == [parsed(event, format) for event in given]


@pytest.mark.parametrize("fields", [{"secret": "Sup3rS3cretValueThatIsLong", "n": 1}, {"secret": 'Sup3rS3cretValue"'}])
def test_what_was_removed_or_overwritten_is_not_carried_along(fields: dict[str, Any]) -> None:
    secret = "Sup3rS3cretValueThatIsLong"
    given = [
        LogEvent(time=NOW, source="s", message="m", user=secret, session=secret, host="h", fields=fields) for _ in "abc"
    ]
    given.append(LogEvent(time=NOW, source="s", message="m", user=secret, fields={"deep": {"x": None}}))
    tables: list[StepTable] = [
        SetTable(values={"session": "s"}),
        RenameTable(names={"host": "user", "fields.other": "session"}),
        RemoveTable(names=["user", "fields.secret"]),
    ]
    kept = Chain(tables, {}).apply(event_columns(given), now=NOW).kept
    buffer = io.BytesIO()
    kept.write_ipc(buffer, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    assert b"Sup3rS3cret" not in buffer.getvalue()


def test_names_that_may_be_set_are_columns_of_text() -> None:
    schema = event_columns([]).schema
    assert all(schema[name] == pl.String for name in SETTABLE)


def test_a_json_line_keeps_what_is_deep_in_it() -> None:
    given = LogEvent(time=NOW, source="s", message="m", fields=json.loads('{"a":{"b":[1,{"c":"d\\u0041"}]},"n":1.5}'))
    [found] = through(RenameTable(names={"fields.a": "session", "fields.n": "user"}), [given])
    assert (found.session, found.user, found.fields) == ('{"b":[1,{"c":"dA"}]}', "1.5", None)
