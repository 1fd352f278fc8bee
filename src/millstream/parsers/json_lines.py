"""JSON lines: an object a line, as bunyan, pino, zap, slog, structlog, Log4j, MongoDB and many others write them.

What names mean of any writer is in `named`, whose a numeric level is in `levels`, what one product's are in
`json_shapes`, what requests of the web are called in `json_access`.

What a container runtime or docker compose puts in front (`web-1  | {...}`) is left out; a comma at the end as well. A
time in front (`2026-03-01T10:00:00Z {...}`) is that of the line where the object says none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any, Final

import msgspec

from millstream.parsers.json_shapes import shape_said
from millstream.parsers.leading_time import split_leading_time
from millstream.parsers.named import event_fields

_DECODER = msgspec.json.Decoder(dict[str, Any])
_LONG_NUMBER: Final = re.compile("[0-9]{19}")
_INTEGERS: Final = range(-(2**63), 2**64)
"""Those that a log can store."""


def json_reader(zone: tzinfo | None = None) -> Any:
    """Return what reads one line; see `EventParser`."""

    def read(text: str, now: datetime) -> Mapping[str, Any] | None:
        start = text.find("{")
        if start < 0:
            return None
        before = text[:start].rpartition("|")[2]
        time, rest = split_leading_time(f"{before} ", now=now, zone=zone) if before.strip() else (None, "")
        if rest.strip():
            return None
        try:
            named = _DECODER.decode(text[start:].rstrip().rstrip(","))
            if _LONG_NUMBER.search(text):
                named = _storable(named)
        except (msgspec.DecodeError, RecursionError):
            return None
        inner = named.get("fields")
        if isinstance(inner, dict) and not {"message", "msg"} & named.keys() and "message" in inner:
            named = {**named, "message": inner["message"]}  # tracing of Rust
        by_shape, others = shape_said(named)
        said = event_fields(others, now=now, zone=zone)
        if by_shape:
            said = _together(by_shape, said)
        return said if said["time"] is not None else {**said, "time": time}

    return read


def _together(by_shape: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """Return what an object says because of whose it is, and what its other names say."""
    fields = {**(said["fields"] or {}), **(by_shape.pop("fields", None) or {})}
    known = {name: value for name, value in by_shape.items() if value not in (None, "")}
    return {**said, **known, "fields": fields or None}


def _storable(value: Any) -> Any:
    """Return a value with the integers that are too large for a log as texts."""
    if isinstance(value, dict):
        return {name: _storable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_storable(one) for one in value]
    return str(value) if isinstance(value, int) and value not in _INTEGERS else value
