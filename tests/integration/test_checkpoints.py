"""Copying the write-ahead log back, beside writers and other processes that do so."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from millstream.engines.protocol import Append, TopicSpec
from millstream.engines.sqlite import SqliteEngine, checkpoints
from millstream.testing.raw_batches import raw_batch

PATIENCE_S = 30.0


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
    monkeypatch.setattr(checkpoints, "BACKGROUND_PAGES", 20)
    with closing(SqliteEngine(tmp_path / "x.db", durability="relaxed")) as engine:
        engine.create_topic(TopicSpec("t"))
        copied = threading.Event()

        def copy() -> bool:
            done = engine._copy_back()
            if done:
                copied.set()
            return done

        monkeypatch.setattr(engine._checkpoints, "_copy", copy)
        pages = 0
        while pages <= engine._checkpoints._pages:
            pages = engine._checkpoints._pages
            assert pages < 100_000, "it only gets longer"
            engine.append([Append("t", 0, raw_batch([b"x" * 4000]))])
            if pages >= 20:
                assert copied.wait(PATIENCE_S)
        assert engine.check() == []
