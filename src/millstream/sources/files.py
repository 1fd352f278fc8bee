"""The text files of a log directory, read as they grow.

Changes come from the operating system (watchfiles); a look at every file once a second is the safety net for file
systems and moments that it misses, and what ends a rotation.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from watchfiles import Change, watch

from millstream.clock import Clock, SystemClock
from millstream.parsers.event_parser import LogEventParser
from millstream.parsers.log_lines import LogParser
from millstream.sources.source import Note, Reading
from millstream.sources.tail import FileTail

LOG_DIRECTORY: Final = Path("/var/log")

PROGRAMS: Final[Mapping[str, str | None]] = {
    # Written by the syslog daemon, for many programs: each line names its own.
    "syslog": None,  # Debian, Ubuntu
    "messages": None,  # Red Hat, SUSE, Alpine
    "auth.log": None,
    "secure": None,
    "kern.log": None,
    "daemon.log": None,
    "user.log": None,
    "cron.log": None,
    "cron": None,
    "mail.log": None,
    "maillog": None,
    "ufw.log": None,
    "system.log": None,  # macOS
    "install.log": None,
    # Written by one program, whose lines do not name it.
    "dpkg.log": "dpkg",
    "alternatives.log": "update-alternatives",
    "apt/history.log": "apt",
    "unattended-upgrades/unattended-upgrades.log": "unattended-upgrades",
    "dnf.log": "dnf",
    "yum.log": "yum",
    "zypper.log": "zypper",
    "pacman.log": "pacman",
    "fail2ban.log": "fail2ban",
    "cloud-init.log": "cloud-init",
    "boot.log": "boot",
    "fontconfig.log": "fontconfig",
}
"""The files that are looked for below the log directory, and who writes them where their lines do not say."""

_DEBOUNCE_MS: Final = 50
"""A program that writes line by line is read a few times a second, not once a line."""
_STEP_MS: Final = 20
"""How long without a change ends a group of changes. At 5 ms watchfiles took 0.9% of a core, so half of that."""
_LOOK_MS: Final = 1000


class FileSource:
    """Text files that may or may not exist, each begun with its last lines at the first start."""

    def __init__(
        self, paths: Sequence[Path], *, lines_first: int = 200, follow: bool = True, clock: Clock | None = None
    ) -> None:
        """Follow files.

        Args:
            paths: Any of them may be missing; it is read from its first line when it appears.
            lines_first: Lines to begin with of a file that has no position: the last.
            follow: Go on with what is added; False: end with what there is.
        """
        self._follow = follow
        self._paths = tuple(paths)
        self._lines_first = lines_first
        self._clock = clock or SystemClock()
        self._tails: Sequence[FileTail] = ()

    @property
    def name(self) -> str:
        return "files"

    def following(self) -> Sequence[str]:
        return tuple(str(tail.path) for tail in self._tails if tail.open)

    def parser(self, origin: str) -> LogEventParser:
        return LogParser(origin, program=program_of(origin))

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        missing = [path for path in self._paths if not path.exists()]
        if missing:
            note(f"not on this machine, and read once they are: {', '.join(map(str, missing))}")
        tails = [
            FileTail(
                path, positions.get(FileTail.key_of(path)), lines_first=self._lines_first, clock=self._clock, note=note
            )
            for path in self._paths
        ]
        self._tails = tails
        try:
            yield from _rounds(tails, stop)
            if not self._follow:
                return
            for _ in self._looks(stop, note):
                yield from _rounds(tails, stop)
            # What is in the files at the moment of the stop is read, one bounded piece a file.
            yield from _round(tails)
        finally:
            for tail in tails:
                tail.close()
            self._tails = ()

    def _looks(self, stop: threading.Event, note: Note) -> Iterator[None]:
        """Yield whenever the files should be looked at; ends with `stop`."""
        directories = sorted({path.parent for path in self._paths if path.parent.is_dir()})
        if directories:
            wanted = {str(path) for path in self._paths}

            def is_wanted(change: Change, path: str) -> bool:
                return path in wanted

            try:
                for _ in watch(
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
                ):
                    yield
            except (OSError, RuntimeError) as error:  # no inotify instances left, a directory that went away
                note(f"changes of the log files are not announced here ({error}); they are looked at once a second")
        while not stop.wait(_LOOK_MS / 1000):
            yield


def system_files(directory: Path = LOG_DIRECTORY, *, own_only: bool = False) -> list[Path]:
    """Return the paths of `PROGRAMS` below a log directory.

    Args:
        own_only: Leave those out that the syslog daemon writes: where there is a journal, it has the same lines.
    """
    return [directory / name for name, program in PROGRAMS.items() if program is not None or not own_only]


def program_of(path: str, directory: Path = LOG_DIRECTORY) -> str | None:
    """Return who writes a file, for lines that do not say it; None where they do, or nobody knows."""
    try:
        return PROGRAMS.get(Path(path).relative_to(directory).as_posix())
    except ValueError:
        return None


def _rounds(tails: Sequence[FileTail], stop: threading.Event) -> Iterator[Reading]:
    """Yield all there is, a piece of each file in turn, so that a large file does not hold up the others."""
    more = True
    while more and not stop.is_set():
        more = False
        for reading in _round(tails):
            more = True
            yield reading


def _round(tails: Sequence[FileTail]) -> Iterator[Reading]:
    for tail in tails:
        reading = tail.read()
        if reading is not None:
            yield reading
