"""Batches of rows joined: their bytes end to end. All that an engine knows of how a batch is coded; see `log.rows`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from millstream.records import Coding, EncodedBatch

_NO_META: Final = b"\x93\xc0\xc0\xc0"
"""The meta of a record that has none, beside others that have: [nil, nil, nil]."""


def join_rows(batches: Sequence[EncodedBatch], now_us: int) -> EncodedBatch:
    """Return batches of rows, of one schema, as one: what a group commit does.

    Args:
        now_us: The append time of all of them, which is the event time of those that say none.
    """
    event_min_us = event_max_us = None
    if any(batch.event_time_min_us is not None for batch in batches):
        event_min_us = min(now_us if b.event_time_min_us is None else b.event_time_min_us for b in batches)
        event_max_us = max(now_us if b.event_time_max_us is None else b.event_time_max_us for b in batches)
    return EncodedBatch(
        coding=Coding.ROWS,
        count=sum(batch.count for batch in batches),
        data=b"".join([batch.data for batch in batches]),
        meta=join_meta([(batch.meta, batch.count) for batch in batches]),
        schema_id=batches[0].schema_id,
        event_time_min_us=event_min_us,
        event_time_max_us=event_max_us,
    )


def join_meta(parts: Iterable[tuple[bytes | None, int]]) -> bytes | None:
    """Return the `meta` of batches (each with its number of records) joined in order."""
    listed = list(parts)
    if all(meta is None for meta, _ in listed):
        return None
    return b"".join([_NO_META * count if meta is None else meta for meta, count in listed])
