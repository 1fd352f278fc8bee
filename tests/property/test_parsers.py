"""Columns say what lines say: each fast way of a parser against its exact one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from millstream import App
from millstream.parsers.access import AccessParser, parse_line
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent
from millstream.parsers.log_lines import LogParser
from millstream.parsers.messages.tables import TABLES
from millstream.parsers.syslog import LineParser
from millstream.parsers.system_event import text_of

NOW = datetime(2026, 4, 7, 12, 0, tzinfo=UTC)

words = st.text(st.sampled_from('ab-"\\ .:[]()ä\x1c\x85\xa0\t'), max_size=6)
numbers = st.integers(0, 99).map(lambda number: f"{number:02}")
months = st.sampled_from(["Jan", "Feb", "Mar", "Apr", "Oct", "Dec", "Foo"])
zones = st.sampled_from(["Z", "+00:00", "+02:00", "-0330", ""])
programs = st.sampled_from(sorted({program for table in TABLES for program in table.programs})) | words
starts = st.sampled_from(sorted({one.start for table in TABLES for one in table.shapes}))
rests = st.sampled_from(
    [
        "ann from 10.0.0.1 port 22 ssh2",
        "invalid user from 10.0.0.1 port 22 ssh2: RSA",
        "root from 1.1.1.1 port 1 ssh2 from 10.0.0.1 port 22 ssh2",
        " from 10.0.0.1",
        "bob : TTY=pts/0 ; PWD=/ ; USER=root ; COMMAND=/bin/sh",
        "'eve' to group 'sudo'",
        "usb 1-2: New USB device found, idVendor=0781, idProduct=5581",
        "root(uid=0) by ann(uid=1000)",
        "user ann 10.0.0.1 port 22 [preauth]",
        "cron.service - Runs jobs.",
    ]
)
messages = st.one_of(st.builds("{}{}".format, starts, rests), st.builds("{}{}".format, starts, words), words, rests)
tags = st.one_of(
    st.builds("{}: {}".format, programs, messages),
    st.builds("{}[{}]: {}".format, programs, numbers, messages),
    words,
)
traditional = st.builds("{} {} {}:{}:{} {} {}".format, months, numbers, numbers, numbers, numbers, words, tags)
usual = st.builds(
    "{} {:2} {:02}:{:02}:{:02} host {}".format,
    months, st.integers(1, 31), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), tags,
)  # fmt: skip
iso = st.builds(
    "2026-{:02}-{:02}T{:02}:{:02}:{:02}{}{} host {}".format,
    st.integers(1, 12), st.integers(1, 31), st.integers(0, 24), st.integers(0, 59), st.integers(0, 60),
    st.sampled_from(["", ".1", ".123456", ".123456789"]), zones, tags,
)  # fmt: skip
headed = st.builds("{}{}".format, st.sampled_from(["", "", "<13>", "<0>", "<191>", "<999>", "<1"]), usual | iso)
lines = st.one_of(headed, headed, headed, traditional, words).map(str.encode) | st.binary(max_size=8)


@given(
    st.lists(lines, max_size=12),
    st.sampled_from([UTC, ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe"), timezone(timedelta(hours=-3))]),
    st.sampled_from([None, "own"]),
)
def test_columns_of_a_log_say_what_its_events_say(data: list[bytes], zone: tzinfo, program: str | None) -> None:
    line_parser = LineParser("x.log", program=program, zone=zone)
    one_by_one, at_once = (LogParser("x.log", program=program, zone=zone) for _ in range(2))
    events = one_by_one.events(data, now=NOW)
    half = len(data) // 2
    found = [row for part in (data[:half], data[half:]) for row in at_once.columns(part, now=NOW).to_dicts()]
    assert found == [msgspec.structs.asdict(event) for event in events]
    for line, event in zip(data, events, strict=True):
        plain = line_parser.parse(line, now=NOW)
        assert {name: getattr(event, name) for name in plain.__struct_fields__} == msgspec.structs.asdict(plain)


clients = st.sampled_from(["10.0.0.1 - -", "::1 - ann", "h:80 10.0.0.1 - -", "10.0.0.1 - ann lee", "- - -"]) | words
times = st.builds("[{}/{}/2026:{}:{}:{} +0{}00]".format, numbers, months, numbers, numbers, numbers, st.integers(0, 9))
quoted = st.sampled_from(["GET / HTTP/1.1", "-", "", "GET /", r"\x16\x03", r"a\"b\\", r"\xe4", "\\"]) | words
access = st.builds(
    '{} {} "{}" {} {}{}'.format,
    clients,
    times | st.just("[10/Oct/2026:13:55:36 +0200]"),
    quoted,
    st.sampled_from(["200", "99", "404", "x"]),
    st.sampled_from(["-", "0", "123", "1" * 30]),
    st.just("") | st.builds(' "{}" "{}"{}'.format, quoted, quoted, st.just("") | words.map(" {}".format)),
)


@given(st.lists(access.map(str.encode) | st.binary(max_size=8), max_size=8))
def test_access_columns_say_what_the_exact_expression_says(data: list[bytes]) -> None:
    rows = AccessParser().columns(data, now=NOW).to_dicts()
    assert [row["raw"] for row in rows] == [text_of(line)[0] for line in data]
    for row in rows:
        exact = parse_line(row["raw"])
        assert row["parsed"] == (exact is not None)
        if exact is not None:
            assert {name: row[name] for name in exact} == exact


pieces = st.sampled_from(
    [
        '{"', '":', '"msg":"x"', "}", "level=info", 'msg="', '"', "\\", "CEF:0|", "|", "src=", "a='b'", " ",
        "\x00", "ä",
        "type=A msg=audit(1.1:1): ", "[Sun Mar 01 10:00:00 2026] [error] ", "2026-03-01 10:00:00 UTC [1] ",
        "LOG:  ", "#Fields: date time",
        "[Note] ", "7F", "2026/03/01 10:00:00 [crit] 7#9: ", ", client: ", "9" * 30, "1e999",
        "NaN", "[" * 40, "LEEF:2.0|", "x09|",
    ]
)  # fmt: skip


@example("json", ['{"a":[' + "9" * 20 + "]}"])
@given(st.sampled_from(sorted(FORMATS)), st.lists(st.lists(pieces | words, max_size=12).map("".join), max_size=5))
def test_no_line_is_too_odd_for_a_format(name: str, texts: list[str]) -> None:
    lines = [text.encode() for text in texts]
    frame = FORMATS[name].parser("x").columns(lines, now=NOW)
    assert frame["raw"].to_list() == [text_of(line)[0] for line in lines]
    assert frame["time"].null_count() == 0
    if FORMATS[name].type is LogEvent:
        with App("memory://") as app:
            app.topic("x", LogEvent, time="time").encode(FORMATS[name].parser("x").events(lines, now=NOW))
