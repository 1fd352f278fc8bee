"""Keeping a log small in the background: merging small batches, deleting what retention says, giving space back.

Any number of processes may do so at once: each step is one transaction that does nothing when another was faster.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
from collections.abc import Iterator
from datetime import datetime

from millstream import limits
from millstream.clock import Clock
from millstream.engines.protocol import BatchHeader, Engine, Maintenance, PartitionInfo, TopicInfo
from millstream.errors import ClosedError, MillstreamError
from millstream.log.batches import frame_of, merge
from millstream.log.schema import RAW, Schema
from millstream.records import Coding, StoredBatch, time_to_us

_logger = logging.getLogger("millstream.housekeeping")

ROUND_S = 2.0
"""Between two rounds; a round without work costs one query a topic."""

IDLE_US = 2_000_000
"""A partition without an append for so long is merged whatever it holds: its writers will not feel it."""

IDLE_WITHOUT_POLARS_US = 60_000_000
"""The same in a process that has not imported Polars yet (0.2 s, 50 MB): another process may do it sooner."""

BUSY_RECORDS = 1_000_000
"""While records keep coming, merging waits until so many are in small batches: it would take time from the writers."""

BATCHES_MIN = 16
"""Fewer small batches than this are left as they are."""

SMALL_RECORDS = limits.COLUMNS_RECORDS_MAX // 2
"""A columns batch of fewer records is merged with its neighbours."""

_HEADERS_AT_ONCE = 4096
_MERGE_BYTES = 16 * 1024 * 1024
_VACUUM_BYTES = 16 * 1024 * 1024
_SPARE_BYTES = 4 * 1024 * 1024
"""Free space that stays in the file: new records take it again at once."""


class Housekeeping:
    """One thread that keeps house for a log."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._wake = threading.Event()
        self._mutex = threading.Lock()
        self._thread: threading.Thread | None = None
        self._owner = 0
        self._merged_to: dict[tuple[str, int], int] = {}
        """Where the search for small batches begins: everything below is merged as far as it can be."""

    def start(self) -> None:
        """Start the thread unless it runs (in this process: a forked child starts its own)."""
        if not isinstance(self._engine, Maintenance) or not self._engine.capabilities.durable:
            return
        with self._mutex:
            if self._owner == os.getpid() or self._wake.is_set():
                return
            self._owner = os.getpid()
            self._thread = threading.Thread(target=self._work, name="millstream-housekeeping", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End the thread after the step it is at."""
        self._wake.set()
        if self._thread is not None and self._owner == os.getpid():
            self._thread.join()

    def _work(self) -> None:
        while not self._wake.wait(ROUND_S):
            try:
                self.run_once(idle_us=IDLE_US if "polars" in sys.modules else IDLE_WITHOUT_POLARS_US)
            except ClosedError:
                return
            except MillstreamError as error:
                _logger.warning("keeping house failed, will try again: %s", error)

    def run_once(self, *, idle_us: int) -> None:
        """Do all that is due.

        Args:
            idle_us: Partitions without an append for so long are merged; busier ones when much has gathered.
        """
        engine = self._engine
        assert isinstance(engine, Maintenance)
        trimmed = False
        for name in self._engine.topics():
            try:
                info = self._engine.describe_topic(name)
            except MillstreamError:
                continue  # deleted meanwhile
            for partition in info.partitions:
                trimmed |= self._trim(engine, info, partition)
                self._merge(engine, info, partition, idle_us)
                if self._wake.is_set():
                    return
        # A piece at a time, so that writers get in between.
        while engine.vacuum(_VACUUM_BYTES) > _SPARE_BYTES and not self._wake.is_set():
            pass

    # --- retention ------------------------------------------------------------------------------------------------

    def _trim(self, engine: Maintenance, info: TopicInfo, partition: PartitionInfo) -> bool:
        spec = info.spec
        before = partition.start_offset
        excess = 0 if spec.retention_bytes is None else partition.size_bytes - spec.retention_bytes
        oldest_us = None if spec.retention_age_us is None else self._clock.now_us() - spec.retention_age_us
        headers = self._headers(engine, spec.name, partition.partition, before, partition.end_offset)
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
            excess -= header.size_bytes
        if before == partition.start_offset:
            return False
        return engine.trim(spec.name, partition.partition, before) > partition.start_offset

    def _appended_until(self, topic: str, header: BatchHeader, following: BatchHeader | None) -> int:
        """Return a time at which all records of a batch had been appended; a header tells only the first append."""
        if header.coding == Coding.ROWS:
            return header.append_time_us  # all at once: only merged batches are of several times
        if following is not None:
            return max(header.append_time_us, following.append_time_us)
        [batch] = self._engine.read(topic, header.partition, header.offset, records_max=1)
        schema = self._engine.describe_topic(topic).schemas
        written = Schema.decode(schema[batch.schema_id]) if batch.schema_id else RAW
        newest = frame_of(batch, written, written, ["_append_time"]).get_column("_append_time").max()
        assert isinstance(newest, datetime)
        return time_to_us(newest)

    # --- merging --------------------------------------------------------------------------------------------------

    def _merge(self, engine: Maintenance, info: TopicInfo, partition: PartitionInfo, idle_us: int) -> None:
        name, number = info.spec.name, partition.partition
        start = max(partition.start_offset, self._merged_to.get((name, number), 0))
        small = 0
        records = 0
        newest_us = 0
        settled = start
        for header in self._headers(engine, name, number, start, partition.end_offset):
            newest_us = max(newest_us, header.append_time_us)
            if self._is_small(header):
                small += 1
                records += header.count
            elif small == 0:
                settled = header.offset + header.count
        self._merged_to[name, number] = settled
        if small < BATCHES_MIN:
            return
        idle = self._clock.now_us() - newest_us >= idle_us
        if not idle and records < BUSY_RECORDS:
            return
        schemas = {schema_id: Schema.decode(data) for schema_id, data in info.schemas.items()} | {0: RAW}
        for run in self._runs(engine, name, number, settled, partition.end_offset):
            if self._wake.is_set():
                return
            batches = self._read(name, number, run)
            if batches is None:
                return
            target_id = max(header.schema_id for header in run)
            merged = merge(batches, [schemas[batch.schema_id] for batch in batches], schemas[target_id], target_id)
            engine.replace(name, number, run, [merged])

    def _is_small(self, header: BatchHeader) -> bool:
        return header.coding == "rows" or header.count < SMALL_RECORDS

    def _runs(
        self, engine: Maintenance, topic: str, partition: int, start: int, end: int
    ) -> Iterator[list[BatchHeader]]:
        """Yield runs of adjacent small batches that make one good batch each."""
        run: list[BatchHeader] = []
        count = size_bytes = 0
        for header in self._headers(engine, topic, partition, start, end):
            small = self._is_small(header)
            fits = count + header.count <= limits.COLUMNS_RECORDS_MAX and size_bytes + header.size_bytes <= _MERGE_BYTES
            if run and not (small and fits):
                if self._is_worth_it(run):
                    yield run
                run, count, size_bytes = [], 0, 0
            if small:
                run.append(header)
                count += header.count
                size_bytes += header.size_bytes
        if self._is_worth_it(run):
            yield run

    def _is_worth_it(self, run: list[BatchHeader]) -> bool:
        return len(run) >= BATCHES_MIN or (len(run) >= 1 and any(h.coding == "rows" and h.count >= 1000 for h in run))

    def _headers(self, engine: Maintenance, topic: str, partition: int, start: int, end: int) -> Iterator[BatchHeader]:
        while start < end:
            headers = engine.batch_headers(topic, partition, start, end, headers_max=_HEADERS_AT_ONCE)
            if not headers:
                return
            yield from headers
            start = headers[-1].offset + headers[-1].count

    def _read(self, topic: str, partition: int, run: list[BatchHeader]) -> list[StoredBatch] | None:
        """Return the batches of a run, None where they are not there any more."""
        start, end = run[0].offset, run[-1].offset + run[-1].count
        batches: list[StoredBatch] = []
        while start < end:
            part = self._engine.read(topic, partition, start, records_max=end - start)
            if not part:
                return None
            batches += [batch for batch in part if batch.offset < end]
            start = part[-1].end_offset
        return batches
