"""OTLP/HTTP: real exporters, what is refused, what is stored before it is answered."""

from __future__ import annotations

import gzip
import http.client
import logging
import ssl
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.waiting import until

from millstream import App
from millstream.errors import SettingsError
from millstream.parsers.log_event import LogEvent
from millstream.sources import otlp_batch, otlp_site
from millstream.sources.otlp_server import OtlpServer
from millstream.sources.source import Reading
from millstream.sources.system import SystemFollower, follow_system

JSON = "application/json"
PROTOBUF = "application/x-protobuf"


@pytest.fixture
def app() -> Iterator[App]:
    with App("memory://") as app:
        yield app


def events_of(follower: SystemFollower) -> list[LogEvent]:
    values, end = [], follower.topic.end_offsets()[0]
    while len(values) < end:  # a read may return fewer than there are
        values += [record.value for record in follower.topic.read(len(values), records_max=100_000)]
    return values


def stored(follower: SystemFollower, count: int) -> list[LogEvent]:
    until(lambda: len(events_of(follower)) >= count, lambda: (follower.records, follower.notes))
    return events_of(follower)


def logs_of(*texts: str, host: str = "web") -> bytes:
    records = [{"timeUnixNano": "1544712660300000000", "body": {"stringValue": text}} for text in texts]
    resource = {"attributes": [{"key": "host.name", "value": {"stringValue": host}}]}
    return msgspec.json.encode({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]})


def post(
    port: int,
    body: bytes,
    *,
    path: str = "/v1/logs",
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    context: ssl.SSLContext | None = None,
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = (
        http.client.HTTPConnection("localhost", port, timeout=60)
        if context is None
        else http.client.HTTPSConnection("localhost", port, timeout=60, context=context)
    )
    with closing(connection):
        connection.request(method, path, body, {"Content-Type": JSON, **(headers or {})})
        response = connection.getresponse()
        return response.status, response.read(), response.headers


class Reader(threading.Thread):
    """Stands where the follower is, and stores only when it is told to."""

    def __init__(self, server: OtlpServer, positions: Mapping[bytes, bytes] | None = None) -> None:
        super().__init__(daemon=True)
        self.stop = threading.Event()
        self.readings: list[Reading] = []
        self.may_store = threading.Semaphore(0)
        self._found = server.read(positions or {}, self.stop, lambda note: None)

    def run(self) -> None:
        for reading in self._found:
            self.readings.append(reading)
            self.may_store.acquire()

    def __enter__(self) -> Reader:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        for _ in range(100):
            self.may_store.release()
        self.join(60)
        assert not self.is_alive()

    def stored(self) -> dict[bytes, bytes]:
        """Return what the log would know at the next start."""
        found: dict[bytes, bytes] = {}
        for reading in self.readings:
            for key, value in reading.positions.items():
                found.pop(key, None)
                if value is not None:
                    found[key] = value
        return found


def test_records_of_the_real_sdk_arrive_with_all_that_they_say(app: App) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="needs opentelemetry-sdk")
    exporters = pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.http._log_exporter", reason="needs opentelemetry-exporter-otlp-proto-http"
    )
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource

    with closing(OtlpServer(port=0)) as server, follow_system(app, sources=[server]) as follower:
        resource = Resource.create({"service.name": "shop", "host.name": "web", "process.pid": 77})
        provider = LoggerProvider(resource=resource)
        for packing in exporters.Compression:
            exporter = exporters.OTLPLogExporter(f"http://127.0.0.1:{server.port}/v1/logs", compression=packing)
            provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        logger = provider.get_logger("lib", "1.2")
        for number in range(300):
            logger.emit(
                timestamp=1544712660300000000 + number * 1000,
                severity_text="WARN",
                body=f"order {number}",
                attributes={"user.name": "ann", "client.address": "203.0.113.9", "took": 1.5, "tags": ["a", "b"]},
                event_name="ordered",
            )
        provider.shutdown()
        found = stored(follower, 300 * len(list(exporters.Compression)))
    assert len(found) == 300 * len(list(exporters.Compression))
    assert {event.message for event in found} == {f"order {number}" for number in range(300)}
    event = found[0]
    assert (event.host, event.program, event.pid, event.user) == ("web", "shop", 77, "ann")
    assert (event.severity, event.source_ip, event.source) == ("warning", "203.0.113.9", "otlp://127.0.0.1")
    assert event.fields is not None
    assert (event.fields["took"], event.fields["tags"], event.fields["event_name"]) == (1.5, ["a", "b"], "ordered")
    assert event.fields["scope"] == {"name": "lib", "version": "1.2"}


def test_logging_of_python_arrives_through_the_real_sdk(app: App) -> None:
    exporters = pytest.importorskip(
        "opentelemetry.exporter.otlp.proto.http._log_exporter", reason="needs opentelemetry-exporter-otlp-proto-http"
    )
    from opentelemetry.sdk import _logs as sdk
    from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor

    if not hasattr(sdk, "LoggingHandler"):
        pytest.skip("this SDK has no handler for logging")
    import warnings

    with closing(OtlpServer(port=0)) as server, follow_system(app, sources=[server]) as follower:
        provider = sdk.LoggerProvider()
        exporter = exporters.OTLPLogExporter(f"http://127.0.0.1:{server.port}/v1/logs")
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the SDK moves its handler to another package
            handler = sdk.LoggingHandler(logger_provider=provider)
        record = logging.LogRecord("shop.orders", logging.CRITICAL, __file__, 1, "no stock of %s", ("tea",), None)
        handler.handle(record)
        provider.shutdown()
        [event] = stored(follower, 1)
    assert (event.message, event.severity) == ("no stock of tea", "crit")


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", lambda body: zlib.compress(body, wbits=-15)),
        ("identity", bytes),
    ],
)
def test_packed_bodies_are_read(app: App, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    with closing(OtlpServer(port=0)) as server, follow_system(app, sources=[server]) as follower:
        status, said, headers = post(server.port, pack(logs_of("one", "two")), headers={"Content-Encoding": encoding})
        assert (status, said, headers["Content-Type"]) == (200, b"{}", JSON)
        assert [event.message for event in stored(follower, 2)] == ["one", "two"]


def test_answer_comes_after_the_records_are_stored() -> None:
    with closing(OtlpServer(port=0)) as server, Reader(server) as reader:
        answers: list[int] = []
        sender = threading.Thread(target=lambda: answers.append(post(server.port, logs_of("x"))[0]))
        sender.start()
        until(lambda: len(reader.readings) == 1, lambda: reader.readings)
        assert not answers
        sender.join(0.2)  # an answer that comes too early would come now
        assert not answers
        reader.may_store.release()
        sender.join(60)
        assert answers == [200]


def test_what_is_not_stored_in_time_is_refused_and_stored_once_when_it_comes_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with closing(OtlpServer(port=0)) as server, Reader(server) as reader:
        monkeypatch.setattr(otlp_site, "STORE_S", 0.1)
        status, said, headers = post(server.port, logs_of("x"))
        assert (status, headers["Retry-After"], msgspec.json.decode(said)["code"]) == (503, "1", 14)
        monkeypatch.setattr(otlp_site, "STORE_S", 60.0)
        reader.may_store.release()
        assert post(server.port, logs_of("x"))[0] == 200
        assert [line.data for reading in reader.readings for line in reading.lines] == [
            msgspec.json.encode(msgspec.json.decode(logs_of("x")))
        ]


def test_equal_requests_that_were_answered_are_two() -> None:
    with closing(OtlpServer(port=0)) as server, Reader(server) as reader:
        for _ in range(10):
            reader.may_store.release()
        for _ in range(3):
            assert post(server.port, logs_of("x"))[0] == 200
        assert sum(len(reading.lines) for reading in reader.readings) == 3


def test_request_whose_answer_died_with_the_process_is_stored_once() -> None:
    with closing(OtlpServer(port=0)) as server, Reader(server) as reader:
        reader.may_store.release()
        assert post(server.port, logs_of("x"))[0] == 200
        kept = reader.stored()
        assert len(kept) == 1
    with closing(OtlpServer(port=0)) as server, Reader(server, kept) as reader:
        for _ in range(10):
            reader.may_store.release()
        assert post(server.port, logs_of("x"))[0] == 200
        assert not reader.readings
        assert post(server.port, logs_of("y"))[0] == 200
        assert [len(reading.lines) for reading in reader.readings] == [1]
        [key] = kept
        assert reader.readings[0].positions[key] is None


def test_what_could_not_be_stored_is_the_first_of_the_next_reading() -> None:
    stop = threading.Event()
    with closing(OtlpServer(port=0)) as server:
        readings = server.read({}, stop, lambda note: None)
        answers: list[int] = []

        def send(text: str) -> threading.Thread:
            sender = threading.Thread(target=lambda: answers.append(post(server.port, logs_of(text))[0]))
            sender.start()
            return sender

        senders = [send("x")]
        first = next(readings)
        readings.close()  # a full disk
        assert not answers
        readings = server.read({}, stop, lambda note: None)
        assert next(readings).lines == first.lines
        stop.set()
        assert not list(readings)
        senders[0].join(60)
        assert answers == [200]


@pytest.mark.parametrize(
    ("change", "wanted", "said"),
    [
        ({"body": b"{"}, 400, "no JSON object"),
        ({"body": b"[]"}, 400, "no JSON object"),
        ({"body": b'{"resourceLogs": 1}'}, 400, "resourceLogs is no list"),
        ({"body": b"{}", "headers": {"Content-Encoding": "gzip"}}, 400, "no gzip stream"),
        ({"body": gzip.compress(b"{}")[:-3], "headers": {"Content-Encoding": "gzip"}}, 400, "middle of its gzip"),
        ({"headers": {"Content-Encoding": "br"}}, 415, "send gzip, deflate or none"),
        ({"headers": {"Content-Type": "text/plain"}}, 415, "application/x-protobuf or application/json"),
        ({"path": "/v1/traces"}, 404, "no traces, no metrics"),
        ({"path": "/v1/metrics"}, 404, "no traces, no metrics"),
        ({"method": "GET"}, 405, "post OTLP logs"),
        ({"method": "PUT"}, 405, "post OTLP logs"),
        ({"headers": {"Host": "evil.example"}}, 403, "host name"),
        ({"body": gzip.compress(b" " * (otlp_batch.BODY_BYTES_MAX + 1)), "headers": {"Content-Encoding": "gzip"}},
         413, "smaller batches"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(change: dict[str, Any], wanted: int, said: str) -> None:
    with closing(OtlpServer(port=0)) as server, Reader(server) as reader:
        arguments = {"body": logs_of("x"), **change}
        status, body, headers = post(server.port, **arguments)
        assert status == wanted, body
        assert said in body.decode()
        if wanted not in (404, 405):
            assert headers["Content-Type"] == JSON
            assert set(msgspec.json.decode(body)) == {"code", "message"}
        assert not reader.readings


def test_body_that_is_too_large_is_refused_before_it_is_read() -> None:
    with closing(OtlpServer(port=0)) as server, Reader(server):
        connection = http.client.HTTPConnection("localhost", server.port, timeout=60)
        with closing(connection):
            connection.putrequest("POST", "/v1/logs")
            connection.putheader("Content-Type", JSON)
            connection.putheader("Content-Length", str(otlp_batch.BODY_BYTES_MAX + 1))
            connection.endheaders()
            assert connection.getresponse().status == 413


def test_small_body_that_would_become_large_is_refused() -> None:
    resource = {"attributes": [{"key": "k", "value": {"stringValue": "x" * 100_000}}]}
    records: list[dict[str, Any]] = [{}] * 2000
    body = msgspec.json.encode({"resourceLogs": [{"resource": resource, "scopeLogs": [{"logRecords": records}]}]})
    with closing(OtlpServer(port=0)) as server, Reader(server) as reader:
        status, said, _ = post(server.port, body)
        assert (status, b"smaller resource" in said) == (413, True)
        assert not reader.readings


def test_record_that_is_too_large_is_rejected_and_the_others_are_stored(app: App) -> None:
    with closing(OtlpServer(port=0)) as server, follow_system(app, sources=[server]) as follower:
        status, said, _ = post(server.port, logs_of("one", "x" * otlp_batch.RECORD_BYTES_MAX, "two"))
        partial = msgspec.json.decode(said)["partialSuccess"]
        assert (status, partial["rejectedLogRecords"]) == (200, "1")
        assert "larger than" in partial["errorMessage"]
        assert [event.message for event in stored(follower, 2)] == ["one", "two"]


def test_protobuf_is_answered_in_protobuf(app: App) -> None:
    service = pytest.importorskip(
        "opentelemetry.proto.collector.logs.v1.logs_service_pb2", reason="needs opentelemetry-proto"
    )
    from google.rpc.status_pb2 import Status

    request = service.ExportLogsServiceRequest()
    scope_logs = request.resource_logs.add().scope_logs.add()
    for text in ("one", "x" * otlp_batch.RECORD_BYTES_MAX):
        record = scope_logs.log_records.add()
        record.body.string_value = text
        record.trace_id = bytes(range(16))
        value = record.attributes.add(key="all").value.kvlist_value
        value.values.add(key="int").value.int_value = -(2**63)
        value.values.add(key="double").value.double_value = float("nan")
        value.values.add(key="bytes").value.bytes_value = b"\0\xff"
        value.values.add(key="list").value.array_value.values.add().bool_value = False
        value.values.add(key="none")
    headers = {"Content-Type": PROTOBUF}
    with closing(OtlpServer(port=0)) as server, follow_system(app, sources=[server]) as follower:
        status, said, answer = post(server.port, request.SerializeToString(), headers=headers)
        assert (status, answer["Content-Type"]) == (200, PROTOBUF)
        found = service.ExportLogsServiceResponse.FromString(said).partial_success
        assert found.rejected_log_records == 1
        assert "larger than" in found.error_message
        status, said, answer = post(server.port, b"\xff\xff", headers=headers)
        assert (status, answer["Content-Type"]) == (400, PROTOBUF)
        told = Status.FromString(said)
        assert (told.code, "no ExportLogsServiceRequest" in told.message) == (3, True)
        [event] = stored(follower, 1)
    assert event.fields is not None
    assert event.fields["trace_id"] == bytes(range(16)).hex()
    assert event.fields["all"] == {
        "int": -(2**63),
        "double": "NaN",
        "bytes": "AP8=",
        "list": [False],
        "none": None,
    }


def test_token_is_asked_for_and_needed_beyond_loopback() -> None:
    with pytest.raises(SettingsError, match="give a token"):
        OtlpServer("0.0.0.0", 0)
    with closing(OtlpServer("0.0.0.0", 0, token="0123456789abcdef")) as server, Reader(server) as reader:
        for _ in range(10):
            reader.may_store.release()
        status, said, _ = post(server.port, logs_of("x"))
        assert (status, b"Authorization: Bearer" in said) == (401, True)
        wrong = {"Authorization": "Bearer 0123456789abcdeX"}
        assert post(server.port, logs_of("x"), headers=wrong)[0] == 401
        right = {"Authorization": "Bearer 0123456789abcdef", "Host": "logs.example"}
        assert post(server.port, logs_of("x"), headers=right)[0] == 200


def test_port_that_is_taken_is_said() -> None:
    with closing(OtlpServer(port=0)) as server, pytest.raises(SettingsError, match="in use"):
        OtlpServer(port=server.port)


def test_tls_is_spoken_where_there_is_a_certificate(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("needs openssl to make a certificate")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    trusting.check_hostname = False
    with closing(OtlpServer(port=0, tls_context=context)) as server, Reader(server) as reader:
        reader.may_store.release()
        assert post(server.port, logs_of("x"), context=trusting)[0] == 200


def test_connection_is_kept_and_many_senders_are_served(app: App) -> None:
    with closing(OtlpServer(port=0)) as server, follow_system(app, sources=[server]) as follower:

        def send(place: int) -> None:
            with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
                connection.connect()
                mine = connection.sock
                for number in range(20):
                    connection.request(
                        "POST", "/v1/logs", logs_of(str(number), host=f"h{place}"), {"Content-Type": JSON}
                    )
                    response = connection.getresponse()
                    assert (response.status, response.read()) == (200, b"{}")
                    assert connection.sock is mine

        senders = [threading.Thread(target=send, args=(place,)) for place in range(10)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(60)
        found = stored(follower, 200)
    for place in range(10):
        assert [event.message for event in found if event.host == f"h{place}"] == [str(n) for n in range(20)]


def test_stop_stores_what_was_taken_and_refuses_what_comes_after(app: App) -> None:
    with closing(OtlpServer(port=0)) as server:
        follower = follow_system(app, sources=[server])
        until(lambda: bool(server.following()), lambda: follower.notes)
        assert post(server.port, logs_of("x"))[0] == 200
        assert follower.stop(30)
        assert len(events_of(follower)) == 1
        with pytest.raises(OSError):
            post(server.port, logs_of("y"))
