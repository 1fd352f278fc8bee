"""Syslog out: what other programs read, receivers that go away, TLS."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.kafka_broker import free_port
from tests.waiting import until

from millstream import App, UsageError, sinks
from millstream.errors import SinkError
from millstream.parsers.log_event import Kind, LogEvent
from millstream.parsers.log_lines import LogParser
from millstream.parsers.system_event import Severity
from millstream.records import time_from_us, time_to_us
from millstream.sinks import Patience
from millstream.sinks.syslog_message import message_of
from millstream.sources.syslog_server import SyslogServer
from millstream.sources.system import follow_system

HOME = ("127.0.0.1", 0)
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
QUICK = Patience(attempts=200, first_s=0.01, most_s=0.2)
EVENT = LogEvent(
    time=datetime(2026, 3, 1, 10, 0, 0, 123456, tzinfo=UTC),
    source="/var/log/auth.log",
    message='Failed password for "ann"] from 203.0.113.9 port 4 ssh2',
    host="web",
    program="sshd",
    pid=77,
    severity=Severity.WARNING,
    kind=Kind.LOGIN,
    success=False,
    user='a"n]n\\',
    fields={"took": 1.5},
    raw="the line",
    format="syslog",
)


def sent(app: App, sink: sinks.Sink, events: list[LogEvent]) -> None:
    topic = app.topic("out", LogEvent, time="time")
    if "s" not in app.streams:
        app.stream(topic, name="s")(lambda s: s.to(sink))
    topic.extend(events)
    app.run(until="now")


def test_event_is_a_message_with_its_own_header_and_structured_data() -> None:
    row = msgspec.structs.asdict(EVENT) | {"fields": '{"took":1.5}'}
    message = message_of(row, 1772359200123456, 10, "millstream").decode()
    head, _, rest = message.partition(" [")
    assert head == "<84>1 2026-03-01T10:00:00.123456Z web sshd 77 -"
    assert rest.endswith(f"] {EVENT.message}")
    assert r'user="a\"n\]n\\"' in rest
    assert r'fields="{\"took\":1.5}"' in rest
    assert 'success="false"' in rest
    assert "the line" not in rest


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.parametrize("framing", ["octets", "lines"])
def test_our_own_receiver_reads_what_was_sent(transport: str, framing: str) -> None:
    texts = ["one", "two\nlines", "ä \x00 \x1b[31m", "x" * 5000, ""]
    events = [msgspec.structs.replace(EVENT, message=f"{n} {text}") for n, text in enumerate(texts)]
    with App("memory://") as app, App("memory://") as other:
        with closing(SyslogServer(**{transport: HOME})) as server, follow_system(other, sources=[server]) as follower:
            url = f"{transport}://127.0.0.1:{server.ports[transport]}"
            sent(app, sinks.syslog(url, framing=framing, facility="auth"), events)
            until(lambda: follower.topic.end_offsets()[0] >= len(events), lambda: follower.notes)
            found = [record.value for record in follower.topic.read()]
    assert [(event.host, event.program, event.pid, event.severity, event.time) for event in found] == [
        ("web", "sshd", 77, "warning", EVENT.time)
    ] * len(events)
    if framing == "octets":
        # The parser of lines takes spaces at the end off.
        assert [event.message for event in found] == [event.message.rstrip() for event in events]
    else:
        assert len(found) == len(events)


names = st.text(
    st.characters(codec="ascii", min_codepoint=33, max_codepoint=126, exclude_characters=':[]"\\'), min_size=1
)


@given(
    st.integers(0, 4_000_000_000_000_000).map(time_from_us),
    names.map(lambda text: text[:40]),
    names.map(lambda text: text[:40]),
    st.integers(1, 99999),
    st.sampled_from(list(Severity)),
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1),
)
def test_what_is_written_is_read_again(
    time: datetime, host: str, program: str, pid: int, severity: Severity, message: str
) -> None:
    row = {"host": host, "program": program, "pid": pid, "severity": severity.value, "message": message}
    [event] = LogParser("x", zone=UTC).events([message_of(row, time_to_us(time), 1, "-")], now=NOW)
    if host != "-" and program != "-":
        assert (event.host, event.program) == (host, program)
    assert (event.time, event.pid, event.severity, event.message) == (time, pid, severity, message)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text() | st.binary(), max_size=5))
def test_no_row_is_too_odd_for_a_message(row: dict[str, object]) -> None:
    row = {"message": "m", **row}
    message = message_of(row, None, 1, "millstream")
    assert re.match(rb"<\d{1,3}>1 - [!-~]+ [!-~]+ [!-~]+ - (-|\[)", message)


def test_receiver_that_goes_away_is_waited_for_and_loses_nothing_it_had_not_taken() -> None:
    """It closes in the middle and comes back on the same port: all rows of the micro-batch come again."""
    got: list[bytes] = []
    port = free_port()
    listener = socket.create_server(("127.0.0.1", port))

    def serve() -> None:
        first, _ = listener.accept()
        first.recv(10)
        # A reset, as of a process that was killed: what was not read is gone.
        first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        first.close()
        listener.close()
        with socket.create_server(("127.0.0.1", port)) as again:
            second, _ = again.accept()
            with second:
                while data := second.recv(65536):
                    got.append(data)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with App("memory://") as app:
        sink = sinks.syslog(f"tcp://127.0.0.1:{port}", framing="lines", patience=QUICK)
        events = [msgspec.structs.replace(EVENT, message=f"{number} {'x' * 500}") for number in range(2000)]
        sent(app, sink, events)
    thread.join(60)
    found = [int(line.split(b"] ")[-1].split()[0]) for line in b"".join(got).splitlines()]
    assert set(found) == set(range(2000))


def test_receiver_that_closed_between_two_batches_is_connected_to_again() -> None:
    with socket.create_server(HOME) as listener, App("memory://") as app:
        sink = sinks.syslog(f"tcp://127.0.0.1:{listener.getsockname()[1]}", framing="lines", patience=QUICK)
        got: list[bytes] = []

        def serve() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    got.append(connection.recv(65536))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        sent(app, sink, [EVENT])
        sent(app, sink, [msgspec.structs.replace(EVENT, message="second")])
        thread.join(60)
    assert [data.splitlines()[-1].endswith(word) for data, word in zip(got, (b"ssh2", b"second"), strict=True)] == [
        True,
        True,
    ]


def test_nobody_there_is_an_error_that_names_the_sink() -> None:
    port = free_port()
    with App("memory://") as app, pytest.raises(SinkError, match=f"syslog tcp://127.0.0.1:{port} takes no messages"):
        sent(app, sinks.syslog(f"tcp://127.0.0.1:{port}", patience=Patience(attempts=1)), [EVENT])


def test_tls_is_spoken_and_a_stranger_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("needs openssl to make a certificate")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    with closing(SyslogServer(tls=HOME, tls_context=context)) as server, App("memory://") as other:
        url = f"tls://127.0.0.1:{server.ports['tls']}"
        with follow_system(other, sources=[server]) as follower:
            with App("memory://") as app:
                sent(app, sinks.syslog(url, context=trusting), [EVENT] * 1000)
            with App("memory://") as app, pytest.raises(SinkError, match="certificate verify failed"):
                sent(app, sinks.syslog(url, patience=Patience(attempts=1)), [EVENT])
            until(lambda: follower.topic.end_offsets()[0] >= 1000, lambda: follower.notes)
            assert follower.topic.end_offsets()[0] == 1000


@pytest.mark.parametrize(
    ("url", "settings", "words"),
    [
        ("http://host", {}, "udp://host:514"),
        ("tcp://", {}, "udp://host:514"),
        ("tcp://host:99999", {}, "65535"),
        ("tcp://host", {"framing": "none"}, "'octets', 'lines'"),
        ("tcp://host", {"facility": "none"}, "local0"),
    ],
)
def test_what_is_no_receiver_is_said(url: str, settings: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        sinks.syslog(url, **settings)  # type: ignore[arg-type]


def test_text_of_a_sink_has_the_port_that_is_meant() -> None:
    assert str(sinks.syslog("tls://logs.example")) == "syslog tls://logs.example:6514"
