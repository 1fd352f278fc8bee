"""Syslog from the network: UDP, TCP and TLS.

| transport | messages are told apart by |
|---|---|
| UDP (RFC 5426) | their datagrams |
| TCP (RFC 6587) | a length in front (`57 <34>1 ...`) or a line end, as each sender has it; NUL ends one too |
| TLS (RFC 5425) | the same |

Syslog knows no acknowledgement: what a sender has sent and we have not stored is lost when we are killed. What waits in
the sockets of a process that is only slow is not: TCP senders wait, and UDP has a receive buffer of megabytes. Nor is
what is under way at a stop: connections are closed on our side only, which tells a sender to connect anew and to keep
what it has not sent, and what it had sent is read to its end.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Final

from millstream.errors import SettingsError
from millstream.parsers.event_parser import LogEventParser
from millstream.parsers.log_lines import LogParser
from millstream.sources.source import Line, Note, Reading
from millstream.sources.syslog_frames import counted_length, split_frames

READ_BYTES: Final = 64 * 1024
READING_LINES: Final = 10_000
"""Of one reading, which is stored as one: at 20,000 messages a second it is full twice a second."""
READING_S: Final = 0.05
"""How long one that is not full is waited for more."""
RECEIVE_BUFFER_BYTES: Final = 32 * 1024 * 1024
"""Asked for, for UDP; Linux gives what `net.core.rmem_max` allows, and more to root."""
CONNECTIONS_MAX: Final = 1000
HANDSHAKE_S: Final = 10.0
"""A sender over TLS that has not said who it is by then gives its place to another, where there are too few."""
FAREWELL_S: Final = 3.0
"""How long senders may go on after they were told that we stop."""
QUIET_S: Final = 0.3
"""One that is silent for so long then has nothing on its way."""
_STOP_CHECK_S: Final = 0.5
_BACKLOG: Final = 256


class SyslogServer:
    """Listens for syslog messages; a `Source` without positions."""

    def __init__(
        self,
        *,
        udp: tuple[str, int] | None = None,
        tcp: tuple[str, int] | None = None,
        tls: tuple[str, int] | None = None,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        """Listen at once; messages wait in the sockets until they are read.

        Args:
            udp: Host and port; port 0 takes any. The same for tcp and tls.
            tls_context: With the server's certificate.

        Raises:
            SettingsError: An address cannot be listened on, or there is none, or a certificate is missing.
        """
        if tls is not None and tls_context is None:
            raise SettingsError("syslog over TLS needs a certificate: give tls_context=")
        if udp is None and tcp is None and tls is None:
            raise SettingsError("say where to listen for syslog: udp=, tcp= or tls=, each a host and a port")
        self._context = tls_context
        self._places = {name: place for name, place in (("udp", udp), ("tcp", tcp), ("tls", tls)) if place is not None}
        self._sockets: dict[str, socket.socket] = {}
        self._peers: dict[socket.socket, _Peer] = {}
        self._in_hand: list[Line] = []
        """Read, and not known to be stored."""
        self._listen()
        self.dropped = 0
        """Connections that were refused: there were too many."""
        self._reading = False

    @property
    def name(self) -> str:
        return "syslog server"

    @property
    def ports(self) -> Mapping[str, int]:
        """Where it listens: `udp`, `tcp`, `tls` to port."""
        return {name: port for name, (_, port) in self._places.items()}

    def following(self) -> Sequence[str]:
        return tuple(f"syslog {name} port {port}" for name, port in self.ports.items()) if self._reading else ()

    def close(self) -> None:
        """Stop listening."""
        for found in (*self._sockets.values(), *self._peers):
            found.close()
        self._sockets.clear()
        self._peers.clear()

    def _listen(self) -> None:
        """Listen where that is not done already, now and after a stop at the same ports."""
        try:
            for name, (host, port) in self._places.items():
                if name not in self._sockets:
                    self._sockets[name] = _listen(name, (host, port))
                    self._places[name] = (host, self._sockets[name].getsockname()[1])
        except BaseException:
            self.close()
            raise

    def parser(self, origin: str) -> LogEventParser:
        return LogParser(origin)

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        self._listen()
        with selectors.DefaultSelector() as selector:
            for name, found in self._sockets.items():
                selector.register(found, selectors.EVENT_READ, name)
            for connection in self._peers:
                selector.register(connection, selectors.EVENT_READ, None)
            self._reading = True
            try:
                if self._in_hand:
                    yield from self._given()
                while not stop.is_set():
                    self._in_hand = self._gather(selector, note, _STOP_CHECK_S)
                    yield from self._given()
                yield from self._farewell(selector, note)
            finally:
                self._reading = False
                if stop.is_set():
                    for connection in self._peers:
                        connection.close()
                    self._peers.clear()

    def _given(self) -> Generator[Reading, None, None]:
        if self._in_hand:
            yield Reading(self._in_hand, {})
        # Asked for the next one: this one is stored.
        self._in_hand = []

    def _farewell(self, selector: selectors.BaseSelector, note: Note) -> Generator[Reading, None, None]:
        """Tell senders that we stop, and read what they have sent."""
        for name in ("tcp", "tls"):
            listener = self._sockets.pop(name, None)
            if listener is not None:
                while self._accept(listener, name, selector, note):
                    pass  # those that wait have sent something, perhaps
                selector.unregister(listener)
                listener.close()
        for connection in self._peers:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_WR)  # below TLS, which would wait for an answer
        until = time.monotonic() + FAREWELL_S
        while self._in_hand or time.monotonic() < until:
            self._in_hand = self._gather(selector, note, QUIET_S if self._peers else 0.0)
            if not self._in_hand:
                break
            yield from self._given()
        self._in_hand = [line for peer in self._peers.values() for line in peer.rest()]
        yield from self._given()

    def _gather(self, selector: selectors.BaseSelector, note: Note, patience_s: float) -> list[Line]:
        """Return what comes within a moment, once something came."""
        lines: list[Line] = []
        until = time.monotonic() + patience_s
        while len(lines) < READING_LINES:
            left = until - time.monotonic()
            ready = selector.select(max(left, 0.0))
            if not ready and left <= 0:
                break
            before = len(lines)
            for key, _ in ready:
                found = key.fileobj
                assert isinstance(found, socket.socket)
                if key.data == "udp":
                    _receive(found, lines)
                elif key.data is not None:
                    self._accept(found, key.data, selector, note)
                elif found not in self._peers:
                    pass  # it has made room just now
                elif not self._peers[found].receive(lines):
                    lines += self._peers.pop(found).rest()
                    selector.unregister(found)
                    found.close()
            if lines and not before:
                until = min(until, time.monotonic() + READING_S)
        return lines

    def _accept(
        self,
        listener: socket.socket,
        name: str,
        selector: selectors.BaseSelector,
        note: Note,
    ) -> bool:
        """Take a sender that wants to connect; False: there is none."""
        try:
            connection, address = listener.accept()
        except OSError as error:
            return isinstance(error, ConnectionError)  # it has given up already
        if len(self._peers) >= CONNECTIONS_MAX and not self._make_room(selector):
            connection.close()
            self.dropped += 1
            note(f"more than {CONNECTIONS_MAX:,} senders of syslog are connected; others are refused")
            return True
        connection.setblocking(False)
        if name == "tls":
            assert self._context is not None
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._peers[connection] = _Peer(connection, f"syslog://{address[0]}", note)
        selector.register(connection, selectors.EVENT_READ, None)
        return True

    def _make_room(self, selector: selectors.BaseSelector) -> bool:
        """Close the connections that nobody greeted on; False: there are none."""
        silent = [connection for connection, peer in self._peers.items() if peer.is_silent]
        for connection in silent:
            del self._peers[connection]
            selector.unregister(connection)
            connection.close()
        return bool(silent)


class _Peer:
    """One connection."""

    def __init__(self, connection: socket.socket, origin: str, note: Note) -> None:
        self._connection = connection
        self._origin = origin
        self._note = note
        self._data = b""
        self._greeted = not isinstance(connection, ssl.SSLSocket)
        self._since = time.monotonic()

    @property
    def is_silent(self) -> bool:
        """Whether it speaks TLS, and its greeting has not been finished in time."""
        return not self._greeted and time.monotonic() - self._since >= HANDSHAKE_S

    def receive(self, lines: list[Line]) -> bool:
        """Add the messages that are complete now; False at the end of the connection."""
        while True:
            try:
                if not self._greeted:
                    assert isinstance(self._connection, ssl.SSLSocket)
                    self._connection.do_handshake()
                    self._greeted = True
                data = self._connection.recv(READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return True
            except (OSError, ValueError) as error:
                if not self._greeted:
                    self._note(f"a sender of syslog at {self._origin} could not be greeted: {error}")
                return False
            if not data:
                return False
            messages, self._data = split_frames(self._data + data)
            lines += [Line(self._origin, message) for message in messages]
            # What TLS has decrypted already shows on no socket.
            if not isinstance(self._connection, ssl.SSLSocket) or not self._connection.pending():
                return True

    def rest(self) -> list[Line]:
        """Return what came without an end."""
        data, self._data = self._data.strip(b"\r\n\0"), b""
        return [Line(self._origin, data)] if data else []


def _receive(found: socket.socket, lines: list[Line]) -> None:
    """Add the datagrams that are there."""
    while len(lines) < READING_LINES:
        try:
            data, address = found.recvfrom(READ_BYTES)
        except OSError:
            return
        counted = counted_length(data, 0)
        if counted is not None and sum(counted) == len(data):
            data = data[counted[0] :]  # logger(1) counts also what is a datagram
        data = data.rstrip(b"\r\n\0")
        if data:
            lines.append(Line(f"syslog://{address[0]}", data))


def _listen(name: str, address: tuple[str, int]) -> socket.socket:
    host, port = address
    kind = socket.SOCK_DGRAM if name == "udp" else socket.SOCK_STREAM
    try:
        family = socket.getaddrinfo(host, port, type=kind)[0][0]
        found = socket.socket(family, kind)
    except OSError as error:
        raise SettingsError(f"syslog {name} cannot be listened for on {host}: {error}") from error
    try:
        if name == "udp":
            with contextlib.suppress(OSError):
                # SO_RCVBUFFORCE: root may ask for more than the limit.
                found.setsockopt(socket.SOL_SOCKET, 33, RECEIVE_BUFFER_BYTES)
            with contextlib.suppress(OSError):
                if found.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < RECEIVE_BUFFER_BYTES:
                    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        else:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setblocking(False)
        found.bind((host, port))
        if name != "udp":
            found.listen(_BACKLOG)
    except OSError as error:
        found.close()
        raise SettingsError(
            f"syslog {name} cannot be listened for on {host} port {port}: {error.strerror or error}; "
            "take another port, or one above 1023 without root"
        ) from error
    return found
