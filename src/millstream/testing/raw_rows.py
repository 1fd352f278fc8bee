"""Batches of raw bytes, for tests that care about offsets and order and not about schemas."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from millstream.records import Coding, EncodedBatch, StoredBatch


def rows(*values: bytes) -> EncodedBatch:
    """Return a batch of raw records, coded as rows."""
    return EncodedBatch(Coding.ROWS, len(values), b"".join(msgspec.msgpack.encode(value) for value in values))


def values(batches: Sequence[StoredBatch]) -> dict[int, bytes]:
    """Return the value at each offset of batches made by `rows`, however an engine joined them."""
    return {
        offset: value
        for batch in batches
        for offset, value in zip(range(batch.offset, batch.end_offset), _split(batch.data), strict=True)
    }


def _split(data: bytes) -> list[bytes]:
    """Take msgpack `bin` objects apart, end to end."""
    result, at = [], 0
    while at < len(data):
        width = {0xC4: 1, 0xC5: 2, 0xC6: 4}[data[at]]
        start = at + 1 + width
        at = start + int.from_bytes(data[at + 1 : start], "big")
        result.append(data[start:at])
    return result
