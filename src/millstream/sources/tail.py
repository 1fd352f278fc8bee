"""One text file, read as it grows.

| what happens to the file | what is done |
|---|---|
| a line is not complete yet | it waits; its beginning is read again with its end |
| it is renamed and a new one begun (logrotate) | the old one is read to its end, a second longer, then the new one |
| that happened while nobody read, also several times | the old one is found beside it by what it begins with |
| and was compressed since | its text is read on; one that is still being compressed is waited for |
| it is emptied, or written anew (copytruncate) | the copy is read to its end, then the file from its start |
| it is deleted | what is left of it is read; a new one of that name is read from its start |

Which file is which of them: `lineage`.
"""

from __future__ import annotations

import os
from codecs import BOM_UTF8
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from millstream.clock import Clock
from millstream.sources.batches import BATCH_BYTES_MAX
from millstream.sources.line_split import Split, split
from millstream.sources.lineage import COMPRESSION_QUIET_US, Elsewhere, Lineage, status_of
from millstream.sources.log_file import (
    FilePosition,
    LogFile,
    decode_position,
    is_missing,
    last_lines,
    open_log_file,
    position_in,
)
from millstream.sources.rotation import Generation
from millstream.sources.source import Line, Note, Reading

READ_BYTES: Final = 1024 * 1024
"""With `READ_LINES_MAX` the bounds of one reading."""
READ_BYTES_MAX: Final = 2 * BATCH_BYTES_MAX
"""So much is looked at where nothing of less is complete."""
ROTATION_QUIET_US: Final = 1_000_000
"""A renamed file is left when nothing was added for this long: its writer may not have turned to the new one yet."""
_TRIES: Final = 5


class FileTail:
    """Reads one file on from a position, a piece at a time."""

    def __init__(
        self,
        path: Path,
        position: bytes | None,
        *,
        lines_first: int | None,
        clock: Clock,
        note: Note,
        directories: Sequence[Path] = (),
        elsewhere: Elsewhere | None = None,
        split: Split = split,
        quiet_us: int | None = None,
        end_after_us: int | None = None,
    ) -> None:
        """Follow a file, which need not exist yet.

        Args:
            position: As given by a `Reading`; None where there is none.
            lines_first: Without a position, begin with this many of its last lines; None: with its first.
            directories: See `Lineage`.
            elsewhere: See `Lineage`.
            split: What cuts bytes into events: lines, or what `multiline` puts together.
            quiet_us: After this long without a change, what `split` holds back is taken as complete.
            end_after_us: After this long without a change, a last line without an end is taken as complete; None:
                it waits for its end.
        """
        self.path = path
        self.key = self.key_of(path)
        self._clock = clock
        self._note = note
        self._lineage = Lineage(path, directories=directories, elsewhere=elsewhere, clock=clock, note=note)
        self._split = split
        self._quiet_us = quiet_us
        self._end_after_us = end_after_us
        self._lines_first = lines_first
        self._position = decode_position(position)
        self.begun_at: int | None = None
        """The first offset that was read from; None before."""
        self._file: LogFile | None = None
        self._seen = (0, 0)
        """Time of change and size at the last look."""
        self._unchanged_since_us: int | None = None
        """Since when the open file has not grown."""
        self._away_since_us: int | None = None
        """Since when it was seen to be no longer at `path`, and has not grown."""
        self._left = False
        """The file of `_position` is read to its end and gone from `path`: the next one is to be read."""
        self._final = False
        self._asleep: tuple[int, int, int] | None = None
        """What the file at `path` looked like when it was closed for being idle."""

    @staticmethod
    def key_of(path: Path) -> bytes:
        """Return the key of a file's position."""
        return b"file:" + os.fsencode(path)

    @property
    def open(self) -> bool:
        return self._file is not None

    @property
    def position(self) -> FilePosition | None:
        """Where the next reading begins."""
        return self._position

    @property
    def asleep(self) -> bool:
        """Whether it is closed until the file changes."""
        return self._asleep is not None

    def read(self, *, final: bool = False) -> Reading | None:
        """Return the next piece, at most `READ_BYTES` and `READ_LINES_MAX`; None when there is nothing (yet).

        Args:
            final: Wait for nothing: what is held back is complete, and a rotated file has been left by its writer.
        """
        self._final = final
        try:
            if self._asleep is not None and self._asleep == status_of(self.path):
                return None
            self._asleep = None
            was_open = self.open
            reading = self._read_open()
            if reading is None and was_open and not self.open:
                reading = self._read_open()  # the file was left or emptied; the next may have something already
            return reading
        except OSError as error:  # a disk or a mount that fails; the file is opened again at the next look
            self._note(f"{self.path} could not be read on: {error.strerror}")
            self.close()
            return None

    def sleep(self) -> bool:
        """Close the file if it is read to its end and still at its path; it is opened again when it changes."""
        file, there = self._file, status_of(self.path)
        if file is None or there is None or self._position is None or there[0] != file.status.st_ino:
            return False
        if file.look() != self._seen or self._position.offset != self._seen[1]:
            return False
        self.close()
        self._asleep = there
        return True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self._unchanged_since_us = self._away_since_us = None

    def _read_open(self) -> Reading | None:
        if self._file is None and not self._open():
            return None
        file, position = self._file, self._position
        assert file is not None
        assert position is not None
        if self._is_other(file, position):
            self.close()
            return None
        split = self._split if file.utf16 is None else file.utf16.split(self._split)
        size = READ_BYTES
        while True:
            data = file.read(size, position.offset)
            pieces, consumed = split(data, False)
            if consumed or len(data) < size or size >= READ_BYTES_MAX:
                break
            size *= 2  # what comes is larger than a line: a batch of records
        left = not pieces and self._is_left(file)
        if left or (not pieces and data and self._is_ended(file)):
            # Its last line may have no end.
            pieces, _ = split(data + b"\n" if file.utf16 is None else file.utf16.ended(data), True)
            consumed = len(data)
        elif not pieces and data and self._is_quiet():
            pieces, consumed = split(data, True)
        if pieces and not position.offset:
            pieces[0] = pieces[0].removeprefix(BOM_UTF8)
        position = position_in(file, position.offset + consumed)
        if left:
            self._left, self._lineage.left = True, position
            self.close()
        if not consumed:
            return None
        self._position = position
        # A file whose machine crashed, or that was emptied under its writer, has runs of NUL in it.
        lines = [Line(str(self.path), line) for piece in pieces if (line := piece.lstrip(b"\0").rstrip(b"\r"))]
        return Reading(lines, {self.key: position.encode()})

    def _open(self) -> bool:
        """Open the file to read on; False when there is none that may be read (yet)."""
        if self._position is None:
            return self._open_first()
        if self._open_untouched(self._position):
            return True
        for _ in range(_TRIES):
            if self._open_on(self._position):
                return self._file is not None
        return False  # files are renamed faster than they can be looked at; there is another look

    def _open_first(self) -> bool:
        file = open_log_file(self.path, self._note)
        if file is None:
            if is_missing(self.path):
                self._lines_first = None  # it will be new when it appears
            return False
        compressed = self._lines_first is None or file.is_compressed
        self._begin(file, 0 if compressed else last_lines(file, self._lines_first or 0))
        return True

    def _open_untouched(self, position: FilePosition) -> bool:
        """Open the file of a position where it is still at its path: most are, and no directory needs to be listed."""
        there = status_of(self.path)
        if self._left or not position.offset or there is None or there[0] != position.inode:
            return False
        file = open_log_file(self.path, self._note)
        if file is None:
            return False
        if file.status.st_ino == position.inode and position.begins(file) and file.reaches(position.offset):
            self._begin(file, position.offset)
            return True
        file.close()
        return False

    def _open_on(self, position: FilePosition) -> bool:
        """Open the file of a position, or the next where that is read to its end; False when names changed meanwhile.

        Opens none where there is none yet.
        """
        known = self._lineage.generations(position)
        found = self._lineage.find(known, position)
        if found is None:
            return False
        place, file = found
        if file is None:
            return self._open_after(known, position)
        if not self._left:
            if file.reaches(position.offset):
                self._begin(file, position.offset)
                return True
            # Without its end it is still being compressed, and the rest comes. Else it is a copy that was made before
            # the last lines were written, which are stored already.
            self._left = file.complete or self._lineage.is_stale(file)
        file.close()
        if not self._left:
            return True
        if place + 1 < len(known):
            return self._open_from_start(known[place + 1])
        if known[place].path == self.path:
            self._left = False  # it came back
        return True

    def _open_after(self, known: Sequence[Generation], position: FilePosition) -> bool:
        """Open what came after a file that is gone: the oldest that was changed later."""
        unread = not self._left and position.offset > 0
        if unread and any(self._lineage.may_become(one, position) for one in known):
            return True
        later = self._lineage.later(known, position)
        if unread and later:
            self._note(f"{self.path} was rotated, and its file removed before all of it was read")
        elif unread and known and known[-1].inode == position.inode:
            self._note(f"{self.path} was emptied by its writer; it is read from its start again")
        elif unread and known:
            self._note(f"{self.path} was begun anew while nothing read it; the lines between are not known")
        if not later and (not known or known[-1].path != self.path):
            return True  # there is nothing yet
        return self._open_from_start(later[0] if later else known[-1])

    def _open_from_start(self, one: Generation) -> bool:
        file = open_log_file(one.path, self._note)
        if file is None:
            return status_of(one.path) is not None  # it is there and may not be read; else it was renamed meanwhile
        if file.status.st_ino != one.inode:
            file.close()
            return False
        self._begin(file, 0)
        return True

    def _begin(self, file: LogFile, offset: int) -> None:
        self.begun_at = offset if self.begun_at is None else self.begun_at
        self._file, self._left = file, False
        self._position = position_in(file, offset)
        self._seen = file.look()
        self._unchanged_since_us = self._clock.monotonic_us()

    def _is_other(self, file: LogFile, position: FilePosition) -> bool:
        """Return whether the open file changed other than by growing: it was emptied, or written anew."""
        seen, self._seen = self._seen, file.look()
        if seen == self._seen:
            return False
        self._unchanged_since_us = self._away_since_us = None
        if file.is_compressed:
            return False
        if not position.offset:
            return self._lineage.is_rotated_since(position)
        return self._seen[1] < position.offset or not position.begins(file)

    def _is_quiet(self) -> bool:
        return self._final or (self._quiet_us is not None and self._unchanged_us() >= self._quiet_us)

    def _is_ended(self, file: LogFile) -> bool:
        """Return whether a last line without an end is one: nobody adds to what is compressed."""
        if file.is_compressed or self._end_after_us is None:
            return file.is_compressed and file.complete
        return self._final or self._unchanged_us() >= self._end_after_us

    def _is_left(self, file: LogFile) -> bool:
        """Return whether the open file is no longer the one at `path` and there is nothing more to come of it."""
        if not file.complete:
            if self._unchanged_us() < COMPRESSION_QUIET_US:
                return False
            self._note(f"{file.path} ends in the middle: its compression was cut off")
            return True
        there = status_of(self.path)
        if there is not None and there[0] == file.status.st_ino:
            self._away_since_us = None
            return False
        now_us = self._clock.monotonic_us()
        if self._away_since_us is None:
            self._away_since_us = now_us
            if self._lineage.is_succeeded(file):
                return True
        return file.is_compressed or self._final or now_us - self._away_since_us >= ROTATION_QUIET_US

    def _unchanged_us(self) -> int:
        """Return for how long, as far as it was looked at, the open file has not grown."""
        now_us = self._clock.monotonic_us()
        if self._unchanged_since_us is None:
            self._unchanged_since_us = now_us
        return now_us - self._unchanged_since_us
