"""logfmt, and other pairs of a name and a value.

| | example |
|---|---|
| logfmt | `level=info msg="it works" took=3ms` |
| with a time in front | `2026-03-01T10:00:00Z level=info msg="it works"` |
| others | `time: 2026-03-01 10:00:00, level: info; user="ann lee", took=3 ms` |

Source: brandur.org/logfmt; the grammar of github.com/kr/logfmt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from millstream.parsers.leading_time import split_leading_time
from millstream.parsers.named import event_fields

_PAIR: Final = re.compile(
    r'\s*(?P<name>[^\s="]{1,256})(?:=(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s"]*))(?=\s|$))?'
)
_ESCAPE: Final = re.compile(r"\\(.)", re.DOTALL)
_CONTROL: Final = {"n": "\n", "r": "\r", "t": "\t"}


def pairs_of(text: str) -> dict[str, str] | None:
    """Return names and values; None where the text is anything else. A name alone is true, as in logfmt."""
    found: dict[str, str] = {}
    place, values = 0, 0
    text = text.rstrip()
    while place < len(text):
        match = _PAIR.match(text, place)
        if match is None or match.end() == place:
            return None
        quoted, plain = match["quoted"], match["plain"]
        if quoted is None and plain is None and match["name"].endswith(":"):
            return None  # `web kernel: IN=eth0`: who says it, and then what
        values += quoted is not None or plain is not None
        value = "true" if quoted is None and plain is None else _unescaped(quoted) if quoted is not None else plain
        found.setdefault(match["name"], value)
        place = match.end()
    # A sentence has names alone; so has a line with one `=` in it.
    return found if values and 2 * values > len(found) else None


def logfmt_reader(zone: tzinfo | None = None) -> Any:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        return _said(pairs_of, text, now, zone)

    return read


def _said(
    pairs: Callable[[str], dict[str, str] | None], text: str, now: datetime, zone: tzinfo | None
) -> Mapping[str, Any] | None:
    """Return what pairs say, and a time in front of them where none of them is one."""
    time, rest = split_leading_time(text, now=now, zone=zone)
    named = pairs(rest)
    if named is None:
        return None
    said = event_fields(named, now=now, zone=zone)
    return said if said["time"] is not None else {**said, "time": time}


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: _CONTROL.get(match[1], match[1]), text)


_LISTED: Final = re.compile(
    r"\s*(?P<name>[A-Za-z_@][\w.@-]{0,63})\s{0,8}(?:=|:(?=\s|\"|'))\s{0,8}"
    r"(?:\"(?P<quoted>(?:[^\"\\]|\\.)*)\"|'(?P<single>[^']*)'|(?P<plain>[^,;\"]*))\s{0,8}(?:[,;]|$)",
    re.DOTALL,
)
_LISTED_LEAST: Final = 2


def listed_pairs_of(text: str) -> dict[str, str] | None:
    """Return names and values that have commas or semicolons between them; None where the text is anything else."""
    found: dict[str, str] = {}
    place = 0
    text = text.strip()
    while place < len(text):
        match = _LISTED.match(text, place)
        if match is None:
            return None
        quoted, single, plain = match["quoted"], match["single"], match["plain"]
        value = _unescaped(quoted) if quoted is not None else single if single is not None else plain.strip()
        found.setdefault(match["name"], value)
        place = match.end()
    return found if len(found) >= _LISTED_LEAST else None


def listed_reader(zone: tzinfo | None = None) -> Any:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        return _said(listed_pairs_of, text, now, zone)

    return read
