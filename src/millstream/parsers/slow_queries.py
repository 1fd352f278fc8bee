r"""The slow query log of MySQL, MariaDB and Percona: an entry is several lines.

    # Time: 2026-03-01T10:00:00.123456Z
    # User@Host: ann[ann] @ web.example [10.0.0.1]  Id:     8
    # Query_time: 2.500000  Lock_time: 0.000100  Rows_sent: 1  Rows_examined: 90000
    use shop;
    SET timestamp=1772359197;
    SELECT * FROM orders
    WHERE paid = 0;

| of the event | where it is |
|---|---|
| time | `# Time:` where it names its zone (MySQL from 5.7 on), else `SET timestamp=`, else `# Time:` as local time |
| user, source_ip, source_name | `# User@Host:` |
| message | the statement, its lines with their ends between them |
| fields | `query_time_s`, `lock_time_s`, `rows_sent`, `rows_examined`, `thread`, `database`, ...: all lines with `#` |

MariaDB leaves out `# Time:` where it is that of the entry before, and writes `# Thread_id: 8  Schema: shop`. A line
by itself, as it comes where nothing puts the lines together, says what it says.

Source: dev.mysql.com/doc/refman/8.4/en/slow-query-log.html; mariadb.com/kb/en/slow-query-log-extended-statistics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from millstream.parsers.event_parser import ReadLine
from millstream.parsers.named import FIELDS_MAX
from millstream.parsers.times import parse_time, since_1970

_TIME: Final = re.compile(r"# Time: (?P<time>.{15,40})")
_HAS_ZONE: Final = re.compile(r".*(?:Z|[+-]\d\d:\d\d)")
_USER: Final = re.compile(
    r"# User@Host: (?P<user>[^\[\]]{0,100})\[(?P<account>[^\[\]]{0,100})\] @ (?P<host>[^\s\[\]]{0,255}) ?"
    r"\[(?P<address>[0-9a-fA-F:.]{0,60})\](?:\s{1,20}Id:\s{1,20}(?P<thread>\d{1,20}))?\s*"
)
_VALUES: Final = re.compile(
    r"#\s{1,2}(?=(?:Query_time|Thread_id|Schema|Rows_affected|Bytes_sent|Tmp_tables?|Full_scan|Filesort|QC_[hH]it|InnoDB_\w{1,40}"
    r"|Priority_queue|Stored_routine|Pages_accessed|Log_slow_rate_type|Profile_\w{1,40}): )(?P<values>.*)"
)
_VALUE: Final = re.compile(r"(?P<name>[A-Z][A-Za-z_]{1,60}):\s{1,4}(?P<value>\S{1,200})")
_USE: Final = re.compile(r"use (?P<database>[^;]{1,200});\s*")
_TIMESTAMP: Final = re.compile(r"SET timestamp=(?P<seconds>\d{9,11})(?:\.\d{1,6})?;\s*")
_ADMINISTRATOR: Final = re.compile(r"# (?P<message>administrator command: .{1,200}?);?\s*")
_EXPLAIN: Final = re.compile(r"# explain: (?P<plan>.*)", re.DOTALL)
_HEADER: Final = re.compile(
    r"(?:\S{1,200}, Version: .{1,200} started with:|Tcp port: .{1,300}|Time {3,40}Id Command .*)\s*"
)
_NAMES: Final = {"query_time": "query_time_s", "lock_time": "lock_time_s", "thread_id": "thread", "schema": "database"}
_TEXTS: Final = frozenset({"thread", "database"})
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,9})?", re.ASCII)


def slow_query_reader(zone: tzinfo | None = None) -> ReadLine:
    """Return what reads one entry, or one line of one; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        if _HEADER.fullmatch(text) is not None:
            return {"message": text.strip(), "program": "mysqld"}
        entry = _Entry()
        lines = text.split("\n")
        statement = next((n for n, line in enumerate(lines) if not entry.take(line.rstrip("\r"))), len(lines))
        if not entry.is_one:
            return None
        message = "\n".join(line.rstrip("\r") for line in lines[statement:]).strip().removesuffix(";")
        return entry.said(message or text.strip(), now, zone)

    return read


class _Entry:
    """What the lines in front of a statement say."""

    def __init__(self) -> None:
        self.is_one = False
        self._time = self._message = ""
        self._seconds: str | None = None
        self._user: str | None = None
        self._address: tuple[str | None, str | None] = (None, None)
        self._fields: dict[str, Any] = {}

    def take(self, line: str) -> bool:
        """Take a line; False for one of the statement."""
        if not line.startswith(("# ", "use ", "SET ")):
            return False
        if match := _TIME.fullmatch(line):
            self._time = match["time"].strip()
        elif match := _USER.fullmatch(line):
            self._take_user(match)
        elif match := _TIMESTAMP.fullmatch(line):
            self._seconds = match["seconds"]
        elif match := _ADMINISTRATOR.fullmatch(line):
            self._message = match["message"]
        elif match := _EXPLAIN.fullmatch(line):
            self._fields["explain"] = "\n".join(filter(None, (self._fields.get("explain"), match["plan"])))
        elif match := _VALUES.fullmatch(line):
            self._take_values(match["values"])
        elif self.is_one and (match := _USE.fullmatch(line)):
            self._fields["database"] = match["database"].strip("`")
        else:
            return False
        self.is_one = True
        return True

    def said(self, message: str, now: datetime, zone: tzinfo | None) -> dict[str, Any]:
        """Return the fields of an event."""
        time = parse_time(self._time, now=now, zone=zone) if self._time else None
        if self._seconds is not None and (time is None or _HAS_ZONE.fullmatch(self._time) is None):
            time = since_1970(self._seconds)
        address, name = self._address
        return {
            "time": time,
            "program": "mysqld",
            "message": self._message or message,
            "user": self._user,
            "source_ip": address,
            "source_name": name,
            "fields": self._fields or None,
        }

    def _take_user(self, match: re.Match[str]) -> None:
        self._user = match["account"] or match["user"] or None
        self._address = (match["address"] or None, match["host"] or None)
        if match["thread"]:
            self._fields["thread"] = match["thread"]

    def _take_values(self, text: str) -> None:
        for match in _VALUE.finditer(text):
            name, value = match["name"].lower(), match["value"]
            name = _NAMES.get(name, name)
            if len(self._fields) >= FIELDS_MAX:
                return
            self._fields[name] = value if name in _TEXTS else _number(value)


def _number(text: str) -> float | str:
    if _NUMBER.fullmatch(text) is None:
        return text
    return float(text) if "." in text else int(text)
