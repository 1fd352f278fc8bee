"""How programs say how bad something is, as one of syslog's eight levels."""

from __future__ import annotations

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
    "fine": Severity.DEBUG,
}  # fmt: skip

_DIGITS_MAX: Final = 8
"""Of a number that may be a level; Python refuses to read one of thousands of digits."""

_BUNYAN: Final = {10: "trace", 20: "debug", 30: "info", 40: "warn", 50: "error", 60: "fatal"}


def severity_from(value: Any) -> Severity | None:
    """Return the severity of a word, of a syslog level (0 to 7), or of a level of bunyan and pino (10 to 60)."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, float) and not value.is_integer():
        return None  # neither is what is not finite
    if isinstance(value, (int, float)) or str(value).isdecimal():
        if len(str(value)) > _DIGITS_MAX:
            return None
        number = int(value)
        return WORDS[_BUNYAN[number]] if number in _BUNYAN else severity_of(number)
    word = str(value).strip().lower()
    # debug1 to debug5 (PostgreSQL), info3.
    return WORDS.get(word) or WORDS.get(word.rstrip("0123456789"))


def severity_of_status(status: int) -> Severity:
    """Return the severity of a status of HTTP: what the server could not do is an error, what it refused a warning."""
    return Severity.ERR if status >= 500 else Severity.WARNING if status >= 400 else Severity.INFO
