"""The log of auditd, followed: each event once, whole.

An event is one record or several, which may stand between those of others; they have the same time and serial number.
Of those the kernel makes, PROCTITLE is the last; an event without one has ended when the log is two seconds further, or
quiet for so long. A position never stands inside an event.

Source: audit-userspace, auparse/auparse.c (au_check_events) and lib/msg_typetab.h.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from millstream.clock import Clock, SystemClock
from millstream.parsers.audit import audit_reader, audit_reader_beside
from millstream.parsers.event_parser import EventParser, LogEventParser
from millstream.sources.line_split import LINE_BYTES_MAX, READ_LINES_MAX, split
from millstream.sources.log_file import is_missing
from millstream.sources.looks import looks
from millstream.sources.source import Note, Reading
from millstream.sources.tail import READ_BYTES, FileTail
from millstream.sources.troubles import unreadable

AUDIT_LOG: Final = Path("/var/log/audit/audit.log")
EVENT_S: Final = 2
"""After so long without its end an event has none."""

_ID: Final = re.compile(
    rb"(?:node=([^ ]{1,256}) )?type=([A-Z0-9_\[\]]{1,64}) msg=audit\((\d{1,12})\.\d{1,9}:\d{1,20}\)"
)
_SEVERAL: Final = re.compile(
    # Numbers 1300 to 2099: what the kernel makes. LOGIN and CONFIG_CHANGE come with the system call that led to them.
    rb"SYSCALL|PATH|IPC|IPC_SET_PERM|SOCKETCALL|SOCKADDR|CONFIG_CHANGE|CWD|EXECVE|MQ_\w+|KERNEL_OTHER|FD_PAIR|OBJ_PID|"
    rb"TTY|BPRM_FCAPS|CAPSET|MMAP|NETFILTER_\w+|SECCOMP|FEATURE_CHANGE|REPLACE|KERN_MODULE|FANOTIFY|TIME_\w+|BPF|"
    rb"EVENT_LISTENER|URINGOP|OPENAT2|DM_\w+|AVC|AVC_PATH|SELINUX_ERR|MAC_\w+|APPARMOR\w*|ANOM_PROMISCUOUS|ANOM_ABEND|"
    rb"ANOM_LINK|ANOM_CREAT|INTEGRITY_\w+|LANDLOCK_\w+|LOGIN"
)
_LAST: Final = frozenset({b"PROCTITLE", b"EOE"})


class AuditSource:
    """Files of auditd; each begun with its last lines at the first start."""

    def __init__(
        self,
        paths: Sequence[Path] = (AUDIT_LOG,),
        *,
        decides: bool = True,
        lines_first: int = 200,
        follow: bool = True,
        clock: Clock | None = None,
    ) -> None:
        """Follow files, any of which may be missing until later.

        Args:
            decides: These events say whether a login, or the use of another's rights, succeeded. False where a text
                log says it too: then each attempt is counted there.
            lines_first: Lines to begin with of a file that has no position: the last.
            follow: Go on with what is added; False: end with what there is.
        """
        self._paths = tuple(paths)
        self._decides = decides
        self._lines_first = lines_first
        self._follow = follow
        self._clock = clock or SystemClock()
        self._tails: Sequence[FileTail] = ()

    @property
    def name(self) -> str:
        return "audit log"

    def following(self) -> Sequence[str]:
        return tuple(str(tail.path) for tail in self._tails if tail.open)

    def troubles(self) -> Sequence[str]:
        return tuple(f"{path}: {said}" for path in self._paths if (said := unreadable(path)))

    def parser(self, origin: str) -> LogEventParser:
        if self._decides:
            return EventParser(origin, audit_reader(), format="audit")
        return EventParser(origin, audit_reader_beside(), format="audit_beside")

    def read(
        self, positions: Mapping[bytes, bytes], stop: threading.Event, note: Note
    ) -> Generator[Reading, None, None]:
        missing = [str(path) for path in self._paths if is_missing(path)]
        if missing:
            note(f"not on this machine, and read once auditd writes it: {', '.join(missing)}")
        self._tails = tails = [self._tail(path, positions, note) for path in self._paths]
        try:
            yield from _rounds(tails, stop)
            if not self._follow:
                return
            for _ in looks(self._paths, stop, note):
                yield from _rounds(tails, stop)
            # What is in the files at the moment of the stop is read, one bounded piece a file.
            yield from _round(tails)
        finally:
            for tail in tails:
                tail.close()
            self._tails = ()

    def _tail(self, path: Path, positions: Mapping[bytes, bytes], note: Note) -> FileTail:
        return FileTail(
            path,
            positions.get(FileTail.key_of(path)),
            lines_first=self._lines_first,
            clock=self._clock,
            note=note,
            split=split_events,
            # Where nothing is waited for, the last event is as whole as it gets.
            quiet_us=EVENT_S * 1_000_000 if self._follow else 0,
        )


def split_events(data: bytes, final: bool) -> tuple[list[bytes], int]:
    """Return the events at the start of `data`, their records joined by line ends, and how many bytes they take.

    It ends where no event is open, so that what follows has none that began before; see `line_split.Split`.
    """
    if b"\n" not in data:
        return split(data)  # a line that is too long is cut
    opened: dict[bytes, _Event] = {}
    events: list[bytes] = []
    whole, consumed, place, lines = 0, 0, 0, 0
    while lines < READ_LINES_MAX and (end := data.find(b"\n", place)) >= 0:
        events += _add(opened, data[place:end])
        place, lines = end + 1, lines + 1
        if not opened:
            whole, consumed = len(events), place
    is_full = lines >= READ_LINES_MAX or len(data) >= READ_BYTES
    if final or (is_full and not whole):
        return [*events, *(event.joined for event in opened.values())], place
    return events[:whole], consumed


class _Event:
    """An event whose end has not come."""

    def __init__(self, second: int) -> None:
        self.second = second
        self.records: list[bytes] = []
        self.size = 0

    @property
    def joined(self) -> bytes:
        return b"\n".join(self.records)


def _add(opened: dict[bytes, _Event], line: bytes) -> Iterator[bytes]:
    """Take one record; yield the events that are whole by now."""
    found = _ID.match(line)
    if found is None:
        yield line
        return
    second = int(found[3])
    for key, event in list(opened.items()):
        if event.second + EVENT_S < second:
            del opened[key]
            yield event.joined
    key = (found[1] or b"") + b" " + found[0].rpartition(b"(")[2]
    event = opened.setdefault(key, _Event(second))
    event.records.append(line)
    event.size += len(line)
    if found[2] in _LAST or _SEVERAL.fullmatch(found[2]) is None or event.size > LINE_BYTES_MAX:
        del opened[key]
        yield event.joined


def _rounds(tails: Sequence[FileTail], stop: threading.Event) -> Iterator[Reading]:
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
