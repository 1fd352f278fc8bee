"""LTSV, labeled tab-separated values: `time:2026-03-01T10:00:00Z`, a tab, `host:203.0.113.9`, a tab, `status:200`.

What nginx, Apache and others write with such a `log_format` is a request: its parts are in `fields` by the names of
`AccessEvent`, and `host` is then who asked. A value `-` is none.

Source: ltsv.org, with the labels that it recommends for access logs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

from millstream.parsers.event_parser import ReadLine
from millstream.parsers.levels import severity_of_status
from millstream.parsers.named import event_fields
from millstream.parsers.proxies import address_of

_LABEL: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_PARTS_LEAST: Final = 2
_REQUEST: Final = re.compile(r"(?P<method>[A-Z_-]{2,20}) (?P<uri>\S+)(?: (?P<protocol>\S+))?")
_STATUS: Final = re.compile(r"[1-5][0-9]{2}")
_SIZE: Final = re.compile(r"[0-9]{1,18}")
_NAMES: Final = {
    "method": "http_method",
    "uri": "url",
    "protocol": "http_version",
    "size": "body_bytes",
    "reqsize": "request_bytes",
    "referer": "referrer",
    "ua": "user_agent",
}
"""Of a request: label -> as `AccessEvent` says it."""
_NUMBERS: Final = ("status", "body_bytes", "request_bytes")


def labels_of(text: str) -> dict[str, str] | None:
    """Return labels and values, those that are `-` or empty left out; None where the text is anything else."""
    parts = [part.partition(":") for part in text.strip("\r\n\t").split("\t")]
    if len(parts) < _PARTS_LEAST or not all(colon and _LABEL.fullmatch(label) for label, colon, _ in parts):
        return None
    found: dict[str, str] = {}
    for label, _, value in parts:
        if value not in ("", "-"):
            found.setdefault(label, value)
    return found


def ltsv_reader(zone: tzinfo | None = None) -> ReadLine:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        named = labels_of(text)
        if named is None:
            return None
        if time := named.get("time", "").strip("[]"):  # [01/Mar/2026:10:00:00 +0000]
            named["time"] = time
        is_request = _STATUS.fullmatch(named.get("status", "")) and {"req", "uri", "method"} & named.keys()
        return _request(named, now, zone) if is_request else event_fields(named, now=now, zone=zone)

    return read


def _request(named: dict[str, str], now: datetime, zone: tzinfo | None) -> dict[str, Any]:
    if (request := _REQUEST.fullmatch(named.get("req", ""))) is not None:
        del named["req"]
        named |= {name: value for name, value in request.groupdict().items() if value is not None}
    address, port = address_of(named.get("host"))
    if address is not None:
        del named["host"]
    said = event_fields(named, now=now, zone=zone)
    fields = {_NAMES.get(name, name): value for name, value in (said["fields"] or {}).items()}
    words = (fields.get("http_method") or fields.get("req"), fields.get("url"), fields["status"])
    fields |= {name: int(fields[name]) for name in _NUMBERS if _SIZE.fullmatch(fields.get(name, ""))}
    return {
        **said,
        "message": said["message"] or " ".join(word for word in words if word is not None),
        "severity": severity_of_status(fields["status"]),
        "source_ip": address or said["source_ip"],
        "source_port": port,
        "fields": fields,
    }
