"""JSON lines: an object a line, as bunyan, pino, zap, slog, structlog, Log4j, MongoDB and many others write them.

What a container runtime or docker compose puts in front (`web-1  | {...}`) is left out; a comma at the end as well. A
time in front (`2026-03-01T10:00:00Z {...}`) is that of the line where the object says none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, tzinfo
from typing import Any

import msgspec

from millstream.parsers.leading_time import split_leading_time
from millstream.parsers.named import event_fields

_DECODER = msgspec.json.Decoder(dict[str, Any])


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
        except (msgspec.DecodeError, RecursionError):
            return None
        inner = named.get("fields")
        if isinstance(inner, dict) and not {"message", "msg"} & named.keys() and "message" in inner:
            named = {**named, "message": inner["message"]}  # tracing of Rust
        said = event_fields(named, now=now, zone=zone)
        return said if said["time"] is not None else {**said, "time": time}

    return read
