"""Logs of PostgreSQL, MySQL and MariaDB.

| written by | example |
|---|---|
| PostgreSQL | `2026-03-01 10:00:00.123 UTC [7] ann@shop FATAL:  password authentication failed for user "ann"` |
| MySQL 8 | `2026-03-01T10:00:00.123456Z 8 [Note] [MY-010926] [Server] Access denied for user 'ann'@'10.0.0.1' ...` |
| MySQL's general log | `2026-03-01T10:00:00.123456Z	    8 Connect	ann@10.0.0.1 on shop using TCP/IP` |
| the same of MariaDB, MySQL before 5.7 | `260301 10:00:00	    8 Query	SELECT 1`, without a time in the same second |
| MariaDB | `2026-03-01 10:00:00 8 [Warning] Access denied for user 'ann'@'10.0.0.1' (using password: YES)` |
| MariaDB's audit plugin | `20260301 10:00:00,web,ann,10.0.0.1,8,0,FAILED_CONNECT,,,1045` |

A refused login is a `login` with `success` false. What follows a line of PostgreSQL (DETAIL, STATEMENT, more lines)
comes as events of its own. The slow query log has a parser of its own: `slow_queries`.

Source: postgresql.org/docs/current/runtime-config-logging.html; dev.mysql.com/doc/refman/8.4/en/error-log-format.html;
mariadb.com/kb/en/general-query-log, .../mariadb-audit-plugin-log-format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from millstream.parsers.levels import severity_from
from millstream.parsers.log_event import Kind
from millstream.parsers.times import parse_time

_POSTGRES: Final = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,6})?(?: (?:[A-Z]{1,5}|[+-]\d\d(?::?\d\d)?))?) "
    r"\[(?P<pid>\d{1,10})(?:-\d{1,10})?\] (?P<prefix>(?:(?:[^ ]{1,256} ){0,4}?))"
    r"(?P<level>[A-Z]{3,9}\d?): {1,2}(?P<message>.*)",
    re.DOTALL,
)
_WHO: Final = re.compile(r"(?:user=)?(?P<user>[^@,\s]{1,128})(?:@|,db=)(?P<database>[^@,\s]{1,128})")
_POSTGRES_LEVELS: Final = frozenset(
    {
        "DEBUG",
        "INFO",
        "NOTICE",
        "WARNING",
        "ERROR",
        "LOG",
        "FATAL",
        "PANIC",
        "DETAIL",
        "HINT",
        "CONTEXT",
        "STATEMENT",
        "QUERY",
    }
)
_POSTGRES_LOGIN: Final = re.compile(
    r'(?:\w+ authentication failed for user "(?P<failed>[^"]*)"|connection authorized: user=(?P<opened>[^ ]+).*'
    r'|no pg_hba\.conf entry for host "(?P<address>[^"]*)", user "(?P<refused>[^"]*)".*'
    r"|disconnection: session time: .* user=(?P<closed>[^ ]+).*)",
    re.DOTALL,
)
_MYSQL: Final = re.compile(
    r"(?P<time>\d{4}-\d\d-\d\d[T ] ?\d{1,2}:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)?) (?P<thread>\d{1,20}) "
    r"\[(?P<level>[A-Za-z]{4,7})\] (?:\[(?P<code>MY-\d{1,8})\] )?(?:\[(?P<part>\w{1,32})\] )?(?P<message>.*)",
    re.DOTALL,
)
_MYSQL_GENERAL: Final = re.compile(
    r"(?:(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)|\d{6} [ \d]\d:\d\d:\d\d)|\t)\t"
    r" {0,20}(?P<thread>\d{1,20}) (?P<command>[A-Z][A-Za-z ]{1,30})(?:\t(?P<message>.*))?",
    re.DOTALL,
)
_MARIADB_AUDIT: Final = re.compile(
    r"(?P<time>\d{8} \d\d:\d\d:\d\d),(?P<server>[^,]{0,255}),(?P<user>[^,]{0,255}),(?P<host>[^,]{0,255}),"
    r"(?P<thread>\d{1,20}),(?P<query>\d{1,20}),(?P<operation>[A-Z_]{3,40}),(?P<database>[^,]{0,255}),"
    r"(?P<message>.*),(?P<code>\d{0,10})",
    re.DOTALL,
)
_MYSQL_CONNECT: Final = re.compile(r"(?P<user>[^@]{0,100})@(?P<host>[^ ]{1,255}) (?:as .*? )?on .* using .*", re.DOTALL)
_MYSQL_LOGIN: Final = re.compile(r"Access denied for user '(?P<user>[^']*)'@'(?P<host>[^']*)'.*", re.DOTALL)
_QUOTE: Final = "'"
_ADDRESS: Final = re.compile(r"[0-9.]+|[0-9a-fA-F:]*:[0-9a-fA-F:.]*")


def postgres_reader(zone: tzinfo | None = None) -> Any:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        match = _POSTGRES.fullmatch(text)
        if match is None or match["level"].rstrip("12345") not in _POSTGRES_LEVELS:
            return None
        who = _WHO.search(match["prefix"])
        said: dict[str, Any] = {
            "time": parse_time(match["time"], now=now, zone=zone),
            "program": "postgres",
            "pid": int(match["pid"]),
            "severity": severity_from(match["level"]),
            "message": match["message"].strip(),
            "user": who["user"] if who else None,
            "fields": {"level": match["level"], **({"database": who["database"]} if who else {})},
        }
        login = _POSTGRES_LOGIN.fullmatch(said["message"])
        return said if login is None else said | _postgres_login(login)

    return read


def _postgres_login(match: re.Match[str]) -> dict[str, Any]:
    if match["closed"]:
        return {"kind": Kind.LOGOUT, "action": "session_closed", "user": match["closed"]}
    if match["opened"]:
        return {"kind": Kind.LOGIN, "action": "login", "success": True, "user": match["opened"]}
    said = {"kind": Kind.LOGIN, "action": "login_failed", "success": False, "user": match["failed"] or match["refused"]}
    return said | ({"source_ip": match["address"]} if match["address"] else {})


def mysql_reader(zone: tzinfo | None = None) -> Any:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        match = _MYSQL.fullmatch(text)
        if match is None:
            return _mysql_general(text, now, zone) or _mariadb_audit(text, now, zone)
        fields = {name: match[name] for name in ("thread", "code", "part") if match[name]}
        said: dict[str, Any] = {
            "time": parse_time(match["time"], now=now, zone=zone),
            "program": "mysqld",
            "severity": severity_from(match["level"]),
            "message": match["message"].strip(),
            "fields": fields,
        }
        login = _MYSQL_LOGIN.fullmatch(said["message"])
        return said if login is None else said | _mysql_login(login, success=False)

    return read


def _mysql_login(login: re.Match[str], *, success: bool) -> dict[str, Any]:
    return {
        "kind": Kind.LOGIN,
        "action": "login" if success else "login_failed",
        "success": success,
        "user": login["user"] or None,
        "source_ip" if _ADDRESS.fullmatch(login["host"]) else "source_name": login["host"],
    }


def _mysql_general(text: str, now: datetime, zone: tzinfo | None) -> dict[str, Any] | None:
    match = _MYSQL_GENERAL.fullmatch(text)
    if match is None:
        return None
    said: dict[str, Any] = {
        "time": parse_time(match["time"], now=now, zone=zone),
        "program": "mysqld",
        "message": f"{match['command']} {match['message'] or ''}".strip(),
        "fields": {"thread": match["thread"], "command": match["command"]},
    }
    if match["command"] != "Connect":
        return said
    opened, refused = (shape.fullmatch(match["message"] or "") for shape in (_MYSQL_CONNECT, _MYSQL_LOGIN))
    if refused is not None:
        return said | _mysql_login(refused, success=False)
    return said if opened is None else said | _mysql_login(opened, success=True)


def _mariadb_audit(text: str, now: datetime, zone: tzinfo | None) -> dict[str, Any] | None:
    match = _MARIADB_AUDIT.fullmatch(text)
    if match is None:
        return None
    operation, quoted = match["operation"], match["message"]
    names = ("thread", "query", "database", "code")
    said: dict[str, Any] = {
        "time": parse_time(match["time"], now=now, zone=zone),
        "program": "mariadbd",
        "host": match["server"] or None,
        "message": f"{operation} {quoted[1:-1] if quoted[:1] == quoted[-1:] == _QUOTE else quoted}".strip(),
        "user": match["user"] or None,
        "fields": {"command": operation, **{name: match[name] for name in names if match[name]}},
        "source_ip" if _ADDRESS.fullmatch(match["host"]) else "source_name": match["host"] or None,
    }
    if operation in ("CONNECT", "FAILED_CONNECT"):
        success = operation == "CONNECT" and match["code"] in ("", "0")
        return said | {"kind": Kind.LOGIN, "action": "login" if success else "login_failed", "success": success}
    return said | ({"kind": Kind.LOGOUT, "action": "session_closed"} if operation == "DISCONNECT" else {})
