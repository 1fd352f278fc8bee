"""Raw records for tests that talk to an engine: bytes in, bytes out, without topics and schemas."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import msgspec

from millstream.engines.protocol import Engine
from millstream.records import Coding, EncodedBatch, StoredBatch

_VALUES = msgspec.msgpack.Decoder(list[bytes])


def raw_batch(values: Iterable[bytes]) -> EncodedBatch:
    """Return a rows batch of raw values, in order."""
    encoded = [msgspec.msgpack.encode(value) for value in values]
    return EncodedBatch(coding=Coding.ROWS, count=len(encoded), data=b"".join(encoded))


def rows(*values: bytes) -> EncodedBatch:
    """Return the same of values given one by one."""
    return raw_batch(values)


def raw_values(batch: StoredBatch) -> list[bytes]:
    """Return the values of a rows batch of raw records."""
    found = _VALUES.decode(b"\xdd" + struct.pack(">I", batch.count) + batch.data)
    assert len(found) == batch.count
    return found


def values(batches: Iterable[StoredBatch]) -> dict[int, bytes]:
    """Return the value at each offset of batches of raw records, however an engine joined them."""
    return {batch.offset + place: value for batch in batches for place, value in enumerate(raw_values(batch))}


def read_values(engine: Engine, topic: str, partition: int = 0) -> tuple[int, list[bytes]]:
    """Return the start offset of a partition and the values of all of its records, which must have no gap.

    Others may append meanwhile; all that was there at the call is returned.

    Raises:
        AssertionError: Batches do not follow one another, or end before the partition does.
    """
    info = engine.describe_topic(topic).partitions[partition]
    found: list[bytes] = []
    offset = info.start_offset
    while batches := engine.read(topic, partition, offset, records_max=10_000):
        for batch in batches:
            assert batch.offset == offset, f"{topic}/{partition}: a batch at {batch.offset}, expected at {offset}"
            found += raw_values(batch)
            offset = batch.end_offset
    assert offset >= info.end_offset, (
        f"{topic}/{partition}: records end at {offset}, the partition at {info.end_offset}"
    )
    return info.start_offset, found
