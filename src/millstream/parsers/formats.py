"""The formats of text that can be asked for by name: which parser reads one, and what it makes.

A new format is a parser, a line here, and its row in docs/logs-formats.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from millstream.errors import UsageError
from millstream.parsers.access import AccessEvent, AccessParser
from millstream.parsers.application import application_reader, timed_reader
from millstream.parsers.audit import audit_reader, audit_reader_beside
from millstream.parsers.broker import BrokerParser
from millstream.parsers.clocks import ClockParser
from millstream.parsers.containers import ContainerParser
from millstream.parsers.databases import mysql_reader, postgres_reader
from millstream.parsers.delimited import delimited_reader, zeek_reader
from millstream.parsers.devices import device_reader
from millstream.parsers.event_parser import EventParser, ReadLine
from millstream.parsers.grok import Grok, grok_reader
from millstream.parsers.haproxy import haproxy_reader
from millstream.parsers.journal import JournalParser
from millstream.parsers.json_lines import json_reader
from millstream.parsers.key_values import listed_reader, logfmt_reader
from millstream.parsers.log_event import LogEvent
from millstream.parsers.log_lines import LogParser
from millstream.parsers.logins import login_reader
from millstream.parsers.ltsv import ltsv_reader
from millstream.parsers.macos import macos_reader
from millstream.parsers.otlp import otlp_reader
from millstream.parsers.proxies import proxy_reader
from millstream.parsers.security_messages import security_reader
from millstream.parsers.server_errors import error_reader
from millstream.parsers.slow_queries import slow_query_reader
from millstream.parsers.w3c import w3c_reader
from millstream.parsers.web import WebParser
from millstream.parsers.windows import windows_reader
from millstream.parsers.windows_csv import windows_csv_reader

if TYPE_CHECKING:
    import polars as pl


class Parser(Protocol):
    """Reads the lines of one source, in order. It never fails on a line: what it does not know is kept as it is."""

    def columns(self, lines: Sequence[bytes], *, now: datetime) -> pl.DataFrame:
        """Return a row for each line, in their order, with the columns of the format's type.

        Args:
            lines: Without their ends.
            now: The time of reading, with a zone.
        """
        ...

    def fits(self, line: bytes, *, now: datetime) -> bool:
        """Return whether a line is of this format; asked for a few, in their order."""
        ...


class Format(msgspec.Struct, frozen=True):
    """One format."""

    type: type[Any]
    """What a line becomes; its field `time` is the event time."""
    parser: Callable[[str], Parser]
    """Makes a parser, given where the lines come from."""
    about: str


def _events(name: str, reader: Callable[[], ReadLine], about: str) -> Format:
    return Format(LogEvent, lambda source: EventParser(source, reader(), format=name), about)


FORMATS: Final = {  # the narrow ones first: see `choose_format`
    "access": Format(AccessEvent, lambda source: AccessParser(), "access logs of web servers, common and combined"),
    "web": Format(LogEvent, WebParser, "the same, as events of the one schema"),
    "proxy": _events("proxy", proxy_reader, "access logs of Envoy, Squid, uWSGI; of ALB, ELB and S3 of AWS"),
    "haproxy": _events("haproxy", haproxy_reader, "HAProxy, with or without a header of syslog"),
    "error": _events("error", error_reader, "error logs of Apache and nginx"),
    "audit": _events("audit", audit_reader, "auditd"),
    "audit_beside": _events("audit_beside", audit_reader_beside, "auditd, where a text log says who logged in as well"),
    "cef": _events("cef", security_reader, "CEF and LEEF, alone or behind a syslog header"),
    "postgres": _events("postgres", postgres_reader, "PostgreSQL"),
    "mysql": _events("mysql", mysql_reader, "MySQL and MariaDB: their error log, general log, audit log"),
    "mysql_slow": _events("mysql_slow", slow_query_reader, "slow query log of MySQL, MariaDB, Percona"),
    "w3c": _events("w3c", w3c_reader, "W3C extended logs: IIS"),
    "zeek": _events("zeek", zeek_reader, "Zeek, with its #fields"),
    "broker": Format(LogEvent, BrokerParser, "messages of Kafka and NATS, kept whole: JSON, one a line"),
    "devices": _events("devices", device_reader, "devices plugged in and out, of udev: JSON, one a line"),
    "logins": _events("logins", login_reader, "records of wtmp, btmp, utmp, lastlog, wtmpdb: JSON, one a line"),
    "journal": Format(LogEvent, lambda source: JournalParser(), "the systemd journal: journalctl --output=json"),
    "otlp": _events("otlp", otlp_reader, "OpenTelemetry: OTLP/JSON, one record a line"),
    "macos": _events("macos", macos_reader, "the unified log of macOS: log stream, log show, any style of a line each"),
    "windows": _events("windows", windows_reader, "records of the Windows event log: JSON of .evtx files, XML"),
    "windows_csv": _events("windows_csv", windows_csv_reader, "the Windows event log, saved as CSV by its viewer"),
    "container": Format(LogEvent, ContainerParser, "lines of containers: Kubernetes (CRI), Docker's json-file"),
    "json": _events("json", json_reader, "JSON lines: bunyan, pino, zap, slog, structlog, Log4j, MongoDB, ..."),
    "ltsv": _events("ltsv", ltsv_reader, "labels and values with tabs between them: time:...\\thost:...\\tstatus:200"),
    "application": _events(
        "application", application_reader, "a time and a level: log4j, logback, Python, glog, Rails, PHP, Redis, ..."
    ),
    "logfmt": _events("logfmt", logfmt_reader, 'names and values: level=info msg="it works"'),
    "pairs": _events("pairs", listed_reader, "names and values with commas or semicolons: level: info, user=ann; ..."),
    "csv": _events("csv", delimited_reader, "CSV and TSV whose first line names the columns"),
    "syslog": Format(LogEvent, LogParser, "logs such as auth.log: RFC 3164, RFC 5424, ISO times, and what they mean"),
    "clock": Format(LogEvent, ClockParser, "lines that begin with a clock and no date: 12:34:56.789 [main] INFO ..."),
    "timed": _events("timed", timed_reader, "lines that begin with a time, of any usual form"),
}


def format_of(name: str) -> Format:
    """Return a format by its name.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in FORMATS:
        raise UsageError(f"there is no format {name!r}; there is {', '.join(FORMATS)}, and auto for a file")
    return FORMATS[name]


def format_of_pattern(pattern: str) -> Format:
    """Return the format of lines that a pattern of a user's own matches.

    Raises:
        UsageError: The pattern is wrong; see `Grok`.
    """
    Grok(pattern)
    return _events("pattern", functools.partial(grok_reader, pattern), f"lines like {pattern}")
