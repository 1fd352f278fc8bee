"""The file of the embedded engine: what it refuses, how it is shared, how its readers are woken."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest

from millstream.engines.connect import connect
from millstream.engines.protocol import Append, TopicSpec
from millstream.engines.sqlite import SqliteEngine, driver, waiting
from millstream.engines.sqlite.statements import statements
from millstream.errors import (
    ForeignFileError,
    NetworkFileSystemError,
    NewerFormatError,
    SettingsError,
    StorageBusyError,
    StorageError,
    StorageReadOnlyError,
    UsageError,
)
from millstream.records import Coding, EncodedBatch


def one(value: bytes = b"x") -> list[Append]:
    return [Append("t", 0, EncodedBatch(Coding.ROWS, 1, msgspec.msgpack.encode(value)))]


# --- what it refuses ----------------------------------------------------------------------------------------------


def test_text_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("do not touch me, I am long enough for a header")
    with pytest.raises(ForeignFileError, match=r"notes\.txt is not a Millstream log"):
        SqliteEngine(path)
    assert path.read_text().startswith("do not touch")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["notes.txt"]


def test_database_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("create table mine (a)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(ForeignFileError, match="another program"):
        SqliteEngine(path)
    assert path.read_bytes() == before


def test_file_of_a_newer_version_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    SqliteEngine(path).close()
    other = sqlite3.connect(path)
    other.execute("pragma user_version = 99")
    other.close()
    with pytest.raises(NewerFormatError, match=r"file format 99.*upgrade"):
        SqliteEngine(path)


def test_file_of_an_older_version_is_migrated_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.db"
    with_record = SqliteEngine(path)
    with_record.create_topic(TopicSpec("t"))
    with_record.append(one())
    with_record.close()
    monkeypatch.setattr(driver, "FORMAT", driver.FORMAT + 1)
    monkeypatch.setitem(driver.MIGRATIONS, driver.FORMAT - 1, "ALTER TABLE topic ADD COLUMN note TEXT DEFAULT 'new'")
    for _ in range(2):
        engine = SqliteEngine(path)
        assert engine.describe_topic("t").records == 1
        engine.append(one())
        engine.delete_topic("t")
        engine.create_topic(TopicSpec("t"))
        engine.append(one())
        engine.close()
    file = sqlite3.connect(path)
    assert file.execute("pragma user_version").fetchone() == (driver.FORMAT,)
    assert file.execute("select note from topic").fetchone() == ("new",)
    file.close()


def test_folder_and_missing_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is a folder: name a file in it"):
        SqliteEngine(tmp_path)
    with pytest.raises(StorageError, match="does not exist: create it"):
        SqliteEngine(tmp_path / "no" / "log.db")


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/ann", None),
        ("/mnt/share", "nfs4"),
        ("/mnt/share/deep/er", "nfs4"),
        ("/mnt/sharetoo", None),
        ("/media/with space", "cifs"),
        ("/mnt/share/local", None),
    ],
)
def test_network_file_systems_are_found_by_the_longest_mount(folder: str, kind: str | None) -> None:
    mounts = (
        "/dev/sda / ext4 rw 0 0\n"
        "server:/x /mnt/share nfs4 rw 0 0\n"
        "//server/x /media/with\\040space cifs rw 0 0\n"
        "tmpfs /mnt/share/local tmpfs rw 0 0\n"
    )
    assert driver.network_file_system(folder, mounts) == kind


def test_file_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "network_file_system", lambda folder: "nfs4")
    with pytest.raises(NetworkFileSystemError, match="nfs4"):
        SqliteEngine(tmp_path / "log.db")


@pytest.mark.skipif(sys.platform == "win32", reason="file rights are others there")
@pytest.mark.parametrize("read_only", ["file", "folder"])
def test_log_without_write_rights_says_so(read_only: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "log.db"
        engine = SqliteEngine(path)
        engine.create_topic(TopicSpec("t"))
        engine.close()
        for entry in folder.iterdir():
            entry.chmod(0o444 if read_only == "file" else 0o644)
        folder.chmod(0o777 if read_only == "file" else 0o555)
        # File rights do not bind root: the process becomes somebody else before it begins.
        script = (
            "import os, sys\n"
            "from millstream.engines.sqlite import SqliteEngine\n"
            "from millstream.engines.protocol import TopicSpec\n"
            "from millstream.errors import MillstreamError\n"
            "if os.geteuid() == 0: os.setuid(65534)\n"
            "try: SqliteEngine(sys.argv[1]).create_topic(TopicSpec('u'))\n"
            "except MillstreamError as error: print(type(error).__name__, error)"
        )
        done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("StorageReadOnlyError"), done
    assert "may not be written" in done.stdout


def test_engine_opened_for_reading_reads_and_refuses_to_write(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    writer = SqliteEngine(path)
    writer.create_topic(TopicSpec("t"))
    writer.append(one(b"a"))
    reader = SqliteEngine(path, read_only=True)
    assert len(reader.read("t", 0, 0, records_max=10)) == 1
    with pytest.raises(StorageReadOnlyError):
        reader.append(one())
    with pytest.raises(StorageReadOnlyError):
        reader.lease("t", "g", worker="w", records_max=1, duration_us=1)
    reader.close()
    writer.close()


def test_reading_what_does_not_exist_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        SqliteEngine(tmp_path / "log.db", read_only=True)
    assert not (tmp_path / "log.db").exists()


def test_another_program_that_holds_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "BUSY_TIMEOUT_MS", 50)
    path = tmp_path / "log.db"
    engine = SqliteEngine(path)
    engine.create_topic(TopicSpec("t"))
    # In a process of its own: a second SQLite library in this one would not see our locks, nor we its.
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None); c.execute('begin immediate'); "
        "print('held', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(StorageBusyError, match="another program"):
        engine.append(one())
    other.communicate("")
    assert engine.append(one())[0].offset == 0
    engine.close()


@pytest.mark.parametrize("url", ["kafka://a:9092", "nats://a", "redis://a", "sqlite://"])
def test_unknown_engine_urls_say_what_there_is(url: str) -> None:
    with pytest.raises(SettingsError, match="events\\.db"):
        connect(url)


def test_unknown_durability_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="'fsync' or 'relaxed'"):
        connect(str(tmp_path / "log.db"), durability="maybe")


def test_room_made_in_the_write_ahead_log_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    engine = SqliteEngine(path)
    engine.create_topic(TopicSpec("t"))
    for i in range(50):
        engine.append(one(b"%d" % i))
    # In the background, and more of it before it is used up: at rest there always is some.
    until = time.monotonic() + 60
    while not Path(f"{path}-wal").read_bytes().endswith(bytes(64 * 1024)):
        assert time.monotonic() < until, "no room was made"
        time.sleep(0.01)
    # What a killed process leaves: the file and its log as they are at this moment.
    for name in ("log.db", "log.db-wal"):
        shutil.copy(tmp_path / name, tmp_path / name.replace("log", "copy"))
    copy = SqliteEngine(tmp_path / "copy.db")
    assert copy.check() == []
    assert copy.describe_topic("t").records == 50
    assert copy.append(one())[0].offset == 50
    copy.close()
    for i in range(500):
        engine.append(one(b"%d" % i))
    assert engine.check() == []
    engine.close()


# --- one file, many users -----------------------------------------------------------------------------------------


def test_links_lead_to_one_log_with_one_lock(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "link")
    first = SqliteEngine(tmp_path / "real" / "log.db")
    second = SqliteEngine(tmp_path / "link" / "log.db")
    assert first.path == second.path
    first.close()
    second.close()


def test_processes_that_make_the_same_file_at_once_agree(tmp_path: Path) -> None:
    script = (
        "import sys; from millstream.engines.sqlite import SqliteEngine; from millstream.engines.protocol import *\n"
        "e = SqliteEngine(sys.argv[1]); e.create_topic(TopicSpec('t')); print(e.topics()); e.close()"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "log.db")], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    assert [process.communicate(timeout=60)[0].strip() for process in running] == ["['t']"] * 6
    engine = SqliteEngine(tmp_path / "log.db")
    assert engine.check() == []
    engine.close()


def test_file_that_becomes_a_log_while_it_is_looked_at_is_no_foreign_one(tmp_path: Path) -> None:
    path = str(tmp_path / "new.db")
    with closing(driver.connect(path, vfs=None, read_only=False)) as ours:
        # As the other process leaves it just before it makes the tables.
        ours.execute("PRAGMA journal_mode = WAL")

        with closing(driver.connect(path, vfs=None, read_only=False)) as others:

            def make_it_meanwhile(cursor: apsw.Cursor, statement: str, bindings: apsw.Bindings | None) -> bool:
                if "sqlite_schema" in statement:
                    driver.prepare_file(others, path)
                return True

            ours.exec_trace = make_it_meanwhile
            assert not driver.is_prepared(ours, path)
            ours.exec_trace = None
        assert driver.is_prepared(ours, path)


def test_backup_is_a_whole_log_while_others_write(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "log.db", durability="relaxed")
    engine.create_topic(TopicSpec("t"))
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            engine.append(one(os.urandom(2000)))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while engine.describe_topic("t").records < 300:
            time.sleep(0.001)
        steps: list[tuple[int, int]] = []
        engine.backup(str(tmp_path / "copy.db"), lambda done, total: steps.append((done, total)))
    finally:
        stop.set()
        writer.join()
    assert steps[-1][0] == steps[-1][1] > 0
    copy = SqliteEngine(tmp_path / "copy.db")
    assert copy.check() == []
    held = copy.describe_topic("t").records
    assert 300 <= held <= engine.describe_topic("t").records
    assert copy.append(one())[0].offset == held
    copy.close()
    with pytest.raises(UsageError, match="exists"):
        engine.backup(str(tmp_path / "copy.db"))
    engine.close()


def test_damage_is_found_and_named(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    engine = SqliteEngine(path)
    engine.create_topic(TopicSpec("t"))
    engine.create_group("t", "g")
    for _ in range(3):
        engine.append(one())
    engine.close()
    for change, where, what in (
        ("delete from batch where id % 4 = 1", "t/0", "gap between offsets 1 and 2"),
        ("update partition set end_offset = 9", "t/0", "records end at 3"),
        ("update progress set done = 1", "t/0 group g", "3 records accepted, 4 accounted for"),
        ("update progress set leased = 2", "t/0 group g", "2 records leased by the ledger, 0 in fact"),
        ("delete from topic", "partition", "1 rows belong to nothing"),
        ("insert into waiting values (1, 1, 0, 2, 1, 0), (1, 1, 1, 3, 1, 0)", "group g partition 1", "two owners"),
    ):
        broken = tmp_path / "broken.db"
        shutil.copy(path, broken)
        file = sqlite3.connect(broken)
        file.execute(change)
        file.commit()
        file.close()
        doctor = SqliteEngine(broken)
        findings = doctor.check()
        doctor.close()
        assert any(finding.where == where and what in finding.problem for finding in findings), (change, findings)
        broken.unlink()


# --- being woken --------------------------------------------------------------------------------------------------

_WRITER = """
import sys
from millstream.engines.sqlite import SqliteEngine
from millstream.engines.protocol import *
from millstream.records import *
import msgspec
engine = SqliteEngine(sys.argv[1], durability="relaxed")
for line in sys.stdin:
    engine.append([Append("t", 0, EncodedBatch(Coding.ROWS, 1, msgspec.msgpack.encode(b"x")))])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Unix datagram sockets: readers poll there")
@pytest.mark.parametrize("folder", ["short", "long" * 30])
def test_reader_is_woken_by_another_process_without_polling(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for poll in ("POLL_US", "POLL_WITHOUT_PUSH_US"):
        monkeypatch.setattr(waiting, poll, 3_600_000_000)
    (tmp_path / folder).mkdir()
    path = tmp_path / folder / "log.db"
    engine = SqliteEngine(path)
    engine.create_topic(TopicSpec("t"))
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(path)], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    for offset in range(20):
        process.stdin.write("go\n")
        process.stdin.flush()
        while not engine.read("t", 0, offset, records_max=1):
            assert engine.wait({"t": {0: offset}}, 60_000_000)
    process.stdin.close()
    assert process.wait(60) == 0
    engine.close()


def test_sockets_of_dead_readers_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    engine = SqliteEngine(path)
    engine.create_topic(TopicSpec("t"))
    script = (
        "import os, sys; from millstream.engines.sqlite import SqliteEngine\n"
        "e = SqliteEngine(sys.argv[1]); e.wait({'t': {0: 0}}, 1000); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", script, str(path)], check=False).returncode == 9
    folder = tmp_path / "log.db-wake"
    assert len(list(folder.iterdir())) == 1
    engine.append(one())
    assert list(folder.iterdir()) == []
    engine.close()


def test_every_statement_is_used_and_every_name_exists() -> None:
    folder = Path(driver.__file__).parent
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    names = set(statements())
    assert {name for name in names if f'"{name}"' not in code and not name.endswith("_of")} == set()
