"""One line of a text log: who wrote it, when, how bad it is, what it says.

| shape | written by | example |
|---|---|---|
| traditional (RFC 3164) | syslogd, rsyslog on Debian up to 11 | `Feb 12 14:10:21 host sshd[16378]: message` |
| ISO time | rsyslog since Debian 12, Ubuntu 24.04 | `2026-02-12T14:10:21.123456+01:00 host sshd[16378]: message` |
| RFC 5424 | rsyslog, syslog-ng on request | `<38>1 2026-02-12T14:10:21Z host sshd 16378 - - message` |
| dated | dpkg, unattended-upgrades, dnf, fail2ban | `2026-02-12 14:10:21,123 INFO message` |
| named | update-alternatives | `update-alternatives 2026-02-12 14:10:21: message` |
| bracketed | pacman | `[2026-02-12T14:10:21+0100] [ALPM] message` |
| field | apt's history | `Start-Date: 2026-02-12  14:10:21` |
| anything else | | the whole line is the message |

A traditional line may begin with `<priority>`. A time without a zone is local time. A traditional time has no year: the
line is taken to be from the last twelve months, with a day of grace for clocks that run ahead.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Final, NamedTuple

from millstream.parsers.months import month_number
from millstream.parsers.system_event import Severity, SystemEvent, severity_of, text_of

if TYPE_CHECKING:
    import polars as pl

_AHEAD_MAX: Final = timedelta(days=1)
"""How far a line may be ahead of the clock before it is taken to be last year's."""

_PID_DIGITS_MAX: Final = 10
"""RFC 5424 allows any text of 128 characters for a process; what is longer than any number of one is none."""

_DAY: Final = r"\d{4}-\d\d-\d\d"
_CLOCK: Final = r"\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_ZONE: Final = r"(?:Z|[+-]\d\d:?\d\d)"

_PRIORITY: Final = re.compile(r"<(\d{1,3})>(?=\S)")
_RFC5424: Final = re.compile(
    rf"1 (?P<time>-|{_DAY}T{_CLOCK}{_ZONE}) (?P<host>\S+) (?P<program>\S+) (?P<pid>\S+) \S+ "
    r'(?:-|(?:\[(?:[^\]"\\]|\\.|"(?:[^"\\]|\\.)*")*\])+)(?: |$)(?P<rest>.*)',
    re.DOTALL,
)
_TRADITIONAL: Final = re.compile(
    r"(?P<month>[^\W\d_]{3,9}\.?) (?P<day> ?\d{1,2}) (?P<clock>\d\d:\d\d:\d\d(?:\.\d{1,9})?) (?P<host>\S+) "
    r"(?P<rest>.*)",
    re.DOTALL,
)
_ISO: Final = re.compile(rf"(?P<time>{_DAY}T{_CLOCK}{_ZONE}?) (?P<host>\S+) (?P<rest>.*)", re.DOTALL)
_DATED: Final = re.compile(rf"(?P<time>{_DAY}[ T]{_CLOCK}{_ZONE}?)(?:[:,]? +-?|$)(?P<rest>.*)", re.DOTALL)
_NAMED: Final = re.compile(rf"(?P<program>[A-Za-z][\w.-]*) (?P<time>{_DAY} {_CLOCK}): (?P<rest>.*)", re.DOTALL)
_BRACKETED: Final = re.compile(rf"\[(?P<time>{_DAY}[ T]{_CLOCK}{_ZONE}?)\] (?P<rest>.*)", re.DOTALL)
_FIELD: Final = re.compile(rf"(?:Start|End)-Date: (?P<time>{_DAY}  ?{_CLOCK})$")
_TAG: Final = re.compile(
    r"(?P<program>[^\s:\[\]]{1,128})(?:\[(?P<pid>\d{1,10})\])?(?: \([^)]{1,256}\))?: ?(?P<rest>.*)", re.DOTALL
)
LEVEL: Final = (
    r"\s*(?:[\[<(]\s*(?P<in_brackets>[A-Za-z]{3,9})\s*[\])>]|(?P<before_colon>[A-Za-z]{3,9}):"
    r"|(?P<capitals>[A-Z]{3,9})\s)"
)
"""How a message may begin with its severity."""
_LEVEL: Final = re.compile(LEVEL)
LEVELS: Final = {
    "emerg": Severity.EMERG,
    "emergency": Severity.EMERG,
    "panic": Severity.EMERG,
    "alert": Severity.ALERT,
    "crit": Severity.CRIT,
    "critical": Severity.CRIT,
    "fatal": Severity.CRIT,
    "err": Severity.ERR,
    "error": Severity.ERR,
    "warn": Severity.WARNING,
    "warning": Severity.WARNING,
    "notice": Severity.NOTICE,
    "info": Severity.INFO,
    "debug": Severity.DEBUG,
}


class Header(NamedTuple):
    """What one line says by itself, and the rest of it."""

    time: datetime | None
    host: str | None
    program: str | None
    pid: int | None
    severity: Severity | None
    message: str


class LineParser:
    """Parses the lines of one file, in order.

    A line without a time has that of the last line before it that had one (continuations, apt's blocks), else the time
    of its reading.

    Source: RFC 3164, 4.1; RFC 5424, 6; the programs named in the module's table.
    """

    def __init__(self, source: str, *, program: str | None = None, zone: tzinfo | None = None) -> None:
        """Parse lines of `source`.

        Args:
            source: The path of the file.
            program: Who writes this file, for lines that do not say it themselves.
            zone: What times without a zone are in; None: this machine's zone.
        """
        self._source = source
        self._program = program
        self._zone = zone
        self._time_before: datetime | None = None

    def parse(self, line: bytes, *, now: datetime) -> SystemEvent:
        """Return the event of one line, given without its line end. Never fails: any other line is a message.

        Args:
            now: The time of reading, with a zone; also gives traditional lines their year.
        """
        text, exact = text_of(line)
        header = self.header(text, now)
        if header.time is not None:
            self._time_before = header.time
        return SystemEvent(
            time=header.time or self._time_before or now.astimezone(UTC),
            source=self._source,
            message=header.message,
            host=header.host,
            program=header.program,
            pid=header.pid,
            severity=header.severity,
            raw=text,
            raw_bytes=exact,
        )

    def header(self, text: str, now: datetime) -> Header:
        """Return what one line says by itself."""
        time, fields, message = self._split(text, now)
        pid = fields.get("pid") or ""
        return Header(
            time=time,
            host=_or_none(fields.get("host")),
            program=_or_none(fields.get("program")) or self._program,
            pid=int(pid) if pid.isascii() and pid.isdecimal() and len(pid) <= _PID_DIGITS_MAX else None,
            severity=_severity(text, message),
            message=message.strip(),
        )

    def _split(self, text: str, now: datetime) -> tuple[datetime | None, dict[str, str | None], str]:
        """Return the line's time, its named parts and its message; (None, {}, text) where it has no known shape."""
        priority = _PRIORITY.match(text)
        rest = text[priority.end() :] if priority else text
        if priority and (match := _RFC5424.match(rest)):
            return _moment(match["time"], self._zone), match.groupdict(), match["rest"].removeprefix("\ufeff")
        if match := _TRADITIONAL.match(rest):
            time = time_without_year(match["month"], match["day"], match["clock"], now, self._zone)
        elif match := (_ISO.match(rest) or _DATED.match(rest) or _NAMED.match(rest) or _BRACKETED.match(rest)):
            time = _moment(match["time"], self._zone)
        elif match := _FIELD.match(rest):
            return _moment(match["time"], self._zone), {}, rest
        else:
            return None, {}, rest
        if time is None:
            return None, {}, rest
        fields = match.groupdict()
        if "host" in fields and (tag := _TAG.match(match["rest"])):
            return time, fields | tag.groupdict(), tag["rest"]
        return time, fields, match["rest"]


def _moment(text: str, zone: tzinfo | None) -> datetime | None:
    """Return an ISO time in UTC; None where it is no time, such as a 31 February."""
    try:
        moment = datetime.fromisoformat(" ".join(text.split()).replace(",", "."))
        return _to_utc(moment, zone)
    except (ValueError, OverflowError):
        return None


def time_without_year(month: str, day: str, clock: str, now: datetime, zone: tzinfo | None) -> datetime | None:
    """Return the last such time that is not after `now` (and a day): the log of one year ago is rotated away."""
    number = month_number(month)
    if not number:
        return None
    # Eight years back reaches a leap year from anywhere, also across 2100, for a line of 29 February.
    for year in range(now.year + 1, now.year - 9, -1):
        try:
            moment = _to_utc(datetime.fromisoformat(f"{year:04}-{number:02}-{int(day):02} {clock}"), zone)
        except (ValueError, OverflowError):
            continue
        if moment <= now + _AHEAD_MAX:
            return moment
    return None


def _to_utc(moment: datetime, zone: tzinfo | None) -> datetime:
    if moment.tzinfo is None and zone is not None:
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(UTC)


def _or_none(field: str | None) -> str | None:
    return None if field == "-" else field


def _severity(text: str, message: str) -> Severity | None:
    """Return the severity of the priority, else the one that the message begins with: `error: `, `[warn] `, `INFO `."""
    if priority := _PRIORITY.match(text):
        return severity_of(int(priority[1]) % 8)
    return level_of(message)


def level_of(message: str) -> Severity | None:
    """Return the severity that a message begins with; None where it begins with none."""
    match = _LEVEL.match(message)
    word = (match["in_brackets"] or match["before_colon"] or match["capitals"]) if match else None
    return LEVELS.get(word.lower()) if word else None


def level_column(name: str) -> pl.Expr:
    """Return what `level_of` does of a column of messages without \\x1c to \\x1f, which are blanks in Python alone."""
    import polars as pl

    words = pl.col(name).str.extract_groups(rf"(?s)^{LEVEL}")
    word = pl.coalesce(words.struct.field(name) for name in ("in_brackets", "before_colon", "capitals"))
    levels = {name: level.value for name, level in LEVELS.items()}
    return word.str.to_lowercase().replace_strict(levels, default=None, return_dtype=pl.String)
