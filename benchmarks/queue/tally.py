"""What every job of these benchmarks does: count itself, and note how long it was under way.

Each worker process has a file of its own in the folder $TALLY, mapped into memory: one job costs a third of a
microsecond. Only the standard library is used: the peers' workers import it too.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

SAMPLES = 8192
_HEAD = 3  # jobs, first and last moment (ns of CLOCK_MONOTONIC, which all processes share)
_SIZE = 8 * (_HEAD + SAMPLES)

_view: memoryview | None = None
_opening = threading.Lock()


def note(sent_ns: int) -> None:
    """Count one job that was enqueued at `sent_ns`."""
    now = time.monotonic_ns()
    view = _view if _view is not None else _open()
    count = view[0]
    if not count:
        view[1] = now
    view[2] = now
    view[_HEAD + count % SAMPLES] = now - sent_ns
    view[0] = count + 1


def _open() -> memoryview:
    global _view
    with _opening:
        if _view is None:
            path = Path(os.environ["TALLY"], str(os.getpid()))
            path.write_bytes(bytes(_SIZE))
            with path.open("r+b") as file:
                _view = memoryview(mmap.mmap(file.fileno(), _SIZE)).cast("q")
        return _view


def _forget() -> None:
    global _view, _opening
    _view, _opening = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


class Tally:
    """The sum over all worker processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def count(self) -> int:
        return sum(head[0] for head in self._heads())

    def rate(self) -> float:
        """Jobs a second between the first and the last job of all processes."""
        heads = [head for head in self._heads() if head[0]]
        took_ns = max(head[2] for head in heads) - min(head[1] for head in heads)
        return (sum(head[0] for head in heads) - 1) / (took_ns / 1e9)

    def shares(self) -> list[int]:
        """How many jobs each process did."""
        return sorted(head[0] for head in self._heads())

    def latencies(self) -> list[float]:
        """Seconds from enqueue to start, of the last jobs of each process."""
        kept: list[float] = []
        for path in self.folder.iterdir():
            values = struct.unpack(f"{_HEAD + SAMPLES}q", path.read_bytes())
            kept += [value / 1e9 for value in values[_HEAD : _HEAD + min(values[0], SAMPLES)]]
        return kept

    def _heads(self) -> Iterator[tuple[int, int, int]]:
        for path in self.folder.iterdir():
            head = path.read_bytes()[: 8 * _HEAD]
            if len(head) == 8 * _HEAD:
                yield struct.unpack("3q", head)
