"""The body of an OTLP/HTTP request, as lines: one a log record.

| Content-Type | body |
|---|---|
| application/json | OTLP/JSON, as it comes: unknown fields are kept |
| application/x-protobuf | an ExportLogsServiceRequest; read with the package opentelemetry-proto |

Both may be packed with gzip or deflate. What becomes of a body is bounded before it is made: a small packed body can
hold a large one, and a small resource stands in each of a million lines.

Source: opentelemetry.io/docs/specs/otlp ("Binary Protobuf Encoding", "JSON Protobuf Encoding"), RFC 9110, 8.4.1.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from millstream.errors import LimitExceededError, SettingsError, UsageError
from millstream.parsers.otlp import split_records

JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"

BODY_BYTES_MAX: Final = 20 * 1024 * 1024
"""Of a request, packed and unpacked: what the Collector takes."""
LINES_BYTES_MAX: Final = 4 * BODY_BYTES_MAX
"""Of all lines of a request together."""
RECORD_BYTES_MAX: Final = 1024 * 1024
"""Of the line of one record; a larger one is rejected, and its sender is told."""

ENCODINGS: Final = ("identity", "gzip", "x-gzip", "deflate")

_DECODER: Final = msgspec.json.Decoder(dict[str, Any])


class Batch(msgspec.Struct, frozen=True):
    """What a request brought."""

    lines: list[bytes]
    rejected: int
    """Records that are larger than `RECORD_BYTES_MAX`."""


def unpacked(body: bytes, encoding: str) -> bytes:
    """Return a body without its Content-Encoding, one of `ENCODINGS`.

    Raises:
        LimitExceededError: It would be larger than `BODY_BYTES_MAX`.
        UsageError: It is not packed as it says.
    """
    if encoding in ("", "identity"):
        return body
    parts: list[bytes] = []
    size = 0
    try:
        while body:
            # "deflate" means zlib's frame; some senders leave that out.
            framed = encoding != "deflate" or (body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0)
            stream = zlib.decompressobj(
                (16 if encoding != "deflate" else 0) + zlib.MAX_WBITS if framed else -zlib.MAX_WBITS
            )
            parts.append(stream.decompress(body, BODY_BYTES_MAX - size + 1))
            size += len(parts[-1])
            if size > BODY_BYTES_MAX:
                raise LimitExceededError(
                    "the unpacked body", limit=BODY_BYTES_MAX, size=size, hint="send smaller batches"
                )
            if not stream.eof:
                raise UsageError(f"the body ends in the middle of its {encoding} stream")
            body = stream.unused_data if encoding != "deflate" else b""  # gzip may have several members
    except zlib.error as error:
        raise UsageError(f"the body is no {encoding} stream, as its Content-Encoding says: {error}") from error
    return b"".join(parts)


def read_batch(body: bytes, content_type: str) -> Batch:
    """Return the lines of a body, of type `JSON` or `PROTOBUF`.

    Raises:
        UsageError: It is no request of OTLP.
        LimitExceededError: Its lines would be larger than `LINES_BYTES_MAX`.
        SettingsError: The package that reads protobuf is missing.
    """
    found = _of_protobuf(body) if content_type == PROTOBUF else _of_json(body)
    lines: list[bytes] = []
    rejected = size = 0
    try:
        for line in split_records(found):
            size += len(line)
            if size > LINES_BYTES_MAX:
                raise LimitExceededError(
                    "what the body says, written a line a record,",
                    limit=LINES_BYTES_MAX,
                    size=size,
                    hint="send smaller batches, or a smaller resource",
                )
            if len(line) > RECORD_BYTES_MAX:
                rejected += 1
            else:
                lines.append(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the body is no request of OTLP/JSON: {error}") from error
    return Batch(lines, rejected)


def _of_json(body: bytes) -> dict[str, Any]:
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the body is no JSON object: {error}") from error


def _of_protobuf(body: bytes) -> dict[str, Any]:
    try:
        from google.protobuf.message import DecodeError
        from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    except ImportError as error:
        raise SettingsError(
            "OTLP as protobuf is not read here: pip install 'millstream[otlp]', or send application/json"
        ) from error
    try:
        request = ExportLogsServiceRequest.FromString(body)
    except DecodeError as error:
        raise UsageError(f"the body is no ExportLogsServiceRequest: {error}") from error
    return {"resourceLogs": [_resource_logs(one) for one in request.resource_logs]}


def _resource_logs(one: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if one.HasField("resource"):
        found["resource"] = _said(one.resource, attributes=_attributes(one.resource.attributes))
    found["scopeLogs"] = [_scope_logs(inner) for inner in one.scope_logs]
    return found | _texts(one, "schema_url")


def _scope_logs(one: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if one.HasField("scope"):
        scope = _said(one.scope, attributes=_attributes(one.scope.attributes))
        found["scope"] = _texts(one.scope, "name", "version") | scope
    found["logRecords"] = [_record(inner) for inner in one.log_records]
    return found | _texts(one, "schema_url")


def _record(one: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if one.time_unix_nano:
        found["timeUnixNano"] = str(one.time_unix_nano)
    if one.observed_time_unix_nano:
        found["observedTimeUnixNano"] = str(one.observed_time_unix_nano)
    if one.severity_number:
        found["severityNumber"] = one.severity_number
    found |= _texts(one, "severity_text", "event_name")
    if one.HasField("body"):
        found["body"] = _value(one.body)
    found |= _said(one, attributes=_attributes(one.attributes))
    if one.flags:
        found["flags"] = one.flags
    # Of all bytes of OTLP/JSON, these two are written in hex.
    if one.trace_id:
        found["traceId"] = one.trace_id.hex()
    if one.span_id:
        found["spanId"] = one.span_id.hex()
    return found


def _said(one: Any, *, attributes: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"attributes": attributes} if attributes else {}
    if one.dropped_attributes_count:
        found["droppedAttributesCount"] = one.dropped_attributes_count
    return found


def _texts(one: Any, *names: str) -> dict[str, Any]:
    """Return those text fields that say something, by their JSON names."""
    return {_camel(name): value for name in names if (value := getattr(one, name))}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _attributes(pairs: Iterable[Any]) -> list[dict[str, Any]]:
    return [{"key": pair.key, "value": _value(pair.value)} for pair in pairs]


def _value(value: Any) -> Mapping[str, Any]:
    """Return an AnyValue as JSON."""
    match value.WhichOneof("value"):
        case "string_value":
            return {"stringValue": value.string_value}
        case "bool_value":
            return {"boolValue": value.bool_value}
        case "int_value":
            return {"intValue": str(value.int_value)}
        case "double_value":
            return {"doubleValue": _double(value.double_value)}
        case "array_value":
            return {"arrayValue": {"values": [_value(one) for one in value.array_value.values]}}
        case "kvlist_value":
            return {"kvlistValue": {"values": _attributes(value.kvlist_value.values)}}
        case "bytes_value":
            return {"bytesValue": base64.b64encode(value.bytes_value).decode()}
    return {}


def _double(value: float) -> float | str:
    if value != value:  # JSON has no word for what is no number
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "Infinity" if value > 0 else "-Infinity"
    return value
