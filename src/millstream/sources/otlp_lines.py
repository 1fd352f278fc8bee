"""Batches of OpenTelemetry in a file: a line of the Collector's file exporter has many log records, each an event.

    {"resourceLogs":[{"resource":{...},"scopeLogs":[{"scope":{...},"logRecords":[{...},{...}]}]}]}

Each record becomes a line of its own, with its resource and scope, as it comes from the network too: such a line can be
read again by itself. The position is that of the line in the file, so a batch is stored whole or not at all. A line
that is no batch, or has one record only, stays as it is.

Source: opentelemetry.io/docs/specs/otel/protocol/file-exporter.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from millstream.parsers.otlp import split_records

BATCH: Final = b'{"resourceLogs"'
"""How the line of a batch begins."""
BATCH_BYTES_MAX: Final = 16 * 1024 * 1024
"""A longer line is cut like any other: a Collector sends 8,192 records at once, unless told otherwise."""

_DECODER: Final = msgspec.json.Decoder(dict[str, Any])


def records_of(line: bytes) -> list[bytes]:
    """Return the lines of the records of a batch; of anything else the line itself."""
    if not line.startswith(BATCH):
        return [line]
    try:
        records = list(split_records(_DECODER.decode(line)))
    except (msgspec.DecodeError, RecursionError, ValueError):
        return [line]
    return records if len(records) > 1 else [line]


def with_records(lines: Iterable[bytes]) -> list[bytes]:
    """Return lines, with the records of batches in place of these."""
    return [record for line in lines for record in records_of(line)]
