"""Lines of text logs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from millstream.parsers.log_lines import LogParser
from millstream.parsers.syslog import LineParser
from millstream.parsers.system_event import Severity, SystemEvent

NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)


def parse(line: str | bytes, *, now: datetime = NOW, program: str | None = None) -> SystemEvent:
    data = line.encode() if isinstance(line, str) else line
    return LineParser("/var/log/x.log", program=program, zone=UTC).parse(data, now=now)


def test_a_traditional_line_is_time_host_program_pid_and_message() -> None:
    line = "Feb  2 14:10:21 sd-126005 sshd[16378]: Invalid user pascal from 35.188.49.176 port 53502"
    assert parse(line) == SystemEvent(
        time=datetime(2026, 2, 2, 14, 10, 21, tzinfo=UTC),
        source="/var/log/x.log",
        host="sd-126005",
        program="sshd",
        pid=16378,
        message="Invalid user pascal from 35.188.49.176 port 53502",
        raw=line,
    )


def test_an_iso_time_keeps_its_zone_and_microseconds() -> None:
    event = parse("2026-02-12T00:20:42.738197+01:00 myserver CRON[77]: (root) CMD (true)")
    assert event.time == datetime(2026, 2, 11, 23, 20, 42, 738197, tzinfo=UTC)
    assert (event.host, event.program, event.pid, event.message) == ("myserver", "CRON", 77, "(root) CMD (true)")


def test_an_rfc_5424_line_gives_up_its_header_and_severity() -> None:
    line = '<165>1 2026-02-12T22:14:15.003Z web1 evntslog 8710 ID47 [x@1 iut="3" say="a \\"]\\" b"][y@1] \ufeffAn event'
    event = parse(line)
    assert event.time == datetime(2026, 2, 12, 22, 14, 15, 3000, tzinfo=UTC)
    assert (event.host, event.program, event.pid) == ("web1", "evntslog", 8710)
    assert (event.severity, event.message, event.raw) == (Severity.NOTICE, "An event", line)


def test_rfc_5424_nil_values_are_absent() -> None:
    event = parse("<34>1 - - - - - - only a message")
    assert (event.time, event.host, event.program, event.pid) == (NOW, None, None, None)
    assert (event.severity, event.message) == (Severity.CRIT, "only a message")


@pytest.mark.parametrize(("level", "severity"), list(enumerate(Severity)))
def test_the_priority_gives_the_severity(level: int, severity: Severity) -> None:
    assert parse(f"<{8 * 3 + level}>Feb 12 14:10:21 host app: x").severity is severity


@pytest.mark.parametrize(
    ("line", "program", "message"),
    [
        (
            "2026-02-12 14:10:21 status installed libc-bin:amd64 2.36-9",
            "dpkg",
            "status installed libc-bin:amd64 2.36-9",
        ),
        ("update-alternatives 2026-02-12 14:10:21: run with --quiet", "update-alternatives", "run with --quiet"),
        ("[2026-02-12T14:10:21+0000] [ALPM] upgraded bash", "dpkg", "[ALPM] upgraded bash"),
        ("Start-Date: 2026-02-12  14:10:21", "dpkg", "Start-Date: 2026-02-12  14:10:21"),
    ],
)
def test_lines_of_programs_with_a_file_of_their_own(line: str, program: str, message: str) -> None:
    event = parse(line, program="dpkg")
    assert event.time == datetime(2026, 2, 12, 14, 10, 21, tzinfo=UTC)
    assert (event.program, event.message, event.raw) == (program, message, line)


def test_a_dated_line_may_say_its_level() -> None:
    event = parse("2026-02-12 14:10:21,123 WARNING Could not figure out development release")
    assert event.time == datetime(2026, 2, 12, 14, 10, 21, 123000, tzinfo=UTC)
    assert event.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("message", "severity"),
    [
        ("error: kex_exchange_identification: Connection closed", Severity.ERR),
        ("[warn] slow", Severity.WARNING),
        ("FATAL out of memory", Severity.CRIT),
        ("Error handling was improved", None),
        ("information: none of ours", None),
        ("alert the press", None),
    ],
)
def test_a_severity_is_taken_from_the_first_word_only_where_it_is_marked_as_one(
    message: str, severity: Severity | None
) -> None:
    assert parse(f"Feb 12 14:10:21 host app[1]: {message}").severity is severity


def test_a_message_without_a_tag_has_no_program() -> None:
    event = parse("Nov  3 09:23:38 veridian lookup for opt failed")
    assert (event.host, event.program, event.message) == ("veridian", None, "lookup for opt failed")


@pytest.mark.parametrize(
    "line", ["", "Header1: abc", "Feb 31 14:10:21 host app: x", "Foo 12 14:10:21 host app: x", "2026-13-45 14:10:21 x"]
)
def test_a_line_of_no_known_shape_is_a_message_at_the_time_of_its_reading(line: str) -> None:
    event = parse(line)
    assert (event.time, event.message, event.raw, event.program) == (NOW, line, line, None)


def test_a_line_without_a_time_has_that_of_the_line_before_it() -> None:
    parser = LineParser("/var/log/apt/history.log", program="apt", zone=UTC)
    times = [
        parser.parse(line, now=NOW + timedelta(hours=i)).time
        for i, line in enumerate([b"Start-Date: 2026-02-12  14:10:21", b"Commandline: apt upgrade", b"Upgrade: x"])
    ]
    assert times == [datetime(2026, 2, 12, 14, 10, 21, tzinfo=UTC)] * 3


def test_lines_of_a_file_without_any_time_each_have_that_of_their_reading() -> None:
    parser = LineParser("/var/log/plain.log")
    later = NOW + timedelta(hours=1)
    assert [parser.parse(b"a", now=NOW).time, parser.parse(b"b", now=later).time] == [NOW, later]


@pytest.mark.parametrize(
    ("now", "line", "year"),
    [
        (datetime(2026, 1, 1, 0, 5, tzinfo=UTC), "Dec 31 23:59:59", 2025),
        (datetime(2026, 1, 1, 0, 5, tzinfo=UTC), "Jan  1 00:00:01", 2026),
        (datetime(2025, 12, 31, 23, 59, tzinfo=UTC), "Jan  1 00:30:00", 2026),  # a clock that runs ahead
        (datetime(2026, 5, 20, tzinfo=UTC), "May 22 00:00:00", 2025),
        (datetime(2026, 5, 20, tzinfo=UTC), "Feb 29 00:00:00", 2024),
        (datetime(2103, 5, 20, tzinfo=UTC), "Feb 29 00:00:00", 2096),  # 2100 is no leap year
    ],
)
def test_the_year_is_the_last_one_that_is_not_in_the_future(now: datetime, line: str, year: int) -> None:
    assert parse(f"{line} host app: x", now=now).time.year == year


def test_a_time_without_a_zone_is_local_time_with_its_summer_time() -> None:
    parser = LineParser("x", zone=ZoneInfo("Europe/Berlin"))
    assert parser.parse(b"Jan 10 12:00:00 h a: x", now=NOW).time == datetime(2026, 1, 10, 11, tzinfo=UTC)
    assert parser.parse(b"May 10 12:00:00 h a: x", now=NOW).time == datetime(2026, 5, 10, 10, tzinfo=UTC)


def test_times_are_utc_whatever_the_clock_is_in() -> None:
    now = NOW.astimezone(timezone(timedelta(hours=5)))
    assert parse("plain", now=now).time.utcoffset() == timedelta(0)


def test_a_line_that_is_not_utf_8_keeps_its_bytes_and_can_be_read() -> None:
    line = b"Feb 12 14:10:21 host app[1]: caf\xe9 \xff"
    event = parse(line)
    assert event.message == "caf\\xe9 \\xff"
    assert event.raw == "Feb 12 14:10:21 host app[1]: caf\\xe9 \\xff"
    assert event.raw_bytes == line


def test_hostile_lines_take_no_time() -> None:
    # Each would take minutes with a pattern that backtracks.
    for line in (
        "<1>1 2026-02-12T22:14:15Z h p 1 m [" + '"' * 50_000,
        "a" * 100_000,
        "Feb 12 14:10:21 h " + "(" * 50_000,
    ):
        assert parse(line).raw == line


@pytest.mark.parametrize("pid", ["9" * 30, "9" * 5000, "\u0663", "x7"])
def test_process_that_is_no_number_of_one_is_none(pid: str) -> None:
    line = f"<38>1 2026-02-12T14:10:21Z web sshd {pid} - - hello"
    assert (parse(line).pid, parse(line).message) == (None, "hello")
    assert LogParser("x").columns([line.encode()], now=NOW)["pid"].to_list() == [None]
