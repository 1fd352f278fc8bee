"""Login records: what each means, and their bytes as they are in files."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.sources.login_records import LAYOUTS, Layout, LoginRecord, decode, encode, layout_of, line_of

NOW = datetime(2026, 4, 7, 12, 0, tzinfo=UTC)
TEN = datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC)
SECONDS = int(TEN.timestamp())


def record(kind: int, **fields: Any) -> LoginRecord:
    return LoginRecord(type=kind, **{"seconds": SECONDS, "microseconds": 123456, **fields})


def event(file: str, one: LoginRecord, layout: Layout = LAYOUTS["narrow"], **more: Any) -> LogEvent:
    line = line_of(file, encode(one, layout), layout, more)
    [found] = FORMATS["logins"].parser(f"/var/log/{file}").events([line], now=NOW)
    assert found.raw.encode() == line
    assert found.format == "logins"
    return found


def said(one: LogEvent) -> dict[str, Any]:
    fields = msgspec.structs.asdict(one)
    for name in ("time", "source", "raw", "fields", "format"):
        del fields[name]
    return {name: value for name, value in fields.items() if value is not None}


ANN = {"pid": 7, "line": b"pts/0", "id": b"ts/0", "user": b"ann"}
LOGIN = {"user": "ann", "host": "203.0.113.9", "address": None, "pid": 7, "session": 0}

RECORDS = [
    (
        "wtmp", record(7, **ANN, host=b"203.0.113.9", address=b"\xcb\0\x71\x09" + bytes(12)), {"decides": True},
        {"kind": Kind.LOGIN, "action": "session_opened", "success": True, "user": "ann", "terminal": "pts/0", "pid": 7,
         "session": "7", "source_ip": "203.0.113.9", "message": "ann logged in on pts/0 from 203.0.113.9"},
    ),
    (
        "wtmp", record(7, **ANN, host=b"web.example", session=5), {"decides": False},
        {"kind": Kind.LOGIN, "action": "session_opened", "user": "ann", "terminal": "pts/0", "pid": 7, "session": "5",
         "source_name": "web.example", "message": "ann logged in on pts/0 from web.example"},
    ),
    (
        "wtmp", record(7, **ANN, host=b":0"), {},
        {"kind": Kind.LOGIN, "action": "session_opened", "user": "ann", "terminal": "pts/0", "pid": 7, "session": "7",
         "message": "ann logged in on pts/0 from :0"},
    ),
    (
        "wtmp", record(8, pid=7, line=b"pts/0"), {"login": LOGIN},
        {"kind": Kind.LOGOUT, "action": "session_closed", "user": "ann", "terminal": "pts/0", "pid": 7, "session": "7",
         "source_ip": "203.0.113.9", "message": "ann logged out on pts/0 from 203.0.113.9"},
    ),
    (
        "wtmp", record(7, pid=7, line=b"pts/0"), {},
        {"kind": Kind.LOGOUT, "action": "session_closed", "terminal": "pts/0", "pid": 7, "session": "7",
         "message": "somebody logged out on pts/0"},
    ),
    (
        "btmp", record(6, pid=9, line=b"ssh:notty", user=b"eve\x1b[1m", host=b"2001:db8::7",
                       address=bytes.fromhex("20010db8000000000000000000000007")), {"decides": True},
        {"kind": Kind.LOGIN, "action": "login_failed", "success": False, "user": "eve\x1b[1m", "terminal": "ssh:notty",
         "pid": 9, "source_ip": "2001:db8::7", "message": "eve\x1b[1m failed to log in on ssh:notty from 2001:db8::7"},
    ),
    (
        "btmp", record(7, line=b"tty1", user=b"ann"), {"decides": False},
        {"kind": Kind.LOGIN, "action": "login_failed", "user": "ann", "terminal": "tty1",
         "message": "ann failed to log in on tty1"},
    ),
    (
        "wtmp", record(2, line=b"~", user=b"reboot", host=b"6.1.0-13-amd64", id=b"~~"), {},
        {"kind": Kind.SERVICE, "action": "boot", "service": "system",
         "message": "the system was started, kernel 6.1.0-13-amd64"},
    ),
    (
        "wtmp", record(1, line=b"~", user=b"shutdown", id=b"~~"), {},
        {"kind": Kind.SERVICE, "action": "shutdown", "service": "system", "message": "the system was shut down"},
    ),
    (
        "wtmp", record(1, line=b"~", user=b"runlevel", id=b"~~", pid=ord("5") + 256 * ord("N")), {},
        {"kind": Kind.SERVICE, "action": "run_level", "service": "system", "message": "run level 5, before N"},
    ),
    (
        "wtmp", record(1, line=b"~", user=b"runlevel", id=b"~~", pid=ord("0") + 256 * ord("5")), {},
        {"kind": Kind.SERVICE, "action": "shutdown", "service": "system", "message": "the system was shut down"},
    ),
    ("wtmp", record(4, line=b"|", user=b"date"), {},
     {"action": "clock_was", "message": "the clock stood here when it was set"}),
    ("wtmp", record(3, line=b"{", user=b"date"), {}, {"action": "clock_set", "message": "the clock was set to this"}),
    ("wtmp", record(6, line=b"tty1", user=b"LOGIN", pid=3), {},
     {"pid": 3, "message": "login process of LOGIN on tty1"}),
]  # fmt: skip


@pytest.mark.parametrize(("file", "one", "more", "meant"), RECORDS)
def test_record_means(file: str, one: LoginRecord, more: dict[str, Any], meant: dict[str, Any]) -> None:
    found = event(file, one, **more)
    assert said(found) == {"program": file, **meant}
    assert found.time == TEN


def test_only_a_record_that_decides_counts_as_an_attempt() -> None:
    failed = record(6, user=b"ann")
    assert [event("btmp", failed, decides=decides).success for decides in (True, False)] == [False, None]


def test_what_is_no_record_keeps_its_bytes() -> None:
    data = b"\xff" * 384
    [found] = FORMATS["logins"].parser("wtmp").events([line_of("wtmp", data, LAYOUTS["narrow"], {})], now=NOW)
    assert found.message == "a record that cannot be understood"
    assert found.time == NOW
    assert found.fields == {"login_file": "wtmp", "bytes": {"layout": "narrow", "hex": data.hex()}}


def test_bytes_that_the_fields_do_not_say_are_kept() -> None:
    layout = LAYOUTS["narrow"]
    plain = encode(record(7, **ANN), layout)
    behind_the_end = plain[:8] + b"pts/0\0old" + plain[17:]
    odd_name = encode(record(7, line=b"pts/0", user=b"caf\xe9"), layout)
    assert b'"bytes"' not in line_of("wtmp", plain, layout, {})
    for data in (behind_the_end, odd_name):
        line = msgspec.json.decode(line_of("wtmp", data, layout, {}))
        assert bytes.fromhex(line["bytes"]["hex"]) == data


texts = st.binary(max_size=32).map(lambda data: data.partition(b"\0")[0])
records = st.builds(
    LoginRecord,
    type=st.integers(0, 9), pid=st.integers(0, 2**31 - 1), line=texts, id=texts.map(lambda data: data[:4]),
    user=texts, host=texts, termination=st.integers(-9, 99), exit=st.integers(-9, 99), session=st.integers(0, 9**9),
    seconds=st.integers(700_000_000, 2**32 - 1), microseconds=st.integers(0, 999_999),
    address=st.binary(min_size=16, max_size=16),
)  # fmt: skip
layouts = st.sampled_from(sorted(LAYOUTS)).map(LAYOUTS.__getitem__)


@given(records, layouts)
def test_a_record_is_read_as_it_was_written(one: LoginRecord, layout: Layout) -> None:
    data = encode(one, layout)
    assert len(data) == layout.size == (384 if layout.name.startswith("narrow") else 400)
    assert decode(data, layout) == one
    line = msgspec.json.decode(line_of("wtmp", data, layout, {}))
    assert line["pid"] == one.pid
    assert line["user"].encode() == one.user or bytes.fromhex(line["bytes"]["hex"]) == data


@given(st.lists(records, min_size=2, max_size=20), layouts)
def test_the_layout_of_a_file_is_seen_from_its_records(found: list[LoginRecord], layout: Layout) -> None:
    ordinary = [msgspec.structs.replace(one, type=one.type or 7, address=bytes(16), session=0) for one in found]
    assert layout_of(b"".join(encode(one, layout) for one in ordinary)) == layout


@given(st.binary(max_size=1200) | st.binary(min_size=384, max_size=384), layouts, st.sampled_from(["wtmp", "btmp"]))
def test_any_bytes_become_events(data: bytes, layout: Layout, file: str) -> None:
    layout_of(data)
    pieces = [data[at : at + layout.size] for at in range(0, len(data) - layout.size + 1, layout.size)]
    lines = [line_of(file, piece, layout, {}) for piece in pieces]
    assert len(FORMATS["logins"].parser(file).events(lines, now=NOW)) == len(lines)


def test_empty_records_are_of_any_layout() -> None:
    # Found by Hypothesis: with microseconds these two look like one record of the wide layout.
    empty = [record(0, seconds=700_000_000, microseconds=38), record(0, seconds=700_000_000, microseconds=0)]
    assert layout_of(b"".join(encode(one, LAYOUTS["narrow-big"]) for one in empty)) is None


def test_the_narrow_layout_is_that_of_the_documentation() -> None:
    # utmp(5): ut_user begins at byte 44, ut_host at 76, the seconds at 340.
    data = encode(record(7, **ANN, host=b"web"), LAYOUTS["narrow"])
    assert (data[44:47], data[76:79]) == (b"ann", b"web")
    assert struct.unpack_from("<I", data, 340) == (SECONDS,)
