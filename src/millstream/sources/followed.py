"""The files that a source follows: found by path or pattern, each read by a tail, few of them open."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from millstream.clock import Clock
from millstream.sources.line_split import READ_LINES_MAX
from millstream.sources.log_file import FilePosition, is_missing, open_log_file
from millstream.sources.multiline import Multiline
from millstream.sources.patterns import FilePattern, is_pattern, without_generations
from millstream.sources.record_split import split_with_records
from millstream.sources.rotation import generations
from millstream.sources.source import Line, Note, Reading
from millstream.sources.tail import READ_BYTES, FileTail
from millstream.sources.troubles import unreadable

OPEN_MAX: Final = 200
"""Files that are kept open: of more than this many, those that are read to their end are closed until they change."""
FORGET_US: Final = 3_600_000_000
"""A file that a pattern means, and that is gone without a rotated one for this long, is forgotten with its position."""
NAMED_MAX: Final = 3
"""Missing files that a note names: no system has all of those that are looked for on each."""
_PATH_KEY: Final = FileTail.key_of(Path())[:-1]
_BEGUN_KEY: Final = b"files begun:"


class FollowedFiles:
    """All files of one source. Not for several threads."""

    def __init__(
        self,
        paths: Sequence[str],
        positions: Mapping[bytes, bytes],
        *,
        clock: Clock,
        note: Note,
        lines_first: int | None,
        multiline: Multiline | None,
        olddirs: Sequence[Path],
        end_after_us: int | None = None,
    ) -> None:
        self._positions = positions
        self._clock = clock
        self._note = note
        self._lines_first = lines_first
        self._split = split_with_records if multiline is None else multiline.splitter()
        self._quiet_us = None if multiline is None else multiline.quiet_us
        self._end_after_us = end_after_us
        self._olddirs = olddirs
        self._patterns = [FilePattern(path) for path in paths if is_pattern(path)]
        self._fixed = [Path(path) for path in paths if not is_pattern(path)]
        self._tails: dict[Path, FileTail] = {}
        self._renamed: dict[Path, FileTail] = {}
        """Files that a pattern means and that another tail still reads: it was renamed under its eyes."""
        self._looked_at: dict[FilePattern, Sequence[Path]] = {}
        """What each search found last; the same list where nothing changed."""
        self._opened: set[Path] = set()
        """As of the last look at each."""
        self._gone_since_us: dict[Path, int] = {}
        self._further: dict[bytes, bytes | None] = {}
        """What is to be stored with the next lines."""
        self._begin()

    def _begin(self) -> None:
        missing = [path for path in self._fixed if is_missing(path)]
        if missing:
            names = [str(path) for path in missing[:NAMED_MAX]]
            others = [f"{len(missing) - NAMED_MAX} others"] if len(missing) > NAMED_MAX else []
            self._note(f"not on this machine, and read once they are: {', '.join([*names, *others])}")
        for path in self._fixed:
            self._add(path, self._lines_first)
        for key in self._positions:
            path = Path(key.removeprefix(_PATH_KEY).decode(errors="surrogateescape"))
            if key.startswith(_PATH_KEY) and any(pattern.matches(path) for pattern in self._patterns):
                self._add(path, None)
        for pattern in self._patterns:
            begun = _BEGUN_KEY + pattern.pattern.encode(errors="surrogateescape")
            known = begun in self._positions
            if not known:
                self._further[begun] = b""
            found = pattern.search()
            if not found:
                self._note(_nothing_like(pattern))
            self._add_new(found, None if known else self._lines_first)

    def search(self) -> None:
        """Look for files that are new, and forget those that are long gone."""
        for pattern in self._patterns:
            found = pattern.search()
            if found is not self._looked_at.get(pattern) or self._renamed:
                self._looked_at[pattern] = found
                self._add_new(found, None)
        if self._patterns:
            self._forget()

    def directories(self) -> list[Path]:
        """Return the directories in which files change or appear; those that exist."""
        found = {path.parent for path in self._fixed if os.path.isdir(path.parent)}
        for pattern in self._patterns:
            found |= set(pattern.directories)
        return sorted(found)

    def wants(self, path: Path) -> bool:
        """Return whether a changed path is one to look at."""
        return path in self._tails or any(pattern.matches(path) for pattern in self._patterns)

    def following(self) -> Sequence[str]:
        return tuple(str(path) for path, tail in list(self._tails.items()) if tail.open or tail.asleep)

    def troubles(self, *, all_wanted: bool, final: bool) -> Sequence[str]:
        """Return what is not read, in sentences.

        Args:
            all_wanted: Of each file; False: only where there is none that can be read.
            final: Also patterns that mean no file: what is to come is not waited for.
        """
        found = [said for path in self._fixed if (said := _trouble_of(path, self._tails[path])) is not None]
        if final:
            # Searched for anew: another thread may be searching with these.
            found += [_nothing_like(one) for one in self._patterns if not FilePattern(one.pattern).search()]
        if not all_wanted and (self.following() or len(found) < len(self._fixed)):
            return ()
        return tuple(found)

    def begun_at(self, path: Path) -> int:
        """Return the offset that a file was read from first; 0 where it is not read (yet)."""
        tail = self._tails.get(path)
        return 0 if tail is None else tail.begun_at or 0

    def rounds(self, changed: set[Path] | None, stop: threading.Event, *, final: bool = False) -> Iterator[Reading]:
        """Yield all there is, a piece of each file in turn, so that a large file does not hold up the others."""
        more = True
        while more and not stop.is_set():
            more = False
            for reading in self.round(changed, final=final):
                more = True
                yield reading

    def round(self, changed: set[Path] | None, *, final: bool = False) -> Iterator[Reading]:
        """Yield one piece of each of some files, or of all; small ones together, as storing takes a while."""
        lines: list[Line] = []
        positions: dict[bytes, bytes | None] = {}
        size = 0
        for path, tail in list(self._tails.items()):
            if changed is not None and path not in changed:
                continue
            before = tail.position
            reading = tail.read(final=final)
            self._further |= self._left(tail, before)
            self._close_some(path, tail)
            if reading is None:
                continue
            more = sum(len(line.data) for line in reading.lines)
            if lines and (len(lines) + len(reading.lines) > READ_LINES_MAX or size + more > READ_BYTES):
                yield self._reading(lines, positions)
                lines, positions, size = [], {}, 0
            lines += reading.lines
            positions |= reading.positions
            size += more
        if positions:
            yield self._reading(lines, positions)

    def _reading(self, lines: Sequence[Line], positions: Mapping[bytes, bytes | None]) -> Reading:
        further = self._further
        if lines:  # the positions of one without lines may not be stored
            self._further = {}
        return Reading(lines, {**further, **positions})

    def close(self) -> None:
        for tail in self._tails.values():
            tail.close()

    def _add(self, path: Path, lines_first: int | None) -> None:
        if path in self._tails:
            return
        self._tails[path] = FileTail(
            path,
            self._positions.get(FileTail.key_of(path)),
            lines_first=lines_first,
            clock=self._clock,
            note=self._note,
            directories=self._olddirs,
            elsewhere=self._path_of if self._patterns else None,
            split=self._split,
            quiet_us=self._quiet_us,
            end_after_us=self._end_after_us,
        )

    def _add_new(self, found: Sequence[Path], lines_first: int | None) -> None:
        new = [path for path in found if path not in self._tails]
        if not new:
            return
        for path in without_generations(new, self._tails):
            reader = self._reader_of(path)
            if reader is None:
                self._renamed.pop(path, None)
                self._add(path, lines_first)
            else:
                self._renamed[path] = reader

    def _reader_of(self, path: Path) -> FileTail | None:
        """Return the tail that is in the file of a path which was another's."""
        try:
            inode = path.stat().st_ino
        except OSError:
            return None
        for tail in self._tails.values():
            position = tail.position
            if position is not None and position.inode == inode and position.offset and _begins(path, position):
                return tail
        return None

    def _path_of(self, inode: int) -> Path | None:
        """Return the path of a file that a pattern means and that has no tail of its own."""
        for pattern in self._patterns:
            for path in pattern.search():
                if path not in self._tails and _inode_of(path) == inode:
                    return path
        return None

    def _left(self, tail: FileTail, before: FilePosition | None) -> dict[bytes, bytes | None]:
        """Return the positions of renamed files that a tail has read to their end and left: they are no new ones."""
        after = tail.position
        if not self._renamed or before is None or after is None or before.inode == after.inode:
            return {}
        left: dict[bytes, bytes | None] = {}
        for path in [path for path, reader in self._renamed.items() if reader is tail]:
            del self._renamed[path]
            if _inode_of(path) == before.inode:
                left[FileTail.key_of(path)] = before.encode()
                self._positions = {**self._positions, FileTail.key_of(path): before.encode()}
                self._add(path, None)
        return left

    def _close_some(self, path: Path, tail: FileTail) -> None:
        self._opened.add(path) if tail.open else self._opened.discard(path)
        if len(self._opened) > OPEN_MAX and tail.sleep():
            self._opened.discard(path)

    def _forget(self) -> None:
        now_us = self._clock.monotonic_us()
        for path, tail in list(self._tails.items()):
            if tail.open or path in self._fixed or not is_missing(path) or generations(path, self._olddirs):
                self._gone_since_us.pop(path, None)
            elif now_us - self._gone_since_us.setdefault(path, now_us) >= FORGET_US:
                del self._tails[path], self._gone_since_us[path]
                if tail.position is not None:
                    self._further[tail.key] = None


def _trouble_of(path: Path, tail: FileTail) -> str | None:
    said = None if tail.open or tail.asleep else unreadable(path)
    return None if said is None else f"{path}: {said}"


def _nothing_like(pattern: FilePattern) -> str:
    try:
        os.scandir(pattern.root).close()
    except PermissionError:
        return f"{pattern.root} may not be searched by this user: what is named like {pattern.pattern} is not read"
    except OSError:
        pass  # it is not there yet
    return f"no file is named like {pattern.pattern} yet; each is read once there is one"


def _begins(path: Path, position: FilePosition) -> bool:
    file = open_log_file(path, lambda sentence: None)
    if file is None:
        return False
    try:
        return position.begins(file)
    finally:
        file.close()


def _inode_of(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except OSError:
        return None
