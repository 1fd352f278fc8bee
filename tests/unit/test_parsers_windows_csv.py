"""Rows that the Event Viewer of Windows saved as CSV."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.parsers.choose import choose_format
from millstream.parsers.event_parser import EventParser
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.parsers.windows_csv import windows_csv_reader
from millstream.sources.multiline import Multiline

NOW = datetime(2026, 3, 7, 12, tzinfo=UTC)
TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)


def as_saved(text: str) -> str:
    return text.replace("\n", "\r\n").replace("SECURITY", "Microsoft-Windows-Security-Auditing")


HEAD = as_saved("""\
\ufeffKeywords,Date and Time,Source,Event ID,Task Category
""")
FAILED = as_saved("""\
Audit Failure,3/1/2026 10:00:00 AM,SECURITY,4625,Logon,"An account failed to log on.

Subject:
\tSecurity ID:\t\tNULL SID
\tAccount Name:\t\t-

Logon Type:\t\t\t3

Account For Which Logon Failed:
\tSecurity ID:\t\tNULL SID
\tAccount Name:\t\tann
\tAccount Domain:\t\tCORP

Failure Information:
\tFailure Reason:\t\tUnknown user name or bad password.
\tStatus:\t\t\t0xC000006D
\tSub Status:\t\t0xC000006A

Network Information:
\tWorkstation Name:\tPC, ""2""
\tSource Network Address:\t203.0.113.9
\tSource Port:\t\t4000"
""")
LOGON = as_saved("""\
Audit Success,3/1/2026 10:00:00 AM,Microsoft Windows security auditing.,4624,Logon,"An account was logged on.

Subject:
\tAccount Name:\t\tPC$

Logon Information:
\tLogon Type:\t\t10

New Logon:
\tSecurity ID:\t\tCORP\ann
\tAccount Name:\t\tann
\tLogon ID:\t\t0x1F

Network Information:
\tSource Network Address:\t203.0.113.9"
""")
CREATED = as_saved("""\
Audit Success,3/1/2026 10:00:00 AM,SECURITY,4720,User Account Management,"A user account was created.

Subject:
\tAccount Name:\t\tann

New Account:
\tAccount Name:\t\teve"
""")
CLOSED = as_saved("""\
Audit Success,3/1/2026 10:00:00 AM,SECURITY,4634,Logoff,"An account was logged off.

Subject:
\tAccount Name:\t\tann
\tLogon ID:\t\t0x1F"
""")
PLAIN = as_saved("""\
Warning,01.03.2026 10:00:00,Service Control Manager,7000,None,The X service failed to start.
""")


def rows(text: str) -> list[bytes]:
    found, _ = Multiline(preset="windows_csv").splitter()(text.encode(), True)
    return found


def events(lines: list[bytes]) -> list[LogEvent]:
    return EventParser("x", windows_csv_reader(UTC), format="windows_csv").events(lines, now=NOW)


def test_rows_with_lines_of_their_own_are_events() -> None:
    lines = rows(HEAD + FAILED + LOGON + CREATED + CLOSED + PLAIN)
    assert len(lines) == 6
    assert choose_format(lines) == "windows_csv"
    head, failed, logon, created, closed, plain = events(lines)
    assert "Keywords," in head.message
    assert {event.time for event in (failed, logon, created, closed, plain)} == {TEN}
    assert (failed.kind, failed.action, failed.success, failed.user) == (Kind.LOGIN, "login_failed", False, "ann")
    assert (failed.source_ip, failed.source_port, failed.source_name) == ("203.0.113.9", 4000, 'PC, "2"')
    assert failed.method == "network"
    assert failed.fields is not None
    assert (failed.fields["reason"], failed.fields["category"], failed.fields["event_id"]) == (
        "wrong password",
        "Logon",
        4625,
    )
    assert failed.message.splitlines()[0] == "An account failed to log on."
    assert (logon.action, logon.user, logon.method, logon.session) == ("login", "ann", "remote_interactive", "0x1F")
    assert (created.kind, created.action, created.user, created.target_user) == (
        Kind.ACCOUNT,
        "user_added",
        "ann",
        "eve",
    )
    assert (closed.action, closed.user, closed.session) == ("session_closed", "ann", "0x1F")
    assert (plain.message, plain.severity, plain.program) == (
        "The X service failed to start.",
        "warning",
        "Service Control Manager",
    )


def test_a_row_is_read_again_from_its_raw() -> None:
    for event in events(rows(HEAD + FAILED + LOGON)):
        assert events([event.raw.encode()]) == [event]


@pytest.mark.parametrize(
    "line", ["", "a,b,c,4,d", "Level,Date and Time", "Warning,soon enough,X,7,None,x", "a,3/1/2026 10:00:00 AM,b,c,d,e"]
)
def test_what_is_no_row_is_none(line: str) -> None:
    assert windows_csv_reader()(line, NOW) is None


texts = st.text(st.sampled_from('ab ,"\n\t:Subject'), max_size=60)


@given(
    st.sampled_from(["Information", "Warning", "Error", "Critical", "Verbose"]),
    st.datetimes(datetime.fromisoformat("2001-01-01"), datetime.fromisoformat("2060-01-01"), timezones=st.just(UTC)),
    st.text(st.sampled_from("abc -"), min_size=1, max_size=20).map(lambda text: f"a{text}"),
    st.integers(0, 65535),
    texts,
)
def test_what_is_written_is_read(level: str, time: datetime, source: str, number: int, message: str) -> None:
    text = io.StringIO()
    when = time.strftime("%m/%d/%Y %I:%M:%S %p")
    csv.writer(text, lineterminator="").writerow([level, when, source, number, "None", message])
    [event] = events([text.getvalue().encode()])
    said: Any = (event.time, event.program, event.message)
    assert said == (time.replace(microsecond=0), source, message.strip() or event.message)
    assert event.fields is not None
    assert event.fields["event_id"] == number


def test_the_format_is_named() -> None:
    assert FORMATS["windows_csv"].parser("x").fits(FAILED.encode(), now=NOW)
