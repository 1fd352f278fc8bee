"""Cold files in an object store: a real S3-compatible server (moto), reached through obstore and Polars."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest

from millstream.engines.sqlite import SqliteEngine
from millstream.errors import StorageCorruptError, StorageError
from millstream.log import Cold, Log, Retention
from millstream.log.cold.checking import check_cold
from millstream.log.cold.compaction import ColdRange, compact
from millstream.log.cold.copying import backup
from millstream.log.cold.store import ColdStore, open_objects
from millstream.log.cold.sweeping import sweep
from millstream.testing import FakeClock

pytest.importorskip("obstore", reason="the extra `objects` is not installed")
pytest.importorskip("moto", reason="moto[server] is not installed: there is no S3 server to test with")

PLACE = "s3://cold/archive"


class Reading(msgspec.Struct):
    sensor: str
    value: float


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(url)
            urllib.request.urlopen(urllib.request.Request(f"{url}/cold", method="PUT")).close()
            yield url
        finally:
            process.kill()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url).close()
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.05)
        else:
            return


@pytest.fixture
def log(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    clock = FakeClock(1_700_000_000_000_000)
    made = Log(SqliteEngine(tmp_path / "x.db", durability="relaxed", clock=clock), clock=clock, housekeeping=False)
    yield made
    made.close()


def objects() -> list[str]:
    return sorted(entry["path"] for chunk in open_objects(PLACE).list() for entry in chunk)


def test_a_log_reads_across_to_an_object_store_and_back(log: Log, tmp_path: Path) -> None:
    clock = log.clock
    assert isinstance(clock, FakeClock)
    topic = log.topic("readings", Reading, key="sensor", cold=Cold(after="7d", location=PLACE))
    topic.extend([Reading(f"s{i % 3}", i / 2) for i in range(5000)])
    clock.advance("8d")
    topic.extend([Reading(f"s{i % 3}", i / 2) for i in range(5000, 6000)])
    records, frame = topic.read(records_max=6000), topic.frame().collect()
    before = objects()
    log.keep_house()
    [name] = set(objects()) - set(before)
    fresh = log.topic("readings", Reading, key="sensor")
    assert fresh.read(records_max=6000) == records
    assert fresh.frame().collect().equals(frame)
    some = fresh.frame().filter(pl.col("sensor") == "s1").select("value")
    assert "Parquet SCAN" in some.explain()
    assert some.collect().equals(frame.filter(pl.col("sensor") == "s1").select("value"))
    assert check_cold(log.engine) == []
    assert list(tmp_path.glob("x.db.cold/*/*/*")) == []
    assert backup(log.engine, str(tmp_path / "copy.db")) == [f"{PLACE}/{name}"]

    log.topic("readings", retention=Retention(age="7d"))
    log.keep_house()
    assert objects() == before
    assert fresh.frame().collect()["_offset"].to_list() == list(range(5000, 6000))


def test_an_object_that_is_missing_is_named_and_leftovers_are_removed(log: Log) -> None:
    topic = log.topic("lost", Reading)
    topic.extend([Reading("s", i) for i in range(100)])
    store = ColdStore.of(log.engine, PLACE)
    leftover = store.new_name("lost", 0, 0, 100)
    store.partial(leftover).write_bytes(b"?")
    store.publish(store.partial(leftover), leftover)  # and the process dies before the log knows of it
    strange = store.new_name("lost", 0, 0, 100)
    open_objects(PLACE).put(strange, b"another log's")
    assert sweep(log.engine) == 1
    assert leftover not in objects()
    assert strange in objects()
    compact(log.engine, store, ColdRange("lost", 0, 100))
    [name] = [name for name in objects() if name.startswith("lost/") and name != strange]
    open_objects(PLACE).delete(name)
    with pytest.raises(StorageCorruptError, match=name):
        log.topic("lost", Reading).read()
    assert [finding.problem.endswith("is missing") for finding in check_cold(log.engine)] == [True]


def test_a_store_that_refuses_says_so_and_nothing_has_changed(log: Log) -> None:
    topic = log.topic("kept", Reading)
    topic.extend([Reading("s", i) for i in range(100)])
    with pytest.raises(StorageError, match="s3://nobucket/x"):
        compact(log.engine, ColdStore.of(log.engine, "s3://nobucket/x"), ColdRange("kept", 0, 100))
    assert len(topic.read()) == 100
    assert ColdStore.of(log.engine).folder.exists()
    assert list(ColdStore.of(log.engine).folder.glob("*/*/*.partial")) == []
