"""Text files, read as they grow: those of given paths, and those that patterns mean, now and later.

Changes come from the operating system (watchfiles); a look at every file once a second is the safety net for file
systems and moments that it misses, and what ends a rotation.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from watchfiles import Change, watch

from millstream.clock import Clock, SystemClock
from millstream.durations import duration_us
from millstream.parsers.event_parser import LogEventParser
from millstream.parsers.log_lines import LogParser
from millstream.records import time_from_us
from millstream.sources.file_dates import clocks_of
from millstream.sources.followed import FollowedFiles
from millstream.sources.heads import head_of, tell_dates, tell_head
from millstream.sources.last_change import LastChangeParser
from millstream.sources.log_directory import LOG_DIRECTORY, PROGRAMS, program_of, system_files
from millstream.sources.multiline import Multiline, multiline
from millstream.sources.sampled import parser_of
from millstream.sources.source import Note, Reading

__all__ = ["LOG_DIRECTORY", "PROGRAMS", "FileSource", "program_of", "system_files"]

_DEBOUNCE_MS: Final = 50
"""A program that writes line by line is read a few times a second, not once a line."""
_STEP_MS: Final = 20
"""How long without a change ends a group of changes. At 5 ms watchfiles took 0.9% of a core, so half of that."""
_LOOK_MS: Final = 1000


class FileSource:
    """Text files that may or may not exist, each begun with its last lines at the first start."""

    def __init__(
        self,
        paths: Sequence[Path | str],
        *,
        lines_first: int | None = 200,
        follow: bool = True,
        format: str | None = None,
        multiline: Multiline | str | None = None,
        olddirs: Sequence[Path | str] = (),
        end_after: str | None = None,
        all_wanted: bool = True,
        clock: Clock | None = None,
    ) -> None:
        """Follow files.

        Args:
            paths: Any of them may be missing; it is read from its first line when it appears. One with `*`, `?`,
                `[...]` or `**` in it means all files of such names, without those that others of them were renamed to.
            lines_first: Lines to begin with of a file that has no position: the last; None: with the first.
            follow: Go on with what is added; False: end with what there is.
            format: What lines are: a name of `FORMATS`, `auto`, or a pattern; None: syslog, or what a known program
                writes.
            multiline: What puts lines together that are one event: a preset, or a `Multiline`; None: each is one, but
                for formats that always have several.
            olddirs: Where rotated files go, besides the directory of each file.
            end_after: A last line without a line end is complete when its file did not change for so long, and at once
                without `follow`; None: it waits for its end.
            all_wanted: Each path is one that should be there; False: one of them is enough, whichever.

        Raises:
            UsageError: There is no such format or preset, or an expression or a duration is wrong.
        """
        self._follow = follow
        self._parser = None if format is None else parser_of(format)
        self._clock = clock or SystemClock()
        self._open = functools.partial(
            FollowedFiles,
            [str(path) for path in paths],
            clock=self._clock,
            lines_first=lines_first,
            multiline=_multiline(multiline, format),
            end_after_us=None if end_after is None else duration_us(end_after),
            olddirs=[Path(directory) for directory in olddirs],
        )
        self._files: FollowedFiles | None = None
        self._all_wanted = all_wanted
        self._left: Sequence[str] = ()
        """Of the last reading, what it could not read."""

    @property
    def name(self) -> str:
        return "files"

    def following(self) -> Sequence[str]:
        return () if self._files is None else self._files.following()

    def troubles(self) -> Sequence[str]:
        files = self._files
        return self._left if files is None else files.troubles(all_wanted=self._all_wanted, final=not self._follow)

    def parser(self, origin: str) -> LogEventParser:
        if self._parser is None:
            return LastChangeParser(origin, LogParser(origin, program=program_of(origin)))
        chosen = self._parser(origin)
        begun_at = 0 if self._files is None else self._files.begun_at(Path(origin))
        if begun_at:
            tell_head(chosen, head_of(Path(origin), begun_at), now=time_from_us(self._clock.now_us()))
        tell_dates(chosen, lambda: clocks_of(Path(origin), begun_at))
        return LastChangeParser(origin, chosen)

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        self._files = files = self._open(positions, note=note)
        try:
            yield from files.rounds(None, stop)
            if not self._follow:
                yield from files.rounds(None, stop, final=True)
                return
            for changed in self._looks(files, stop, note):
                files.search()
                yield from files.rounds(changed, stop)
            # What is in the files at the moment of the stop is read, one bounded piece a file.
            yield from files.round(None)
        finally:
            self._left = self.troubles()
            files.close()
            self._files = None

    def _looks(self, files: FollowedFiles, stop: threading.Event, note: Note) -> Iterator[set[Path] | None]:
        """Yield whenever files should be looked at: those that changed, or None for all; ends with `stop`."""
        all_at_us = 0
        while not stop.is_set():
            directories = files.directories()
            if not directories:
                if not stop.wait(_LOOK_MS / 1000):
                    yield None
                continue
            try:
                for changes in _watched(directories, files, stop):
                    now_us = self._clock.monotonic_us()
                    due = not changes or now_us - all_at_us >= _LOOK_MS * 1000
                    all_at_us = now_us if due else all_at_us
                    yield None if due else {Path(path) for _, path in changes}
                    if due and files.directories() != directories:
                        break
            except (OSError, RuntimeError) as error:  # no inotify instances left, a directory that went away
                note(f"changes of the log files are not announced here ({error}); they are looked at once a second")
                while not stop.wait(_LOOK_MS / 1000):
                    yield None


def _watched(
    directories: Sequence[Path], files: FollowedFiles, stop: threading.Event
) -> Iterator[set[tuple[Change, str]]]:
    def is_wanted(change: Change, path: str) -> bool:
        return files.wants(Path(path))

    return watch(
        *directories,
        watch_filter=is_wanted,
        debounce=_DEBOUNCE_MS,
        step=_STEP_MS,
        rust_timeout=_LOOK_MS,
        yield_on_timeout=True,
        stop_event=stop,
        raise_interrupt=False,
        recursive=False,
        ignore_permission_denied=True,
    )


_multiline = multiline
