"""What rsyslog and syslog-ng forward arrives, all of it; also when we are stopped and started meanwhile."""

from __future__ import annotations

import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.kafka_broker import free_port
from tests.syslog_daemons import rsyslog, syslog_ng
from tests.waiting import until

from millstream import App
from millstream.parsers.log_event import LogEvent
from millstream.sources.syslog_server import SyslogServer
from millstream.sources.system import SystemFollower, follow_system

DAEMONS = {"rsyslog": rsyslog, "syslog-ng": syslog_ng}
TRANSPORTS = ["udp", "tcp", "lines", "tls"]


@pytest.fixture
def app() -> Iterator[App]:
    with App("memory://") as app:
        yield app


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """Return the file of a certificate, and what a server speaks TLS with."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key)]
    command += [
        "-out",
        str(certificate),
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
    ]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("needs openssl to make a certificate")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return certificate, context


def events_of(follower: SystemFollower) -> list[LogEvent]:
    found: list[LogEvent] = []
    while records := follower.topic.read(len(found), records_max=10_000):
        found += [record.value for record in records]
    return [event for event in found if event.program == "app"]


def server_on(transport: str, port: int, context: ssl.SSLContext) -> SyslogServer:
    place = ("127.0.0.1", port)
    if transport == "tls":
        return SyslogServer(tls=place, tls_context=context)
    return SyslogServer(udp=place) if transport == "udp" else SyslogServer(tcp=place)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("daemon", DAEMONS)
def test_all_that_a_daemon_forwards_arrives(
    app: App, daemon: str, transport: str, certificate: tuple[Path, ssl.SSLContext]
) -> None:
    # What UDP loses where the system gives little room is not ours to promise.
    count = 200 if transport == "udp" else 5000
    ca, context = certificate
    with closing(server_on(transport, 0, context)) as server, follow_system(app, sources=[server]) as follower:
        [port] = server.ports.values()
        with DAEMONS[daemon](transport, port, ca if transport == "tls" else None) as sender:
            for number in range(count):
                sender.send(f"number {number} of {count} ä")
            until(lambda: len(events_of(follower)) >= count, lambda: (len(events_of(follower)), follower.notes))
        found = events_of(follower)
    assert [event.message for event in found] == [f"number {number} of {count} ä" for number in range(count)]
    assert {(event.pid, event.severity, event.source) for event in found} == {(7, "notice", "syslog://127.0.0.1")}


# Not syslog-ng over TLS: it forgets what it has given to TLS when a connection ends, a message or two.
@pytest.mark.parametrize(
    ("daemon", "transport"),
    [
        ("rsyslog", "tcp"),
        ("rsyslog", "lines"),
        ("rsyslog", "tls"),
        ("syslog-ng", "tcp"),
        ("syslog-ng", "lines"),
    ],
)
def test_receiver_that_is_stopped_and_started_again_loses_nothing_of_a_daemon_that_waits(
    app: App, daemon: str, transport: str, certificate: tuple[Path, ssl.SSLContext]
) -> None:
    ca, context = certificate
    rounds, each = 6, 4000
    port = free_port()
    with DAEMONS[daemon](transport, port, ca if transport == "tls" else None) as sender:
        may_send = threading.Semaphore(0)

        def send() -> None:
            for number in range(rounds * each):
                if number % each == 0:
                    may_send.acquire()
                sender.send(f"number {number}")

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        for number in range(rounds):
            with closing(server_on(transport, port, context)) as server:
                with follow_system(app, sources=[server]) as follower:
                    before = follower.topic.end_offsets()[0]
                    may_send.release()
                    wait_for(follower, min(before + 100, number * each))
                    # Messages are under way.
                    assert follower.stop(60)
        sending.join(120)
        with closing(server_on(transport, port, context)) as server, follow_system(app, sources=[server]) as follower:
            wait_for(follower, rounds * each)
            until(lambda: len(messages_of(follower)) >= rounds * each, lambda: len(messages_of(follower)))
            found = messages_of(follower)
    assert found == {f"number {number}" for number in range(rounds * each)}


def messages_of(follower: SystemFollower) -> set[str]:
    return {event.message for event in events_of(follower)}


def wait_for(follower: SystemFollower, least: int) -> None:
    """Wait until so many messages are stored."""
    end = follower.topic.end_offsets
    until(lambda: end()[0] >= least, lambda: (end(), follower.notes))
