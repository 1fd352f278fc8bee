"""Power is cut while a pipeline runs under `fsync`: offsets, state and outputs of what the disk had agree.

What was committed is there whole or not at all: the stream goes on from what the disk had, and in the end every row is
there once. What was acknowledged to the producer is there. MILLSTREAM_CRASHES=5000 runs more; MILLSTREAM_SEED=123 one.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from random import Random
from typing import Final

import apsw
import pytest

from millstream.clock import SystemClock
from millstream.engines.protocol import Durability
from millstream.engines.sqlite import SqliteEngine
from millstream.log.log import Log
from millstream.stream import StreamReader
from millstream.stream.options import options_of
from millstream.stream.run import StreamRun
from millstream.testing.crash_vfs import CrashVFS
from millstream.testing.disk import Disk
from millstream.testing.stream_pipeline import (
    DELAY,
    Click,
    Order,
    append,
    difference,
    expected,
    last_records,
    outputs,
    pipeline,
    records,
    topics,
)

CRASHES: Final = int(os.environ.get("MILLSTREAM_CRASHES", "500")) // 25
ONE_SEED: Final = os.environ.get("MILLSTREAM_SEED")
SEEDS: Final = range(CRASHES) if ONE_SEED is None else range(int(ONE_SEED), int(ONE_SEED) + 1)
PARTITIONS: Final = 2


class Scenario:
    """A producer and the pipeline in turns, until the power is cut."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._random = Random(f"{seed} stream power loss")
        self._folder = folder
        self._share = seed % 2 == 1
        self._source = records(self._random, 1_000_000)
        self._runs: list[StreamRun] = []
        self.appended: list[Click | Order] = []
        self.acknowledged = 0
        """Of those appended, in their order."""

    def crash(self) -> None:
        """Run until the power is cut; leave what the disk had in `after`."""
        disk = Disk(self._folder / "live")
        disk.root.mkdir(parents=True)
        with CrashVFS(disk) as vfs:
            log = opened(disk.root / "x.db", Durability.FSYNC, vfs=vfs.name)
            try:
                reader = self._reader(log)
                self._work(log, reader, disk, vfs.name)
                disk.cut_at(disk.operations + int(10 ** self._random.uniform(1, 3.3)))
                while not disk.is_cut:
                    self._work(log, reader, disk, vfs.name)
                disk.crash(self._random.randrange(1 << 30), self._folder / "after")
            finally:
                log.close()

    def check(self) -> int:
        """Go on with what the disk had, to the end; return how many records had been read there."""
        log = opened(self._folder / "after" / "x.db", Durability.RELAXED)
        try:
            assert log.engine.check() == []
            there = numbers(log, "clicks", "n") | numbers(log, "orders", "m")
            lost = {number(record) for record in self.appended[: self.acknowledged]} - there
            assert lost == set(), "these were acknowledged"
            reader = self._reader(log)
            read = sum(reader.info().committed.values())
            append(log, last_records(len(self.appended), PARTITIONS), PARTITIONS)
            reader.run_now(threading.Event())
            some = [record for record in self.appended if number(record) in there]
            assert difference(outputs(log), expected(some)) == {}
            assert reader.info().lag == 0
            assert log.engine.check() == []
        finally:
            log.close()
        return read

    # --- inside -----------------------------------------------------------------------------------------------------

    def _reader(self, log: Log) -> StreamReader:
        options = options_of(delay=DELAY, share=self._share)
        return StreamReader(*topics(log, PARTITIONS), description=pipeline, name="pipeline", options=options)

    def _work(self, log: Log, reader: StreamReader, disk: Disk, vfs: str) -> None:
        """Append some, and let the stream do some of it, each micro-batch a commit; now and then it starts anew."""
        some = [next(self._source) for _ in range(self._random.choice((1, 8, 40)))]
        self.appended += some
        append(log, some, PARTITIONS)
        if disk.is_cut:
            return
        self.acknowledged = len(self.appended)
        if not self._runs or self._random.random() < 0.1:
            self._runs = self._opened(reader)
        for run in self._runs:
            for _ in range(self._random.randrange(3)):
                run.step()
        if self._random.random() < 0.1:
            connection = apsw.Connection(str(disk.root / "x.db"), vfs=vfs)
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
            connection.close()

    def _opened(self, reader: StreamReader) -> list[StreamRun]:
        partitions = [*range(PARTITIONS)] if self._share else [None]
        size = self._random.choice((1, 5, 100))
        return [StreamRun(reader.graph, reader.options, records_max=size, partition=at) for at in partitions]


def opened(path: Path, durability: Durability, *, vfs: str | None = None) -> Log:
    clock = SystemClock()
    return Log(SqliteEngine(path, durability=durability, clock=clock, vfs=vfs), clock=clock)


def number(record: Click | Order) -> int:
    return record.n if isinstance(record, Click) else record.m


def numbers(log: Log, topic: str, field: str) -> set[int]:
    """Return the numbers of the records of a topic; none where it did not survive, which happens early only."""
    if topic not in log.topics():
        return set()
    return {row[field] for row in log.sql(f"SELECT {field} FROM {topic}").iter_rows(named=True)}


@pytest.mark.parametrize("seed", SEEDS)
def test_power_loss_leaves_a_stream_that_goes_on_with_every_row_once(tmp_path: Path, seed: int) -> None:
    scenario = Scenario(tmp_path, seed)
    try:
        scenario.crash()
        read = scenario.check()
    except BaseException as error:
        error.add_note(f"again: MILLSTREAM_SEED={seed} pytest tests/crash/test_stream_power_loss.py; files: {tmp_path}")
        raise
    print(f"\n{len(scenario.appended)} appended, {scenario.acknowledged} acknowledged, {read} read when the power went")
