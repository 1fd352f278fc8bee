"""The systemd journal, followed through `journalctl`.

journalctl is asked instead of the journal's files: it is wherever the journal is, knows every version of their format,
and checks who may read what. Each entry has a cursor, and reading goes on after the cursor that was stored last: over
restarts, reboots and rotated journals.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import subprocess
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from millstream.parsers.event_parser import LogEventParser
from millstream.parsers.journal import JournalParser
from millstream.sources.source import Line, Note, Reading
from millstream.sources.troubles import Troubles

POSITION: Final = b"journal"
FIELDS: Final = (
    "MESSAGE", "MESSAGE_ID", "PRIORITY", "SYSLOG_FACILITY", "SYSLOG_IDENTIFIER", "SYSLOG_PID", "ERRNO",
    "CODE_FILE", "CODE_LINE", "CODE_FUNC", "UNIT", "USER_UNIT", "JOB_TYPE", "JOB_RESULT", "EXIT_CODE",
    "EXIT_STATUS", "SESSION_ID", "USER_ID", "LEADER", "DEVICE", "KERNEL_DEVICE", "KERNEL_SUBSYSTEM",
    "_KERNEL_DEVICE", "_KERNEL_SUBSYSTEM", "_UDEV_SYSNAME", "_UDEV_DEVNODE", "_PID", "_UID", "_GID", "_COMM",
    "_EXE", "_CMDLINE", "_HOSTNAME", "_MACHINE_ID", "_TRANSPORT", "_SYSTEMD_UNIT", "_SYSTEMD_USER_UNIT",
    "_SYSTEMD_SESSION", "_SYSTEMD_OWNER_UID", "_AUDIT_SESSION", "_AUDIT_LOGINUID", "_SELINUX_CONTEXT",
    "_SOURCE_REALTIME_TIMESTAMP",
)  # fmt: skip
"""What is asked for. Named one by one, because an entry may carry hundreds of megabytes in a field such as COREDUMP."""

ENTRY_BYTES_MAX: Final = 4 * 1024 * 1024
"""Of the JSON of one entry, in which a message that is not UTF-8 takes four bytes a byte; longer ones are cut."""
READ_BYTES: Final = 256 * 1024
RESTART_SECONDS_MIN: Final = 1.0
RESTART_SECONDS_MAX: Final = 60.0
"""journalctl that ends is started again after 1, 2, 4 ... up to this many seconds."""
ASK_SECONDS: Final = 10.0
"""For journalctl to find the newest entry, on a slow disk with many files."""
_STOP_CHECK_SECONDS: Final = 0.5
_SILENT_CHECKS: Final = 10
"""A journal that gave nothing in so many of these is taken to be empty; in JSON journalctl does not say it itself."""
_COMPLAINT_BYTES_MAX: Final = 4096

_EMPTY: Final = ("No journal files were found", "No such boot ID")
_EMPTY_NOTE: Final = "the systemd journal of this machine is empty; its entries are read when there are any"
_CURSOR: Final = re.compile(rb'"__CURSOR"\s*:\s*"([^"\\]+)"')


class JournalSource:
    """The systemd journal of this machine, or of a directory of journal files."""

    def __init__(
        self,
        *,
        lines_first: int = 200,
        follow: bool = True,
        directory: Path | None = None,
        command: str = "journalctl",
    ) -> None:
        """Follow the journal.

        Args:
            lines_first: Entries to begin with where there is no position: the newest.
            follow: Go on with new entries; False: end with those there are.
            directory: Read the journal files of this directory instead of the machine's own.
            command: The program to ask; looked up on PATH.
        """
        self._lines_first = lines_first
        self._follow = follow
        self._directory = directory
        self._command = command
        self._running = False
        self._troubles = Troubles()

    @property
    def name(self) -> str:
        return "journal"

    def following(self) -> Sequence[str]:
        return (self.name,) if self._running else ()

    def troubles(self) -> Sequence[str]:
        return self._troubles.sentences()

    def parser(self, origin: str) -> LogEventParser:
        return JournalParser()

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        cursor = positions.get(POSITION)
        pause = RESTART_SECONDS_MIN
        while not stop.is_set():
            program = shutil.which(self._command)
            if program is None:
                self._trouble(f"the systemd journal is not read: this machine has no {self._command}", note)
                return
            try:
                child = _Child(self._arguments(program, cursor))
            except OSError as error:
                self._trouble(f"the systemd journal is not read: {program} cannot be started ({error.strerror})", note)
                return
            self._running = True
            try:
                for lines, last in child.entries(stop, note, expected=cursor is None):
                    cursor = last or cursor
                    pause = RESTART_SECONDS_MIN
                    self._troubles.over()
                    yield Reading(lines, {POSITION: cursor} if cursor else {})
            finally:
                self._running = False
                child.close()
            if stop.is_set():
                return
            if "insufficient permissions" in child.complaint:
                self._trouble(
                    "the systemd journal may not be read by this user; "
                    "membership in the group systemd-journal (or adm) allows it",
                    note,
                )
                return
            if "cursor" in child.complaint and cursor is not None:
                note(
                    "the place in the systemd journal where the last start ended is no longer valid; "
                    f"reading begins with its newest {self._lines_first} entries"
                )
                cursor = None
                continue
            if not self._follow:
                if cursor is None and not child.complaint:
                    note(_EMPTY_NOTE)
                elif child.exit_code:
                    self._trouble(_ended(child, again=False), note)
                return
            self._trouble(_ended(child), note)
            stop.wait(pause)
            pause = min(pause * 2, RESTART_SECONDS_MAX)

    def _trouble(self, sentence: str, note: Note) -> None:
        self._troubles.have(sentence)
        note(sentence)

    def _arguments(self, program: str, cursor: bytes | None) -> list[str]:
        arguments = [program, "--output=json", "--all", f"--output-fields={','.join(FIELDS)}"]
        if self._follow:
            arguments.append("--follow")
        if self._directory is not None:
            arguments.append(f"--directory={self._directory}")
        if cursor is None:
            return [*arguments, f"--lines={self._lines_first}"]
        return [*arguments, *(["--no-tail"] if self._follow else []), f"--after-cursor={cursor.decode()}"]


def journal_is_kept(command: str = "journalctl") -> bool:
    """Return whether this machine has a journal with entries that this user may read."""
    program = shutil.which(command)
    if program is None:
        return False
    try:
        asked = [program, "--lines=1", "--output=cat", "--quiet"]
        found = subprocess.run(asked, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return bool(found.stdout.strip())


def _tell(complaint: str, note: Note) -> None:
    """Say what journalctl remarks while it goes on."""
    if any(sign in complaint for sign in _EMPTY):
        note(_EMPTY_NOTE)
    if "not seeing messages" in complaint:
        note(
            "of the systemd journal only this user's own entries may be read; "
            "membership in the group systemd-journal (or adm) shows all"
        )


def _ended(child: _Child, *, again: bool = True) -> str:
    """Return what to tell about a journalctl that ended by itself."""
    complaint = child.complaint
    if any(sign in complaint for sign in _EMPTY):
        return _EMPTY_NOTE
    said = complaint.splitlines()[0] if complaint else f"exit code {child.exit_code}"
    then = f"; it is started again, at most once in {RESTART_SECONDS_MAX:.0f} seconds" if again else ""
    return f"journalctl ended ({said}){then}"


class _Child:
    """One run of journalctl."""

    def __init__(self, arguments: Sequence[str]) -> None:
        # A session of its own: Ctrl-C is for us, and we end the child after what it wrote is stored. A child that
        # outlives us (kill -9) ends by itself: journalctl watches the other end of its output.
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"LC_ALL": "C.UTF-8"},  # its messages are looked at
            start_new_session=True,
            bufsize=0,
        )
        self._complaint = b""
        self._splitter = _Splitter()

    @property
    def complaint(self) -> str:
        """What it wrote to stderr, the beginning of it."""
        return self._complaint.decode(errors="replace").strip()

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def entries(
        self, stop: threading.Event, note: Note, *, expected: bool
    ) -> Iterator[tuple[list[Line], bytes | None]]:
        """Yield entries as they come, with the cursor of the last; ends with the child or with `stop`.

        Args:
            expected: A journal has entries to begin with; where none comes, that is said.
        """
        silent = 0
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with selectors.DefaultSelector() as selector:
            for stream in (self._process.stdout, self._process.stderr):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ)
            complaints = self._process.stderr.fileno()
            while selector.get_map() and not stop.is_set():
                ready = selector.select(_STOP_CHECK_SECONDS)
                silent += not ready
                if expected and not ready and silent == _SILENT_CHECKS:
                    note(_EMPTY_NOTE)
                for key, _ in ready:
                    data = _read(key.fd)
                    if data == b"":
                        selector.unregister(key.fd)
                    elif data and key.fd == complaints:
                        self._complaint = (self._complaint + data)[:_COMPLAINT_BYTES_MAX]
                        _tell(self.complaint, note)
                    elif data:
                        expected = False
                        lines, cursor = self._splitter.entries(data)
                        if lines:
                            yield lines, cursor

    def close(self) -> None:
        """End the child and take its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def _read(descriptor: int) -> bytes | None:
    """Return what is there, b"" at its end, None for nothing yet."""
    try:
        return os.read(descriptor, READ_BYTES)
    except BlockingIOError:
        return None


class _Splitter:
    """Cuts journalctl's output into entries, with a bound on what is held.

    An entry that is too long is cut, and its cursor known only if it stands in what is kept.
    """

    def __init__(self) -> None:
        self._partial = bytearray()
        self._skipping = False
        """The rest of a line that is too long is being passed over."""

    def entries(self, data: bytes) -> tuple[list[Line], bytes | None]:
        """Return the entries that are complete now, and the cursor of the last."""
        lines: list[Line] = []
        cursor: bytes | None = None
        *complete, rest = data.split(b"\n")
        for piece in complete:
            if not self._skipping:
                self._partial += piece
            entry = bytes(self._partial)
            self._partial.clear()
            self._skipping = False
            if entry.startswith(b"{"):  # not a remark such as "-- Boot ... --"
                lines.append(Line("journal", entry))
                found = _CURSOR.search(entry)
                cursor = found[1] if found else cursor
        if not self._skipping:
            self._partial += rest
        if len(self._partial) > ENTRY_BYTES_MAX:
            del self._partial[ENTRY_BYTES_MAX:]
            self._skipping = True
        return lines, cursor
