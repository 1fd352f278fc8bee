"""No body is too odd for the receiver of OTLP: it is read, or refused with a word."""

from __future__ import annotations

import gzip
import zlib
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.errors import UsageError
from millstream.parsers.formats import FORMATS
from millstream.sources.otlp_batch import ENCODINGS, JSON, PROTOBUF, read_batch, unpacked

NOW = datetime(2026, 4, 7, 12, 0, tzinfo=UTC)

names = st.sampled_from(
    [
        "resourceLogs", "resource", "scopeLogs", "scope", "logRecords", "attributes", "key", "value", "body",
        "stringValue", "intValue", "doubleValue", "arrayValue", "kvlistValue", "values", "timeUnixNano", "traceId",
        "severityNumber", "severityText", "name", "user.name", "event.category", "process.pid", "message",
    ]
)  # fmt: skip
anything: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
values = st.one_of(
    anything,
    st.builds(lambda name, value: {name: value}, names, anything),
    st.builds(lambda pairs: {"kvlistValue": {"values": pairs}}, anything),
)
pairs = st.lists(st.builds(lambda key, value: {"key": key, "value": value}, names | anything, values), max_size=3)
records = st.builds(
    lambda record, given, body: {**record, "attributes": given, "body": body},
    st.dictionaries(names, anything, max_size=4),
    pairs,
    values,
)


def batch_of(inside: Any, resource: Any, scope: Any) -> dict[str, Any]:
    scope_logs = {"scope": scope, "logRecords": inside}
    return {"resourceLogs": [{"resource": resource, "scopeLogs": [scope_logs]}]}


batches = anything | st.builds(
    batch_of, st.lists(records, max_size=3), st.builds(lambda given: {"attributes": given}, pairs) | anything, anything
)


@given(batches.map(msgspec.json.encode) | st.binary(max_size=60))
def test_any_json_is_read_or_refused_and_its_lines_are_events(body: bytes) -> None:
    with suppress(UsageError):
        lines = read_batch(body, JSON).lines
        parser = FORMATS["otlp"].parser("x")
        assert parser.columns(lines, now=NOW)["raw"].to_list() == [line.decode() for line in lines]


@given(st.lists(st.binary(max_size=8) | st.sampled_from([b"\x0a", b"\x12", b"\x2a\x02", b"\x00" * 3]), max_size=20))
def test_any_bytes_are_read_as_protobuf_or_refused(parts: list[bytes]) -> None:
    pytest.importorskip("opentelemetry.proto", reason="needs opentelemetry-proto")
    with suppress(UsageError):
        lines = read_batch(b"".join(parts), PROTOBUF).lines
        assert FORMATS["otlp"].parser("x").columns(lines, now=NOW).height == len(lines)


@given(st.binary(max_size=200), st.sampled_from(ENCODINGS), st.integers(0, 3), st.binary(max_size=4))
def test_any_packed_bytes_are_unpacked_or_refused(body: bytes, encoding: str, cut: int, more: bytes) -> None:
    packed = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}.get(encoding, bytes)(body)
    assert unpacked(packed, encoding) == body
    with suppress(UsageError):
        unpacked(packed[cut:] + more, encoding)
    with suppress(UsageError):
        unpacked(body, encoding)
