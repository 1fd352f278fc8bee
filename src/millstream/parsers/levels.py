"""How programs say how bad something is, as one of syslog's eight levels.

A word says it by itself. The same number is something else for each writer: what else stands beside it tells whose it
is, the first of these rows that fits.

| name | beside it | written by | numbers |
|---|---|---|---|
| severityNumber, severity_number | | OpenTelemetry | 1 to 24 in bands of four |
| levelno | | Python | 10 debug, 20 info, 30 warning, 40 error, 50 critical |
| level_value | | logback | 10000 debug, 20000 info, 30000 warning, 40000 error |
| loglevel | eventid, category, state | .NET | 0 and 1 debug, 2 info, 3 warning, 4 error, 5 critical |
| severity | 100 to 800 | Google Cloud | 100 debug, 200 info, 300 notice, 400 warning, 500 error, ... 800 emergency |
| level | reqId and app | Nextcloud, ownCloud | 0 debug, 1 info, 2 warning, 3 error, 4 fatal |
| level | channel, datetime | Monolog | 100 debug, 200 info, 250 notice, 300 warning, 400 error, ... 600 emergency |
| level | loggerName, sourceClassName | java.util.logging | 500 fine, 700 config, 800 info, 900 warning, 1000 severe |
| level | levelname, lineno, funcName, pathname | Python | as levelno |
| level | hostname, with pid or v | bunyan, pino | 10 trace, 20 debug, 30 info, 40 warn, 50 error, 60 fatal |
| level | eventId, with channel, providerName, logName | Windows | 1 critical, 2 error, 3 warning, 4 info, 5 verbose |
| any | 0 to 7 | syslog, GELF | 0 emergency to 7 debug |
| any | 10, 20, ... 60 | bunyan, pino | as above |
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from millstream.parsers.system_event import Severity, severity_of

WORDS: Final = {
    "emerg": Severity.EMERG, "emergency": Severity.EMERG, "panic": Severity.EMERG,
    "alert": Severity.ALERT,
    "crit": Severity.CRIT, "critical": Severity.CRIT, "fatal": Severity.CRIT, "f": Severity.CRIT,
    "severe": Severity.CRIT,
    "err": Severity.ERR, "error": Severity.ERR, "e": Severity.ERR, "failure": Severity.ERR,
    "warn": Severity.WARNING, "warning": Severity.WARNING, "w": Severity.WARNING,
    "notice": Severity.NOTICE, "note": Severity.NOTICE, "n": Severity.NOTICE,
    "info": Severity.INFO, "information": Severity.INFO, "informational": Severity.INFO, "i": Severity.INFO,
    "log": Severity.INFO, "system": Severity.INFO, "default": Severity.INFO,
    "debug": Severity.DEBUG, "trace": Severity.DEBUG, "d": Severity.DEBUG, "verbose": Severity.DEBUG,
    "fine": Severity.DEBUG, "finer": Severity.DEBUG, "finest": Severity.DEBUG, "config": Severity.INFO,
    "silly": Severity.DEBUG, "http": Severity.INFO, "dpanic": Severity.CRIT,
    "vrb": Severity.DEBUG, "trc": Severity.DEBUG, "dbg": Severity.DEBUG, "inf": Severity.INFO, "wrn": Severity.WARNING,
    "ftl": Severity.CRIT, "crt": Severity.CRIT,
    "trac": Severity.DEBUG, "debu": Severity.DEBUG, "erro": Severity.ERR, "fata": Severity.CRIT, "pani": Severity.EMERG,
}  # fmt: skip

_DIGITS_MAX: Final = 8
"""Of a number that may be a level; Python refuses to read one of thousands of digits."""

LEVELS: Final = (
    "level", "lvl", "severity", "log.level", "loglevel", "levelname", "level_name", "severitytext", "severity_text",
    "leveldisplayname", "@level", "@l", "s", "levelno", "level_value", "severitynumber", "severity_number",
)  # fmt: skip
"""Names, in small letters, of what may be a level; words count before numbers."""

_LEVEL_NAMES: Final = frozenset(LEVELS)

_Scale = Sequence[tuple[int, Severity | None]]
"""The least number of each severity, the greatest first; None: what is greater than all there are."""
_BUNYAN: Final = (
    (60, Severity.CRIT), (50, Severity.ERR), (40, Severity.WARNING), (30, Severity.INFO), (1, Severity.DEBUG),
)  # fmt: skip
_PYTHON: Final = (
    (50, Severity.CRIT), (40, Severity.ERR), (30, Severity.WARNING), (20, Severity.INFO), (1, Severity.DEBUG),
)  # fmt: skip
_NEXTCLOUD: Final = (
    (5, None), (4, Severity.CRIT), (3, Severity.ERR), (2, Severity.WARNING), (1, Severity.INFO), (0, Severity.DEBUG),
)  # fmt: skip
_MONOLOG: Final = (
    (600, Severity.EMERG), (550, Severity.ALERT), (500, Severity.CRIT), (400, Severity.ERR), (300, Severity.WARNING),
    (250, Severity.NOTICE), (200, Severity.INFO), (100, Severity.DEBUG),
)  # fmt: skip
_GOOGLE: Final = (
    (801, None), (800, Severity.EMERG), (700, Severity.ALERT), (600, Severity.CRIT), (500, Severity.ERR),
    (400, Severity.WARNING), (300, Severity.NOTICE), (200, Severity.INFO), (100, Severity.DEBUG),
)  # fmt: skip
_JAVA: Final = ((1000, Severity.CRIT), (900, Severity.WARNING), (700, Severity.INFO), (300, Severity.DEBUG))
_LOGBACK: Final = (
    (40000, Severity.ERR), (30000, Severity.WARNING), (20000, Severity.INFO), (5000, Severity.DEBUG),
)  # fmt: skip
_DOTNET: Final = (
    (6, None), (5, Severity.CRIT), (4, Severity.ERR), (3, Severity.WARNING), (2, Severity.INFO), (0, Severity.DEBUG),
)  # fmt: skip
_WINDOWS: Final = (
    (6, None), (5, Severity.DEBUG), (4, Severity.INFO), (3, Severity.WARNING), (2, Severity.ERR), (1, Severity.CRIT),
    (0, Severity.INFO),
)  # fmt: skip
_OTEL: Final = (
    (25, None), (21, Severity.EMERG), (19, Severity.ALERT), (18, Severity.CRIT), (17, Severity.ERR),
    (13, Severity.WARNING), (10, Severity.NOTICE), (9, Severity.INFO), (1, Severity.DEBUG),
)  # fmt: skip
_BY_NAME: Final = {
    "severitynumber": _OTEL, "severity_number": _OTEL, "levelno": _PYTHON, "level_value": _LOGBACK,
}  # fmt: skip
_ANY: Final = frozenset[str]()
_BESIDE: Final = (
    ("loglevel", _ANY, frozenset({"eventid", "category", "state"}), _DOTNET),
    ("level", frozenset({"reqid", "app"}), _ANY, _NEXTCLOUD),
    ("level", frozenset({"channel", "datetime"}), _ANY, _MONOLOG),
    ("level", _ANY, frozenset({"loggername", "loggerclassname", "sourceclassname"}), _JAVA),
    ("level", _ANY, frozenset({"levelname", "lineno", "funcname", "pathname"}), _PYTHON),
    ("level", frozenset({"pid", "hostname"}), _ANY, _BUNYAN),
    ("level", frozenset({"v", "hostname"}), _ANY, _BUNYAN),
)
"""Name of the level, all that must stand beside it, one of which must; whose numbers they are."""
_WINDOWS_BESIDE: Final = ({"eventid", "id", "event_id"}, {"channel", "providername", "logname", "provider"})
_TENS: Final = frozenset({10, 20, 30, 40, 50, 60})


def level_among(named: Mapping[str, Any], names: Mapping[str, str]) -> tuple[str, Severity] | None:
    """Return which of some named values is the level, and what it says; None where none is.

    Args:
        named: The values by the names as they are written.
        names: The same names by themselves in small letters.
    """
    there: Collection[str] = _LEVEL_NAMES & names.keys()
    if len(there) > 1:
        there = [name for name in LEVELS if name in there]
    for name in there:
        if (said := _of_word(named[names[name]])) is not None:
            return names[name], said
    for name in there:
        number = _number_of(named[names[name]])
        if number is not None and (said := _of_number(name, number, names)) is not None:
            return names[name], said
    return None


def severity_from(value: Any) -> Severity | None:
    """Return the severity of a word, of a syslog level (0 to 7), or of a level of bunyan and pino (10 to 60)."""
    number = _number_of(value)
    return _of_word(value) if number is None else _of_number("", number, {})


def _of_word(value: Any) -> Severity | None:
    if not isinstance(value, str):
        return None
    word = value.strip().lower()
    # debug1 to debug5 (PostgreSQL), info3; INFO+2 (Go's slog).
    return WORDS.get(word) or WORDS.get(word.rstrip("0123456789").rstrip("+-"))


def _number_of(value: Any) -> int | None:
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float) and not value.is_integer():
        return None  # neither is what is not finite
    if isinstance(value, (int, float)) or (isinstance(value, str) and value.isascii() and value.isdecimal()):
        return int(value) if len(str(value)) <= _DIGITS_MAX else None
    return None


def _of_number(name: str, number: int, names: Mapping[str, str]) -> Severity | None:
    scale = _scale_of(name, number, names)
    if scale is None:
        return severity_of(number)
    return next((said for least, said in scale if number >= least), None)


def _scale_of(name: str, number: int, names: Mapping[str, str]) -> _Scale | None:
    """Return whose numbers these are; None: those of syslog."""
    if name in _BY_NAME:
        return _BY_NAME[name]
    if name == "severity" and number >= 100:
        return _GOOGLE
    for of, all_of, one_of, scale in _BESIDE:
        if name == of and all_of <= names.keys() and not (one_of and one_of.isdisjoint(names)):
            return scale
    if name == "level" and not any(group.isdisjoint(names) for group in _WINDOWS_BESIDE):
        return _WINDOWS
    return _BUNYAN if number in _TENS else None


def severity_of_status(status: int) -> Severity:
    """Return the severity of a status of HTTP: what the server could not do is an error, what it refused a warning."""
    return Severity.ERR if status >= 500 else Severity.WARNING if status >= 400 else Severity.INFO
