"""Tells a group in sorted order about fresh records: which key, how urgent, due when.

A group sorts what it is told; here is decided how much that is. By priority, the most urgent of all that is there
comes first, so all of it is told before anything is taken. By key, as much as keeps the workers busy: the rest of a
long queue stays in the log, where it costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from millstream.engines.protocol import Entry
from millstream.errors import UsageError
from millstream.log.batches import BadRecord
from millstream.log.delivery import PRIORITY, due_us, priority
from millstream.log.group import Group
from millstream.queue.options import Chosen, QueueOptions
from millstream.records import Record

BLOCK_RECORDS: Final = 2048
"""Told in one transaction: it holds up other writers for some milliseconds."""

_WHOLE_QUEUE: Final = b"*"
"""The one key of a queue with a rate of its own."""


class Sorter:
    """Of one queue that hands over in sorted order. Safe to use from many threads and processes."""

    def __init__(self, group: Group[Any], options: QueueOptions) -> None:
        self._group = group
        self._key = _key_function(options)
        self._rank = _rank_function(options)
        self._everything = bool(options.priority)

    def key(self, record: Record[Any]) -> bytes:
        """Return the key by which a record is sorted; b"" where it has none. Raises what `order_by` raises."""
        return self._key(record)

    def fill(self) -> bool:
        """Tell the group about fresh records: a block, or all of them by priority; False: there were none."""
        told = False
        while self._fill_block():
            told = True
            if not self._everything:
                break
        return told

    def _fill_block(self) -> bool:
        info = self._group.info()
        if info.paused:
            return False
        told = False
        for partition, start in info.next_offsets.items():
            end = min(info.end_offsets[partition], start + BLOCK_RECORDS)
            if start < end:
                told |= self._fill_range(partition, start, end)
        return told

    def _fill_range(self, partition: int, start: int, end: int) -> bool:
        records = self._group.peek(partition, start, end)
        by_offset = {_offset(record): record for record in records}
        # What the log no longer has is told as a plain entry, and settled when it is handed over.
        entries = [self._entry(by_offset.get(offset)) for offset in range(start, end)]
        # False: another worker told the same meanwhile, which serves as well.
        self._group.sort(partition, start, entries)
        return True

    def _entry(self, record: Record[Any] | BadRecord | None) -> Entry:
        if record is None or isinstance(record, BadRecord):
            return _PLAIN
        try:
            key = self._key(record)
            rank = self._rank(record)
        except Exception:  # noqa: BLE001 - a function of the user's; the worker that gets the record calls it again
            return _PLAIN
        return Entry(key, rank, due_us(record.headers) if record.headers else 0)


_PLAIN: Final = Entry()


def _offset(record: Record[Any] | BadRecord) -> int:
    return record.record.offset if isinstance(record, BadRecord) else record.offset


def _key_function(options: QueueOptions) -> Callable[[Record[Any]], bytes]:
    limit = options.limit
    if limit is not None and not limit.per_key:
        return lambda record: _WHOLE_QUEUE
    if options.order_by is None:
        # By priority alone nothing waits for another of its key.
        if options.concurrency is None and limit is None:
            return lambda record: b""
        return lambda record: record.key or b""
    chosen = _chosen(options.order_by)
    return lambda record: _as_key(chosen(record.value))


def _rank_function(options: QueueOptions) -> Callable[[Record[Any]], int]:
    wanted = options.priority
    if not wanted:
        return lambda record: 0
    if wanted is True:
        return lambda record: -priority(record.headers)
    chosen = _chosen(wanted)
    return lambda record: -(priority(record.headers) if PRIORITY in record.headers else int(chosen(record.value) or 0))


def _chosen(chosen: Chosen) -> Callable[[Any], Any]:
    if isinstance(chosen, str):
        name = chosen
        return lambda value: value.get(name) if isinstance(value, dict) else getattr(value, name)
    assert chosen is not None
    return chosen


def _as_key(value: object) -> bytes:
    """Return a key's bytes; equal values give equal bytes, also of different processes."""
    if value is None:
        return b""
    if isinstance(value, str):
        return b"s" + value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return b"b" + value
    try:
        return b"v" + msgspec.json.encode(value, order="deterministic")
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"order_by gave {value!r}, which is no key: give text, bytes or a number") from error
