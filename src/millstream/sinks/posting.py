"""Posts to one HTTP address, over one connection: what the sinks share that speak HTTP."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import http.client
import socket
import threading
import time
import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from millstream.errors import SinkError, UsageError

ANSWER_BYTES: Final = 500
"""Of an answer, for a message."""

_LATER: Final = (408, 425, 429)
"""Refused now, not for good; so are all from 500 on."""


class Answer(msgspec.Struct, frozen=True):
    """What a receiver said that took a body."""

    status: int
    body: bytes
    """The beginning."""


def address_of(url: str, what: str) -> SplitResult:
    """Return an address that can be posted to.

    Raises:
        UsageError: It is none of HTTP, or names a password.
    """
    found = urlsplit(url)
    if found.scheme not in ("http", "https") or not found.hostname:
        raise UsageError(f"{what}({url!r}): give an address such as https://example.com/hook")
    if found.username or found.password:
        raise UsageError(f"{what}: an address with a password ends up in logs; give headers={{'Authorization': ...}}")
    return found


def name_of(url: SplitResult) -> str:
    """Return an address for messages: of many receivers the path is all that one needs to know to post there."""
    digest = hashlib.sha256(url.geturl().encode()).hexdigest()[:8]
    port = "" if url.port is None else f":{url.port}"
    return f"{url.scheme}://{url.hostname}{port} ({digest})"


class Posting:
    """Posts bodies to an address.

    Args:
        name: Of the sink, for messages.
        timeout_s: For a whole answer, however it trickles.
        answer_bytes: So much of an answer is read.
    """

    def __init__(self, url: SplitResult, name: str, timeout_s: float, *, answer_bytes: int = ANSWER_BYTES) -> None:
        self._url = url
        self._name = name
        self._timeout_s = timeout_s
        self._answer_bytes = answer_bytes
        self._held: list[http.client.HTTPConnection] = []
        """The connection, if there is one."""
        # A run that is given up in the middle closes nothing.
        weakref.finalize(self, _close, self._held)

    def close(self) -> None:
        _close(self._held)

    def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Return the answer of a receiver that took a body.

        Raises:
            SinkError: It did not; says whether it may do so later, and when.
        """
        try:
            answer, retry_after, location = self._request(body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise SinkError(f"{self._name} does not answer: {type(error).__name__}: {error}") from error
        if 200 <= answer.status < 300:
            return answer
        if 300 <= answer.status < 400:
            raise SinkError(
                f"{self._name} answers {answer.status} and points to {location or 'another place'}; give the address "
                "that it leads to: what was sent with a secret is not sent on",
                retryable=False,
            )
        said = answer.body[:ANSWER_BYTES].decode(errors="replace").strip()
        passing = answer.status in _LATER or answer.status >= 500
        raise SinkError(
            f"{self._name} answers {answer.status}: {said}", retryable=passing, delay_s=_delay_s(retry_after)
        )

    def _request(self, body: bytes, headers: Mapping[str, str]) -> tuple[Answer, str | None, str | None]:
        """Send a body; return the answer, and two of its headers."""
        url = self._url
        if not self._held:
            kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
            self._held.append(kind(url.hostname or "", url.port, timeout=self._timeout_s))
        connection = self._held[0]
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        if connection.sock is None:
            connection.connect()
        with _Deadline(connection.sock, self._timeout_s):
            connection.request("POST", target, body, dict(headers))
            response = connection.getresponse()
            said = response.read(self._answer_bytes)
            if response.read(1):
                self.close()  # the rest of a long answer is not waited for
        return Answer(response.status, said), response.headers.get("Retry-After"), response.headers.get("Location")


class _Deadline:
    """Ends a connection when the time is over. A socket's own timeout begins anew with every byte that comes."""

    def __init__(self, connected: socket.socket, seconds: float) -> None:
        self._connected = connected
        self._seconds = seconds
        self._over = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._over and (error is None or isinstance(error, Exception)):
            raise TimeoutError(f"no whole answer within {self._seconds:g} s") from error

    def _end(self) -> None:
        self._over = True
        with contextlib.suppress(OSError):
            # The socket below TLS, which would want to say goodbye first.
            socket.socket.shutdown(self._connected, socket.SHUT_RDWR)


def _close(held: list[http.client.HTTPConnection]) -> None:
    while held:
        held.pop().close()


def _delay_s(text: str | None) -> float | None:
    """Return what `Retry-After` means: seconds, or a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
