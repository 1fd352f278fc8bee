"""How far event time has come, by partition of a topic."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.stream.operators import StateWrite

if TYPE_CHECKING:
    import polars as pl

IDLE_GRACE_US: Final = 1_000_000
"""Idle input moves the watermark this much later than time passes: a record's way from where it happened into the log
takes time, and one that is on its way must not come too late just because nothing else did."""


_FEW: Final = 32


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """The newest event time of a partition, and when the log took the newest record."""

    event_us: int
    append_us: int


class Watermarks:
    """The newest event time of each partition of a topic, less the delay; the watermark is the least of them.

    While records come, the watermark follows them, whatever the machine's clock says, so that history gives the answer
    that live gave. When a partition is read to its end and nothing comes, event time is taken to go on as the clock
    does since its last record was appended.

    Args:
        topic: Its name; the state is kept under it.
        delay_us: How far out of order records may come: the watermark stays this much behind the newest.
        future_us: How far after its append an event time may be and still move the watermark.
        partition: The only one that counts; None: all of them.
    """

    def __init__(self, topic: str, *, delay_us: int, future_us: int, partition: int | None = None) -> None:
        self._key = b"m" + topic.encode()
        self._delay_us = delay_us
        self._future_us = future_us
        self._partition = partition
        self._progress: dict[int, Progress] = {}
        self._changed = False

    def load(self, state: Mapping[bytes, bytes]) -> None:
        if (stored := state.get(self._key)) is not None:
            found = msgspec.msgpack.decode(stored, type=dict[int, Progress])
            # What a stream of all partitions stored: the others are no business of this one.
            self._progress = {p: some for p, some in found.items() if self._partition in (None, p)}

    def partition_us(self, partition: int) -> int | None:
        """Return the watermark of a partition, None before its first record."""
        progress = self._progress.get(partition)
        return progress.event_us - self._delay_us if progress else None

    def take(self, partition: int, event_time: pl.Series, append_time: pl.Series) -> pl.Series:
        """Note the times of the next records of a partition.

        Returns:
            For each record the watermark of the partition just before it: `_watermark`, int64, null before the first.
        """
        import polars as pl

        if event_time.len() <= _FEW:
            times_us = zip(event_time.cast(pl.Int64).to_list(), append_time.cast(pl.Int64).to_list(), strict=True)
            return pl.Series("_watermark", self._take_few(partition, times_us), dtype=pl.Int64)
        times, appended = event_time.cast(pl.Int64), append_time.cast(pl.Int64)
        known = pl.Series([self.partition_us(partition)], dtype=pl.Int64)
        newest_us, appended_us = _int(times.max()), _int(appended.max())
        if newest_us > _int(appended.min()) + self._future_us:
            latest = appended + self._future_us
            times = times.zip_with(times <= latest, latest)
            newest_us = _int(times.max())
        running = pl.concat([known, times.head(times.len() - 1) - self._delay_us]).cum_max()
        self._advance(partition, newest_us, appended_us)
        return running.fill_null(strategy="forward").alias("_watermark")

    def _take_few(self, partition: int, times_us: Iterable[tuple[int, int]]) -> list[int | None]:
        """Do the same in Python: for a few records a query costs more than they do."""
        before: list[int | None] = []
        for event_us, append_us in times_us:
            before.append(self.partition_us(partition))
            self._advance(partition, min(event_us, append_us + self._future_us), append_us)
        return before

    def _advance(self, partition: int, event_us: int, append_us: int) -> None:
        old = self._progress.get(partition, Progress(event_us, append_us))
        self._progress[partition] = Progress(max(old.event_us, event_us), max(old.append_us, append_us))
        self._changed = True

    def now_us(self) -> int | None:
        """Return the watermark by the records read, None before the first."""
        return min((p.event_us - self._delay_us for p in self._progress.values()), default=None)

    def newest_us(self) -> int | None:
        """Return the greatest event time seen, None before the first."""
        return max((p.event_us for p in self._progress.values()), default=None)

    def appended_us(self) -> int | None:
        """Return when the newest record read had been appended, None before the first."""
        return max((p.append_us for p in self._progress.values()), default=None)

    def idle_us(self, clock_us: int) -> int | None:
        """Return the watermark when every partition is read to its end, at the wall-clock time `clock_us`."""
        return self.live_us(clock_us, self._progress) if self._progress else None

    def live_us(self, clock_us: int, at_end: Container[int]) -> int:
        """Return the watermark when some partitions are read to their ends, once there are records."""
        return min(
            p.event_us - self._delay_us + (max(0, clock_us - p.append_us - IDLE_GRACE_US) if partition in at_end else 0)
            for partition, p in self._progress.items()
        )

    def knows(self, partitions: Iterable[int]) -> bool:
        """Return whether each of some partitions has had a record."""
        return all(partition in self._progress for partition in partitions)

    def silent_us(self, clock_us: int) -> int:
        """Return the watermark of a partition without any record: a first one may be on its way."""
        return clock_us - self._delay_us - IDLE_GRACE_US

    def idle_wait_us(self, clock_us: int, target_us: int) -> int:
        """Return how long idle input needs to bring the watermark to `target_us`; 0 when it is there."""
        waits = [
            target_us - p.event_us + self._delay_us - (clock_us - p.append_us - IDLE_GRACE_US)
            for p in self._progress.values()
        ]
        return max(0, *waits) if waits else 0

    def changes(self) -> list[StateWrite]:
        """Return what must be stored since the last call."""
        if not self._changed:
            return []
        self._changed = False
        return [(self._key, msgspec.msgpack.encode(self._progress))]


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value
