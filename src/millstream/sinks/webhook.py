"""The sink that posts rows to an HTTP address."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from urllib.parse import SplitResult

from millstream.durations import duration
from millstream.errors import UsageError
from millstream.sinks.posting import Posting, address_of, name_of
from millstream.sinks.protocol import PATIENCE, Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows

ROWS_MAX: Final = 500
"""Of one request: some receivers answer slowly, and what failed is sent again whole."""

TIMEOUT: Final = "30s"

SIGNATURES: Final = ("github", "stripe")

BODIES: Final = {"array": "application/json", "lines": "application/x-ndjson"}
"""How a body has its rows -> its type."""


@dataclass(frozen=True)
class WebhookSink(Sink):
    """See `webhook`."""

    url: SplitResult = field(repr=False)
    secret: str | None = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    rows_max: int
    timeout_s: float
    patience: Patience = PATIENCE
    signature: str = "github"
    body: str = "array"

    @property
    def guarantee(self) -> Guarantee:
        return Guarantee.AT_LEAST_ONCE

    def __str__(self) -> str:
        return f"web hook {name_of(self.url)}"

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        return _WebhookWriter(self, place)


class _WebhookWriter(SinkWriter):
    def __init__(self, sink: WebhookSink, place: SinkPlace) -> None:
        self._sink = sink
        self._place = place
        self._number = 0
        self._posting = Posting(sink.url, str(sink), sink.timeout_s)
        self._at: tuple[Rows, int] | None = None
        """Rows of which so many were taken, before a request failed."""

    def write(self, rows: Rows) -> None:
        lines = _lines(rows)
        start = self._at[1] if self._at is not None and self._at[0] is rows else 0
        for place in range(start, len(lines), self._sink.rows_max):
            self._at = (rows, place)
            body = self._body(lines[place : place + self._sink.rows_max])
            self._posting.post(body, self._headers(body))
            self._number += 1
        self._at = None

    def close(self) -> None:
        self._posting.close()

    def _body(self, lines: Sequence[bytes]) -> bytes:
        return b"[" + b",".join(lines) + b"]" if self._sink.body == "array" else b"\n".join(lines) + b"\n"

    def _headers(self, body: bytes) -> dict[str, str]:
        key = f"{self._place.name}-{self._place.incarnation}-{self._place.turn}-{self._number}"
        headers = {"Content-Type": BODIES[self._sink.body], "User-Agent": "millstream", "Idempotency-Key": key}
        if self._sink.secret is not None:
            secret = self._sink.secret.encode()
            if self._sink.signature == "stripe":
                seconds = self._place.clock.now_us() // 1_000_000
                signed = hmac.digest(secret, b"%d.%s" % (seconds, body), "sha256").hex()
                headers["Stripe-Signature"] = f"t={seconds},v1={signed}"
            else:
                headers["X-Hub-Signature-256"] = f"sha256={hmac.digest(secret, body, 'sha256').hex()}"
        return headers | dict(self._sink.headers)


def webhook(
    url: str,
    *,
    secret: str | None = None,
    signature: str = "github",
    headers: Mapping[str, str] | None = None,
    rows: int = ROWS_MAX,
    timeout: timedelta | str | float = TIMEOUT,
    patience: Patience = PATIENCE,
    body: str = "array",
) -> WebhookSink:
    """Post rows to an address, before the offsets move: at least once.

    The body is a JSON array of up to `rows` rows, or as many lines of JSON. `Idempotency-Key` is the same for each
    attempt at a body; after a crash rows may come again in other bodies. With a secret, a header has the HMAC-SHA256
    of the body.

    408, 425, 429 and 500 on are tried again, after `Retry-After` where the answer has it; any other answer stops the
    stream. Redirects are not followed.

    Args:
        secret: What the receiver knows too.
        signature: `"github"`: `X-Hub-Signature-256: sha256=<hex>`, of the body. `"stripe"`: `Stripe-Signature:
            t=<seconds>,v1=<hex>`, of `<seconds>.<body>`, so that what is recorded cannot be sent again later.
        headers: Further ones, such as `Authorization`. In no message.
        timeout: For a whole answer.
        body: `"array"`, or `"lines"`: a line of JSON for each row.

    Raises:
        UsageError: The address is none of HTTP, or names a password; there is no such signature or body.
    """
    found = address_of(url, "webhook")
    if rows < 1:
        raise UsageError(f"webhook(rows={rows}): give 1 or more")
    if signature not in SIGNATURES:
        raise UsageError(f"webhook(signature={signature!r}): give one of {', '.join(map(repr, SIGNATURES))}")
    if body not in BODIES:
        raise UsageError(f"webhook(body={body!r}): give one of {', '.join(map(repr, BODIES))}")
    seconds = duration(timeout).total_seconds()
    return WebhookSink(found, secret, tuple((headers or {}).items()), rows, seconds, patience, signature, body)


def _lines(rows: Rows) -> list[bytes]:
    from millstream.sinks.texts import json_lines

    return json_lines(rows).splitlines()
