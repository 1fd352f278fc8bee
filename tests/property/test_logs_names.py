"""A name of a part means the same in a condition, in `by` and in a message: what a naive reading of it finds."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millstream import UsageError
from millstream.logs.message import Message
from millstream.logs.names import name_of, path_of
from millstream.logs.where import column_of, condition
from millstream.parsers.event_parser import event_columns
from millstream.parsers.log_event import LogEvent

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def naive(fields: dict[str, Any], dotted: str) -> Any:
    """The rule, for names without quotes: all of it as one name, else step by step; null is not there."""
    if fields.get(dotted) is not None:
        return fields[dotted]
    found: Any = fields
    for part in re.findall(r"[^.\[\]]+|\[\d+\]", dotted):
        if part.startswith("["):
            place = int(part[1:-1])
            found = found[place] if isinstance(found, list) and place < len(found) else None
        else:
            found = found.get(part) if isinstance(found, dict) else None
    return found


def as_text(value: Any) -> str | None:
    return (
        value
        if value is None or isinstance(value, str)
        else json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    )


KEYS = st.sampled_from(["a", "b", "a.b", "a.b.a", "b[0]", "a[1]", "a.b[0]", "x/y", "é"])
DOTTED = st.sampled_from(["a", "b", "a.b", "b.a", "a.b.a", "b[0]", "a[1]", "a.b[0]", "b[0].a", "a[1][0]", "a[0].b.a"])
LEAVES = st.none() | st.integers(-9, 9) | st.booleans() | st.sampled_from(["", "x", '"a.b":', "\\u", "{", "é\n"])
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3))
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


@settings(max_examples=200, deadline=None)
@given(st.lists(OBJECTS, min_size=1, max_size=5), DOTTED)
def test_a_name_means_the_same_in_columns_conditions_and_messages(some: list[dict[str, Any]], dotted: str) -> None:
    wanted = [as_text(naive(fields, dotted)) for fields in some]
    frame = event_columns([LogEvent(time=NOW, source="s", message="m", fields=fields) for fields in some])
    message = Message(f"{{fields.{dotted}}}")
    for name in (f"fields.{dotted}", f"field('{dotted}')"):
        assert frame.select(column_of(name)).to_series().to_list() == wanted
        said = frame.select(condition(f"COALESCE({name}, 'none') = 'x'")).to_series().to_list()
        assert said == [text == "x" for text in wanted]
    said = [message.said({"fields": text}, {}) for text in frame.get_column("fields")]
    assert said == ["?" if text is None else text for text in wanted]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a", ("a",)),
        ("a.b c[2].d", ("a", "b c", 2, "d")),
        ('"a.b".c', ("a.b", "c")),
        ('a."b[0]"[1]', ("a", "b[0]", 1)),
        *[(odd, (odd,)) for odd in ("a..b", ".a", "a.", 'a"b', "[0]", "a[x]", "cs(User-Agent)", "")],
    ],
)
def test_a_text_that_is_no_path_is_one_name(text: str, wanted: tuple[str | int, ...]) -> None:
    assert path_of(text) == wanted


def test_quotes_say_where_a_name_ends() -> None:
    frame = event_columns([LogEvent(time=NOW, source="s", message="m", fields={"a": {"b.c": 1}, "d": {"e": {"f": 2}}})])
    names = ['fields.a."b.c"', "field('a.\"b.c\"')", "fields.a.b.c", 'fields."d"."e".f', 'fields."d.e".f']
    assert [frame.select(column_of(name)).item() for name in names] == ["1", "1", None, "2", None]


def test_a_name_that_is_written_with_escapes_is_found() -> None:
    frame = event_columns([LogEvent(time=NOW, source="s", message="m")])
    odd = pl.lit('{"a\\u002eb":1,"c":{"d":2},"\\u0065":{"f":3}, "g" : {"h":4}}')
    frame = frame.with_columns(fields=odd)
    names = ["fields.a.b", "fields.c.d", "fields.e.f", "fields.g.h"]
    assert [frame.select(column_of(name)).item() for name in names] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("text", ["nothing", "fields", "fields.", "by.user", "fieldz.a", "field()", "field('')"])
def test_what_is_no_name_of_a_part_is_a_field_or_an_error(text: str) -> None:
    if text == "fields":
        assert name_of(text).path == ()
        return
    with pytest.raises(UsageError, match=r"fields\.NAME"):
        name_of(text)
