"""Which of the files that a log was in is the one of a position, and which came after it.

A file is known by its inode and by a digest of its first bytes: inodes are given to new files again, and a compressed
copy has another. Its device is not looked at: that number changes with a reboot on some file systems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

from millstream.clock import Clock
from millstream.sources.log_file import FilePosition, LogFile, open_log_file
from millstream.sources.rotation import Generation, generations
from millstream.sources.source import Note

HEAD_BYTES_SURE: Final = 64
"""From this many equal bytes on, a file with another inode is a copy, whenever it was made."""
COMPRESSION_QUIET_US: Final = 60_000_000
"""A compressed file without an end that nothing was added to for this long was cut off, and is left."""
_COPY_SLACK_NS: Final = 1_000_000_000
"""What keeps the time of change of what it compresses may keep whole seconds only."""

Elsewhere = Callable[[int], Path | None]
"""Takes an inode; returns which of the other files that are looked at has it."""


class Found(NamedTuple):
    """Where the file of a position is."""

    place: int
    """Among the generations."""
    file: LogFile | None
    """Open; None: it is none of them."""


class Lineage:
    """The files of one path: itself, and what it was renamed to."""

    def __init__(
        self, path: Path, *, directories: Sequence[Path], elsewhere: Elsewhere | None, clock: Clock, note: Note
    ) -> None:
        """Look at nothing yet.

        Args:
            directories: Where rotated files go, besides the directory of the file.
            elsewhere: Says where a file is that was renamed to a name which tells nothing.
        """
        self._path = path
        self._directories = directories
        self._elsewhere = elsewhere
        self._clock = clock
        self._note = note
        self.left: FilePosition | None = None
        """Of the file that was left last."""

    def generations(self, position: FilePosition) -> list[Generation]:
        """Return the files that there are, oldest first, and among them that of a position, where it is elsewhere."""
        known = generations(self._path, self._directories)
        if self._elsewhere is None or any(one.inode == position.inode for one in known):
            return known
        path = self._elsewhere(position.inode)
        status = None if path is None else status_of(path)
        if path is None or status is None or status[0] != position.inode:
            return known
        place = next(
            (n for n, one in enumerate(known) if one.path == self._path or one.changed_ns > status[1]), len(known)
        )
        known.insert(place, Generation(path, status[0], status[1], -1, 0))
        return known

    def find(self, known: Sequence[Generation], position: FilePosition) -> Found | None:
        """Return which generation is the file of a position; None where names changed meanwhile."""
        live = known[-1] if known and known[-1].path == self._path else None
        untouched = not position.offset and live is not None and live.inode == position.inode
        # Where nothing was read, nothing tells whether the file was emptied since; but then there is a copy.
        if untouched and self.later(known, position):
            return Found(0, None)
        orders = (
            [place for place, one in enumerate(known) if one.inode == position.inode],
            [place for place, one in enumerate(known) if self._may_be_copy(one, position)],
            [place for place in range(len(known)) if position.head_size >= HEAD_BYTES_SURE],
        )
        for place in dict.fromkeys(place for order in orders for place in order):
            one = known[place]
            file = open_log_file(one.path, self._note)
            if file is None and status_of(one.path) is not None:
                continue  # it may not be read
            if file is None or file.status.st_ino != one.inode:
                if file is not None:
                    file.close()
                return None
            # What was emptied, or begun anew, and begins alike is another one; a copy may lack the last lines.
            is_copy = one.inode != position.inode and one.path != self._path
            if position.begins(file) and (is_copy or file.is_compressed or file.reaches(position.offset)):
                return Found(place, file)
            file.close()
        return Found(0, None)

    def later(self, known: Sequence[Generation], position: FilePosition) -> list[Generation]:
        """Return the rotated files that were changed after a position was taken."""
        later = [one for one in known if one.changed_ns > position.changed_ns > 0 and one.path != self._path]
        # What compresses the file that was read before need not keep its time.
        return [one for one in later if not self._is_left(one)]

    def is_rotated_since(self, position: FilePosition) -> bool:
        """Return whether the log was renamed since a position was taken."""
        return bool(self.later(generations(self._path, self._directories), position))

    def is_succeeded(self, file: LogFile) -> bool:
        """Return whether there is a renamed file after a renamed file: then its writer has left both."""
        status = file.status
        return any(
            one.inode == status.st_ino and after.changed_ns > status.st_mtime_ns
            for one, after in pairwise(generations(self._path, self._directories)[:-1])
        )

    def may_become(self, one: Generation, position: FilePosition) -> bool:
        """Return whether a file has too little in it yet to say whether it is the one of a position."""
        if one.path == self._path:
            return False
        file = open_log_file(one.path, self._note)
        if file is None:
            return False
        try:
            unknown = _is_later(one, position) and not file.reaches(position.head_size) and not file.complete
            return unknown and not self.is_stale(file)
        finally:
            file.close()

    def is_stale(self, file: LogFile) -> bool:
        """Return whether a file that is not complete was not changed for so long that it never will be."""
        return self._clock.now_us() - file.status.st_mtime_ns // 1000 > COMPRESSION_QUIET_US

    def _is_left(self, one: Generation) -> bool:
        file = None if self.left is None else open_log_file(one.path, self._note)
        if self.left is None or file is None:
            return False
        try:
            return self.left.begins(file)
        finally:
            file.close()

    def _may_be_copy(self, one: Generation, position: FilePosition) -> bool:
        return (
            one.path != self._path and position.changed_ns > 0 and _is_later(one, position) and position.head_size > 0
        )


def _is_later(one: Generation, position: FilePosition) -> bool:
    return one.changed_ns + _COPY_SLACK_NS > position.changed_ns


def status_of(path: Path) -> tuple[int, int, int] | None:
    """Return inode, time of change (ns) and size (bytes) of what is at a path; None for nothing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size
