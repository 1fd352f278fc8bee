"""OTLP out: what our own receiver and OpenTelemetry's own types read of it, and what receivers answer."""

from __future__ import annotations

import gzip
import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream import App, UsageError, sinks
from millstream.errors import SinkError
from millstream.logs.alert import Alert, Level
from millstream.parsers.event_parser import event_columns
from millstream.parsers.formats import FORMATS
from millstream.parsers.log_event import Kind, LogEvent
from millstream.parsers.otlp import split_records
from millstream.parsers.system_event import Severity
from millstream.records import time_from_us
from millstream.sinks import Patience, Rows
from millstream.sinks.otlp_records import records_of, request_of
from millstream.sources.otlp_server import OtlpServer
from millstream.sources.system import follow_system

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EVENT = LogEvent(
    time=datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC),
    source="/var/log/auth.log",
    message="Failed password for ann from 203.0.113.9 port 4 ssh2",
    host="web",
    program="sshd",
    pid=77,
    severity=Severity.WARNING,
    kind=Kind.LOGIN,
    action="login_failed",
    success=False,
    user="ann",
    source_ip="203.0.113.9",
    source_port=4,
    method="password",
    fields={"took": 1.5, "tags": ["a", 1, None], "map": {"deep": True}},
    raw="the line",
    format="syslog",
)


def read_again(events: list[LogEvent]) -> list[LogEvent]:
    frame = event_columns(events)
    carried = {"_key": pl.Series([None] * len(events), dtype=pl.Binary), "_event_time": frame["time"]}
    rows = Rows.of(frame.with_columns(**carried))
    lines = list(split_records(msgspec.json.decode(request_of(records_of(rows)))))
    found: list[LogEvent] = FORMATS["otlp"].parser("x").events(lines, now=NOW)  # type: ignore[attr-defined]
    return found


def same(event: LogEvent) -> dict[str, Any]:
    """Return what a record of OTLP has a place for; where the line was read is one of its fields then."""
    said = msgspec.structs.asdict(event)
    for name in ("source", "raw", "raw_bytes", "format"):
        said.pop(name)
    said["fields"] = {
        name: value
        for name, value in (event.fields or {}).items()
        if name not in ("scope", "log.file.path", "log.record.original", "event.module")
    }
    return said


def test_event_that_was_sent_is_the_same_again() -> None:
    [again] = read_again([EVENT])
    assert same(again) == same(EVENT)
    assert again.fields is not None
    assert again.fields["log.file.path"] == "/var/log/auth.log"
    assert again.fields["log.record.original"] == "the line"


texts = st.none() | st.text(min_size=1, max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.builds(
        LogEvent,
        time=st.integers(1, 4_000_000_000_000_000).map(time_from_us),
        source=st.just("x"),
        message=st.text(),
        host=texts,
        program=texts.filter(lambda text: text is None or not text.islower()),  # one that is known would say more
        pid=st.none() | st.integers(0, 2**31),
        severity=st.none() | st.sampled_from(Severity),
        kind=st.none() | st.sampled_from(Kind),
        action=texts,
        success=st.none() | st.booleans(),
        user=texts,
        target_user=texts,
        source_ip=texts,
        source_port=st.none() | st.integers(0, 65535),
        session=texts,
        command=texts,
        service=texts,
        device=texts,
        device_serial=texts,
        fields=st.dictionaries(st.text(st.sampled_from("abc.")), values, max_size=3),
    )
)
def test_any_event_that_was_sent_is_the_same_again(event: LogEvent) -> None:
    [again] = read_again([event])
    assert same(again) == same(event)


def test_opentelemetrys_own_types_read_what_is_sent() -> None:
    service = pytest.importorskip(
        "opentelemetry.proto.collector.logs.v1.logs_service_pb2", reason="needs opentelemetry-proto"
    )
    from google.protobuf.json_format import Parse

    frame = event_columns([EVENT, msgspec.structs.replace(EVENT, host="other"), EVENT])
    carried = {"_key": pl.Series([None] * 3, dtype=pl.Binary), "_event_time": frame["time"]}
    body = request_of(records_of(Rows.of(frame.with_columns(**carried))))
    request = Parse(body, service.ExportLogsServiceRequest())
    assert [len(one.scope_logs[0].log_records) for one in request.resource_logs] == [2, 1]
    record = request.resource_logs[0].scope_logs[0].log_records[0]
    assert (record.time_unix_nano, record.severity_number) == (1772359200123456000, 13)
    assert record.body.string_value == EVENT.message
    said = {pair.key: pair.value for pair in record.attributes}
    assert (said["user.name"].string_value, said["source.port"].int_value) == ("ann", 4)
    assert (said["event.outcome"].string_value, said["took"].double_value) == ("failure", 1.5)
    assert {pair.key for pair in request.resource_logs[0].resource.attributes} == {
        "host.name",
        "service.name",
        "process.pid",
    }


def test_what_came_as_otlp_goes_on_as_it_came() -> None:
    fields = {
        "trace_id": "5b8efff798038103d269b633813fc60c",
        "span_id": "eee19b7ec3c1b174",
        "event_name": "ordered",
        "resource": {"cloud.region": "eu"},
        "scope": {"name": "lib", "version": "1", "attributes": {"a": "b"}},
        "order": 7,
    }
    [again] = read_again([msgspec.structs.replace(EVENT, fields=fields)])
    assert again.fields is not None
    assert {name: again.fields[name] for name in fields} == fields
    record = msgspec.json.decode(again.raw)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    assert (record["traceId"], record["eventName"]) == (fields["trace_id"], "ordered")


class Receiver(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[dict[str, Any]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = gzip.decompress(self.rfile.read(int(self.headers["Content-Length"])))
        assert (self.path, self.headers["X-Token"]) == ("/v1/logs", "t")
        self.server.bodies.append(msgspec.json.decode(body))
        status, headers, said = self.server.answers.pop(0) if self.server.answers else (200, {}, b"{}")
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(said))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *values: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(60)


def sent(app: App, sink: sinks.Sink, events: list[Any]) -> None:
    topic = app.topic("out", type(events[0]), time="time")
    app.stream(topic, name="s")(lambda s: s.to(sink))
    topic.extend(events)
    app.run(until="now")


def test_receiver_that_has_no_time_is_asked_again_when_it_says(receiver: Receiver) -> None:
    receiver.answers = [(429, {"Retry-After": "1"}, b""), (503, {}, b""), (200, {}, b"{}")]
    with App("memory://") as app:
        patience = Patience(attempts=5, first_s=0.01, most_s=2.0)
        sent(app, sinks.otlp(receiver.url, headers={"X-Token": "t"}, patience=patience), [EVENT])
    assert len(receiver.bodies) == 3
    assert receiver.bodies[0] == receiver.bodies[1] == receiver.bodies[2]


def test_records_that_are_rejected_are_counted_and_told(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    said = {"partialSuccess": {"rejectedLogRecords": "2", "errorMessage": "too old"}}
    receiver.answers = [(200, {}, msgspec.json.encode(said)), (200, {}, msgspec.json.encode(said))]
    with App("memory://") as app, caplog.at_level(logging.WARNING, "millstream.sinks"):
        sent(app, sinks.otlp(receiver.url, headers={"X-Token": "t"}, rows=3), [EVENT] * 6)
    assert len(receiver.bodies) == 2
    assert "2 records, 4 in all so far, and does not want them again: too old" in caplog.text


def test_refusal_for_good_stops_the_stream(receiver: Receiver) -> None:
    receiver.answers = [(400, {}, b"no")]
    with App("memory://") as app, pytest.raises(SinkError, match="answers 400: no"):
        sent(app, sinks.otlp(receiver.url, headers={"X-Token": "t"}), [EVENT])


def test_alert_is_a_record_as_bad_as_it_is(receiver: Receiver) -> None:
    alert = Alert(
        time=NOW, rule="guessing", level=Level.HIGH, message="3 failed", count=3, first=NOW, by={"a": 1}, raw="x"
    )
    with App("memory://") as app:
        sent(app, sinks.otlp(receiver.url, headers={"X-Token": "t"}), [alert])
    [record] = receiver.bodies[0]["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    assert (record["body"], record["severityNumber"]) == ({"stringValue": "3 failed"}, 17)
    assert {"key": "rule", "value": {"stringValue": "guessing"}} in record["attributes"]


def test_our_own_receiver_takes_events_through_the_log(tmp_path: Any) -> None:
    events = [msgspec.structs.replace(EVENT, message=f"order {number}", program="shop") for number in range(2500)]
    with closing(OtlpServer(port=0)) as server, App(tmp_path / "other.db") as other, App("memory://") as app:
        with follow_system(other, sources=[server]) as follower:
            sent(app, sinks.otlp(f"http://127.0.0.1:{server.port}/"), events)
        found = [record.value for record in follower.topic.read(records_max=10_000)]
    assert [event.message for event in found] == [event.message for event in events]
    assert {event.user for event in found} == {"ann"}


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://ann:secret@host/"])
def test_address_that_is_none_is_said(url: str) -> None:
    with pytest.raises(UsageError, match="otlp") as said:
        sinks.otlp(url)
    assert "secret" not in str(said.value)
