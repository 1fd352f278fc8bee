"""Syslog messages, to real sockets, keep what sinks promise."""

from __future__ import annotations

import contextlib
import gc
import selectors
import socket
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from millstream import sinks
from millstream.sinks import Sink
from millstream.sources.syslog_frames import split_frames
from millstream.testing.sink_suite import SinkSuite, Sold

MARK = b"<14>1 - - - - - - end of the test"


class Receiver:
    """Reads all that comes to a port, message by message."""

    def __init__(self) -> None:
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.messages: list[bytes] = []
        self._selector = selectors.DefaultSelector()
        self._rest: dict[socket.socket, bytes] = {}
        self._seen = threading.Condition()
        self._stopped = False
        for one in (self.tcp, self.udp):
            self._selector.register(one, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stopped = True
        socket.create_connection(self.tcp.getsockname()).close()  # wakes it
        self._thread.join(60)
        for one in (self.tcp, self.udp, *self._rest):
            one.close()
        self._selector.close()

    def mark(self) -> None:
        """Wait until all that was sent before is read: what is on its way is in the sockets of this machine."""
        gc.collect()
        with self._seen:
            before = self.messages.count(MARK)
        with socket.create_connection(self.tcp.getsockname()) as sender:
            sender.sendall(MARK + b"\n")
        with self._seen:
            assert self._seen.wait_for(lambda: self.messages.count(MARK) > before, 60)

    def _serve(self) -> None:
        while not self._stopped:
            ready = {key.fileobj for key, _ in self._selector.select(60)}
            found: list[bytes] = []
            # Everything that is there, before a mark is seen.
            while ready:
                for one in ready:
                    assert isinstance(one, socket.socket)
                    self._read(one, found)
                ready = {key.fileobj for key, _ in self._selector.select(0)}
            with self._seen:
                self.messages += sorted(found, key=lambda message: message == MARK)
                self._seen.notify_all()

    def _read(self, one: socket.socket, found: list[bytes]) -> None:
        if one is self.tcp:
            connection, _ = one.accept()
            self._selector.register(connection, selectors.EVENT_READ)
            self._rest[connection] = b""
            return
        data = one.recv(65536)
        if one is self.udp:
            found.append(data)
            return
        messages, self._rest[one] = split_frames(self._rest[one] + data)
        found += messages
        if not data:
            self._selector.unregister(one)
            one.close()
            del self._rest[one]


_RECEIVERS: dict[Path, Receiver] = {}


@pytest.fixture(autouse=True)
def receivers() -> Iterator[None]:
    yield
    with contextlib.ExitStack() as closing:
        for receiver in _RECEIVERS.values():
            closing.callback(receiver.close)
    _RECEIVERS.clear()


class OverSockets(SinkSuite):
    def seen(self, folder: Path) -> Sequence[Sold]:
        receiver = _RECEIVERS[folder]
        receiver.mark()
        return [
            msgspec.json.decode(message[message.index(b"{") :], type=Sold)
            for message in receiver.messages
            if message != MARK
        ]


class TestSyslogOverTcp(OverSockets):
    def sink(self, folder: Path) -> Sink:
        receiver = _RECEIVERS.setdefault(folder, Receiver())
        return sinks.syslog(f"tcp://127.0.0.1:{receiver.tcp.getsockname()[1]}")


class TestSyslogAsLines(OverSockets):
    def sink(self, folder: Path) -> Sink:
        receiver = _RECEIVERS.setdefault(folder, Receiver())
        return sinks.syslog(f"tcp://127.0.0.1:{receiver.tcp.getsockname()[1]}", framing="lines")


class TestSyslogOverUdp(OverSockets):
    def sink(self, folder: Path) -> Sink:
        receiver = _RECEIVERS.setdefault(folder, Receiver())
        return sinks.syslog(f"udp://127.0.0.1:{receiver.udp.getsockname()[1]}")
