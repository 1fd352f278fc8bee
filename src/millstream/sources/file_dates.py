"""The date of the first of a file's lines that have a clock and no date: told by its last one and its last change.

The clocks are read once from there to the end, so that each midnight between is counted. This is done for files of the
format `clock` only, when they are opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Final

from millstream.parsers.clocks import AHEAD_MAX, CLOCK, Clocks, backwards, clock_of, following
from millstream.sources.log_file import LogFile, open_log_file

_CLOCK: Final = re.compile(rf"^\[?({CLOCK})".encode(), re.MULTILINE)
_BLOCK_BYTES: Final = 1024 * 1024
LOOK_BYTES_MAX: Final = 4 * 1024**3
"""In a longer file the rest is taken for what comes while it is written."""


def clocks_of(path: Path, offset: int, *, zone: tzinfo | None = None) -> Clocks | None:
    """Return the time of the first line with a clock from an offset on, and how many there are; None where none is.

    Args:
        offset: Where reading begins.
        zone: Of the clocks; None: this machine's.
    """
    file = open_log_file(path, lambda sentence: None)
    if file is None:
        return None
    try:
        changed = datetime.fromtimestamp(file.status.st_mtime, UTC).astimezone(zone).replace(tzinfo=None)
        first: datetime | None = None
        last = changed
        count = 0
        for found in _clocks(file, offset):
            clock = clock_of(found.decode())
            # On any day; which one it is, the last clock tells.
            last = datetime.combine(changed.date(), clock) if first is None else following(clock, last)
            first = last if first is None else first
            count += 1
    except (OSError, OverflowError, ValueError):  # a time of change that is none
        return None
    finally:
        file.close()
    if first is None:
        return None
    [moved] = backwards([last.time()], changed + AHEAD_MAX)
    return Clocks(first + (moved - last), count)


def _clocks(file: LogFile, offset: int) -> Iterator[bytes]:
    end = offset + LOOK_BYTES_MAX
    while offset < end:
        data = file.read(_BLOCK_BYTES, offset)
        text = data if file.utf16 is None else file.utf16.text_of(data)
        whole = text.rfind(b"\n") + 1 or len(text)  # a line of more than a block is cut
        if not data or not whole:
            return
        yield from (match[1] for match in _CLOCK.finditer(text, 0, whole))
        offset += whole if file.utf16 is None else file.utf16.size_of(text[:whole])
