"""Copying the write-ahead log back, beside writers and other processes that do so."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from millstream.engines.protocol import Append, TopicSpec
from millstream.engines.sqlite import SqliteEngine, checkpoints
from millstream.testing.raw_batches import raw_batch

PATIENCE_S = 60.0


def test_another_process_that_copies_leaves_nothing_to_do(tmp_path: Path) -> None:
    # Taken for unfinished, the copying was done once more by the next writer, with everybody waiting for its syncs.
    path = tmp_path / "x.db"
    with closing(SqliteEngine(path)) as engine, closing(apsw.Connection(str(path))) as writer:
        engine.create_topic(TopicSpec("t"))
        writer.execute("BEGIN IMMEDIATE")
        waits = threading.Event()
        copying = threading.Thread(target=_copy_all, args=(path, waits))
        copying.start()
        assert waits.wait(PATIENCE_S)
        assert engine._copy_back()
        assert not engine._make_room()
        writer.execute("ROLLBACK")
        copying.join()
        assert engine._copy_back()


def _copy_all(path: Path, waits: threading.Event) -> None:
    """Copy with all writers stopped: has the lock of those who copy while it waits for the one who writes."""

    def wait(tries: int) -> bool:
        waits.set()
        return True

    with closing(apsw.Connection(str(path))) as connection:
        connection.set_busy_handler(wait)
        connection.execute("SELECT count(*) FROM topic").fetchall()
        connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_FULL)


def test_a_writer_that_pauses_finds_the_log_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(SqliteEngine(tmp_path / "x.db", durability="relaxed")) as engine:
        engine.create_topic(TopicSpec("t"))
        copied = threading.Event()

        def copy() -> bool:
            done = engine._copy_back()
            if done:
                copied.set()
            return done

        _copy_after_each_commit(monkeypatch, engine, copy)
        _append_until_it_copies(engine)
        assert copied.wait(PATIENCE_S)
        _assert_begins_anew(engine)
        assert engine.check() == []


def test_what_is_left_of_the_copying_the_next_commit_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A commit that ends in the middle of all copies of the thread leaves each of them short.
    with closing(SqliteEngine(tmp_path / "x.db", durability="relaxed")) as engine:
        engine.create_topic(TopicSpec("t"))
        tries = threading.Semaphore(0)

        def copy() -> bool:
            tries.release()
            return False

        _copy_after_each_commit(monkeypatch, engine, copy)
        _append_until_it_copies(engine)
        for _ in range(checkpoints.COPIES_MAX):
            assert tries.acquire(timeout=PATIENCE_S)
        until = time.monotonic() + PATIENCE_S
        while engine._checkpoints._copying:
            assert time.monotonic() < until, "the thread does not come to rest"
            time.sleep(0.001)
        _assert_begins_anew(engine)
        assert engine.check() == []


def _copy_after_each_commit(monkeypatch: pytest.MonkeyPatch, engine: SqliteEngine, copy: Callable[[], bool]) -> None:
    """From the next commit on; those before, which make the file, would have the thread copy beside the test."""
    assert engine._checkpoints._copied_at == 0
    monkeypatch.setattr(engine._checkpoints, "_copy", copy)
    monkeypatch.setattr(checkpoints, "BACKGROUND_PAGES", 20)


def _append_until_it_copies(engine: SqliteEngine) -> None:
    while not engine._checkpoints._copied_at:
        assert engine._checkpoints._pages < 1000, "nobody copies"
        engine.append([Append("t", 0, raw_batch([b"x" * 4000]))])


def _assert_begins_anew(engine: SqliteEngine) -> None:
    """Append until the write-ahead log is written from its beginning again, which its salts in the header tell."""
    salts = _salts(engine)
    appended = 0
    while _salts(engine) == salts:
        assert appended < 1000, "it only gets longer"
        engine.append([Append("t", 0, raw_batch([b"x" * 4000]))])
        appended += 1


def _salts(engine: SqliteEngine) -> bytes:
    return Path(engine.path + "-wal").read_bytes()[16:24]
