"""Power is cut while records become cold, are deleted, and files are swept.

Whatever the disk may be left with of the log, and of the files what was synced: each record that was acknowledged and
not deleted is there once, and every file that the log refers to is there.

MILLSTREAM_SEED=123 runs one again.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

import pytest

from millstream.engines.protocol import Append, TopicSpec
from millstream.engines.sqlite import SqliteEngine
from millstream.log import Log, Topic
from millstream.log.cold import compaction, writing
from millstream.log.cold.checking import check_cold
from millstream.log.cold.compaction import ColdRange, compact
from millstream.log.cold.files import cold_files
from millstream.log.cold.store import ColdStore
from millstream.log.cold.sweeping import condemn, sweep
from millstream.testing.crash_vfs import CrashVFS
from millstream.testing.disk import Disk
from millstream.testing.raw_batches import raw_batch

ONE_SEED = os.environ.get("MILLSTREAM_SEED")
SEEDS = [int(ONE_SEED)] if ONE_SEED else [*range(40), 395, 466, 475, 480]  # the last found files deleted too early


class ForgetfulStore(ColdStore):
    """The folder of a machine that loses power: what was published or deleted after the cut never was."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        super().__init__(folder)
        self._disk = disk
        self.lost = folder.with_name("lost")
        self.lost.mkdir(parents=True)
        self.published: set[str] = set()

    def publish(self, file: Path, name: str) -> None:
        super().publish(file, name)
        if not self._disk.is_cut:
            self.published.add(name)

    def delete(self, location: str) -> None:
        if (self.folder / location).exists():
            os.replace(self.folder / location, self.lost / Path(location).name)
        if not self._disk.is_cut:
            self.published.discard(location)

    def survive(self, into: Path) -> None:
        """Put what the disk has into a folder; a deletion may have come to it or not, so here it has."""
        for name in self.published:
            (into / name).parent.mkdir(parents=True, exist_ok=True)
            there = self.folder / name
            shutil.copyfile(there if there.exists() else self.lost / there.name, into / name)


def value(offset: int) -> bytes:
    return b"event %d" % offset


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "GROUP_ROWS", 16)
    monkeypatch.setattr(compaction, "FILE_RECORDS", 32)


def crash(folder: Path, seed: int) -> tuple[int, int]:
    """Work until the power goes; return the end that was acknowledged and the highest offset deleted below."""
    random = Random(f"{seed} cold")
    disk = Disk(folder / "live")
    disk.root.mkdir(parents=True)
    store = ForgetfulStore(disk.root / "x.db.cold", disk)
    acknowledged = trimmed = end = 0
    with CrashVFS(disk) as vfs:
        engine = SqliteEngine(disk.root / "x.db", vfs=vfs.name)
        try:
            engine.create_topic(TopicSpec("events"))
            disk.cut_at(disk.operations + int(10 ** random.uniform(0.7, 2.7)))
            while not disk.is_cut:
                match random.choice(["append", "append", "compact", "trim", "sweep"]):
                    case "append":
                        count = random.randint(1, 40)
                        engine.append([Append("events", 0, raw_batch([value(end + i) for i in range(count)]))])
                        end += count
                        acknowledged = acknowledged if disk.is_cut else end
                    case "compact":
                        compact(engine, store, ColdRange("events", 0, end))
                    case "trim":
                        trimmed = max(trimmed, end - random.randint(20, 200))
                        condemn(engine, "events", 0, trimmed)
                        engine.trim("events", 0, trimmed)
                    case "sweep":
                        sweep(engine, store=store)
            disk.crash(seed, folder / "after")
        finally:
            engine.close()
    store.survive(folder / "after" / "x.db.cold")
    return acknowledged, trimmed


@pytest.mark.parametrize("seed", SEEDS)
def test_a_power_cut_loses_no_record_and_no_file(tmp_path: Path, seed: int) -> None:
    acknowledged, trimmed = crash(tmp_path, seed)
    engine = SqliteEngine(tmp_path / "after" / "x.db", durability="relaxed")
    log = Log(engine, housekeeping=False)
    try:
        assert engine.check() == []
        if "events" not in engine.topics():
            assert acknowledged == 0
            return
        assert check_cold(engine) == []
        sweep(engine)
        assert len(list((tmp_path / "after" / "x.db.cold").glob("*/*/*"))) == len(cold_files(engine))
        topic: Topic[bytes] = log.topic("events")
        [part] = topic.info().partitions
        assert part.end_offset >= acknowledged
        assert part.start_offset <= max(0, trimmed)
        frame = topic.frame().collect()
        assert frame["_offset"].to_list() == list(range(part.start_offset, part.end_offset))
        assert frame["value"].to_list() == [value(i) for i in range(part.start_offset, part.end_offset)]
    finally:
        log.close()
