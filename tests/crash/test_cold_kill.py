"""`kill -9` of processes that make records cold and delete old ones, while others append and read: nothing is lost,
nothing doubled, and what is left over is removed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest

from millstream.engines.sqlite import SqliteEngine
from millstream.errors import OffsetOutOfRangeError
from millstream.log import Log, Topic
from millstream.log.cold.checking import check_cold
from millstream.log.cold.files import cold_files
from millstream.log.cold.sweeping import sweep

KILLS = int(os.environ.get("MILLSTREAM_CRASHES", "500")) // 100
SCRIPT = Path(__file__).with_name("compacting_process.py")


def value(offset: int) -> bytes:
    return b"event %d" % offset


def append_until(log: Log, over: threading.Event, failures: list[BaseException]) -> None:
    topic: Topic[bytes] = log.topic("events")
    end = 0
    while not over.is_set():
        count = 1 + end % 40
        assert topic.extend([value(i) for i in range(end, end + count)])[0].start == end
        end += count
        over.wait(0.01)


def read_until(log: Log, over: threading.Event, failures: list[BaseException]) -> None:
    """Follow the log in records and in frames: each is the one of its offset, none is missing."""
    offset = 0
    try:
        while not over.is_set():
            topic: Topic[bytes] = log.topic("events")
            try:
                for record in topic.read(offset, records_max=500, wait=0.05):
                    assert (record.offset, record.value) == (offset, value(offset))
                    offset += 1
                start = max(0, offset - 300)
                frame = topic.read_frame(start, offset)
                assert frame["value"].to_list() == [value(i) for i in frame["_offset"].to_list()]
                assert frame["_offset"].to_list() == list(range(start, offset))
            except OffsetOutOfRangeError as error:
                offset = max(offset, error.start_offset)
    except BaseException as error:
        failures.append(error)
        raise


@pytest.mark.parametrize("elsewhere", [False, True], ids=["beside", "elsewhere"])
def test_killed_compactions_lose_nothing_and_double_nothing(tmp_path: Path, elsewhere: bool) -> None:
    place = tmp_path / "archive"
    command = [sys.executable, str(SCRIPT), str(tmp_path / "x.db"), *([str(place)] if elsewhere else [])]
    log = Log(SqliteEngine(tmp_path / "x.db", durability="relaxed"), housekeeping=False)
    log.topic("events")
    over, failures = threading.Event(), list[BaseException]()
    threads = [threading.Thread(target=work, args=(log, over, failures)) for work in (append_until, read_until)]
    for thread in threads:
        thread.start()
    random = Random(f"cold {elsewhere}")
    try:
        for _ in range(KILLS):
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for _ in range(random.randint(1, 6)):
                    assert process.stdout.readline()
                over.wait(random.uniform(0, 0.03))  # another moment each time
                process.kill()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    check(log, place if elsewhere else tmp_path / "x.db.cold")
    log.close()


def check(log: Log, place: Path) -> None:
    engine = log.engine
    assert isinstance(engine, SqliteEngine)
    assert engine.check() == []
    assert check_cold(engine) == []
    sweep(engine)
    assert len(list(place.glob("*/*/*"))) == len(cold_files(engine)) > 0
    assert list((place.parent / "x.db.cold").glob("*/*/*.partial")) == []
    topic: Topic[bytes] = log.topic("events")
    part = topic.info().partitions[0]
    assert part.start_offset > 0
    frame = topic.frame().collect()
    assert frame["_offset"].to_list() == list(range(part.start_offset, part.end_offset))
    assert frame["value"].to_list() == [value(i) for i in range(part.start_offset, part.end_offset)]
    records = list(topic.tail("start", wait=0))
    assert [record.value for record in records] == frame["value"].to_list()
