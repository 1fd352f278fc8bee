"""Lines that are a batch of many records, each an event.

| written by | a line |
|---|---|
| the file exporter of the OpenTelemetry Collector | `{"resourceLogs":[{"resource":{...},"scopeLogs":[{...}]}]}` |
| AWS CloudTrail, into its bucket | `{"Records":[{"eventVersion":"1.08",...},{...}]}` |

Each record becomes a line of its own, of OpenTelemetry with its resource and scope, as it comes from the network too:
such a line can be read again by itself. The position is that of the line in the file, so a batch is stored whole or not
at all. A line that is no batch, or has one record of OpenTelemetry only, stays as it is.

Source: opentelemetry.io/docs/specs/otel/protocol/file-exporter; docs.aws.amazon.com/awscloudtrail, "CloudTrail log file
examples".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from millstream.parsers.otlp import split_records

TELEMETRY: Final = b'{"resourceLogs"'
TRAIL: Final = b'{"Records":[{"event'
BATCHES: Final = (TELEMETRY, TRAIL)
"""How the line of a batch begins."""
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""A longer line is cut like any other: a Collector sends 8,192 records at once, unless told otherwise."""

_DECODER: Final = msgspec.json.Decoder(dict[str, Any])


def records_of(line: bytes) -> list[bytes]:
    """Return the lines of the records of a batch; of anything else the line itself."""
    if not line.startswith(BATCHES):
        return [line]
    try:
        batch = _DECODER.decode(line)
        records = list(split_records(batch) if line.startswith(TELEMETRY) else _of_trail(batch))
    except (msgspec.DecodeError, RecursionError, ValueError):
        return [line]
    return records if len(records) > 1 or (records and line.startswith(TRAIL)) else [line]


def with_records(lines: Iterable[bytes]) -> list[bytes]:
    """Return lines, with the records of batches in place of these."""
    return [record for line in lines for record in records_of(line)]


def _of_trail(batch: Mapping[str, Any]) -> Iterator[bytes]:
    records = batch["Records"]
    if (
        batch.keys() != {"Records"}
        or not isinstance(records, list)
        or not all(isinstance(one, dict) for one in records)
    ):
        raise ValueError("it is no file of CloudTrail")
    yield from map(msgspec.json.Encoder().encode, records)
