"""Room behind the end of the write-ahead log."""

from __future__ import annotations

from pathlib import Path

from millstream.engines.sqlite.driver import PAGE_BYTES
from millstream.engines.sqlite.wal_room import FROM_BYTES, MARGIN_BYTES, STEP_BYTES, WalRoom

FRAME_BYTES = PAGE_BYTES + 24
SOME_PAGES = FROM_BYTES // FRAME_BYTES + 2


def test_room_is_zeros_behind_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "x.db-wal"
    frames = b"f" * (32 + SOME_PAGES * FRAME_BYTES)
    path.write_bytes(frames)
    room = WalRoom(str(path), PAGE_BYTES)
    assert room.is_short(SOME_PAGES)
    room.make()
    assert path.read_bytes() == frames + bytes(STEP_BYTES)
    assert not room.is_short(SOME_PAGES)


def test_what_is_written_while_room_is_made_stays(tmp_path: Path) -> None:
    # SQLite writes where its own counting says, be it behind the end; the room comes after, wherever that is.
    path = tmp_path / "x.db-wal"
    path.write_bytes(b"f" * (32 + SOME_PAGES * FRAME_BYTES))
    room = WalRoom(str(path), PAGE_BYTES)
    assert room.is_short(SOME_PAGES)
    with path.open("r+b") as log:
        log.seek(32 + SOME_PAGES * FRAME_BYTES)
        log.write(b"g" * FRAME_BYTES)
    room.make()
    content = path.read_bytes()
    assert content.count(b"g") == FRAME_BYTES
    assert content.endswith(b"g" + bytes(STEP_BYTES))


def test_a_short_log_and_one_with_room_are_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db-wal"
    path.write_bytes(bytes(32 + SOME_PAGES * FRAME_BYTES + MARGIN_BYTES + 1))
    room = WalRoom(str(path), PAGE_BYTES)
    assert not room.is_short(1)
    assert not room.is_short(SOME_PAGES)


def test_a_log_that_is_gone_is_no_error(tmp_path: Path) -> None:
    room = WalRoom(str(tmp_path / "x.db-wal"), PAGE_BYTES)
    assert not room.is_short(SOME_PAGES)
    room.make()
