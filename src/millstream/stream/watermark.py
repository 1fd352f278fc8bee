"""How far event time has come, by partition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.engines.protocol import StateChange

if TYPE_CHECKING:
    import polars as pl

IDLE_GRACE_US: Final = 1_000_000
"""Idle input moves the watermark this much later than time passes: a record's way from where it happened into the log
takes time, and one that is on its way must not come too late just because nothing else did."""

_KEY: Final = b"m"


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """The newest event time of a partition, and when the log took the newest record."""

    event_us: int
    append_us: int


class Watermarks:
    """The newest event time of each partition; the watermark is the least of them.

    While records come, the watermark is the newest event time, whatever the machine's clock says, so that history gives
    the answer that live gave. When a partition is read to its end and nothing comes, event time is taken to go on as
    the clock does since its last record was appended.
    """

    def __init__(self) -> None:
        self._progress: dict[int, Progress] = {}
        self._changed = False

    def load(self, state: Mapping[bytes, bytes]) -> None:
        if (stored := state.get(_KEY)) is not None:
            self._progress = msgspec.msgpack.decode(stored, type=dict[int, Progress])

    def event_us(self, partition: int) -> int | None:
        """Return the newest event time of a partition, None before its first record."""
        progress = self._progress.get(partition)
        return progress.event_us if progress else None

    def before(self, partition: int, times: pl.Series) -> pl.Series:
        """Return, for each record of a partition to come next, the watermark of the partition just before it."""
        import polars as pl

        known = pl.Series([self.event_us(partition)], dtype=pl.Int64)
        running = pl.concat([known, times.to_physical().cast(pl.Int64)]).cum_max().fill_null(strategy="forward")
        return running.head(times.len()).alias("_watermark")

    def advance(self, partition: int, event_us: int, append_us: int) -> None:
        """Note the newest times of records just read."""
        old = self._progress.get(partition, Progress(event_us, append_us))
        self._progress[partition] = Progress(max(old.event_us, event_us), max(old.append_us, append_us))
        self._changed = True

    def now_us(self) -> int | None:
        """Return the watermark by the records read, None before the first."""
        return min((p.event_us for p in self._progress.values()), default=None)

    def idle_us(self, clock_us: int, limit_us: int) -> int | None:
        """Return the watermark when every partition is read to its end, at the wall-clock time `clock_us`.

        Args:
            limit_us: Where all open windows are closed; time beyond is not known to have passed, and a record from
                there must not be late.
        """
        if not self._progress:
            return None
        moved = min(p.event_us + max(0, clock_us - p.append_us - IDLE_GRACE_US) for p in self._progress.values())
        newest = max(p.event_us for p in self._progress.values())
        return min(moved, max(limit_us, newest))

    def idle_wait_us(self, clock_us: int, target_us: int) -> int:
        """Return how long idle input needs to bring the watermark to `target_us`; 0 when it is there."""
        waits = [target_us - p.event_us - (clock_us - p.append_us - IDLE_GRACE_US) for p in self._progress.values()]
        return max(0, *waits) if waits else 0

    def changes(self, partition: int) -> list[StateChange]:
        """Return what must be stored since the last call."""
        if not self._changed:
            return []
        self._changed = False
        return [StateChange(partition, _KEY, msgspec.msgpack.encode(self._progress))]
