"""When a record was appended, without reading what lies around it."""

from __future__ import annotations

from typing import Any

from millstream.engines.protocol import BatchHeader, Maintenance
from millstream.errors import MillstreamError
from millstream.log.log import Log
from millstream.log.reading import header_of
from millstream.records import Coding, time_to_us


def append_time_us(log: Log, topic: str, partition: int, offset: int) -> int | None:
    """Return when a record was appended, by looking at the one batch that holds it; None where it is gone."""
    try:
        header = _header(log, topic, partition, offset)
        if header is None or header.coding == Coding.ROWS:
            return None if header is None else header.append_time_us
        # A merged batch holds a range of append times, of which the header tells the first.
        frame = log.topic(topic).read_frame(offset, offset + 1, partition=partition, columns=["_append_time"])
    except MillstreamError:
        return None
    return time_to_us(frame["_append_time"][0]) if frame.height else header.append_time_us


def _header(log: Log, topic: str, partition: int, offset: int) -> BatchHeader | None:
    engine: Any = log.engine
    if isinstance(engine, Maintenance):
        headers = engine.batch_headers(topic, partition, offset, offset + 1, headers_max=1)
        return headers[0] if headers else None
    batches = log.engine.read(topic, partition, offset, records_max=1)
    return header_of(batches[0]) if batches else None
