"""Which files a pattern means, now and later: `/var/log/app/*.log`, `/srv/**/error.log`.

`*`, `?` and `[...]` stand for parts of one name, and for no leading dot; `**` for any directories, or none.
"""

from __future__ import annotations

import fnmatch
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from millstream.sources.compressed import SUFFIXES
from millstream.sources.rotation import is_generation

_MAGIC: Final = re.compile(r"[*?\[]")
_FRESH_NS: Final = 2_000_000_000
"""A directory changed within this time may change again without another time of change."""


def is_pattern(path: str) -> bool:
    """Return whether a path has wildcards in it."""
    return _MAGIC.search(path) is not None


class FilePattern:
    """One pattern, and the directories that it leads to."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        parts = Path(pattern).parts
        fixed = next((place for place, part in enumerate(parts) if is_pattern(part)), len(parts) - 1)
        self.root: Final = Path(*parts[:fixed])
        """The part without wildcards; need not exist."""
        self._parts = [None if part == "**" else _expression(part) for part in parts[fixed:]]
        self._changed: dict[str, int] = {}
        """Time of change of each directory, at the last search."""
        self._found: list[Path] = []

    @property
    def directories(self) -> Sequence[Path]:
        """Where a new file would be seen; those that were there at the last search."""
        return [Path(directory) for directory in self._changed]

    def matches(self, path: Path) -> bool:
        """Return whether a path is meant, whether it exists or not."""
        try:
            names = path.relative_to(self.root).parts
        except ValueError:
            return False
        return _fit(names, self._parts)

    def search(self) -> Sequence[Path]:
        """Return the files that are there, in the order of their names."""
        if not self._changed or any(_changed_ns(path) != changed for path, changed in self._changed.items()):
            self._changed = {}
            self._found = sorted(set(self._walk(str(self.root), self._parts)))
            now_ns = time.time_ns()
            # So that it is searched again.
            self._changed = {path: -1 if now_ns - at < _FRESH_NS else at for path, at in self._changed.items()}
        return self._found

    def _walk(self, directory: str, parts: Sequence[re.Pattern[str] | None]) -> Iterator[Path]:
        changed = _changed_ns(directory)
        if changed is None:
            return
        self._changed[directory] = changed
        try:
            with os.scandir(directory or ".") as entries:
                found = list(entries)
        except OSError:
            return  # it went away, or may not be listed
        first, rest = parts[0], parts[1:]
        if first is None:
            if rest:
                yield from self._walk(directory, rest)
            for entry in found:
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                    yield from self._walk(entry.path, parts)
                elif not rest and entry.is_file():
                    yield Path(entry.path)
            return
        for entry in found:
            if first.fullmatch(entry.name) is None:
                continue
            if rest and entry.is_dir():
                yield from self._walk(entry.path, rest)
            elif not rest and entry.is_file():
                yield Path(entry.path)


def without_generations(paths: Iterable[Path], known: Iterable[Path]) -> list[Path]:
    """Leave out the files that others of the same directory were renamed to.

    Args:
        known: Paths that are followed already, whether they exist at this moment or not.
    """
    found = list(paths)
    by_directory: dict[Path, set[Path]] = {}
    for path in (*found, *known):
        by_directory.setdefault(path.parent, set()).add(path)
    return [path for path in found if not _is_rotated(path, by_directory[path.parent])]


def _is_rotated(path: Path, others: set[Path]) -> bool:
    """Return whether a name is another's with a number or a date, looking only at names that it may be made of."""
    name = path.name
    if name.endswith(SUFFIXES):
        name = name.rpartition(".")[0]
    if not any(letter.isdigit() for letter in name) and name == path.name:
        return False
    candidates = {name[:place] for place, letter in enumerate(name) if letter in ".-" and place}
    stem, dot, extension = name.rpartition(".")
    candidates |= {stem[:place] + dot + extension for place, letter in enumerate(stem) if letter in "._-" and place}
    candidates.add(name)
    return any(
        path.with_name(other) in others and (is_generation(path, path.with_name(other)) or other == name != path.name)
        for other in candidates
    )


def _expression(part: str) -> re.Pattern[str]:
    hidden = "" if part.startswith(".") else r"(?!\.)"
    return re.compile(hidden + fnmatch.translate(part))


def _fit(names: Sequence[str], parts: Sequence[re.Pattern[str] | None]) -> bool:
    if not parts:
        return not names
    first = parts[0]
    if first is None:
        if len(parts) == 1:
            return bool(names)
        return any(_fit(names[place:], parts[1:]) for place in range(len(names) + 1))
    return bool(names) and first.fullmatch(names[0]) is not None and _fit(names[1:], parts[1:])


def _changed_ns(directory: str) -> int | None:
    try:
        return os.stat(directory or ".").st_mtime_ns
    except OSError:
        return None
