"""The slow query log and the general log of MySQL and its kin."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.parsers.choose import choose_format
from millstream.parsers.databases import mysql_reader
from millstream.parsers.event_parser import EventParser
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import LogEvent
from millstream.parsers.slow_queries import slow_query_reader
from millstream.sources.multiline import Multiline

NOW = datetime(2026, 3, 7, 12, tzinfo=UTC)
HEADER = """\
/usr/sbin/mysqld, Version: 8.0.43 ((Ubuntu)). started with:
Tcp port: 3306  Unix socket: /var/run/mysqld/mysqld.sock
Time                 Id Command    Argument
"""
MYSQL = f"""\
{HEADER}# Time: 2026-03-01T10:00:00.123456Z
# User@Host: ann[ann] @ web.example [10.0.0.1]  Id:     8
# Query_time: 2.500000  Lock_time: 0.000100 Rows_sent: 1  Rows_examined: 90000
use shop;
SET timestamp=1772359197;
SELECT * FROM orders
# a comment of the statement's own
WHERE paid = 0;
# Time: 2026-03-01T10:00:01.123456Z
# User@Host: [root] @ localhost []  Id:     9
# Query_time: 11.000000  Lock_time: 0.000000 Rows_sent: 0  Rows_examined: 0
SET timestamp=1772359190;
# administrator command: Quit;
"""
MARIADB = """\
# Time: 260301 11:00:00
# User@Host: ann[ann] @ localhost []
# Thread_id: 8  Schema: shop  QC_hit: No
# Query_time: 2.500000  Lock_time: 0.000100  Rows_sent: 1  Rows_examined: 90000
# Rows_affected: 0  Bytes_sent: 64
# explain: id	select_type	table
# explain: 1	SIMPLE	orders
SET timestamp=1772359200;
SELECT 1;
# User@Host: eve[eve] @  [2001:db8::9]
# Thread_id: 9  Schema:   QC_hit: No
# Query_time: 3.000000  Lock_time: 0.000000  Rows_sent: 0  Rows_examined: 0
SET timestamp=1772359201;
SELECT 2;
"""
GENERAL = (
    HEADER + "260301 11:00:00\t    8 Connect\tann@10.0.0.1 on shop using TCP/IP\n"
    "\t\t    8 Query\tSELECT 1,\n  2\n260301 11:00:01\t    8 Quit\t\n"
)


def entries(text: str) -> list[bytes]:
    found, _ = Multiline(preset="mysql").splitter()(text.encode(), True)
    return found


def events(name: str, lines: list[bytes]) -> list[LogEvent]:
    parser = FORMATS[name].parser("x")
    assert isinstance(parser, EventParser)
    return parser.events(lines, now=NOW)


def test_an_entry_of_mysql_is_one_event() -> None:
    assert choose_format(entries(MYSQL)) == "mysql_slow"
    *header, slow, command = events("mysql_slow", entries(MYSQL))
    assert [event.program for event in header] == ["mysqld"] * 3
    assert slow.time == datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC)
    assert slow.message == "SELECT * FROM orders\n# a comment of the statement's own\nWHERE paid = 0"
    assert (slow.user, slow.source_ip, slow.source_name) == ("ann", "10.0.0.1", "web.example")
    assert slow.fields == {
        "thread": "8", "query_time_s": 2.5, "lock_time_s": 0.0001, "rows_sent": 1, "rows_examined": 90000,
        "database": "shop",
    }  # fmt: skip
    assert (command.user, command.source_name, command.message) == ("root", "localhost", "administrator command: Quit")


def test_an_entry_of_mariadb_has_the_time_of_its_statement() -> None:
    one, two = events("mysql_slow", entries(MARIADB))
    assert one.time == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert one.fields == {
        "thread": "8", "database": "shop", "qc_hit": "No", "query_time_s": 2.5, "lock_time_s": 0.0001, "rows_sent": 1,
        "rows_examined": 90000, "rows_affected": 0, "bytes_sent": 64,
        "explain": "id\tselect_type\ttable\n1\tSIMPLE\torders",
    }  # fmt: skip
    assert (two.time, two.user, two.source_ip) == (datetime(2026, 3, 1, 10, 0, 1, tzinfo=UTC), "eve", "2001:db8::9")
    assert two.fields is not None
    assert two.fields["thread"] == "9"


def test_a_local_time_counts_where_there_is_no_other() -> None:
    said = slow_query_reader(ZoneInfo("Europe/Berlin"))("# Time: 260301 11:00:00\n# User@Host: a[a] @ b []", NOW)
    assert said is not None
    assert said["time"] == datetime(2026, 3, 1, 10, tzinfo=UTC)


def test_an_event_is_read_again_from_its_raw() -> None:
    for event in events("mysql_slow", entries(MYSQL + MARIADB))[3:]:
        assert events("mysql_slow", [event.raw.encode()]) == [event]


def test_lines_by_themselves_say_what_they_say() -> None:
    lines = MYSQL.encode().splitlines()
    assert choose_format(lines) == "mysql_slow"
    found = events("mysql_slow", lines)
    assert [event.raw for event in found] == MYSQL.splitlines()
    assert found[4].user == "ann"
    assert found[5].fields == {"query_time_s": 2.5, "lock_time_s": 0.0001, "rows_sent": 1, "rows_examined": 90000}


@pytest.mark.parametrize("line", ["# a comment", "# Time: soon", "SET x=1;", "SELECT 1;", "use shop;", "# Host: a"])
def test_other_lines_are_not_of_a_slow_log(line: str) -> None:
    assert slow_query_reader()(line, NOW) is None


def test_a_statement_of_several_lines_in_the_general_log_is_one_event() -> None:
    found = entries(GENERAL)
    assert choose_format(found) == "mysql"
    *_, connect, query, quit_ = events("mysql", found)
    assert (connect.action, connect.user, connect.source_ip) == ("login", "ann", "10.0.0.1")
    assert (query.message, query.time) == ("Query SELECT 1,\n  2", connect.time)
    assert quit_.message == "Quit"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("CONNECT,shop,,0", {"action": "login", "success": True}),
        ("FAILED_CONNECT,,,1045", {"action": "login_failed", "success": False}),
        ("DISCONNECT,shop,,0", {"action": "session_closed", "success": None}),
        ("QUERY,shop,'SELECT a, b FROM c',0", {"action": None, "message": "QUERY SELECT a, b FROM c"}),
    ],
)
def test_the_audit_log_of_mariadb_says_who_logged_in(line: str, said: dict[str, object]) -> None:
    full = f"20260301 10:00:00,db1,ann,10.0.0.1,8,12,{line}"
    assert choose_format([full.encode()]) == "mysql"
    found = mysql_reader(UTC)(full, NOW)
    event = LogEvent(**{"source": "x", "message": "", **found})
    assert (event.time, event.host) == (datetime(2026, 3, 1, 10, tzinfo=UTC), "db1")
    assert (event.user, event.source_ip) == ("ann", "10.0.0.1")
    assert {name: getattr(event, name) for name in said} == said


words = st.text(st.sampled_from("abcxyz019"), min_size=1, max_size=8)
statements = st.lists(st.text(st.sampled_from("abc ,='\"(#;\t"), max_size=12), min_size=1, max_size=4).map("\n".join)


@given(
    st.datetimes(datetime.fromisoformat("2001-09-09"), datetime.fromisoformat("2060-01-01"), timezones=st.just(UTC)),
    words,
    st.ip_addresses().map(str),
    st.integers(0, 10**9),
    st.integers(0, 10**12),
    statements.map(lambda text: f"SELECT {text.strip()}1"),
)
def test_what_is_written_is_read(
    moment: datetime, user: str, address: str, micros: int, rows: int, statement: str
) -> None:
    text = (
        f"# Time: {moment:%Y-%m-%dT%H:%M:%S.%f}Z\n# User@Host: {user}[{user}] @  [{address}]  Id: {rows}\n"
        f"# Query_time: {micros / 10**6:.6f}  Lock_time: 0.000000 Rows_sent: {rows}  Rows_examined: 0\n"
        f"SET timestamp=1772359197;\n{statement};"
    )
    (event,) = events("mysql_slow", [text.encode()])
    assert (event.time, event.user, event.source_ip, event.message) == (moment, user, address, statement)
    assert event.fields is not None
    assert event.fields["query_time_s"] == pytest.approx(micros / 10**6)
    assert (event.fields["rows_sent"], event.fields["thread"]) == (rows, str(rows))
    frame = FORMATS["mysql_slow"].parser("x").columns([text.encode()], now=NOW)
    assert frame.row(0, named=True) == msgspec.structs.asdict(event) | {
        "fields": msgspec.json.encode(event.fields).decode()
    }


@pytest.mark.parametrize("piece", [" ", "\u2028", "A", "A: ", "a: 1 "])
def test_a_long_line_takes_no_time_that_grows_with_its_square(piece: str) -> None:
    started = time.process_time()
    slow_query_reader()(f"# Query_time: 2.5  {piece * 300_000}", NOW)
    assert time.process_time() - started < 5, "a square of it is minutes, a multiple milliseconds"
