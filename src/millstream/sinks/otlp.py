"""The sink that sends rows as OpenTelemetry logs: OTLP/HTTP, as JSON."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from urllib.parse import SplitResult

import msgspec

from millstream.durations import duration
from millstream.errors import UsageError
from millstream.sinks.otlp_records import records_of, request_of
from millstream.sinks.posting import Answer, Posting, address_of, name_of
from millstream.sinks.protocol import PATIENCE, Guarantee, Patience, Sink, SinkPlace, SinkWriter
from millstream.sinks.rows import Rows

ROWS_MAX: Final = 1000
"""Of one request."""
TIMEOUT: Final = "30s"
PATH: Final = "/v1/logs"
ANSWER_BYTES: Final = 64 * 1024
_PACK_LEVEL: Final = 1  # logs shrink well at once; more takes three times as long for a tenth

_log = logging.getLogger("millstream.sinks")


@dataclass(frozen=True)
class OtlpSink(Sink):
    """See `otlp`."""

    url: SplitResult = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    rows_max: int
    timeout_s: float
    packed: bool = True
    patience: Patience = PATIENCE

    @property
    def guarantee(self) -> Guarantee:
        return Guarantee.AT_LEAST_ONCE

    def __str__(self) -> str:
        return f"OTLP {name_of(self.url)}"

    def open(self, place: SinkPlace, stored: bytes | None) -> SinkWriter:
        return OtlpWriter(self)


class OtlpWriter(SinkWriter):
    """Sends requests of up to so many records."""

    def __init__(self, sink: OtlpSink) -> None:
        self._sink = sink
        self._posting = Posting(sink.url, str(sink), sink.timeout_s, answer_bytes=ANSWER_BYTES)
        self._headers = {"Content-Type": "application/json", "User-Agent": "millstream", **dict(sink.headers)}
        if sink.packed:
            self._headers["Content-Encoding"] = "gzip"
        self._at: tuple[Rows, int] | None = None
        """Rows of which so many were taken, before a request failed."""
        self.rejected = 0
        """Records that the receiver did not take, and does not want again."""

    def write(self, rows: Rows) -> None:
        records = records_of(rows)
        start = self._at[1] if self._at is not None and self._at[0] is rows else 0
        for place in range(start, len(records), self._sink.rows_max):
            self._at = (rows, place)
            body = request_of(records[place : place + self._sink.rows_max])
            packed = gzip.compress(body, _PACK_LEVEL, mtime=0) if self._sink.packed else body
            self._count_rejected(self._posting.post(packed, self._headers))
        self._at = None

    def close(self) -> None:
        self._posting.close()

    def _count_rejected(self, answer: Answer) -> None:
        try:
            said = msgspec.json.decode(answer.body, type=dict[str, Any]).get("partialSuccess") or {}
            rejected, message = int(said.get("rejectedLogRecords") or 0), str(said.get("errorMessage") or "")
        except (msgspec.DecodeError, UnicodeDecodeError, AttributeError, TypeError, ValueError):
            return  # 200 is 200
        if rejected > 0 or message:
            self.rejected += rejected
            _log.warning(
                "%s did not take %d records, %d in all so far, and does not want them again: %s",
                self._sink,
                rejected,
                self.rejected,
                message[:500],
            )


def otlp(
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    rows: int = ROWS_MAX,
    packed: bool = True,
    timeout: timedelta | str | float = TIMEOUT,
    patience: Patience = PATIENCE,
) -> OtlpSink:
    """Send rows as OpenTelemetry logs, before the offsets move: at least once.

    408, 425, 429 and 500 on are tried again, after `Retry-After` where the answer has it; any other answer stops the
    stream. Records that the receiver rejects in a partial success are counted and told in the program's log: it does
    not want them again.

    Args:
        url: Such as `http://collector:4318`; without a path, `/v1/logs` is meant.
        headers: Further ones, such as `Authorization`. In no message.
        rows: Of one request.
        packed: With gzip.
        timeout: For a whole answer.

    Raises:
        UsageError: The address is none of HTTP, or names a password.
    """
    found = address_of(url, "otlp")
    if found.path in ("", "/"):
        found = found._replace(path=PATH)
    if rows < 1:
        raise UsageError(f"otlp(rows={rows}): give 1 or more")
    seconds = duration(timeout).total_seconds()
    return OtlpSink(found, tuple((headers or {}).items()), rows, seconds, packed, patience)
