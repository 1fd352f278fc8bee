"""What a machine writes down of itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from millstream.errors import UsageError
from millstream.logs.listeners.table import LINES_FIRST, ListenerTable
from millstream.sources.audit import AUDIT_LOG, AuditSource
from millstream.sources.devices import USB, DeviceSource
from millstream.sources.evtx import EvtxSource
from millstream.sources.journal import JournalSource
from millstream.sources.login_databases import LoginDatabaseSource
from millstream.sources.logins import BTMP, UTMP, WTMP, LoginSource
from millstream.sources.macos import PREDICATE, MacosSource
from millstream.sources.source import Source
from millstream.sources.spare import SpareSource
from millstream.sources.system import system_sources
from millstream.sources.windows import CHANNELS, WindowsSource


class JournalListener(ListenerTable, frozen=True, kw_only=True, tag="journal"):
    """The systemd journal."""

    lines_first: int = LINES_FIRST

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [JournalSource(lines_first=self.lines_first, follow=follow)]


class SystemListener(ListenerTable, frozen=True, kw_only=True, tag="system"):
    """This machine's own log: what `millstream logs` reads without a file."""

    lines_first: int = LINES_FIRST

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        # Nobody has named them: what this machine has not is no failure.
        return [SpareSource(source) for source in system_sources(lines_first=self.lines_first, follow=follow)]


class LoginsListener(ListenerTable, frozen=True, kw_only=True, tag="logins"):
    """Login records: wtmp, btmp, utmp."""

    wtmp: tuple[str, ...] = (str(WTMP),)
    btmp: tuple[str, ...] = (str(BTMP),)
    utmp: str = str(UTMP)
    """Empty: who is logged in now is not asked."""
    databases: tuple[str, ...] = ()
    """Of wtmpdb, lastlog2, lastlog; which of these one is, its name says: wtmp*.db, lastlog*.db, another."""
    decides: bool = True
    """Whether these records say that a login succeeded or failed; false where a text log is read that says it too."""
    records_first: int = LINES_FIRST

    def check(self) -> None:
        if not (self.wtmp or self.btmp or self.utmp or self.databases):
            raise UsageError("wtmp, btmp, utmp and databases are empty; give the files to read")

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        records = LoginSource(
            wtmp=[Path(path) for path in self.wtmp],
            btmp=[Path(path) for path in self.btmp],
            utmp=Path(self.utmp) if self.utmp else None,
            decides=self.decides,
            records_first=self.records_first,
            follow=follow,
        )
        databases = (
            LoginDatabaseSource(Path(path), decides=self.decides, records_first=self.records_first, follow=follow)
            for path in self.databases
        )
        return [records, *databases]


class DevicesListener(ListenerTable, frozen=True, kw_only=True, tag="devices"):
    """Devices that are plugged in and out: udev."""

    subsystems: tuple[str, ...] = (USB,)

    def check(self) -> None:
        if not self.subsystems:
            raise UsageError('subsystems is empty; give those of the kernel, such as "usb", "block", "net"')

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [DeviceSource(subsystems=self.subsystems, follow=follow)]


class AuditListener(ListenerTable, frozen=True, kw_only=True, tag="audit"):
    """The log of auditd."""

    paths: tuple[str, ...] = (str(AUDIT_LOG),)
    decides: bool = True
    """As that of logins."""
    lines_first: int = LINES_FIRST

    def check(self) -> None:
        if not self.paths:
            raise UsageError("paths is empty; give the files of auditd")

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        paths = [Path(path) for path in self.paths]
        return [AuditSource(paths, decides=self.decides, lines_first=self.lines_first, follow=follow)]


class WindowsListener(ListenerTable, frozen=True, kw_only=True, tag="windows"):
    """Channels of the Windows event log of this machine."""

    channels: tuple[str, ...] = CHANNELS
    events_first: int = LINES_FIRST
    """Of each channel, at the very first start: its newest."""

    def check(self) -> None:
        if not self.channels:
            raise UsageError("channels is empty; give some of those that wevtutil enum-logs lists")

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [WindowsSource(self.channels, events_first=self.events_first, follow=follow)]


class EvtxListener(ListenerTable, frozen=True, kw_only=True, tag="evtx"):
    """Files of Windows event logs, on any system."""

    paths: tuple[str, ...]
    """Also patterns."""

    def check(self) -> None:
        if not self.paths:
            raise UsageError('paths is empty; give .evtx files, or a pattern such as "logs/*.evtx"')

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [EvtxSource(self.paths, follow=follow)]


class MacosListener(ListenerTable, frozen=True, kw_only=True, tag="macos"):
    """The unified log of this Mac."""

    predicate: str = PREDICATE
    """Which entries, as `log` has it; empty: all."""
    lines_first: int = LINES_FIRST

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [MacosSource(predicate=self.predicate or None, lines_first=self.lines_first, follow=follow)]
