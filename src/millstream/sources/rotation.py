"""Which files a log was renamed to, and in which order.

| name | of |
|---|---|
| `x.log.1`, `x.log.2` | logrotate; the higher number is the older |
| `x.log-20260211`, `x.log-1770937261`, `x.log.2026-02-11` | logrotate with `dateext`, log4j, Python |
| `x-20260211.log`, `x-2026-02-11T10-00-00.000.log` | logrotate with `extension`, lumberjack |
| any of them with `.gz`, `.xz`, `.bz2`, `.zst` | compressed |

They may be in other directories (logrotate's `olddir`), and where a symbolic link leads. While one is being compressed
it is there twice: then the plain one counts, as it is whole.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from millstream.sources.compressed import SUFFIXES

_NUMBER: Final = re.compile(r"\.(\d{1,7})\Z")
_SUFFIX: Final = re.compile(r"[.-](\d[\dT._-]*)\Z")
_INFIX: Final = re.compile(r"[._-](\d[\dT:._-]{6,})\Z")
"""Between name and extension: a date at least, as `worker-2.log` is no older `worker.log`."""
_TRIES: Final = 10


class Generation(NamedTuple):
    """A file that a log is in, or was renamed to, as the directory had it."""

    path: Path
    inode: int
    changed_ns: int
    number: int
    """Of `x.log.N`; -1 for a date."""
    date: int


def is_generation(path: Path, of: Path) -> bool:
    """Return whether a name is one that a log is renamed to."""
    return _stamp(path.name, of.name) is not None


def generations(path: Path, directories: Sequence[Path] = ()) -> list[Generation]:
    """Return the files that `path` was renamed to, oldest first, and at the end `path` itself where it exists.

    Each may be gone, or have another name, by now: whoever opens one compares its inode.

    Args:
        directories: Where else to look.
    """
    found = _listed(path, directories)
    for _ in range(_TRIES):
        # A rotation renames one after the other: two listings that agree fell between two of them.
        again = _listed(path, directories)
        if [(one.path, one.inode) for one in found] == [(one.path, one.inode) for one in again]:
            break
        found = again
    return found


def _listed(path: Path, directories: Sequence[Path]) -> list[Generation]:
    rotated: dict[str, Generation] = {}
    places = [(directory, path.name) for directory in (path.parent, *directories)]
    if path.is_symlink():  # as in /var/log/containers: what is renamed is the file that it leads to
        real = Path(os.path.realpath(path))
        places.append((real.parent, real.name))
    for directory, name in places:
        for one in _rotated(directory, name):
            whole = _plain_name(one.path.name)
            if whole not in rotated or one.path.name == whole:
                rotated[whole] = one
    numbered = all(one.number >= 0 for one in rotated.values())
    found = sorted(
        rotated.values(), key=lambda one: -one.number if numbered else (one.changed_ns, one.date, -one.number)
    )
    try:
        status = path.stat()
    except OSError:
        return found
    return [*found, Generation(path, status.st_ino, status.st_mtime_ns, 0, 0)]


def _rotated(directory: Path, name: str) -> Iterator[Generation]:
    stem = name.partition(".")[0]
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if not entry.name.startswith(stem) or (stamp := _stamp(entry.name, name)) is None:
                    continue
                try:
                    status = os.stat(entry.path)
                except OSError:
                    continue  # renamed or deleted since it was listed
                yield Generation(Path(entry.path), status.st_ino, status.st_mtime_ns, *stamp)
    except OSError:
        pass  # a directory that is not there, or may be searched but not listed


def _plain_name(name: str) -> str:
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


def _stamp(name: str, log: str) -> tuple[int, int] | None:
    """Return number and date of a rotated file's name; None for other names."""
    name = _plain_name(name)
    if name.startswith(log):
        rest = name[len(log) :]
        if number := _NUMBER.fullmatch(rest):
            return int(number[1]), 0
        found = _SUFFIX.fullmatch(rest)
    else:
        stem, dot, extension = log.rpartition(".")
        if not dot or not stem or not name.startswith(stem) or not name.endswith(dot + extension):
            return None
        found = _INFIX.fullmatch(name[len(stem) : len(name) - len(extension) - 1])
    return None if found is None else (-1, int(re.sub(r"\D", "", found[1])[:18] or 0))
