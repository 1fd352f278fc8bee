"""Power is cut while lines, sealed or sent to another topic, are stored with the position behind them.

Whatever the disk was left with: the lines before the position are there, each in its place, once, and no others; the
chain of seals is whole; it all goes on from there. MILLSTREAM_SEED=123 runs one again.
"""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from millstream.engines.protocol import Append, Durability
from millstream.engines.sqlite import SqliteEngine
from millstream.log.log import Log
from millstream.log.seals.check import verify
from millstream.log.seals.sealer import Sealer
from millstream.parsers.event_parser import event_columns
from millstream.parsers.log_event import LogEvent
from millstream.sources.writer import OnceWriter
from millstream.testing.crash_vfs import CrashVFS
from millstream.testing.disk import Disk
from millstream.testing.raw_batches import raw_batch

ONE_SEED = os.environ.get("MILLSTREAM_SEED")
SEEDS = [int(ONE_SEED)] if ONE_SEED else list(range(40))
NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEY = b"0123456789abcdef"
POSITION = b"file"


def event(number: int) -> LogEvent:
    return LogEvent(time=NOW, source="s", message=str(number), raw="x" * (number % 50 * 40), fields={"n": number})


def place_of(number: int) -> str | None:
    """Return where a line belongs; None: it is left out."""
    return ("logs", "logs", "other", None)[number % 4]


class Follower:
    """Stores numbers in their order, as `SystemFollower` stores lines with steps."""

    def __init__(self, log: Log) -> None:
        self._log = log
        topic = log.topic("logs", LogEvent, time="time")
        self._writer: OnceWriter[Any] = OnceWriter(topic, "reader", sealer=Sealer(topic, KEY))
        self._epoch, positions = self._writer.positions()
        self.position = int(positions.get(POSITION, b"0"))

    def store(self, count: int) -> None:
        some = range(self.position, self.position + count)
        kept = [event(number) for number in some if place_of(number) == "logs"]
        other = [event(number) for number in some if place_of(number) == "other"]
        beside = [(self._log.topic("other", LogEvent, time="time"), event_columns(other))] if other else []
        self._writer.store(kept, {POSITION: b"%d" % some.stop}, self._epoch, beside=beside, anyway=True)
        self.position = some.stop


def opened(path: Path, durability: Durability, vfs: str | None = None) -> Log:
    return Log(SqliteEngine(path, durability=durability, vfs=vfs), housekeeping=False)


def crash(folder: Path, seed: int, durability: Durability) -> int:
    """Store until the power is cut; return how many lines were acknowledged by then."""
    random = Random(f"{seed} logs power loss")
    disk = Disk(folder / "live")
    disk.root.mkdir(parents=True)
    acknowledged = 0
    with CrashVFS(disk) as vfs, closing(opened(disk.root / "x.db", durability, vfs.name)) as log:
        follower = Follower(log)
        follower.store(8)
        disk.cut_at(disk.operations + int(10 ** random.uniform(0.3, 2.7)))
        while not disk.is_cut:
            acknowledged = follower.position
            if random.random() < 0.1:
                follower = Follower(log)
            if random.random() < 0.2:  # under `relaxed`, all before it is on disk then
                log.topic("synced")
                log.engine.append([Append("synced", 0, raw_batch([b"synced"]))], durability=Durability.FSYNC)
            follower.store(random.choice((1, 3, 40, 300)))
        disk.crash(seed, folder / "after")
    return acknowledged


def check(log: Log, position: int) -> None:
    for name in ("logs", "other"):
        topic = log.topic(name, LogEvent, time="time")
        found = [int(message) for message in topic.frame().collect()["message"]]
        assert found == [number for number in range(position) if place_of(number) == name]
        checked = verify(log, name, key=KEY)
        assert (checked.findings, checked.notes, checked.records) == ((), (), len(found))
    assert log.engine.check() == []


@pytest.mark.parametrize("durability", [Durability.FSYNC, Durability.RELAXED])
def test_lines_places_seals_and_position_agree_after_a_power_cut(durability: Durability, tmp_path: Path) -> None:
    stored = lost = 0
    for seed in SEEDS:
        folder = tmp_path / str(seed)
        acknowledged = crash(folder, seed, durability)
        with closing(opened(folder / "after" / "x.db", Durability.RELAXED)) as log:
            follower = Follower(log)
            assert durability is Durability.RELAXED or follower.position >= acknowledged, f"seed {seed}"
            stored, lost = stored + follower.position, lost + max(0, acknowledged - follower.position)
            check(log, follower.position)
            follower.store(100)
            check(log, follower.position)
    assert stored or ONE_SEED, "nothing survived: this proves nothing"
    assert lost or durability is Durability.FSYNC or ONE_SEED, "nothing was lost: this proves nothing"
