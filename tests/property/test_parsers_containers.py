"""Lines of containers taken apart column by column say what they say line by line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from millstream.parsers.containers import ContainerParser
from millstream.parsers.event_parser import event_columns
from millstream.parsers.log_event import event_of

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LINES_LEAST = 100
"""From here on a source asks for columns."""

TEXTS = st.sampled_from(
    [
        "",
        " ",
        "INFO it works",
        "ERROR",
        "[warn] x",
        "error: y",
        "\tat a.b(C.java:1)",
        "é ",
        "{",
        '{"level":"error"}',
        '{"msg":"x","time":"2026-03-01T09:00:00Z","n":1}',
        'say "a\\b"',
        "\x1cINFO x\x1f",
        "a\x00b",
        "\x85x\xa0",
        "INFO\t",
    ]
) | st.text(max_size=8).filter(lambda text: "\n" not in text)
TIMES = st.sampled_from(
    [
        "2026-03-01T10:00:00.123456789Z",
        "2026-03-01T10:00:00+02:00",
        "2026-03-01T10:00:00.9-11:30",
        "2026-02-30T10:00:00Z",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-10:00",
        "2026-03-01T24:00:00Z",
        "2026-03-01T10:00:60Z",
        "",
    ]
)
STREAMS = st.sampled_from(["stdout", "stderr", "stdin"])


def docker(text: str, stream: str, time: str, end: str, spaced: bool) -> str:
    separators = (", ", ": ") if spaced else (",", ":")
    return json.dumps({"log": text + end, "stream": stream, "time": time}, separators=separators, ensure_ascii=False)


CRI = st.builds("{} {} {} {}".format, TIMES, STREAMS, st.sampled_from(["F", "P", "F:x", "X", ""]), TEXTS)
DOCKER = st.builds(docker, TEXTS, STREAMS, TIMES, st.sampled_from(["", "\n", "\\n"]), st.booleans())
OTHERS = TEXTS | st.sampled_from(["web-1  | it works", '{"log":"x","stream":"stdout","time":1}', '{"log":"a'])
EVENTS = st.lists(CRI, min_size=2, max_size=3).map("\n".join) | CRI | DOCKER | OTHERS
LINES = EVENTS.map(str.encode) | st.just(b"2026-03-01T10:00:00Z stdout F \xff\xfe")


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=20), st.lists(LINES, max_size=3))
@example([b"no time at all"], [b"nor here"])
def test_columns_say_what_events_say(lines: list[bytes], next_lines: list[bytes]) -> None:
    one_by_one, by_column = ContainerParser("s"), ContainerParser("s")
    for some in (lines * (LINES_LEAST // len(lines) + 1), next_lines):
        wanted = one_by_one.events(some, now=NOW)
        found = by_column.columns(some, now=NOW)
        assert found.schema == event_columns([]).schema
        assert [event_of(row) for row in found.iter_rows(named=True)] == wanted


def test_most_lines_are_not_read_one_by_one(monkeypatch: Any) -> None:
    lines = [
        b"2026-03-01T10:00:00.123456789Z stdout F INFO it works",
        b'{"log":"WARN: it does not\\n","stream":"stderr","time":"2026-03-01T10:00:00.123456789Z"}',
        b'{"log":"a part","stream":"stderr","time":"2026-03-01T10:00:00.123456789Z"}',
    ]
    parser = ContainerParser("s")
    monkeypatch.setattr(parser, "_read", lambda text, now: 1 / 0)
    found = parser.columns(lines, now=NOW)
    assert found["message"].to_list() == ["INFO it works", "WARN: it does not", "a part"]
    assert found["severity"].to_list() == ["info", "warning", None]
    assert found["fields"].to_list() == [
        '{"stream":"stdout"}', '{"stream":"stderr"}', '{"stream":"stderr","partial":true}'
    ]  # fmt: skip
