"""The sink that posts rows to an HTTP address."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import hmac
import http.client
import socket
import threading
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Final
from urllib.parse import SplitResult, urlsplit

from millstream.durations import duration
from millstream.errors import SinkError, UsageError
from millstream.sinks.protocol import PATIENCE, Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows

ROWS_MAX: Final = 500
"""Of one request: some receivers answer slowly, and what failed is sent again whole."""

TIMEOUT: Final = "30s"
ANSWER_BYTES: Final = 500
"""Of an answer, for the message."""

_LATER: Final = (408, 425, 429)
"""Refused now, not for good; so are all from 500 on."""


@dataclass(frozen=True)
class WebhookSink(Sink):
    """See `webhook`."""

    url: SplitResult = field(repr=False)
    secret: str | None = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    rows_max: int
    timeout_s: float
    patience: Patience = PATIENCE

    @property
    def guarantee(self) -> Guarantee:
        return Guarantee.AT_LEAST_ONCE

    def __str__(self) -> str:
        # Of many receivers the path is all that one needs to know to post there, so it is a secret.
        digest = hashlib.sha256(self.url.geturl().encode()).hexdigest()[:8]
        port = "" if self.url.port is None else f":{self.url.port}"
        return f"web hook {self.url.scheme}://{self.url.hostname}{port} ({digest})"

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        return _WebhookWriter(self, place)


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


class _WebhookWriter(SinkWriter):
    def __init__(self, sink: WebhookSink, place: SinkPlace) -> None:
        self._sink = sink
        self._place = place
        self._number = 0
        self._held: list[http.client.HTTPConnection] = []
        """The connection, if there is one."""
        # A run that is given up in the middle closes nothing.
        weakref.finalize(self, _close, self._held)
        self._at: tuple[Rows, int] | None = None
        """Rows of which so many were taken, before a request failed."""

    def write(self, rows: Rows) -> None:
        lines = _lines(rows)
        start = self._at[1] if self._at is not None and self._at[0] is rows else 0
        for place in range(start, len(lines), self._sink.rows_max):
            self._at = (rows, place)
            self._post(b"[" + b",".join(lines[place : place + self._sink.rows_max]) + b"]")
            self._number += 1
        self._at = None

    def close(self) -> None:
        _close(self._held)

    def _post(self, body: bytes) -> None:
        try:
            answer = self._request(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise SinkError(f"{self._sink} does not answer: {type(error).__name__}: {error}") from error
        status, said, retry_after, location = answer
        if 200 <= status < 300:
            return
        if 300 <= status < 400:
            raise SinkError(
                f"{self._sink} answers {status} and points to {location or 'another place'}; give the address that it "
                "leads to: what was sent with a secret is not sent on",
                retryable=False,
            )
        passing = status in _LATER or status >= 500
        raise SinkError(f"{self._sink} answers {status}: {said}", retryable=passing, delay_s=_delay_s(retry_after))

    def _request(self, body: bytes) -> tuple[int, str, str | None, str | None]:
        """Send a body; return status, the beginning of the answer, and two of its headers."""
        url = self._sink.url
        if not self._held:
            kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
            self._held.append(kind(url.hostname or "", url.port, timeout=self._sink.timeout_s))
        connection = self._held[0]
        target = (url.path or "/") + (f"?{url.query}" if url.query else "")
        if connection.sock is None:
            connection.connect()
        with _Deadline(connection.sock, self._sink.timeout_s):
            connection.request("POST", target, body, self._headers(body))
            response = connection.getresponse()
            said = response.read(ANSWER_BYTES).decode(errors="replace").strip()
            if response.read(1):
                self.close()  # the rest of a long answer is not waited for
        return response.status, said, response.headers.get("Retry-After"), response.headers.get("Location")

    def _headers(self, body: bytes) -> dict[str, str]:
        key = f"{self._place.name}-{self._place.incarnation}-{self._place.turn}-{self._number}"
        headers = {"Content-Type": "application/json", "User-Agent": "millstream", "Idempotency-Key": key}
        if self._sink.secret is not None:
            signature = hmac.new(self._sink.secret.encode(), body, hashlib.sha256).hexdigest()
            headers["X-Hub-Signature-256"] = f"sha256={signature}"
        return headers | dict(self._sink.headers)


def webhook(
    url: str,
    *,
    secret: str | None = None,
    headers: Mapping[str, str] | None = None,
    rows: int = ROWS_MAX,
    timeout: timedelta | str | float = TIMEOUT,
    patience: Patience = PATIENCE,
) -> WebhookSink:
    """Post rows to an address, before the offsets move: at least once.

    The body is a JSON array of up to `rows` rows. `Idempotency-Key` is the same for each attempt at a body; after a
    crash rows may come again in other bodies. With a secret, `X-Hub-Signature-256` is the HMAC of the body, as GitHub
    has it.

    408, 425, 429 and 500 on are tried again, after `Retry-After` where the answer has it; any other answer stops the
    stream. Redirects are not followed.

    Args:
        secret: What the receiver knows too.
        headers: Further ones, such as `Authorization`. In no message.
        timeout: For a whole answer.

    Raises:
        UsageError: The address is none of HTTP, or names a password.
    """
    found = urlsplit(url)
    if found.scheme not in ("http", "https") or not found.hostname:
        raise UsageError(f"webhook({url!r}): give an address such as https://example.com/hook")
    if found.username or found.password:
        raise UsageError("webhook: an address with a password ends up in logs; give headers={'Authorization': ...}")
    if rows < 1:
        raise UsageError(f"webhook(rows={rows}): give 1 or more")
    seconds = duration(timeout).total_seconds()
    return WebhookSink(found, secret, tuple((headers or {}).items()), rows, seconds, patience)


def _close(held: list[http.client.HTTPConnection]) -> None:
    while held:
        held.pop().close()


def _lines(rows: Rows) -> list[bytes]:
    from millstream.sinks.texts import json_lines

    return json_lines(rows).splitlines()


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
