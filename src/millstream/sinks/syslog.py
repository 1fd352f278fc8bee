"""The sink that sends rows as syslog messages: RFC 5424 over UDP, TCP or TLS."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import sys
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import SplitResult, urlsplit

from millstream.durations import duration
from millstream.errors import SinkError, UsageError
from millstream.sinks.protocol import PATIENCE, Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows
from millstream.sinks.syslog_message import FACILITIES, UDP_BYTES_MAX, messages_of

TIMEOUT: Final = "30s"
PORTS: Final = {"udp": 514, "tcp": 601, "tls": 6514}
FRAMINGS: Final = ("octets", "lines")
SEND_BYTES: Final = 64 * 1024
_LOOK_S: Final = 0.01
"""Between looks at what the other side's system has not confirmed."""
_OUTSTANDING: Final = 0x5411  # SIOCOUTQ of Linux: bytes that were sent and not confirmed
_TCP_USER_TIMEOUT: Final = 18


@dataclass(frozen=True)
class SyslogSink(Sink):
    """See `syslog`."""

    url: SplitResult
    framing: str
    facility: int
    app_name: str
    timeout_s: float
    context: ssl.SSLContext | None = field(default=None, repr=False, compare=False)
    patience: Patience = PATIENCE

    @property
    def guarantee(self) -> Guarantee:
        return Guarantee.AT_LEAST_ONCE

    def __str__(self) -> str:
        return f"syslog {self.url.scheme}://{self.url.hostname}:{self.port}"

    @property
    def port(self) -> int:
        return self.url.port or PORTS[self.url.scheme]

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        return _DatagramWriter(self) if self.url.scheme == "udp" else _StreamWriter(self)


class _DatagramWriter(SinkWriter):
    """A message a datagram; nobody says whether it arrived."""

    def __init__(self, sink: SyslogSink) -> None:
        self._sink = sink
        self._held: list[socket.socket] = []
        weakref.finalize(self, _close, self._held)  # a run that is given up in the middle closes nothing

    def write(self, rows: Rows) -> None:
        with _told(self._sink):
            if not self._held:
                self._held.append(_connected(self._sink, socket.SOCK_DGRAM))
            for message in messages_of(rows, self._sink.facility, self._sink.app_name):
                self._held[0].send(message[:UDP_BYTES_MAX])

    def close(self) -> None:
        _close(self._held)


class _StreamWriter(SinkWriter):
    """Messages one after the other; the other side's system confirms their bytes, which is all that TCP knows."""

    def __init__(self, sink: SyslogSink) -> None:
        self._sink = sink
        self._held: list[socket.socket] = []
        """The connection, if there is one."""
        weakref.finalize(self, _close, self._held)

    def write(self, rows: Rows) -> None:
        """Send rows, whole: after a connection broke nobody knows what the other side has read of it."""
        messages = messages_of(rows, self._sink.facility, self._sink.app_name)
        framed = [b"%d %s" % (len(one), one) if self._sink.framing == "octets" else _line(one) for one in messages]
        data = memoryview(b"".join(framed))
        with self._connection() as connection:
            for place in range(0, len(data), SEND_BYTES):
                _check_open(connection)
                connection.sendall(data[place : place + SEND_BYTES])
            # Here, as a connection that broke meanwhile takes these rows with it, and `write` is made again with them.
            self._wait_confirmed(connection)

    def close(self) -> None:
        _close(self._held)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        try:
            with _told(self._sink):
                if self._held and not _is_open(self._held[0]):
                    self.close()  # it was closed while nothing was sent: begin anew without a word
                if not self._held:
                    self._held.append(_connected(self._sink, socket.SOCK_STREAM))
                yield self._held[0]
        except BaseException:
            self.close()
            raise

    def _wait_confirmed(self, connection: socket.socket) -> None:
        """Wait until the other side's system has all bytes; where ours can say that."""
        until = time.monotonic() + self._sink.timeout_s
        while _outstanding(connection):
            _check_open(connection)
            if time.monotonic() > until:
                raise TimeoutError(f"not taken within {self._sink.timeout_s:g} s")
            time.sleep(_LOOK_S)
        # One that ends the connection has read all of it by now: with bytes left, its system would reset it.
        _has_ended(connection)


def syslog(
    url: str,
    *,
    framing: str = "octets",
    facility: str = "user",
    app_name: str = "millstream",
    timeout: timedelta | str | float = TIMEOUT,
    context: ssl.SSLContext | None = None,
    patience: Patience = PATIENCE,
) -> SyslogSink:
    """Send rows as syslog messages (RFC 5424), before the offsets move: at least once, as far as syslog can know.

    Rows with the fields of a `LogEvent` are messages with their time, host, program, pid and severity, and the others
    of their fields as structured data; of other rows, the fields are the message, as JSON.

    Over TCP and TLS a row counts as sent when the receiver's system has confirmed its bytes (on Linux; elsewhere when
    ours has taken them). Syslog has no other answer: what a receiver had not read yet when it died is lost. Over UDP
    nothing is confirmed.

    Args:
        url: `udp://host:514`, `tcp://host:601` or `tls://host:6514`; these are the ports where none is given.
        framing: Of TCP and TLS: `"octets"`, a length in front (RFC 6587, 5425), or `"lines"`, a line end behind.
        facility: Of the messages, such as `user`, `auth`, `local0`.
        app_name: Of rows that name no program.
        timeout: For the connection, and for what was sent to be confirmed.
        context: Of TLS; None: the system's authorities, and the host's name is checked.

    Raises:
        UsageError: An address, framing or facility that there is not.
    """
    found = urlsplit(url)
    if found.scheme not in PORTS or not found.hostname or found.path not in ("", "/") or found.username:
        raise UsageError(f"syslog({url!r}): give an address such as udp://host:514, tcp://host:601, tls://host:6514")
    if framing not in FRAMINGS:
        raise UsageError(f"syslog(framing={framing!r}): give one of {', '.join(map(repr, FRAMINGS))}")
    if facility not in FACILITIES:
        raise UsageError(f"syslog(facility={facility!r}): give one of {', '.join(FACILITIES)}")
    try:
        _ = found.port
    except ValueError as error:
        raise UsageError(f"syslog({url!r}): {error}") from error
    seconds = duration(timeout).total_seconds()
    return SyslogSink(found, framing, FACILITIES.index(facility), app_name, seconds, context, patience)


def _connected(sink: SyslogSink, kind: socket.SocketKind) -> socket.socket:
    host = sink.url.hostname or ""
    if kind is socket.SOCK_DGRAM:
        family, _, _, _, address = socket.getaddrinfo(host, sink.port, type=kind)[0]
        found = socket.socket(family, kind)
        found.connect(address)
        return found
    found = socket.create_connection((host, sink.port), sink.timeout_s)
    try:
        if sys.platform == "linux":
            # A receiver that is cut off is noticed in this time, not after the quarter of an hour of the system.
            found.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, int(sink.timeout_s * 1000))
        if sink.url.scheme == "tls":
            context = sink.context or ssl.create_default_context()
            return context.wrap_socket(found, server_hostname=host)
    except BaseException:
        found.close()
        raise
    return found


@contextlib.contextmanager
def _told(sink: SyslogSink) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SinkError(f"{sink} takes no messages: {type(error).__name__}: {error}") from error


def _line(message: bytes) -> bytes:
    """Return a message as one line: a line end inside would begin another one."""
    return message.replace(b"\r", b"\\r").replace(b"\n", b"\\n").replace(b"\0", b"\\0") + b"\n"


def _has_ended(connection: socket.socket) -> bool:
    """Say whether the other side has closed the connection, or its half of it: it never reads on.

    Raises:
        OSError: The connection broke.
    """
    readable, _, _ = select.select([connection], [], [], 0)
    if not readable:
        return False
    if not isinstance(connection, ssl.SSLSocket):
        return connection.recv(1) == b""  # receivers say nothing; what one says is not for us
    before = connection.gettimeout()
    connection.settimeout(0.0)
    try:
        return connection.recv(1) == b""
    except (ssl.SSLWantReadError, BlockingIOError):
        return False  # what TLS itself says, such as a new ticket
    finally:
        connection.settimeout(before)


def _is_open(connection: socket.socket) -> bool:
    try:
        return not _has_ended(connection)
    except OSError:
        return False


def _check_open(connection: socket.socket) -> None:
    if _has_ended(connection):
        raise ConnectionResetError("the receiver closed the connection")


def _outstanding(connection: socket.socket) -> int:
    """Return how many bytes the other side has not confirmed; 0 where nobody can say."""
    if sys.platform != "linux":
        return 0
    import array
    import fcntl

    found = array.array("i", [0])
    fcntl.ioctl(connection.fileno(), _OUTSTANDING, found)
    return found[0]


def _close(held: list[socket.socket]) -> None:
    while held:
        held.pop().close()
