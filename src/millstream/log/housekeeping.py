"""Keeping a log small in the background: merging small batches, making old ones cold, deleting what retention says,
giving space back.

Any number of processes may do so at once: each step is one transaction that does nothing when another was faster.
"""

from __future__ import annotations

import itertools
import logging
import os
import random
import sys
import threading
from datetime import datetime
from typing import Final

from millstream.clock import Clock
from millstream.engines.protocol import BatchHeader, Engine, GroupInfo, Maintenance, PartitionInfo, TopicInfo
from millstream.errors import ClosedError, GroupNotFoundError, MillstreamError
from millstream.log.cold.compaction import ColdRange
from millstream.log.cold.files import bytes_of, cold_batches
from millstream.log.cold.reference import reference_of
from millstream.log.cold.sweeping import condemn, sweep
from millstream.log.cold.upkeep import ColdUpkeep, make_cold
from millstream.log.frames import frame_of
from millstream.log.merging import BATCHES_MIN, MergeRange, headers_of, is_small, merge_range, survey
from millstream.log.merging_process import MergingProcess, can_start
from millstream.log.schema import RAW, Schema
from millstream.records import Coding, time_to_us

_logger = logging.getLogger("millstream.housekeeping")

ROUND_S: Final = 2.0
"""Between two rounds; a round without work costs one query a topic."""

IDLE_US: Final = 2_000_000
"""A partition without an append for so long is merged whatever it holds: its writers will not feel it."""

IDLE_WITHOUT_POLARS_US: Final = 60_000_000
"""The same in a process that has not imported Polars, and starts another to merge: one that has may do it sooner."""

SPREAD: Final = 0.5
"""Of several processes, one is the first to find that a process has to be started: each waits up to so much longer."""

BUSY_RECORDS: Final = 1_000_000
"""While records keep coming, merging waits until so many are in small batches: it would take time from the writers."""

ACTIVE_US: Final = 60_000_000
"""A consumer group that moved within this time is at work: what is before it stays as it is until it has passed.
Workers of queues read rows; to read columns they would have to import Polars."""

_VACUUM_BYTES: Final = 16 * 1024 * 1024
_SPARE_BYTES: Final = 4 * 1024 * 1024
"""Free space that stays in the file: new records take it again at once."""


class Housekeeping:
    """One thread that keeps house for a log.

    Args:
        eager: Merge in this process, and also what a group is about to read.
    """

    def __init__(self, engine: Engine, clock: Clock, *, eager: bool = False) -> None:
        self._engine = engine
        self._clock = clock
        self._eager = eager
        self._wake = threading.Event()
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._owner = 0
        self._merged_to: dict[tuple[str, int], int] = {}
        """Where the search for small batches begins: everything below is merged as far as it can be."""
        self._moved: dict[tuple[str, int, str], tuple[int, int]] = {}
        """Of consumer groups: their committed offset, and when it was first seen."""
        self._ends: dict[tuple[str, int], tuple[int, int]] = {}
        """Of partitions: their end offset, and when it was first seen."""
        self._patience = 1.0 + SPREAD * random.random()
        self.cold = ColdUpkeep(engine, clock, eager=eager)
        self._swept = False
        self._merging: MergingProcess | None = None
        self._alone = not can_start()
        """No other process can merge for this one."""

    def start(self) -> None:
        """Start the thread unless it runs (in this process: a forked child starts its own)."""
        if not isinstance(self._engine, Maintenance) or not self._engine.capabilities.durable:
            return
        with self._mutex:
            if self._owner == os.getpid() or self._wake.is_set():
                return
            self._owner = os.getpid()
            self._merging = None
            self._thread = threading.Thread(target=self._work, name="millstream-housekeeping", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread after the step it is at."""
        self._wake.set()
        if self._thread is not None and self._owner == os.getpid():
            self._thread.join()

    def _work(self) -> None:
        try:
            while not self._wake.wait(ROUND_S):
                try:
                    self.run_once(idle_us=IDLE_US if self._merges_itself() else IDLE_WITHOUT_POLARS_US)
                except ClosedError:
                    return
                except KeyboardInterrupt:
                    pass  # Ctrl-C ends a query of Polars in any thread; nothing was replaced, so it is merged again
                except MillstreamError as error:
                    _logger.warning("keeping house failed, will try again: %s", error)
        finally:
            if self._merging is not None:
                self._merging.stop()

    def run_once(self, *, idle_us: int) -> None:
        """Do all that is due.

        Args:
            idle_us: Partitions without an append for so long are merged; busier ones when much has gathered.
        """
        engine = self._engine
        assert isinstance(engine, Maintenance)
        due: list[MergeRange | ColdRange] = []
        if not self._swept:
            self._swept = True
            self._sweep()
        for name in self._engine.topics():
            try:
                info = self._engine.describe_topic(name)
            except MillstreamError:
                continue  # deleted meanwhile
            for partition in info.partitions:
                self._trim(engine, info, partition)
                range_ = self._due(engine, info, partition, idle_us)
                cold = self._due_cold(engine, name, partition)
                if range_ is not None and self._merges_itself():
                    merge_range(self._engine, range_, self._wake.is_set)
                if cold is not None and self._merges_itself():
                    make_cold(self._engine, cold, self._wake.is_set)
                if not self._merges_itself():
                    due += [found for found in (range_, cold) if found is not None]
                if self._wake.is_set():
                    return
        self._delegate(due)
        # A piece at a time, so that writers get in between.
        while engine.vacuum(_VACUUM_BYTES) > _SPARE_BYTES and not self._wake.is_set():
            pass

    # --- retention ------------------------------------------------------------------------------------------------

    def _trim(self, engine: Maintenance, info: TopicInfo, partition: PartitionInfo) -> bool:
        spec = info.spec
        if spec.retention_bytes is None and spec.retention_age_us is None:
            return False
        before = partition.start_offset
        cold_bytes: dict[int, int] = {}
        excess = 0
        if spec.retention_bytes is not None:
            batches = cold_batches(self._engine, spec.name, partition.partition)
            cold_bytes = {batch.offset: bytes_of(batch) for batch in batches}
            excess = partition.size_bytes + sum(cold_bytes.values()) - spec.retention_bytes
        oldest_us = None if spec.retention_age_us is None else self._clock.now_us() - spec.retention_age_us
        if oldest_us is not None:
            self._end_seen_us(spec.name, partition.partition, partition.end_offset)
        headers = headers_of(engine, spec.name, partition.partition, before, partition.end_offset)
        for header, following in itertools.pairwise(itertools.chain(headers, [None])):
            assert header is not None
            too_old = (
                oldest_us is not None
                and header.append_time_us < oldest_us
                and self._appended_until(spec.name, header, following) < oldest_us
            )
            if not (too_old or excess > 0):
                break
            before = header.offset + header.count
            excess -= header.size_bytes + cold_bytes.get(header.offset, 0)
        if before == partition.start_offset:
            return False
        has_cold = condemn(self._engine, spec.name, partition.partition, before)
        trimmed = engine.trim(spec.name, partition.partition, before) > partition.start_offset
        if has_cold and trimmed:
            self._sweep()
        return trimmed

    def _sweep(self) -> None:
        """Remove cold files that the log does not refer to any more, or never did."""
        if self._engine.url.startswith("sqlite:"):
            sweep(self._engine, wait=self._eager)

    def _appended_until(self, topic: str, header: BatchHeader, following: BatchHeader | None) -> int:
        """Return a time at which all records of a batch had been appended; a header tells only the first append."""
        if header.coding == Coding.ROWS:
            return header.append_time_us  # all at once: only merged batches are of several times
        if header.coding == Coding.COLD:
            [batch] = self._engine.read(topic, header.partition, header.offset, records_max=1)
            return reference_of(batch).append_time_max_us
        if following is not None:
            return max(header.append_time_us, following.append_time_us)
        if not self._merges_itself():
            # It can have no record that is newer than the first time that its end was seen.
            return self._end_seen_us(topic, header.partition, header.offset + header.count)
        [batch] = self._engine.read(topic, header.partition, header.offset, records_max=1)
        schema = self._engine.describe_topic(topic).schemas
        written = Schema.decode(schema[batch.schema_id]) if batch.schema_id else RAW
        newest = frame_of(batch, written, written, ["_append_time"]).get_column("_append_time").max()
        assert isinstance(newest, datetime)
        return time_to_us(newest)

    def _end_seen_us(self, topic: str, partition: int, end: int) -> int:
        seen = self._ends.get((topic, partition))
        if seen is None or seen[0] != end:
            seen = self._ends[topic, partition] = (end, self._clock.now_us())
        return seen[1]

    # --- merging --------------------------------------------------------------------------------------------------

    def _merges_itself(self) -> bool:
        """Merging takes Polars: 0.2 s, and 50 MB that stay. Where it is not there yet, another process does it."""
        return self._eager or self._alone or "polars" in sys.modules

    def _delegate(self, due: list[MergeRange | ColdRange]) -> None:
        """Have a process merge, one at a time."""
        if self._merging is not None:
            if self._merging.running:
                return
            failure = self._merging.failure()
            self._merging = None
            if failure is not None:
                self._alone = True
                _logger.warning("the process that merges batches failed, this one does it from now on: %s", failure)
                return
        if due:
            try:
                self._merging = MergingProcess(self._engine.url, due)
            except OSError as error:
                self._alone = True
                _logger.warning("no process to merge batches, this one does it from now on: %s", error)

    def _due_cold(self, engine: Maintenance, topic: str, partition: PartitionInfo) -> ColdRange | None:
        return self.cold.due(
            engine,
            topic,
            partition,
            lambda: self._unread_from(topic, partition.partition, partition.end_offset),
        )

    def _due(self, engine: Maintenance, info: TopicInfo, partition: PartitionInfo, idle_us: int) -> MergeRange | None:
        """Return what of a partition should be merged now."""
        name, number = info.spec.name, partition.partition
        start = max(partition.start_offset, self._merged_to.get((name, number), 0))
        if not self._merges_itself():
            idle_us = int(idle_us * self._patience)
        found = survey(headers_of(engine, name, number, start, partition.end_offset), start, partition.end_offset)
        self._merged_to[name, number] = settled = found.settled
        idle = self._clock.now_us() - found.newest_us >= idle_us
        if found.batches < BATCHES_MIN or not (idle or found.records >= BUSY_RECORDS):
            return None
        end = partition.end_offset if self._eager else self._unread_from(name, number, partition.end_offset)
        if end < partition.end_offset:
            before = [header for header in headers_of(engine, name, number, settled, end) if is_small(header)]
            if len(before) < BATCHES_MIN:
                return None
        return MergeRange(name, number, settled, end)

    def _unread_from(self, topic: str, partition: int, end: int) -> int:
        """Return the first offset that a group at work has not settled, or the end."""
        for group in self._engine.groups(topic):
            try:
                info = self._engine.describe_group(topic, group)
            except GroupNotFoundError:
                continue  # deleted meanwhile
            if self._at_work(info, partition):
                end = min(end, info.committed.get(partition, end))
        return end

    def _at_work(self, info: GroupInfo, partition: int) -> bool:
        now_us = self._clock.now_us()
        key, committed = (info.topic, partition, info.group), info.committed.get(partition, 0)
        known = self._moved.get(key)
        if known is None or known[0] != committed:
            known = self._moved[key] = (committed, now_us)
        return info.ledger.leased > 0 or now_us - known[1] < ACTIVE_US
