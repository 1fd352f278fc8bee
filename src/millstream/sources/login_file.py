"""One file of login records (wtmp, btmp), read as it grows: `FileTail`, with records in place of lines.

What that says of rotation, compression and files that are emptied holds for these files as well.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from millstream.clock import Clock
from millstream.sources.log_file import open_log_file, position_in
from millstream.sources.login_records import LAYOUTS, Layout, layout_of
from millstream.sources.source import Note
from millstream.sources.tail import FileTail

BEFORE_RECORDS: Final = 20_000
"""Records before the first that are looked at, at the very first start: they say who is logged in since when."""
RECORDS_MAX: Final = 2000
"""Of one reading."""
_HEAD_BYTES: Final = 64 * 1024
_SIZE_MIN: Final = min(layout.size for layout in LAYOUTS.values())


class RecordSplit:
    """Cuts the bytes of one file into records. Each is framed, as NUL and line ends at its ends belong to it."""

    def __init__(self, path: Path, note: Note) -> None:
        self._path = path
        self._note = note
        self._layout: Layout | None = None

    def __call__(self, data: bytes, final: bool) -> tuple[list[bytes], int]:
        """Return the complete records at the start of `data`, and how many bytes they take; see `line_split.Split`."""
        if final:
            rest = data[:-1]  # a line end was added
            return ([_framed(rest, "")] if rest else []), len(data)
        if len(data) < _SIZE_MIN:
            return [], 0
        # What a rotation left behind may be of another layout, if the machine's is another by now.
        layout = layout_of(data) or self._layout or self._of_file()
        self._layout = layout
        count = min(len(data) // layout.size, RECORDS_MAX)
        cut = (data[place * layout.size : (place + 1) * layout.size] for place in range(count))
        return [_framed(record, layout.name) for record in cut], count * layout.size

    def _of_file(self) -> Layout:
        file = open_log_file(self._path, self._note)
        if file is None:
            return next(iter(LAYOUTS.values()))
        try:
            return layout_of(file.read(_HEAD_BYTES, 0)) or next(iter(LAYOUTS.values()))
        finally:
            file.close()


def record_of(piece: bytes) -> tuple[bytes, Layout | None]:
    """Return the record of a piece of `RecordSplit`; without a layout where it is a part of one."""
    name, _, framed = piece.partition(b":")
    return framed[:-1], LAYOUTS.get(name.decode())


def login_tail(
    path: Path,
    position: bytes | None,
    *,
    records_first: int,
    clock: Clock,
    note: Note,
    before: Callable[[bytes, Layout], object],
) -> FileTail:
    """Return what reads a file on from a position, which need not exist yet.

    Args:
        position: As given by a `Reading`; None where there is none.
        records_first: Without a position, begin with so many of its last records.
        before: Then called with records before these, in their order.
    """
    if position is None:
        position = _last_records(path, records_first, note, before)
    return FileTail(path, position, lines_first=None, clock=clock, note=note, split=RecordSplit(path, note))


def _last_records(path: Path, count: int, note: Note, before: Callable[[bytes, Layout], object]) -> bytes | None:
    """Return the position at which the last records of a file begin; None for its start."""
    file = open_log_file(path, note)
    if file is None:
        return None
    try:
        layout = layout_of(file.read(_HEAD_BYTES, 0))
        if layout is None or file.is_compressed:
            return None
        records = file.look()[1] // layout.size
        first = max(0, records - count)
        start = max(0, first - BEFORE_RECORDS)
        data = file.read((first - start) * layout.size, start * layout.size)
        for place in range(len(data) // layout.size):
            before(data[place * layout.size : (place + 1) * layout.size], layout)
        return position_in(file, first * layout.size).encode() if first else None
    finally:
        file.close()


def _framed(record: bytes, layout: str) -> bytes:
    return layout.encode() + b":" + record + b"."
