"""A process that appends until it is killed; run by the tests of this folder, not a test itself.

python writing_process.py append PATH ACKNOWLEDGED PRODUCER THREADS DURABILITY
    Appends records "<producer>:<call>:<index>:<count>" to topic `events` in each thread (producers PRODUCER,
    PRODUCER + 1, ...), and writes a line "<producer> <call> <offset> <count>" to ACKNOWLEDGED after each call
    returned. Ends when killed.
python writing_process.py stall PATH
    Appends one record, prints "stalling", and stops for good in the middle of writing the next transaction.
"""

from __future__ import annotations

import os
import sys
import threading
from itertools import count

import apsw

from millstream.engines.protocol import Append, Durability
from millstream.engines.sqlite import SqliteEngine
from millstream.testing.raw_batches import raw_batch


def append(path: str, acknowledged: str, producer: int, threads: int, durability: Durability) -> None:
    engine = SqliteEngine(path, durability=durability)
    lines = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def run(number: int) -> None:
        for call in count():
            size = 1 + call % 3
            values = [b"%d:%d:%d:%d" % (number, call, index, size) for index in range(size)]
            [position] = engine.append([Append("events", 0, raw_batch(values))])
            os.write(lines, b"%d %d %d %d\n" % (number, call, position.offset, size))

    for number in range(producer, producer + threads):
        threading.Thread(target=run, args=(number,)).start()


class StallingVFS(apsw.VFS):
    """The default VFS, until `stalls` is set: then the next write to a WAL never returns."""

    def __init__(self) -> None:
        self.stalls = False
        super().__init__("stalling", "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return StallingFile(self, name, flags)


class StallingFile(apsw.VFSFile):
    def __init__(self, vfs: StallingVFS, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._vfs = vfs
        self._is_wal = bool(flags[0] & apsw.SQLITE_OPEN_WAL)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._vfs.stalls and self._is_wal:
            super().xWrite(data[: len(data) // 2], offset)
            print("stalling", flush=True)
            threading.Event().wait()
        super().xWrite(data, offset)


def stall(path: str) -> None:
    vfs = StallingVFS()
    engine = SqliteEngine(path, vfs="stalling")
    engine.append([Append("events", 0, raw_batch([b"before"]))])
    vfs.stalls = True
    engine.append([Append("events", 0, raw_batch([b"never"]))])


if __name__ == "__main__":
    if sys.argv[1] == "append":
        append(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), Durability(sys.argv[6]))
    else:
        stall(sys.argv[2])
