"""W3C extended logs, as IIS writes them: a head names the fields of the lines after it.

    #Fields: date time s-ip cs-method cs-uri-stem sc-status c-ip
    2026-03-01 10:00:00 10.0.0.1 GET /a 200 203.0.113.7

Times are UTC. A file may have several heads; what stands before the first is a message.

Source: w3.org/TR/WD-logfile; learn.microsoft.com, IIS "W3C Extended Log File Format".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from millstream.parsers.times import parse_time

_TOKEN: Final = re.compile(r'"((?:[^"]|"")*)"|(\S+)')
_NAMES: Final = {
    "c-ip": "source_ip",
    "c-port": "source_port",
    "cs-username": "user",
    "s-computername": "host",
    "s-sitename": "service",
}
FIELDS_MAX: Final = 200


def w3c_reader() -> Any:
    """Return what reads the lines of one file, in order; see `EventParser`."""
    names: list[str] = []
    day = ""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        nonlocal names, day
        if text.startswith("#"):
            directive, _, rest = text[1:].partition(":")
            if directive == "Fields":
                names = rest.split()[:FIELDS_MAX]
            if directive == "Date":
                day = rest.split()[0] if rest.split() else ""
            known = directive in ("Version", "Fields", "Software", "Date", "Start-Date", "End-Date", "Remark")
            return {"message": text.strip(), "time": _directive_time(rest, now)} if known else None
        if not names:
            return None
        values = [found[2] if found[2] is not None else found[1].replace('""', '"') for found in _TOKEN.finditer(text)]
        if len(values) != len(names):
            return None
        named = {name: value for name, value in zip(names, values, strict=True) if value != "-"}
        time = parse_time(f"{named.pop('date', day)} {named.pop('time', '')}".strip(), now=now, zone=UTC)
        said: dict[str, Any] = {"time": time, "message": " ".join(_request(named))}
        for written, field in _NAMES.items():
            value = named.pop(written, None)
            if field == "source_port":
                said[field] = int(value) if value and value.isascii() and value.isdecimal() and len(value) < 6 else None
            else:
                said[field] = value
        return said | {"fields": named or None}

    return read


def _request(named: Mapping[str, str]) -> list[str]:
    return [named[name] for name in ("cs-method", "cs-uri-stem", "sc-status") if name in named]


def _directive_time(text: str, now: datetime) -> datetime | None:
    return parse_time(" ".join(text.split()[:2]), now=now, zone=UTC)
