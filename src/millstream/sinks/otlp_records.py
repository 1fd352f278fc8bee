"""Rows as a request of OTLP/JSON: the other way round of `parsers/otlp.py`, which reads again what is written here.

Rows with the fields of a `LogEvent` are records whose attributes have the names of `ECS_NAMES`, and whose resource is
the host, the program and the process. Of other rows with a `message`, that is the body and the other fields are
attributes; of rows without one, all fields are the body.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec

from millstream.parsers.log_event import ECS_NAMES
from millstream.parsers.otlp import LEVELS
from millstream.parsers.system_event import Severity
from millstream.sinks.rows import Rows
from millstream.version import __version__

ALERT_LEVELS: Final = {
    "critical": Severity.CRIT, "high": Severity.ERR, "medium": Severity.WARNING, "low": Severity.NOTICE,
    "informational": Severity.INFO,
}  # fmt: skip
_SHAPE: Final = frozenset({"message", "severity", "host", "program"})
"""Columns that make a row one of a `LogEvent`."""
_RESOURCE: Final = {"host": "host.name", "program": "service.name", "pid": "process.pid"}
_NAMES: Final = {
    **{name: ecs for name, ecs in ECS_NAMES.items() if name not in _RESOURCE},
    "raw": "log.record.original",
}
_ELSEWHERE: Final = frozenset({"time", "message", "severity", "fields", "raw_bytes", *_RESOURCE})


def records_of(rows: Rows) -> list[tuple[bytes, dict[str, Any]]]:
    """Return resource and scope (as JSON, to compare) and record of each row, in order."""
    is_event = rows.objects is None and set(rows.columns().columns) >= _SHAPE
    times = rows.times.to_physical().to_list()
    return [(_event if is_event else _other)(row, time_us) for row, time_us in zip(rows.values(), times, strict=True)]


def request_of(records: Sequence[tuple[bytes, dict[str, Any]]]) -> bytes:
    """Return a request with records: those of one resource together, in their order."""
    groups: dict[bytes, list[dict[str, Any]]] = {}
    for about, record in records:
        groups.setdefault(about, []).append(record)
    logs = []
    for about, inside in groups.items():
        resource, scope = msgspec.json.decode(about)
        logs.append({"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": inside}]})
    return msgspec.json.encode({"resourceLogs": logs})


def any_value(value: Any) -> dict[str, Any]:
    """Return a value as AnyValue; what JSON has no word for is a text."""
    if value is None:
        return {}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return {"intValue": str(value)}
    if isinstance(value, float):
        odd = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        return {"doubleValue": value if math.isfinite(value) else odd}
    if isinstance(value, bytes):
        return {"bytesValue": base64.b64encode(value).decode()}
    if isinstance(value, Mapping):
        return {"kvlistValue": {"values": attributes(value)}}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": [any_value(one) for one in value]}}
    if isinstance(value, datetime):
        return {"stringValue": value.astimezone(UTC).isoformat()}
    return {"stringValue": value.isoformat() if isinstance(value, date) else str(value)}


def attributes(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return values as attributes."""
    return [{"key": str(name), "value": any_value(value)} for name, value in values.items()]


def _event(row: Mapping[str, Any], time_us: int | None) -> tuple[bytes, dict[str, Any]]:
    record = _record(time_us, any_value(row["message"]), row["severity"])
    said = {_NAMES[name]: row[name] for name in _NAMES if name not in _ELSEWHERE and row.get(name) is not None}
    if "event.outcome" in said:
        said["event.outcome"] = "success" if said["event.outcome"] else "failure"
    rest = _fields(row.get("fields"))
    resource = {_RESOURCE[name]: row[name] for name in _RESOURCE if row.get(name) is not None}
    scope: dict[str, Any] = {"name": "millstream", "version": __version__}
    # What came as OTLP goes on as it came.
    for name, written, digits in (("trace_id", "traceId", 32), ("span_id", "spanId", 16)):
        if _is_hex(rest.get(name), digits):
            record[written] = rest.pop(name)
    if isinstance(rest.get("event_name"), str):
        record["eventName"] = rest.pop("event_name")
    if isinstance(rest.get("resource"), dict):
        resource = rest.pop("resource") | resource
    if isinstance(rest.get("scope"), dict) and isinstance(rest["scope"].get("name"), str):
        given = rest.pop("scope")
        scope = {name: given[name] for name in ("name", "version") if isinstance(given.get(name), str)}
        if isinstance(given.get("attributes"), dict):
            scope["attributes"] = attributes(given["attributes"])
    record["attributes"] = attributes(rest | said)
    return _about(resource, scope), record


def _other(row: Any, time_us: int | None) -> tuple[bytes, dict[str, Any]]:
    about = _about({"service.name": "millstream"}, {"name": "millstream", "version": __version__})
    if not isinstance(row, Mapping) or not isinstance(row.get("message"), str):
        return about, _record(time_us, any_value(row), None)
    record = _record(time_us, any_value(row["message"]), ALERT_LEVELS.get(row.get("level") or ""))
    record["attributes"] = attributes(
        {name: value for name, value in row.items() if name != "message" and value is not None}
    )
    return about, record


def _record(time_us: int | None, body: dict[str, Any], severity: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"body": body}
    if time_us is not None and time_us >= 0:
        record["timeUnixNano"] = str(time_us * 1000)
    if severity in LEVELS:
        record["severityNumber"] = LEVELS[severity]
        record["severityText"] = str(severity)
    return record


def _about(resource: Mapping[str, Any], scope: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode([{"attributes": attributes(resource)}, scope])


def _fields(text: Any) -> dict[str, Any]:
    """Return the fields of a `LogEvent`; they are JSON in a text after steps that make columns anew."""
    if isinstance(text, str):
        text = msgspec.json.decode(text)
    return dict(text) if isinstance(text, Mapping) else {}


def _is_hex(value: Any, digits: int) -> bool:
    return isinstance(value, str) and len(value) == digits and all(char in "0123456789abcdefABCDEF" for char in value)
