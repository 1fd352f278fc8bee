"""Follows one file by hand: for tests of what happens to it between two looks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from millstream.sources.tail import FileTail
from millstream.testing import FakeClock


class Follower:
    """Stores what a tail reads as the engine would: lines and position together."""

    def __init__(self, path: Path, *, lines_first: int | None = 200, **more: Any) -> None:
        self.path = path
        self.lines_first = lines_first
        self.more = more
        self.clock = FakeClock()
        self.notes: list[str] = []
        self.lines: list[bytes] = []
        self.position: bytes | None = None
        self.tail = self._new()

    def _new(self) -> FileTail:
        return FileTail(
            self.path,
            self.position,
            lines_first=self.lines_first,
            clock=self.clock,
            note=self.notes.append,
            **self.more,
        )

    def look(self) -> list[bytes]:
        """Read and store all there is; return the new lines."""
        new: list[bytes] = []
        while (reading := self.tail.read()) is not None:
            new += [line.data for line in reading.lines]
            assert {line.origin for line in reading.lines} <= {str(self.path)}
            self.position = reading.positions[self.tail.key]
        self.lines += new
        return new

    def to_now(self) -> None:
        """Set the clock to this machine's, which the times of files are of."""
        self.clock.jump(datetime.now(UTC) - datetime.fromtimestamp(self.clock.now_us() / 1e6, UTC))

    def restart(self) -> None:
        """As after `kill -9`: only what was stored is known."""
        self.tail.close()
        self.tail = self._new()


def add(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def rotate(path: Path) -> None:
    """As logrotate does: x.log.1 becomes x.log.2, x.log becomes x.log.1, and a new x.log is begun."""
    generation = 1
    while path.with_name(f"{path.name}.{generation}").exists():
        generation += 1
    for number in range(generation, 1, -1):
        path.with_name(f"{path.name}.{number - 1}").rename(path.with_name(f"{path.name}.{number}"))
    path.rename(path.with_name(f"{path.name}.1"))
    path.write_bytes(b"")
