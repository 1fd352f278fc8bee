"""Tamper evidence: whatever is changed behind the log's back is named, and nothing else is."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from millstream.cli.application import run
from millstream.engines.connect import connect
from millstream.engines.protocol import Maintenance
from millstream.engines.sqlite.transaction import OFFSET_BITS
from millstream.errors import CommitConflictError, SettingsError
from millstream.log.cold.compaction import ColdRange, compact
from millstream.log.cold.store import ColdStore
from millstream.log.log import Log
from millstream.log.seals.check import Verified, sealed_topics, verify
from millstream.log.seals.key import key_from, key_of
from millstream.log.seals.sealer import Sealer
from millstream.parsers.event_parser import event_columns
from millstream.parsers.log_event import Kind, LogEvent
from millstream.sources.writer import OnceWriter

TEN = datetime(2026, 3, 1, 10, tzinfo=UTC)
KEY = key_of(b"a secret that nobody guesses")


def event(number: int) -> LogEvent:
    return LogEvent(
        time=TEN + timedelta(seconds=number),
        source="/var/log/auth.log",
        message=f"message number {number:05}",
        raw=f"raw line number {number:05}",
        kind=Kind.LOGIN if number % 3 == 0 else None,
        success=None if number % 2 else number % 4 == 0,
        pid=number,
        fields={"b": number, "a": [1.5, None, "x"]} if number % 5 == 0 else None,
        raw_bytes=b"\xff\xfe" if number % 7 == 0 else None,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def log(path: Path) -> Iterator[Log]:
    with closing(opened(path)) as log:
        yield log


def opened(path: Path, durability: str = "relaxed") -> Log:
    return Log(connect(str(path), durability=durability), housekeeping=False)


def writer(log: Log, key: bytes | None = None, topic: str = "logs") -> OnceWriter[Any]:
    made = log.topic(topic, LogEvent, time="time")
    return OnceWriter(made, "reader", sealer=Sealer(made, key))


def store(log: Log, count: int, *, at_once: int = 1, key: bytes | None = None, first: int = 0) -> None:
    """Store events in commits of so many."""
    once = writer(log, key)
    for start in range(first, first + count, at_once):
        epoch, _ = once.positions()
        once.store([event(number) for number in range(start, min(start + at_once, first + count))], {}, epoch)


def alter(path: Path, statement: str, *values: Any) -> None:
    """Change the file as somebody would who may write it, and knows SQL."""
    with closing(sqlite3.connect(path)) as connection:
        changed = connection.execute(statement, values)
        assert changed.rowcount, statement
        connection.commit()


def batches(path: Path, topic: str = "logs") -> list[tuple[int, bytes, int]]:
    """Return id, data and coding of the batches of a topic, in order."""
    with closing(sqlite3.connect(path)) as connection:
        [(partition,)] = connection.execute(
            "SELECT p.id FROM partition p JOIN topic t ON t.id = p.topic_id WHERE t.name = ?", [topic]
        ).fetchall()
        return [
            (number, bytes(data), coding)
            for number, data, coding in connection.execute("SELECT id, data, coding FROM batch ORDER BY id")
            if number >> OFFSET_BITS == partition
        ]


def problem(found: Verified) -> tuple[str, str]:
    [finding] = found.findings
    return finding.where, finding.problem


# --- nothing altered ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [1, 7, 700])
def test_records_as_they_were_appended_are_all_right_however_they_were_written(log: Log, at_once: int) -> None:
    store(log, 1400, at_once=at_once)
    found = verify(log, "logs")
    assert (found.findings, found.notes, found.records) == ((), (), 1400)
    assert found.seals == 1400 // at_once
    assert sealed_topics(log) == ["logs"]


def test_frame_and_values_have_the_same_digests(log: Log) -> None:
    once = writer(log)
    events = [event(number) for number in range(600)]
    once.store(events, {}, once.positions()[0])
    once.store(event_columns(events), {}, once.positions()[0])
    seals = [record.value for record in log.topic("logs.seals").read()]
    assert seals[0]["digests"] == seals[1]["digests"]
    assert verify(log, "logs").records == 1200


def test_merging_and_cold_files_change_nothing(log: Log, path: Path) -> None:
    store(log, 900)
    before = verify(log, "logs")
    log.keep_house()
    assert {coding for _, _, coding in batches(path)} != {0}
    assert verify(log, "logs") == before
    assert compact(log.engine, ColdStore.of(log.engine), ColdRange("logs", 0, 900)).records
    assert verify(log, "logs") == before


def test_field_that_the_type_gets_later_changes_nothing(path: Path) -> None:
    with closing(opened(path)) as log:
        store(log, 40)
    wider = msgspec.defstruct(
        "LogEvent", [("more", str | None, None), ("ready", bool, True)], bases=(LogEvent,), frozen=True, kw_only=True
    )
    with closing(opened(path)) as log:
        topic = log.topic("logs", wider, time="time")
        once: OnceWriter[Any] = OnceWriter(topic, "reader", sealer=Sealer(topic))
        for number in range(40, 80):
            new = wider(**msgspec.structs.asdict(event(number)), more="x")
            once.store([new], {}, once.positions()[0])
        log.keep_house()
        found = verify(log, "logs")
    assert (found.findings, found.records) == ((), 80)


def test_any_type_of_topic_can_be_sealed(log: Log) -> None:
    plain = log.topic("plain")
    numbers = log.topic("numbers", dict, key="name")
    for topic, values in ((plain, [b"a", b"", b"\xff"]), (numbers, [{"name": "x", "n": 1}, {"name": "y", "n": 1.5}])):
        once: OnceWriter[Any] = OnceWriter(topic, "reader", sealer=Sealer(topic))
        once.store(values, {}, once.positions()[0])
        assert (verify(log, topic.name).findings, verify(log, topic.name).records) == ((), len(values))


def test_retention_takes_the_beginning_and_the_check_says_so(log: Log) -> None:
    store(log, 30, at_once=10)
    assert isinstance(log.engine, Maintenance)
    assert log.engine.trim("logs", 0, 20, force=True) == 20
    found = verify(log, "logs")
    assert (found.findings, found.records) == ((), 10)
    assert found.notes == ("partition 0 begins with record 20 (retention), and so does the check",)


def test_topic_that_is_sealed_later_is_checked_from_there_on(log: Log) -> None:
    log.topic("logs", LogEvent, time="time").extend([event(number) for number in range(5)])
    store(log, 5, first=5)
    found = verify(log, "logs")
    assert (found.findings, found.records) == ((), 5)
    assert found.notes == ("the records 0 to 4 of partition 0 are from before sealing",)


# --- altered ------------------------------------------------------------------------------------------------------


def test_altered_byte_of_a_stored_value_is_named(path: Path) -> None:
    with closing(opened(path)) as log:
        store(log, 20, at_once=4)
    number, data, coding = batches(path)[2]
    assert coding == 0
    alter(path, "UPDATE batch SET data = ? WHERE id = ?", data.replace(b"number 00009", b"number 00008"), number)
    with closing(opened(path)) as log:
        found = verify(log, "logs")
    where, said = problem(found)
    assert where == "logs/0"
    assert said.startswith("record 9 is altered")
    assert found.records == 9


def test_altered_record_in_columns_is_named(path: Path) -> None:
    from millstream.log import columns

    with closing(opened(path)) as log:
        store(log, 700, at_once=20)
        log.keep_house()
    [(number, data, coding)] = batches(path)
    assert coding == 1
    frame = columns.read(data, None)
    changed = frame.with_columns(
        pl.when(pl.col("pid") == 432).then(pl.lit(7, dtype=pl.Int64)).otherwise(pl.col("pid")).alias("pid")
    )
    alter(path, "UPDATE batch SET data = ? WHERE id = ?", columns.write(changed), number)
    with closing(opened(path)) as log:
        assert problem(verify(log, "logs"))[1].startswith("record 432 is altered")


def test_damaged_columns_are_named_as_what_cannot_be_read(path: Path) -> None:
    with closing(opened(path)) as log:
        store(log, 5)
        store(log, 700, at_once=700, first=5)
    number, data, _ = batches(path)[-1]
    alter(
        path,
        "UPDATE batch SET data = ? WHERE id = ?",
        data[: len(data) // 2] + bytes(len(data) - len(data) // 2),
        number,
    )
    with closing(opened(path)) as log:
        assert "one of the records 5 to 704 is damaged" in problem(verify(log, "logs"))[1]


def test_altered_record_in_a_cold_file_is_named(path: Path) -> None:
    with closing(opened(path)) as log:
        store(log, 700, at_once=700)
        assert compact(log.engine, ColdStore.of(log.engine), ColdRange("logs", 0, 700)).records
    [file] = path.parent.rglob("*.parquet")
    frame = pl.read_parquet(file)
    changed = frame.with_columns(
        pl.when(pl.col("_offset") == 99).then(pl.lit("somebody else")).otherwise(pl.col("user")).alias("user")
    )
    changed.write_parquet(file)
    with closing(opened(path)) as log:
        said = problem(verify(log, "logs"))[1]
    assert said.startswith("record 99 is altered") or "is damaged" in said


@pytest.mark.parametrize("at_once", [1, 5])
def test_removed_batch_is_named(path: Path, at_once: int) -> None:
    with closing(opened(path)) as log:
        store(log, 30, at_once=at_once)
    number, _, _ = batches(path)[2]
    alter(path, "DELETE FROM batch WHERE id = ?", number)
    with closing(opened(path)) as log:
        said = problem(verify(log, "logs"))[1]
    assert said == f"record {2 * at_once} is missing"


def test_record_that_is_taken_out_of_its_batch_is_named(path: Path) -> None:
    with closing(opened(path)) as log:
        store(log, 10, at_once=5)
    number, data, _ = batches(path)[0]
    rows = [msgspec.msgpack.encode(value) for value in unpacked(data, 5)]
    alter(path, "UPDATE batch SET data = ?, count = 4 WHERE id = ?", b"".join(rows[:2] + rows[3:]), number)
    with closing(opened(path)) as log:
        assert problem(verify(log, "logs"))[1].startswith("record 2 is not the one that was appended there")


def test_swapped_records_are_named(path: Path) -> None:
    with closing(opened(path)) as log:
        store(log, 10, at_once=5)
    number, data, _ = batches(path)[1]
    rows = [msgspec.msgpack.encode(value) for value in unpacked(data, 5)]
    rows[1], rows[3] = rows[3], rows[1]
    alter(path, "UPDATE batch SET data = ? WHERE id = ?", b"".join(rows), number)
    with closing(opened(path)) as log:
        said = problem(verify(log, "logs"))[1]
    assert said == "record 6 is not the one that was appended there, but what record 8 was: removed or moved"


def test_record_that_was_written_past_the_sealing_program_is_named(path: Path) -> None:
    with closing(opened(path)) as log:
        store(log, 5)
        log.topic("logs").append(msgspec.structs.asdict(event(999)))
        assert problem(verify(log, "logs"))[1] == "record 5 was never sealed: written past the sealing program"
        store(log, 5, first=5)
        assert problem(verify(log, "logs"))[1] == "record 5 was never sealed: written past the sealing program"


def test_record_that_comes_between_is_named(log: Log) -> None:
    once = writer(log)
    once.store([event(0), event(1)], {}, once.positions()[0])
    log.topic("logs").append(msgspec.structs.asdict(event(999)))
    once.store([event(2), event(3)], {}, once.positions()[0])  # it does not know of the one before
    where, said = problem(verify(log, "logs"))
    assert said.startswith("record 2 ")
    assert where == "logs/0"


def test_altered_seal_is_named(path: Path) -> None:
    with closing(opened(path)) as log:
        store(log, 6)
    number, data, _ = batches(path, "logs.seals")[3]
    changed = bytearray(data)
    changed[data.index(b"digests") + 12] ^= 1
    alter(path, "UPDATE batch SET data = ? WHERE id = ?", bytes(changed), number)
    with closing(opened(path)) as log:
        where, said = problem(verify(log, "logs"))
    assert where == "logs.seals/0"
    assert said.startswith("seal 3 is altered")


def test_records_cut_from_the_end_are_named(path: Path) -> None:
    with closing(opened(path)) as log:
        store(log, 6)
    alter(path, "DELETE FROM batch WHERE id = ?", batches(path)[5][0])
    with closing(opened(path)) as log:
        assert problem(verify(log, "logs"))[1] == "record 5 is missing"


def test_earlier_head_proves_that_nothing_was_cut_from_the_end_with_its_seals(path: Path) -> None:
    with closing(opened(path)) as log:
        store(log, 6)
        head = verify(log, "logs").head
        store(log, 2, first=6)
        assert verify(log, "logs", heads=[head]).findings == ()
    for topic in ("logs", "logs.seals"):
        for number, _, _ in batches(path, topic)[5:]:
            alter(path, "DELETE FROM batch WHERE id = ?", number)
        alter(
            path,
            "UPDATE partition SET end_offset = 5 WHERE topic_id = (SELECT id FROM topic WHERE name = ?)",
            topic,
        )
    with closing(opened(path)) as log:
        assert verify(log, "logs").findings == ()  # by itself, the shorter chain is right
        assert head in problem(verify(log, "logs", heads=[head]))[1]


# --- keys ---------------------------------------------------------------------------------------------------------


def test_chain_with_a_key_is_checked_with_it_only(log: Log) -> None:
    store(log, 3, key=KEY)
    assert verify(log, "logs", key=KEY).records == 3
    assert "with a key, and there is none" in problem(verify(log, "logs"))[1]
    assert "with another key" in problem(verify(log, "logs", key=key_of(b"some other secret")))[1]
    with pytest.raises(SettingsError, match="MILLSTREAM_SEAL_KEY"):
        writer(log)


def test_chain_that_goes_on_with_a_key_says_that_its_beginning_has_none(log: Log) -> None:
    store(log, 3)
    store(log, 3, key=KEY, first=3)
    found = verify(log, "logs", key=KEY)
    assert (found.findings, found.records) == ((), 6)
    assert found.notes[0].startswith("the chain begins without a key")


def test_key_comes_from_a_variable_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("a secret that nobody guesses\n")
    assert key_from({}) is None
    assert key_from({"MILLSTREAM_SEAL_KEY": "a secret that nobody guesses"}) == KEY
    assert key_from({"MILLSTREAM_SEAL_KEY_FILE": str(file)}) == KEY
    with pytest.raises(SettingsError, match="set one of them"):
        key_from({"MILLSTREAM_SEAL_KEY": "a", "MILLSTREAM_SEAL_KEY_FILE": "b"})
    with pytest.raises(SettingsError, match="5 bytes"):
        key_from({"MILLSTREAM_SEAL_KEY": "short"})
    with pytest.raises(SettingsError, match="cannot be read"):
        key_from({"MILLSTREAM_SEAL_KEY_FILE": str(tmp_path / "none")})


# --- processes ----------------------------------------------------------------------------------------------------


def test_what_goes_to_another_topic_is_sealed_as_well(path: Path) -> None:
    with closing(opened(path)) as log:
        other = log.topic("other", LogEvent, time="time")
        first = writer(log, KEY)
        for start, once in ((0, first), (10, first), (20, writer(log, KEY))):
            once.reload()
            epoch, _ = once.positions()
            some = [event(number) for number in range(start, start + 10)]
            once.store(some[:5], {}, epoch, beside=[(other, event_columns(some[5:]))])
            assert [verify(log, name, key=KEY).records for name in ("logs", "other")] == [start // 2 + 5] * 2
        assert not verify(log, "logs", key=KEY).findings + verify(log, "other", key=KEY).findings
        other.append(event(99))
        assert problem(verify(log, "other", key=KEY))[0] == "other/0"


def test_two_writers_that_send_to_another_topic_make_one_chain_there(log: Log) -> None:
    other = log.topic("other", LogEvent, time="time")
    one, two = writer(log), writer(log)
    for number in range(6):
        first, second = (one, two) if number % 2 else (two, one)
        epoch, _ = first.positions()
        first.store([], {}, epoch, beside=[(other, event_columns([event(number)]))])
        epoch, _ = second.positions()
        with pytest.raises(CommitConflictError):
            second.store([], {}, epoch, beside=[(other, event_columns([event(number)]))])
        second.reload()
    found = verify(log, "other")
    assert (found.findings, found.records) == ((), 6)


def test_two_writers_make_one_chain(log: Log) -> None:
    two = [writer(log), writer(log)]
    stored = 0
    chosen = random.Random(1)
    while stored < 40:
        once = chosen.choice(two)
        epoch, _ = once.positions()
        try:
            once.store([event(stored)], {}, epoch)
            stored += 1
        except CommitConflictError:
            once.reload()
    assert (verify(log, "logs").findings, verify(log, "logs").records) == ((), 40)


def test_check_is_right_while_others_append(log: Log) -> None:
    stop = threading.Event()
    store(log, 5)

    def write() -> None:
        once = writer(log)
        number = 5
        while not stop.is_set():
            once.store([event(number), event(number + 1)], {}, once.positions()[0])
            number += 2

    thread = threading.Thread(target=write)
    thread.start()
    try:
        seen = [verify(log, "logs")]
        until = time.monotonic() + 60
        while len(seen) < 40 or seen[-1].records == seen[0].records:
            assert time.monotonic() < until, "nothing is appended meanwhile"
            seen.append(verify(log, "logs"))
    finally:
        stop.set()
        thread.join()
    assert {found.findings for found in seen} == {()}


_WRITES = """
import sys
sys.path.insert(0, {tests!r})
from test_logs_seal import opened, store
from pathlib import Path
log = opened(Path({path!r}), "fsync")
first = log.topic("logs").end_offsets()[0] if "logs" in log.topics() else 0
print("begun", flush=True)
store(log, 1_000_000, at_once=3, first=first)
"""


def test_chain_is_whole_after_a_kill_at_any_moment(path: Path) -> None:
    chosen = random.Random(7)
    code = _WRITES.format(tests=str(Path(__file__).parent), path=str(path))
    records = 0
    for _ in range(4):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        wait_until_stored(path, records + 20)
        time.sleep(chosen.random() / 10)  # at a random moment of its commits
        process.kill()
        process.wait()
        process.stdout.close()
        with closing(opened(path)) as log:
            found = verify(log, "logs")
            assert (found.findings, found.notes) == ((), ())
            assert found.records == log.topic("logs").end_offsets()[0] > records
            records = found.records


def ends(path: Path) -> int:
    with closing(opened(path)) as log:
        return log.topic("logs").end_offsets()[0] if "logs" in log.topics() else 0


def wait_until_stored(path: Path, records: int) -> None:
    deadline = time.monotonic() + 40
    while ends(path) <= records:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def unpacked(data: bytes, count: int) -> list[Any]:
    from millstream.log.rows import split

    return [msgspec.msgpack.decode(row) for row in split(data, count)]


# --- doctor -------------------------------------------------------------------------------------------------------


def doctor(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    code = run(["doctor", "--json", "--url", str(path), *arguments])
    printed = capsys.readouterr()
    return code, msgspec.json.decode(printed.out or printed.err)


def test_doctor_verifies_when_it_is_told_and_says_the_head(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(opened(path)) as log:
        store(log, 6)
        head = verify(log, "logs").head
    assert "sealed" not in doctor(capsys, path)[1]
    code, said = doctor(capsys, path, "--verify", "--head", f"logs={head}")
    assert code == 0
    assert said["sealed"] == [{"topic": "logs", "seals": 6, "records": 6, "head": head, "notes": [], "altered": False}]
    number, data, _ = batches(path)[2]
    alter(path, "UPDATE batch SET data = ? WHERE id = ?", data.replace(b"00002", b"00003"), number)
    assert doctor(capsys, path)[0] == 0
    code, said = doctor(capsys, path, "--verify")
    assert code == 1
    assert said["sealed"][0]["altered"]
    assert said["findings"][0]["problem"].startswith("record 2 is altered")


def test_doctor_with_a_key_that_was_not_given_says_what_to_do(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(opened(path)) as log:
        store(log, 2, key=KEY)
    [finding] = doctor(capsys, path, "--verify")[1]["findings"]
    assert "MILLSTREAM_SEAL_KEY" in finding["advice"]
    monkeypatch.setenv("MILLSTREAM_SEAL_KEY", "a secret that nobody guesses")
    assert doctor(capsys, path, "--verify")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--head", "logs=" + "0" * 64], "--head is for --verify"),
        (["--verify", "--head", "logs=00"], "give a topic and what --verify said"),
        (["--verify", "--head", "other=" + "0" * 64], "topic 'other' has no seals"),
    ],
)
def test_doctor_says_which_head_is_wrong(
    path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with closing(opened(path)) as log:
        store(log, 2)
    code, said = doctor(capsys, path, *arguments)
    assert code == 2
    assert words in str(said)
