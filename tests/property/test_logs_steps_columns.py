"""set, rename, remove, received and parse work on columns: the same as event by event, whatever fields look like."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from millstream.logs.names import part_of
from millstream.logs.steps.chain import Chain
from millstream.logs.steps.changes import SETTABLE, ParseTable, RemoveTable, RenameTable, SetTable
from millstream.logs.steps.members import with_values
from millstream.logs.steps.step import StepTable
from millstream.parsers.event_parser import event_columns
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent, event_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FURTHER = "fields."


def steps_of(name: str) -> list[str | int]:
    found = re.findall(r'"([^"]+)"|\[(\d+)\]|([^."\[\]]+)', name)
    path = re.fullmatch(r'(?:"[^"]+"|[^."\[\]]+)(?:\[\d+\])*(?:\.(?:"[^"]+"|[^."\[\]]+)(?:\[\d+\])*)*', name)
    return [name] if path is None else [int(place) if place else quoted or plain for quoted, place, plain in found]


def whole_of(steps: list[str | int]) -> str:
    return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in steps)[1:]


def said_in(fields: Any, name: str) -> Any:
    """The model of asking: all of the name, else step by step."""
    steps = steps_of(name)
    if fields.get(whole_of(steps)) is not None:
        return fields[whole_of(steps)]
    for one in steps:
        if isinstance(one, str):
            fields = fields.get(one) if isinstance(fields, dict) else None
        else:
            fields = fields[one] if isinstance(fields, list) and one < len(fields) else None
    return fields


def taken_from(value: Any, steps: list[str | int]) -> Any:
    """The model of taking out: the same without the end of a path; None for an object that is empty then."""
    one, *rest = steps
    if isinstance(value, dict) and isinstance(one, str) and one in value:
        inner = taken_from(value[one], rest) if rest else None
        if inner is None and (not rest or value[one] is not None):
            kept = {key: part for key, part in value.items() if key != one}
            return kept or None
        return {**value, one: inner}
    if isinstance(value, list) and isinstance(one, int) and one < len(value) and rest:
        inner = taken_from(value[one], rest)
        return [*value[:one], {} if inner is None and value[one] is not None else inner, *value[one + 1 :]]
    return value


def put_into(value: Any, steps: list[str | int], new: Any) -> Any:
    """The model of putting in; NotImplemented where something else than an object is on the way."""
    if not steps:
        return new
    one, *rest = steps
    if isinstance(one, str) and (value is None or isinstance(value, dict)):
        inner = put_into((value or {}).get(one), rest, new)
        return inner if inner is NotImplemented else {**(value or {}), one: inner}
    if isinstance(one, int) and isinstance(value, list) and one < len(value):
        inner = put_into(value[one], rest, new)
        return inner if inner is NotImplemented else [*value[:one], inner, *value[one + 1 :]]
    return NotImplemented


def with_value(fields: dict[str, Any], name: str, new: Any) -> dict[str, Any]:
    """The model of one name of `fields`: None takes out."""
    steps, whole = steps_of(name), whole_of(steps_of(name))
    without = {key: value for key, value in fields.items() if key != whole}
    without = taken_from(without, steps) or {}
    if new is None:
        return without
    is_whole = fields.get(whole) is not None or put_into(fields, steps, new) is NotImplemented
    found: dict[str, Any] = {**without, whole: new} if is_whole else put_into(without, steps, new)
    return found


def changed(event: LogEvent, values: Mapping[str, Any]) -> LogEvent:
    """The model: one event with other values; those that are None go."""
    own = {name: value for name, value in values.items() if not name.startswith(FURTHER)}
    if "message" in own and own["message"] is None:
        own["message"] = ""
    further = {name.removeprefix(FURTHER): value for name, value in values.items() if name.startswith(FURTHER)}
    if further:
        fields = dict(event.fields or {})
        for name, value in further.items():
            fields = with_value(fields, name, value)
        own["fields"] = {name: value for name, value in fields.items() if value is not None} or None
    return replace(event, **own) if own else event


def renamed(event: LogEvent, names: Mapping[str, str]) -> LogEvent:
    def said(name: str) -> Any:
        further = event.fields or {}
        return said_in(further, name.removeprefix(FURTHER)) if name.startswith(FURTHER) else getattr(event, name)

    def as_text(value: Any) -> str:
        return value if isinstance(value, str) else msgspec.json.encode(value).decode()

    found = {old: value for old in names if (value := said(old)) is not None}
    new = {names[old]: value if names[old].startswith(FURTHER) else as_text(value) for old, value in found.items()}
    return changed(changed(event, dict.fromkeys(found)), new)


OWN = st.sampled_from(["message", "user", "session", "host"])
KEYS = st.sampled_from(
    ["a", "b", "c", "a.b", "a.b.c", "a[0].b", "x y", "null", 'a"b', "\\", "é", "{", "a-b", "\n", "", "s", "a+", "user"]
)
DEEP = st.sampled_from(
    ["a.b", "b.a", "a.c", "a.b.c", "c.a.b", '"a.b".c', 'a."b.c"', "a[0].b", "c[1].a.b", "x y.a+", "é.a"]
)
NAMES = OWN | (KEYS.filter(bool) | DEEP).map(lambda key: FURTHER + key)
TEXTS = st.sampled_from(
    ["", "x", "a,", '"', "\\", "null", '"a":1', "{", "}", "[", '{"a":"b"}', ': "', "é\n", "1", "a,b", ',"b":2,', "\x00"]
) | st.text(max_size=5)
SCALARS = TEXTS | st.integers(-(10**20), 10**20) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans()
VALUES = st.recursive(
    SCALARS | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=6,
)
PLAIN = st.text("abx", max_size=2) | st.integers(0, 9) | st.lists(st.integers(0, 9), max_size=2)
EVENTS = st.builds(
    lambda message, user, session, fields: LogEvent(
        time=NOW, source="s", message=message, raw=message, user=user, session=session, fields=fields
    ),
    TEXTS,
    st.none() | TEXTS,
    st.none() | TEXTS,
    st.none() | st.dictionaries(KEYS, VALUES, max_size=4) | st.dictionaries(KEYS, PLAIN, max_size=4),
)


def through(table: StepTable, events: list[LogEvent]) -> list[LogEvent]:
    frame = Chain([table], {}).apply(event_columns(events), now=NOW).kept
    assert frame.schema == event_columns([]).schema
    return [event_of(row) for row in frame.iter_rows(named=True)]


@settings(max_examples=200, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=8), st.dictionaries(NAMES, TEXTS, min_size=1, max_size=3))
def test_fields_are_set_as_they_are_in_single_events(events: list[LogEvent], values: dict[str, str]) -> None:
    assert through(SetTable(values=values), events) == [changed(event, values) for event in events]


def test_a_list_with_a_list_behind_its_first_value_is_removed() -> None:
    fields = {"a": ["x", ["secret"]], "b": [1, [2], 3]}
    event = LogEvent(time=NOW, source="s", message="m", raw="m", fields=fields)
    assert [one.fields for one in through(RemoveTable(names=("fields.a",)), [event])] == [{"b": [1, [2], 3]}]
    assert [one.fields for one in through(RemoveTable(names=("fields.a", "fields.b")), [event])] == [None]


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=8), st.lists(NAMES, min_size=1, max_size=3))
def test_fields_are_removed_as_they_are_from_single_events(events: list[LogEvent], names: list[str]) -> None:
    assert through(RemoveTable(names=tuple(names)), events) == [
        changed(event, dict.fromkeys(names)) for event in events
    ]


@settings(max_examples=250, deadline=None)
@given(st.lists(EVENTS, min_size=1, max_size=8), st.dictionaries(NAMES, NAMES, min_size=1, max_size=3))
def test_fields_are_renamed_as_they_are_in_single_events(events: list[LogEvent], names: dict[str, str]) -> None:
    assert through(RenameTable(names=names), events) == [renamed(event, names) for event in events]


NEAR = st.sampled_from(["a", "a.b", "a.c", "a.b.c", '"a.b".c', "b"]).map(lambda name: FURTHER + name)
NEAR_KEYS = st.sampled_from(["a", "b", "a.b", "c"])
NEAR_VALUES = st.recursive(st.integers(0, 2), lambda inner: st.dictionaries(NEAR_KEYS, inner, max_size=2), max_leaves=3)
NEAR_EVENTS = st.dictionaries(NEAR_KEYS, NEAR_VALUES, max_size=2).map(
    lambda fields: LogEvent(time=NOW, source="s", message="m", fields=fields)
)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(NEAR_EVENTS, min_size=1, max_size=4),
    st.dictionaries(NEAR, st.sampled_from(["x", "y"]), min_size=1, max_size=2),
    st.dictionaries(NEAR, NEAR, min_size=1, max_size=3),
)
def test_names_that_share_a_part_do_not_get_in_each_others_way(
    events: list[LogEvent], values: dict[str, str], names: dict[str, str]
) -> None:
    assert through(SetTable(values=values), events) == [changed(event, values) for event in events]
    assert through(RemoveTable(names=tuple(values)), events) == [changed(one, dict.fromkeys(values)) for one in events]
    assert through(RenameTable(names=names), events) == [renamed(event, names) for event in events]


@settings(max_examples=120, deadline=None)
@given(st.data(), st.lists(NAMES.filter(lambda name: name.startswith(FURTHER)) | NEAR, min_size=1, max_size=3))
def test_values_that_differ_by_event_are_put_in_as_one_by_one(data: Any, names: list[str]) -> None:
    events = data.draw(st.lists(EVENTS | NEAR_EVENTS, min_size=1, max_size=6))
    parts = {name: part for name in names if (part := part_of(name)) is not None}
    each = [{name: data.draw(st.none() | VALUES) for name in parts} for _ in events]
    said = {
        part: pl.Series([None if one[name] is None else msgspec.json.encode(one[name]).decode() for one in each])
        for name, part in parts.items()
    }
    found = with_values(
        event_columns(events).get_column("fields"), {name: one.cast(pl.String) for name, one in said.items()}
    )
    for event, values, text in zip(events, each, found, strict=True):
        new = {name: value for name, value in values.items() if value is not None}
        wanted = changed(event, new).fields if new else event.fields
        after = {} if text is None else msgspec.json.decode(text)
        assert after == (wanted or {})


@settings(max_examples=80, deadline=None)
@given(st.lists(EVENTS | NEAR_EVENTS, min_size=1, max_size=5), st.lists(NEAR, min_size=1, max_size=3))
def test_what_is_kept_is_all_there_is_and_as_it_was(events: list[LogEvent], names: list[str]) -> None:
    for event, found in zip(events, through(RemoveTable(keep=tuple(names)), events), strict=True):
        before, after = event.fields or {}, found.fields or {}
        for name in names:
            said = said_in(before, name.removeprefix(FURTHER))
            assert said_in(after, name.removeprefix(FURTHER)) == said
        rest = changed(found, dict.fromkeys(names)).fields
        assert not rest


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
        RemoveTable(names=("user", "fields.secret")),
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
