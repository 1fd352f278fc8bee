"""Syslog from the network: real senders, framing, TLS, speed of no message lost."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.waiting import until

from millstream import App
from millstream.errors import SettingsError
from millstream.parsers.log_event import Kind, LogEvent
from millstream.sources import syslog_server
from millstream.sources.syslog_frames import MESSAGE_BYTES_MAX, split_frames
from millstream.sources.syslog_server import SyslogServer
from millstream.sources.system import SystemFollower, follow_system

HOME = ("127.0.0.1", 0)


@pytest.fixture
def app() -> Iterator[App]:
    with App("memory://") as app:
        yield app


def stored(follower: SystemFollower, count: int) -> list[LogEvent]:
    until(lambda: follower.records >= count, lambda: follower.records)
    records = follower.topic.read(0, records_max=100_000)
    return [record.value for record in records]


@pytest.mark.parametrize("transport", ["udp", "tcp"])
@pytest.mark.skipif(shutil.which("logger") is None, reason="needs logger(1) of util-linux")
@pytest.mark.parametrize("form", [["--rfc3164"], ["--rfc5424"], ["--rfc5424", "--octet-count"]])
def test_logger_sends_and_its_message_is_understood(app: App, transport: str, form: list[str]) -> None:
    with closing(SyslogServer(**{transport: HOME})) as server, follow_system(app, sources=[server]) as follower:
        command = ["logger", "--server", "127.0.0.1", "--port", str(server.ports[transport]), f"--{transport}", *form]
        command += ["--priority", "auth.err", "--tag", "sshd", "Failed password for ann from 203.0.113.9 port 4 ssh2"]
        subprocess.run(command, check=True, timeout=60)
        [event] = stored(follower, 1)
    assert (event.kind, event.success, event.user, event.source_ip) == (Kind.LOGIN, False, "ann", "203.0.113.9")
    assert (event.severity, event.source) == ("err", "syslog://127.0.0.1")


def test_messages_of_many_senders_are_all_there_in_the_order_of_each(app: App) -> None:
    with closing(SyslogServer(tcp=HOME)) as server, follow_system(app, sources=[server]) as follower:
        senders = [socket.create_connection(("127.0.0.1", server.ports["tcp"])) for _ in range(20)]
        for number in range(500):
            for place, sender in enumerate(senders):
                sender.sendall(f"<13>Mar  1 10:00:00 h{place} app: {number}\n".encode())
        for sender in senders:
            sender.sendall(b"<13>Mar  1 10:00:00 h app: last, without an end")
            sender.close()
        events = stored(follower, 500 * 20 + 20)
    for place in range(20):
        assert [event.message for event in events if event.host == f"h{place}"] == [str(n) for n in range(500)]
    assert sum(event.message == "last, without an end" for event in events) == 20


def test_datagrams_wait_in_the_socket_until_they_are_read(app: App) -> None:
    with closing(SyslogServer(udp=HOME)) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(300):
            sender.sendto(f"<13>Mar  1 10:00:00 h app: {number}".encode(), ("127.0.0.1", server.ports["udp"]))
        with follow_system(app, sources=[server]) as follower:
            events = stored(follower, 300)
    assert [event.message for event in events] == [str(number) for number in range(300)]


def test_stop_stores_what_was_sent_before_it(app: App) -> None:
    with closing(SyslogServer(udp=HOME)) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        follower = follow_system(app, sources=[server])
        until(lambda: bool(server.following()), lambda: follower.notes)
        for number in range(100):
            sender.sendto(f"<13>Mar  1 10:00:00 h app: {number}".encode(), ("127.0.0.1", server.ports["udp"]))
        assert follower.stop()
        assert follower.topic.end_offsets()[0] == 100


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate, and a client's that trusts it."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=str(certificate))
    trusting.check_hostname = False
    return context, trusting


def test_tls_sender_is_understood_and_one_without_tls_is_said(
    app: App, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    context, trusting = tls
    with (
        closing(SyslogServer(tls=HOME, tls_context=context)) as server,
        follow_system(app, sources=[server]) as follower,
    ):
        address = ("127.0.0.1", server.ports["tls"])
        with socket.create_connection(address) as plain:
            plain.sendall(b"<13>Mar  1 10:00:00 h app: not greeted\n")
            until(lambda: any("greeted" in note for note in follower.notes), lambda: follower.notes)
        with socket.create_connection(address) as plain, trusting.wrap_socket(plain) as sender:
            messages = [f"<13>Mar  1 10:00:00 h app: {'x' * 1000} {number}" for number in range(100)]
            sender.sendall("".join(f"{len(message)} {message}" for message in messages).encode())
            events = stored(follower, 100)
    assert [event.raw for event in events] == messages


def test_those_who_never_greet_make_room_for_a_sender(
    app: App, tls: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(syslog_server, "CONNECTIONS_MAX", 2)
    monkeypatch.setattr(syslog_server, "HANDSHAKE_S", 0.0)
    context, trusting = tls
    with (
        closing(SyslogServer(tls=HOME, tls_context=context)) as server,
        follow_system(app, sources=[server]) as follower,
    ):
        address = ("127.0.0.1", server.ports["tls"])
        with socket.create_connection(address), socket.create_connection(address):
            with socket.create_connection(address) as plain, trusting.wrap_socket(plain) as sender:
                sender.sendall(b"<13>Mar  1 10:00:00 h app: here\n")
                assert [event.message for event in stored(follower, 1)] == ["here"]
        assert server.dropped == 0


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 191),
            st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=30),
        ),
        max_size=10,
    ),
    st.integers(1, 20),
)
def test_frames_are_told_apart_however_they_are_cut(parts: list[tuple[bool, int, str]], step: int) -> None:
    messages = [f"<{priority}>{text}".encode() for _, priority, text in parts]
    stream = b"".join(
        b"%d %s" % (len(message), message) if counted else message + b"\n"
        for message, (counted, _, _) in zip(messages, parts, strict=True)
    )
    found: list[bytes] = []
    rest = b""
    for place in range(0, len(stream), step):
        more, rest = split_frames(rest + stream[place : place + step])
        found += more
    assert (found, rest) == (messages, b"")


def test_message_without_an_end_does_not_fill_the_memory() -> None:
    messages, rest = split_frames(b"x" * (MESSAGE_BYTES_MAX * 3 + 7))
    assert [len(message) for message in messages] == [MESSAGE_BYTES_MAX] * 3
    assert len(rest) == 7
    messages, rest = split_frames(b"9999999 <13>no one means that\n")
    assert (messages, rest) == ([b"9999999 <13>no one means that"], b"")


def test_address_that_cannot_be_listened_on_is_said() -> None:
    with pytest.raises(SettingsError, match="udp=, tcp= or tls="):
        SyslogServer()
    with pytest.raises(SettingsError, match="certificate"):
        SyslogServer(tls=HOME)
    with closing(SyslogServer(tcp=HOME)) as server, pytest.raises(SettingsError, match="another port"):
        SyslogServer(tcp=("127.0.0.1", server.ports["tcp"]))
