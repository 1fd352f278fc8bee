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
from millstream.sources.line_split import LINE_BYTES_MAX, READ_LINES_MAX, split

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


def split_with_records(data: bytes, final: bool = False) -> tuple[list[bytes], int]:
    """Cut bytes into lines as `split` does, and batches into their records; those may be more than `READ_LINES_MAX`."""
    if BATCH not in data:
        return split(data, final)
    lines: list[bytes] = []
    place = 0
    while len(lines) < READ_LINES_MAX:
        found, consumed = _batch(data, place) if data.startswith(BATCH, place) else _others(data, place)
        if not consumed:
            break
        lines += found
        place += consumed
    return lines, place


def _batch(data: bytes, place: int) -> tuple[list[bytes], int]:
    end = data.find(b"\n", place)
    if end >= 0:
        return records_of(data[place:end].removesuffix(b"\r")), end + 1 - place
    return ([], 0) if len(data) - place <= BATCH_BYTES_MAX else split(data[place : place + LINE_BYTES_MAX + 1])


def _others(data: bytes, place: int) -> tuple[list[bytes], int]:
    """Cut lines up to the next batch."""
    end = data.find(b"\n" + BATCH, place) + 1
    return split(data[place : end or len(data)])
