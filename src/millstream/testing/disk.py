"""A disk that forgets: what a power cut may leave of files that were written and not synced.

`Disk` is the model alone; `millstream.testing.crash_vfs` feeds it with what SQLite does. It keeps two things of every
file: its durable content (as of the last sync) and the operations since, oldest first. `crash` draws from a seed what
of these had reached the disk.

The model is as hostile as SQLite's own power-loss tests (`test6.c`), within what a disk and a journaling file system
may do:

- Every file is on its own: that a later write to another file survived says nothing about this one.
- Of the unsynced operations of a file any subset survives, so a later write can be there and an earlier one not. Where
  two touch the same bytes and both survive, the later one wins, as in a page cache.
- A surviving write can be torn at 512-byte sectors: a prefix of its sectors or any subset of them, a sector at the
  tear possibly holding random bytes. Bytes outside the written range are never harmed (SQLite's `POWERSAFE_OVERWRITE`,
  which its unix layer claims for all disks).
- A file that grew without all of its writes has zeros in between.
- A truncation survives or not, like a write.
- Creating and deleting a name are operations of the directory. Of those since its last sync each name keeps a random
  prefix. A sync of a file makes its content durable, not its name: more than ext4 would lose, and as POSIX says.
- A sync that was running when the power went has promised nothing.

Source: SQLite `src/test6.c` and "Atomic Commit In SQLite"; Pillai et al., "All File Systems Are Not Created Equal",
OSDI 2014.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Final

import msgspec

SECTOR_BYTES: Final = 512
"""What a disk writes whole or tears at; the smallest in use, so the most places to tear."""

_TORN_SHARE: Final = 0.25
"""Of the surviving writes. Tears must be common enough for a few hundred crashes to meet one in every kind of page."""


class Write(msgspec.Struct, frozen=True):
    """`data` was written at `offset`."""

    offset: int
    data: bytes


class Truncate(msgspec.Struct, frozen=True):
    """The file was cut or extended to `size` bytes."""

    size: int


Operation = Write | Truncate


class _File:
    """The content of one file, apart from its name."""

    __slots__ = ("durable", "unsynced")

    def __init__(self, content: bytes = b"") -> None:
        self.durable = bytearray(content)
        self.unsynced: list[Operation] = []

    def sync(self) -> None:
        for operation in self.unsynced:
            _apply(self.durable, operation)
        self.unsynced.clear()


class Disk:
    """The files below one directory, as a power cut would find them. Safe to use from many threads.

    Operations are counted from 1 on; `cut_at` says after which one the power goes. From then on nothing is recorded any
    more, while the program under test runs on, unknowing, on the real files: what it does later never happened. A
    program that looks at `is_cut` after every answer it got knows which answers were given in time.
    """

    def __init__(self, root: Path) -> None:
        """Model the files below `root`; each that exists is taken over as durable when it is first opened."""
        self.root = root.absolute()
        self.operations = 0
        """Writes, truncations, syncs, creations and deletions so far."""
        self.operations_lost = 0
        """Of the last `crash`: writes and truncations that did not, or not wholly, survive it."""
        self._names: dict[str, _File] = {}
        self._durable_names: dict[str, _File] = {}
        self._unsynced_names: dict[str, list[_File | None]] = {}
        self._cut_at: int | None = None
        self._cut = threading.Event()
        self._lock = threading.Lock()

    # --- the power --------------------------------------------------------------------------------------------------

    def cut_at(self, operation: int) -> None:
        """Cut the power right after this operation; at once when it is past. A sync as that operation is unfinished."""
        with self._lock:
            self._cut_at = operation
            if self.operations >= operation:
                self._cut.set()

    def cut(self) -> None:
        """Cut the power now."""
        self.cut_at(0)

    @property
    def is_cut(self) -> bool:
        return self._cut.is_set()

    def wait_cut(self, timeout_s: float) -> bool:
        """Block until the power is cut; False when that did not happen in time."""
        return self._cut.wait(timeout_s)

    # --- what happens to files --------------------------------------------------------------------------------------

    def knows(self, path: str) -> bool:
        """Whether a file of that name was opened and not deleted since."""
        with self._lock:
            return path in self._names

    def open(self, path: str, *, content: bytes | None) -> None:
        """A file was opened: `content` is what was there, None when it was created."""
        with self._lock:
            if path in self._names or self._cut.is_set():
                return
            if content is None:
                self._names[path] = file = _File()
                self._unsynced_names.setdefault(path, []).append(file)
                self._count()
            else:
                self._names[path] = self._durable_names[path] = _File(content)

    def write(self, path: str, offset: int, data: bytes) -> None:
        self._record(path, Write(offset, data))

    def truncate(self, path: str, size: int) -> None:
        self._record(path, Truncate(size))

    def sync(self, path: str, *, directory: bool) -> None:
        """The file's content was synced and, with `directory`, then the directory that it is in."""
        with self._lock:
            if self._cut.is_set() or self._count():
                return
            if path in self._names:
                self._names[path].sync()
            if directory:
                self._sync_directory(path)

    def delete(self, path: str, *, directory: bool) -> None:
        """The name was removed and, with `directory`, its directory synced."""
        with self._lock:
            if self._cut.is_set():
                return
            if self._names.pop(path, None) is not None:
                self._unsynced_names.setdefault(path, []).append(None)
            if not self._count() and directory:
                self._sync_directory(path)

    def _record(self, path: str, operation: Operation) -> None:
        with self._lock:
            if self._cut.is_set():
                return
            file = self._names.get(path)
            if file is None:  # still open while its name was deleted: nobody will find it after a crash
                return
            file.unsynced.append(operation)
            self._count()

    def _count(self) -> bool:
        """Count an operation; True when it was the last one."""
        self.operations += 1
        if self._cut_at is not None and self.operations >= self._cut_at:
            self._cut.set()
            return True
        return False

    def _sync_directory(self, path: str) -> None:
        parent = Path(path).parent
        for name in [name for name in self._unsynced_names if Path(name).parent == parent]:
            file = self._unsynced_names.pop(name)[-1]
            if file is None:
                self._durable_names.pop(name, None)
            else:
                self._durable_names[name] = file

    # --- the crash --------------------------------------------------------------------------------------------------

    def crash(self, seed: int, into: Path) -> list[Path]:
        """Write what a power cut at this moment could leave, and return the files.

        The same seed and the same operations give the same files. The disk itself is not changed: other seeds show
        other outcomes of the same cut.

        Args:
            seed: Chooses what survives.
            into: An empty directory, made if missing; files keep their path relative to the root.
        """
        into.mkdir(parents=True, exist_ok=True)
        written = []
        with self._lock:
            self.operations_lost = 0
            for name, file in sorted(self._surviving_names(seed)):
                relative = Path(name).relative_to(self.root)
                target = into / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(self._surviving_content(file, Random(f"{seed} {relative}")))
                written.append(target)
        return written

    def _surviving_names(self, seed: int) -> Iterator[tuple[str, _File]]:
        names: dict[str, _File | None] = dict(self._durable_names)
        for name, history in self._unsynced_names.items():
            kept = Random(f"{seed} name {Path(name).relative_to(self.root)}").randint(0, len(history))
            if kept:
                names[name] = history[kept - 1]
        return ((name, file) for name, file in names.items() if file is not None)

    def _surviving_content(self, file: _File, random: Random) -> bytes:
        content = bytearray(file.durable)
        survives = _survival(len(file.unsynced), random)
        for operation, whole in zip(file.unsynced, survives, strict=True):
            if whole and isinstance(operation, Write) and random.random() < _TORN_SHARE:
                self.operations_lost += 1
                for piece in _tear(operation, random):
                    _apply(content, piece)
            elif whole:
                _apply(content, operation)
            else:
                self.operations_lost += 1
        return bytes(content)


def _survival(count: int, random: Random) -> list[bool]:
    """Choose which of `count` operations survive: none, all, the oldest, or any subset, thin to dense."""
    kind = random.randrange(8)
    if kind == 0:
        return [False] * count
    if kind == 1:
        return [True] * count
    if kind <= 3:
        kept = random.randint(0, count)
        return [index < kept for index in range(count)]
    share = random.choice((0.1, 0.5, 0.9, 0.98))
    return [random.random() < share for _ in range(count)]


def _tear(write: Write, random: Random) -> list[Write]:
    """Return what a torn write left: some of its sectors, the one at the tear possibly as random bytes."""
    sectors = list(_sectors(write))
    if random.random() < 0.5:
        torn = random.randrange(len(sectors))
        kept, at_tear = sectors[:torn], sectors[torn]
    else:
        kept = [sector for sector in sectors if random.random() < 0.5]
        at_tear = random.choice(sectors)
    if random.random() < 0.5:
        kept.append(Write(at_tear.offset, random.randbytes(len(at_tear.data))))
    return kept


def _sectors(write: Write) -> Iterator[Write]:
    """Cut a write at the multiples of the sector size in the file."""
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        stop = min(end, (start // SECTOR_BYTES + 1) * SECTOR_BYTES)
        yield Write(start, write.data[start - write.offset : stop - write.offset])
        start = stop


def _apply(content: bytearray, operation: Operation) -> None:
    if isinstance(operation, Write):
        gap = operation.offset - len(content)
        if gap > 0:
            content.extend(bytes(gap))
        content[operation.offset : operation.offset + len(operation.data)] = operation.data
        return
    if operation.size < len(content):
        del content[operation.size :]
    else:
        content.extend(bytes(operation.size - len(content)))
