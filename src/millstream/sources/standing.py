"""How far the files of sources are read, as their stored positions say: also while another process reads them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from millstream.log.topic import Topic
from millstream.parsers.log_event import LogEvent
from millstream.sources.compressed import MAGIC_BYTES, decompressor_of
from millstream.sources.log_file import decode_position
from millstream.sources.tail import FileTail

_FILE_KEYS: Final = FileTail.key_of(Path())[:-1]


class FileStanding(msgspec.Struct, frozen=True):
    """How far one file is read."""

    path: str
    read_bytes: int
    """Of its text, compressed or not."""
    size_bytes: int | None
    """Of the file now; None where that is no measure: it is compressed, was rotated, or is gone."""

    @property
    def behind_bytes(self) -> int | None:
        """What is not stored yet; None where that is not known."""
        return None if self.size_bytes is None else max(0, self.size_bytes - self.read_bytes)


def standings(topic: Topic[LogEvent], group: str) -> list[FileStanding]:
    """Return how far each file is read, by path; none where nothing was stored yet.

    Args:
        topic: Of the events.
        group: That keeps the positions; must exist.
    """
    found = topic.group(group).state(0)
    return [_standing(key, value) for key, value in sorted(found.items()) if key.startswith(_FILE_KEYS)]


def _standing(key: bytes, value: bytes) -> FileStanding:
    path = os.fsdecode(key.removeprefix(_FILE_KEYS))
    position = decode_position(value)
    if position is None:
        return FileStanding(path, 0, None)
    return FileStanding(path, position.offset, _size_of(path, position.inode))


def _size_of(path: str, inode: int) -> int | None:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            return (
                status.st_size if status.st_ino == inode and decompressor_of(file.read(MAGIC_BYTES)) is None else None
            )
    except OSError:
        return None
