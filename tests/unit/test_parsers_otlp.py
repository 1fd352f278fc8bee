"""Records of OpenTelemetry, as lines."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.parsers.otlp import LEVELS, plain_value, severity_of_number, split_records
from millstream.parsers.system_event import Severity

NOW = datetime(2026, 4, 7, 12, 0, tzinfo=UTC)


def text(value: str) -> dict[str, Any]:
    return {"stringValue": value}


def attributes(**values: str) -> list[dict[str, Any]]:
    return [{"key": name.replace("_", "."), "value": text(value)} for name, value in values.items()]


def batch(*records: dict[str, Any], **resource: str) -> dict[str, Any]:
    scope_logs = {"scope": {"name": "lib", "version": "1"}, "logRecords": list(records)}
    return {"resourceLogs": [{"resource": {"attributes": attributes(**resource)}, "scopeLogs": [scope_logs]}]}


def events(found: dict[str, Any]) -> list[LogEvent]:
    return FORMATS["otlp"].parser("x").events(list(split_records(found)), now=NOW)  # type: ignore[attr-defined,no-any-return]


def test_record_has_what_its_resource_and_its_attributes_say() -> None:
    record = {
        "timeUnixNano": "1544712660300000123",
        "severityNumber": 17,
        "severityText": "ERROR",
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "body": text("it broke"),
        "attributes": [
            {"key": "user.name", "value": text("ann")},
            {"key": "client.address", "value": text("203.0.113.9")},
            {"key": "client.port", "value": {"intValue": "4000"}},
            {"key": "took", "value": {"doubleValue": 1.5}},
            {"key": "tags", "value": {"arrayValue": {"values": [text("a"), {"boolValue": True}]}}},
            {"key": "map", "value": {"kvlistValue": {"values": [{"key": "n", "value": {"intValue": "10"}}]}}},
        ],
    }
    [event] = events(batch(record, host_name="web", service_name="shop", cloud_region="eu"))
    assert event.time == datetime(2018, 12, 13, 14, 51, 0, 300_000, tzinfo=UTC)
    assert (event.severity, event.message, event.host, event.program) == (Severity.ERR, "it broke", "web", "shop")
    assert (event.user, event.source_ip, event.source_port) == ("ann", "203.0.113.9", 4000)
    assert event.fields == {
        "took": 1.5,
        "tags": ["a", True],
        "map": {"n": 10},
        "scope": {"name": "lib", "version": "1"},
        "resource": {"cloud.region": "eu"},
        "trace_id": "5b8efff798038103d269b633813fc60c",
        "span_id": "eee19b7ec3c1b174",
    }
    assert msgspec.json.decode(event.raw)["resourceLogs"][0]["scopeLogs"][0]["logRecords"] == [record]


def test_each_record_of_a_batch_is_a_line_with_all_that_is_said_of_it() -> None:
    found = batch({"body": text("one"), "unknownField": 1}, {"body": text("two")}, host_name="web")
    found["resourceLogs"][0]["schemaUrl"] = "https://opentelemetry.io/schemas/1.30.0"
    lines = [msgspec.json.decode(line) for line in split_records(found)]
    assert [line["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["body"] for line in lines] == [
        text("one"),
        text("two"),
    ]
    for line in lines:
        assert line["resourceLogs"][0]["resource"] == found["resourceLogs"][0]["resource"]
        assert line["resourceLogs"][0]["schemaUrl"] == "https://opentelemetry.io/schemas/1.30.0"
        assert line["resourceLogs"][0]["scopeLogs"][0]["scope"] == {"name": "lib", "version": "1"}
    again = [line for one in lines for line in split_records(one)]
    assert again == list(split_records(found))


def test_time_is_when_it_was_observed_where_nobody_knows_when_it_happened() -> None:
    [observed] = events(batch({"observedTimeUnixNano": "1544712660000000000", "timeUnixNano": "0"}))
    [never] = events(batch({"body": text("x"), "timeUnixNano": "99999999999999999999999"}))
    assert observed.time == datetime(2018, 12, 13, 14, 51, tzinfo=UTC)
    assert never.time == NOW


@pytest.mark.parametrize(
    ("number", "said", "wanted"),
    [
        (9, "Information", Severity.INFO),
        (10, None, Severity.NOTICE),
        (1, "TRACE", Severity.DEBUG),
        (4, None, Severity.DEBUG),
        (16, "WARN4", Severity.WARNING),
        (17, "critical", Severity.CRIT),
        (21, None, Severity.EMERG),
        (21, "CRITICAL", Severity.CRIT),  # Python's logging
        (24, "fatal", Severity.CRIT),
        (0, "warn", Severity.WARNING),
        (99, None, None),
        (None, None, None),
        (True, None, None),
        (9, "error", Severity.INFO),  # the number is what is compared
    ],
)
def test_severity_is_the_number_and_the_word_within_its_band(number: Any, said: Any, wanted: Severity | None) -> None:
    assert severity_of_number(number, said) == wanted


@pytest.mark.parametrize("level", list(Severity))
def test_severity_that_was_written_as_a_number_is_read_again(level: Severity) -> None:
    assert severity_of_number(LEVELS[level], None) == level


def test_message_of_a_known_program_says_what_happened() -> None:
    body = text("Failed password for ann from 203.0.113.9 port 4 ssh2")
    [event] = events(batch({"body": body}, service_name="sshd"))
    assert (event.kind, event.success, event.user, event.source_ip) == (Kind.LOGIN, False, "ann", "203.0.113.9")


def test_body_that_is_no_text_is_kept_and_shown() -> None:
    inner = [{"key": "msg", "value": text("it works")}, {"key": "n", "value": {"intValue": 3}}]
    mapped, listed, empty = events(
        batch(
            {"body": {"kvlistValue": {"values": inner}}},
            {"body": {"arrayValue": {"values": [text("a")]}}},
            {"body": {}},
        )
    )
    assert (mapped.message, mapped.fields and mapped.fields["body"]) == ("it works", {"msg": "it works", "n": 3})
    assert listed.message == '["a"]'
    assert empty.message == ""


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not json",
        b"{}",
        b'{"resourceLogs":[]}',
        b'{"resourceLogs":{}}',
        b'{"resourceLogs":[1]}',
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{},{}]}]}]}',
        b'{"resourceLogs":' + b"[" * 100_000,
    ],
)
def test_line_of_another_shape_is_the_message_whole(line: bytes) -> None:
    [event] = FORMATS["otlp"].parser("x").events([line], now=NOW)  # type: ignore[attr-defined]
    assert (event.message, event.raw, event.time) == (line.decode(), line.decode(), NOW)


def test_values_deep_in_one_another_do_not_break_it() -> None:
    value: dict[str, Any] = text("deep")
    for _ in range(200):
        value = {"arrayValue": {"values": [value]}}
    assert plain_value(value) is not None
    [event] = events(batch({"body": value}))
    assert event.message.startswith("[[[")


def test_numbers_that_no_event_can_hold_are_left_in_the_fields() -> None:
    record = {"attributes": [{"key": "process.pid", "value": {"intValue": "-5"}}]}
    odd = {"attributes": [{"key": "n", "value": {"intValue": "99999999999999999999"}}]}
    minus, large = events(batch(record, odd))
    assert (minus.pid, minus.fields and minus.fields["process.pid"]) == (None, -5)
    assert large.fields == {"n": None, "scope": {"name": "lib", "version": "1"}}
