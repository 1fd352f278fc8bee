"""Syslog from the network: UDP, TCP and TLS.

| transport | messages are told apart by |
|---|---|
| UDP (RFC 5426) | their datagrams |
| TCP (RFC 6587) | a length in front (`57 <34>1 ...`) or a line end, as each sender has it; NUL ends one too |
| TLS (RFC 5425) | the same |

Syslog knows no acknowledgement: what a sender has sent and we have not stored is lost when we are killed. What waits in
the sockets of a process that is only slow is not: TCP senders wait, and UDP has a receive buffer of megabytes.
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

MESSAGE_BYTES_MAX: Final = 256 * 1024
"""A longer one becomes several."""
READ_BYTES: Final = 64 * 1024
READING_LINES: Final = 10_000
"""Of one reading, which is stored as one: at 20,000 messages a second it is full twice a second."""
READING_S: Final = 0.05
"""How long one that is not full is waited for more."""
RECEIVE_BUFFER_BYTES: Final = 32 * 1024 * 1024
"""Asked for, for UDP; Linux gives what `net.core.rmem_max` allows, and more to root."""
CONNECTIONS_MAX: Final = 1000
HANDSHAKE_S: Final = 10.0
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
        self._sockets: dict[str, socket.socket] = {}
        try:
            for name, address in (("udp", udp), ("tcp", tcp), ("tls", tls)):
                if address is not None:
                    self._sockets[name] = _listen(name, address)
        except BaseException:
            self.close()
            raise
        self.dropped = 0
        """Connections that were refused: there were too many."""
        self._reading = False

    @property
    def name(self) -> str:
        return "syslog server"

    @property
    def ports(self) -> Mapping[str, int]:
        """Where it listens: `udp`, `tcp`, `tls` to port."""
        return {name: found.getsockname()[1] for name, found in self._sockets.items()}

    def following(self) -> Sequence[str]:
        return tuple(f"syslog {name} port {port}" for name, port in self.ports.items()) if self._reading else ()

    def close(self) -> None:
        """Stop listening."""
        for found in self._sockets.values():
            found.close()
        self._sockets.clear()

    def parser(self, origin: str) -> LogEventParser:
        return LogParser(origin)

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        with selectors.DefaultSelector() as selector:
            peers: dict[socket.socket, _Peer] = {}
            for name, found in self._sockets.items():
                selector.register(found, selectors.EVENT_READ, name)
            self._reading = True
            try:
                while True:
                    ending = stop.is_set()
                    lines = self._gather(selector, peers, note, 0.0 if ending else _STOP_CHECK_S)
                    if lines:
                        yield Reading(lines, {})
                    elif ending:
                        break
                for peer in peers.values():
                    if rest := peer.rest():
                        yield Reading(rest, {})
            finally:
                self._reading = False
                for connection in peers:
                    connection.close()

    def _gather(
        self, selector: selectors.BaseSelector, peers: dict[socket.socket, _Peer], note: Note, patience_s: float
    ) -> list[Line]:
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
                    self._accept(found, key.data, selector, peers, note)
                elif not peers[found].receive(lines):
                    lines += peers.pop(found).rest()
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
        peers: dict[socket.socket, _Peer],
        note: Note,
    ) -> None:
        try:
            connection, address = listener.accept()
        except OSError:
            return  # it has given up already
        if len(peers) >= CONNECTIONS_MAX:
            connection.close()
            self.dropped += 1
            note(f"more than {CONNECTIONS_MAX:,} senders of syslog are connected; others are refused")
            return
        connection.setblocking(False)
        if name == "tls":
            assert self._context is not None
            connection = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        peers[connection] = _Peer(connection, f"syslog://{address[0]}", note)
        selector.register(connection, selectors.EVENT_READ, None)


class _Peer:
    """One connection."""

    def __init__(self, connection: socket.socket, origin: str, note: Note) -> None:
        self._connection = connection
        self._origin = origin
        self._note = note
        self._data = b""
        self._greeted = not isinstance(connection, ssl.SSLSocket)

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


def split_frames(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the messages of a stream that are complete, and the rest.

    Source: RFC 6587, 3.4.1 (octet counting) and 3.4.2 (line ends).
    """
    messages: list[bytes] = []
    place = 0
    while place < len(data):
        length = _length(data, place)
        if length is not None:
            start, size = length
            if size > MESSAGE_BYTES_MAX:
                # No sender means that; what follows is taken as lines.
                start, size = place, 0
            elif start + size > len(data):
                break
            else:
                _add(messages, data[start : start + size])
                place = start + size
                continue
        end = min((found for found in (data.find(b"\n", place), data.find(b"\0", place)) if found >= 0), default=-1)
        if end < 0:
            if len(data) - place < MESSAGE_BYTES_MAX:
                break
            end = place + MESSAGE_BYTES_MAX - 1
            messages.append(data[place : end + 1])
        else:
            _add(messages, data[place:end])
        place = end + 1
    return messages, data[place:]


def _length(data: bytes, place: int) -> tuple[int, int] | None:
    """Return where a counted message begins and how long it is; None where there is no count."""
    end = data.find(b" ", place, place + 8)
    count = data[place:end]
    if end < 0 or not count.isdigit() or count.startswith(b"0"):
        return None
    # A line that begins with a number is no frame: a message begins with its priority.
    if end + 1 < len(data) and data[end + 1 : end + 2] != b"<":
        return None
    return end + 1, int(count)


def _add(messages: list[bytes], message: bytes) -> None:
    message = message.rstrip(b"\r\n\0")
    if message:
        messages.append(message)


def _receive(found: socket.socket, lines: list[Line]) -> None:
    """Add the datagrams that are there."""
    while len(lines) < READING_LINES:
        try:
            data, address = found.recvfrom(READ_BYTES)
        except OSError:
            return
        counted = _length(data, 0)
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
