"""A log record of OpenTelemetry, one a line, as OTLP/JSON writes it.

    {"resourceLogs":[{"resource":{...},"scopeLogs":[{"scope":{...},"logRecords":[{...}]}]}]}

A line is a whole request with one record in it, so that it can be sent on as it is; it is also what the file exporter
of the OpenTelemetry Collector writes where a batch has one record. `split_records` makes such lines of larger batches.

| of the event | where it is, the first that is there |
|---|---|
| time | timeUnixNano, observedTimeUnixNano (stored to the microsecond; `raw` has the rest) |
| severity | severityText where it is a word of the band of severityNumber, else severityNumber |
| message | body: a text; the text named message, msg, ... of a map; else the body as JSON |
| host, program, pid | attributes host.name; service.name of the resource, process.executable.name; process.pid |
| user, target_user | attributes user.name, enduser.id; user.target.name |
| source_ip, source_port | source.ip, source.address, client.address, network.peer.address; source.port, ... |
| kind, action, success | event.category, event.action, event.outcome, else what the program's message says |
| others of the event | attributes of the names in `ECS_NAMES` |
| fields | all other attributes by their names; trace_id, span_id, event_name, flags, body, scope, resource |

An attribute of the record goes before one of the resource.

Source: opentelemetry.io/docs/specs/otel/logs/data-model, .../protocol/otlp (JSON encoding), .../protocol/file-exporter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from millstream.parsers.levels import severity_from
from millstream.parsers.log_event import Kind
from millstream.parsers.messages.tables import read_message
from millstream.parsers.named import FIELDS_MAX, MESSAGES
from millstream.parsers.system_event import Severity
from millstream.records import time_from_us

NAME: Final = "otlp"

LEVELS: Final = {
    Severity.DEBUG: 5, Severity.INFO: 9, Severity.NOTICE: 10, Severity.WARNING: 13, Severity.ERR: 17,
    Severity.CRIT: 18, Severity.ALERT: 19, Severity.EMERG: 21,
}  # fmt: skip
"""The least SeverityNumber of each level of syslog: the table of the data model's appendix B."""

_BANDS: Final = ((1, 8, (Severity.DEBUG,)), (9, 12, (Severity.INFO, Severity.NOTICE)), (13, 16, (Severity.WARNING,)),
                 (17, 24, (Severity.ERR, Severity.CRIT, Severity.ALERT, Severity.EMERG)))  # fmt: skip
_NS_MAX: Final = 253_402_300_799_999_999_999  # the last microsecond of the year 9999
_DEPTH_MAX: Final = 60
"""Of values in values; deeper ones are kept in `raw` only."""

_DECODER: Final = msgspec.json.Decoder(dict[str, Any])


def otlp_reader() -> Callable[[str, datetime], Mapping[str, Any] | None]:
    """Return what reads one line; see `EventParser`."""
    return read_line


def read_line(text: str, now: datetime) -> Mapping[str, Any] | None:
    """Return the fields of a `LogEvent` that a line says; None for one that is not one record of OTLP/JSON."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        found = list(_records(_DECODER.decode(text)))
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    return _event(*found[0]) if len(found) == 1 else None


def split_records(batch: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield a line for each record of a batch, with its resource and scope, and all that it says besides.

    Raises:
        ValueError: It is no batch of OTLP/JSON; says what is wrong.
    """
    encode = msgspec.json.Encoder().encode
    for resource_logs in _objects(batch, "resourceLogs"):
        resource = _inside(resource_logs, "scopeLogs")
        for scope_logs in _objects(resource_logs, "scopeLogs"):
            scope = _inside(scope_logs, "logRecords")
            # The head is the same for all records of a scope: it is written once.
            head = b'{"resourceLogs":[' + _open(encode(resource)) + b'"scopeLogs":[' + _open(encode(scope))
            for record in _objects(scope_logs, "logRecords"):
                yield head + b'"logRecords":[' + encode(record) + b"]}]}]}"


def severity_of_number(number: Any, text: Any) -> Severity | None:
    """Return the severity of a SeverityNumber (1 to 24; anything else is none) and a severity's text."""
    said = severity_from(text) if isinstance(text, str) and not text.strip().isdecimal() else None
    if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= 24:
        return said
    for least, most, band in _BANDS:
        if least <= number <= most and said in band:
            return said
    return max(LEVELS, key=lambda level: LEVELS[level] if LEVELS[level] <= max(number, 5) else 0)


def plain_value(value: Any, depth: int = 0) -> Any:
    """Return what an AnyValue means: text, number, list, dict; bytes stay base64, None stands for what is none."""
    if not isinstance(value, Mapping) or depth > _DEPTH_MAX:
        return None
    for name, inner in value.items():
        match name:
            case "stringValue" | "bytesValue" | "boolValue":
                return inner
            case "intValue":
                return _integer(inner)
            case "doubleValue":
                return inner if isinstance(inner, (int, float)) else str(inner)
            case "arrayValue" if isinstance(inner, Mapping):
                return [plain_value(one, depth + 1) for one in _list(inner.get("values"))]
            case "kvlistValue" if isinstance(inner, Mapping):
                return attributes_of(inner.get("values"), depth + 1)
    return None


def attributes_of(pairs: Any, depth: int = 0) -> dict[str, Any]:
    """Return a list of KeyValue as a dict; of two of the same name the first, as names should not come twice."""
    found: dict[str, Any] = {}
    for pair in _list(pairs)[:FIELDS_MAX]:
        if isinstance(pair, Mapping) and isinstance(pair.get("key"), str):
            found.setdefault(pair["key"], plain_value(pair.get("value"), depth))
    return found


def _records(batch: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]]:
    for resource_logs in _objects(batch, "resourceLogs"):
        for scope_logs in _objects(resource_logs, "scopeLogs"):
            for record in _objects(scope_logs, "logRecords"):
                yield resource_logs, scope_logs, record


def _objects(parent: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    found = parent.get(name)
    if found is None:
        return
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError(f"{name} is no list of objects")
    yield from found


def _inside(parent: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in parent.items() if key != name}


def _open(encoded: bytes) -> bytes:
    """Return an encoded object without its end, ready for another member."""
    return encoded[:-1] + (b"," if encoded != b"{}" else b"")


class _Attributes:
    """The attributes of a record and its resource; what is taken is not left over."""

    def __init__(self, record: Mapping[str, Any], resource: Mapping[str, Any]) -> None:
        self.record = attributes_of(record.get("attributes"))
        self.resource = attributes_of(resource.get("attributes"))

    def text(self, *names: str) -> str | None:
        found = self._first(names, lambda value: value if isinstance(value, str) and value else None)
        assert found is None or isinstance(found, str)
        return found

    def number(self, *names: str, most: int = 2**31) -> int | None:
        found = self._first(names, lambda value: number if 0 <= (number := _integer(value, -1)) <= most else None)
        assert found is None or isinstance(found, int)
        return found

    def _first(self, names: tuple[str, ...], accept: Callable[[Any], Any]) -> Any:
        for name in names:
            for place in (self.record, self.resource):
                if name in place and (found := accept(place[name])) is not None:
                    del place[name]
                    return found
        return None


def _event(
    resource_logs: Mapping[str, Any], scope_logs: Mapping[str, Any], record: Mapping[str, Any]
) -> dict[str, Any]:
    resource = resource_logs.get("resource")
    found = _Attributes(record, resource if isinstance(resource, Mapping) else {})
    body = plain_value(record.get("body"))
    message = _message(body)
    # The record's own service.name is the service that it speaks of; the resource's is who speaks.
    service = found.record.pop("service.name", None)
    program = found.text("process.name", "service.name", "process.executable.name")
    said: dict[str, Any] = {
        "time": _time(record),
        "severity": severity_of_number(record.get("severityNumber"), record.get("severityText")),
        "message": message,
        "host": found.text("host.name", "host.hostname"),
        "program": program,
        "pid": found.number("process.pid"),
        "service": service if isinstance(service, str) and service else None,
        **read_message(program, message),
    }
    for name, value in _said_by_attributes(found).items():
        if value is not None:
            said[name] = value
    said["fields"] = _rest(found, scope_logs, record, body) or None
    return said


def _said_by_attributes(found: _Attributes) -> dict[str, Any]:
    kind = found.record.get("event.category")
    outcome = found.record.get("event.outcome")
    if kind in list(Kind):
        del found.record["event.category"]
    if outcome in ("success", "failure"):
        del found.record["event.outcome"]
    return {
        "kind": Kind(kind) if kind in list(Kind) else None,
        "success": {"success": True, "failure": False}.get(outcome) if isinstance(outcome, str) else None,
        "action": found.text("event.action"),
        "user": found.text("user.name", "enduser.id"),
        "target_user": found.text("user.target.name"),
        "source_ip": found.text("source.ip", "source.address", "client.address", "network.peer.address"),
        "source_port": found.number("source.port", "client.port", "network.peer.port", most=65535),
        "source_name": found.text("source.domain"),
        "method": found.text("authentication.method"),
        "session": found.text("session.id"),
        "terminal": found.text("process.tty"),
        "command": found.text("process.command_line"),
        "device": found.text("device.id"),
        "device_vendor": found.text("device.manufacturer"),
        "device_product": found.text("device.model.name"),
        "device_serial": found.text("device.serial_number"),
    }


def _rest(found: _Attributes, scope_logs: Mapping[str, Any], record: Mapping[str, Any], body: Any) -> dict[str, Any]:
    """Return what has no field of its own."""
    rest = dict(found.record)
    scope = scope_logs.get("scope")
    if isinstance(scope, Mapping):
        about = {name: scope[name] for name in ("name", "version") if scope.get(name)}
        about |= {"attributes": attributes_of(scope["attributes"])} if scope.get("attributes") else {}
        rest |= {"scope": about} if about else {}
    rest |= {"resource": found.resource} if found.resource else {}
    rest |= {"body": body} if body is not None and not isinstance(body, str) else {}
    for name, written in (
        ("trace_id", "traceId"), ("span_id", "spanId"), ("event_name", "eventName"), ("flags", "flags"),
    ):  # fmt: skip
        if record.get(written):
            rest[name] = record[written]
    return rest


def _message(body: Any) -> str:
    if isinstance(body, str):
        return body
    if isinstance(body, dict):
        for name in MESSAGES:
            if isinstance(body.get(name), str):
                return str(body[name])
    return "" if body is None else msgspec.json.encode(body).decode()


def _time(record: Mapping[str, Any]) -> datetime | None:
    for name in ("timeUnixNano", "observedTimeUnixNano"):
        nanos = _integer(record.get(name), 0)
        if 0 < nanos <= _NS_MAX:
            return time_from_us(nanos // 1000)
    return None


def _integer(value: Any, otherwise: Any = None) -> Any:
    """Return an integer, which OTLP/JSON may write as a text."""
    if isinstance(value, str) and len(value) <= 20 and value.removeprefix("-").isdecimal() and value.isascii():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**64:
        return value
    return otherwise


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
