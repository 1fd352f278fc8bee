"""Where events may come from: one Struct for each kind of `[[source]]`.

    [[source]]
    kind = "files"
    paths = ["/var/log/app.log"]

A new kind is a Struct here with a `tag`, its name in `Listener`, and its part of docs/logs-config.md.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Final, Protocol, runtime_checkable

import msgspec

from millstream.errors import UsageError
from millstream.sources.audit import AUDIT_LOG, AuditSource
from millstream.sources.broker_lines import BrokerLines
from millstream.sources.devices import USB, DeviceSource
from millstream.sources.evtx import EvtxSource
from millstream.sources.files import FileSource
from millstream.sources.journal import JournalSource
from millstream.sources.kafka import kafka
from millstream.sources.login_databases import LoginDatabaseSource
from millstream.sources.logins import BTMP, UTMP, WTMP, LoginSource
from millstream.sources.macos import PREDICATE, MacosSource
from millstream.sources.messages import start_of
from millstream.sources.multiline import Multiline
from millstream.sources.nats import nats
from millstream.sources.otlp_server import OtlpServer
from millstream.sources.process import ProcessSource
from millstream.sources.sampled import AUTO
from millstream.sources.source import Source
from millstream.sources.stdin import StdinSource
from millstream.sources.syslog_server import SyslogServer
from millstream.sources.system import system_sources
from millstream.sources.windows import CHANNELS, WindowsSource

LINES_FIRST: Final = 10_000
"""Of each file and the journal, at the very first start."""


class ListenerTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds share. The fields of a kind are its keys in the file."""

    waits: ClassVar[bool] = False
    """Whether it waits for what others send, so that it has no end and `--no-follow` makes no sense."""

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        """Return what reads; a source with a method `close` is closed at the end.

        Args:
            follow: False: end with what there is. Never given to a kind that `waits`.

        Raises:
            UsageError: It cannot be opened as it is described.
        """
        raise NotImplementedError

    def check(self) -> None:
        """Look at what does not show in types, without opening anything: `logs check` does this.

        Raises:
            UsageError: A key has a value that cannot be meant; says which, and what to give.
        """


class FilesListener(ListenerTable, frozen=True, kw_only=True, tag="files"):
    """Text files, as they grow."""

    paths: list[str]
    """Of files, and patterns such as `/var/log/app/*.log`."""
    lines_first: int | None = LINES_FIRST
    """Of a file without a position, at the very first start: its last lines; None, which no file can say: all."""
    format: str | None = None
    """A name of `FORMATS`, `auto`, or a pattern; None: syslog."""
    multiline: str | Multiline | None = None
    olddirs: list[str] = []
    """Where rotated files go, besides the directory of each file."""

    def check(self) -> None:
        if not self.paths:
            raise UsageError("paths is empty; give the files to read")
        self.open()

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [
            FileSource(
                self.paths,
                lines_first=self.lines_first,
                follow=follow,
                format=self.format,
                multiline=self.multiline,
                olddirs=self.olddirs,
            )
        ]


class ProcessListener(ListenerTable, frozen=True, kw_only=True, tag="process"):
    """What a process prints, which is started, and started again when it ends."""

    command: list[str]
    name: str | None = None
    format: str | None = None
    multiline: str | Multiline | None = None
    directory: str | None = None
    environment: dict[str, str] = {}

    def check(self) -> None:
        self.open()

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [
            ProcessSource(
                self.command,
                name=self.name,
                format=self.format,
                multiline=self.multiline,
                directory=self.directory,
                environment=self.environment,
                restart=follow,
            )
        ]


class StdinListener(ListenerTable, frozen=True, kw_only=True, tag="stdin"):
    """What another program writes into our standard input, to its end."""

    format: str = AUTO
    multiline: str | Multiline | None = None

    def check(self) -> None:
        self.open()

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [StdinSource(format=self.format, multiline=self.multiline)]


class JournalListener(ListenerTable, frozen=True, kw_only=True, tag="journal"):
    """The systemd journal."""

    lines_first: int = LINES_FIRST

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [JournalSource(lines_first=self.lines_first, follow=follow)]


class SystemListener(ListenerTable, frozen=True, kw_only=True, tag="system"):
    """This machine's own log: what `millstream logs` reads without a file."""

    lines_first: int = LINES_FIRST

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return system_sources(lines_first=self.lines_first, follow=follow)


class SyslogListener(ListenerTable, frozen=True, kw_only=True, tag="syslog"):
    """Syslog from the network; addresses are `PORT` or `HOST:PORT`."""

    waits: ClassVar[bool] = True

    udp: str | None = None
    tcp: str | None = None
    tls: str | None = None
    certificate: str | None = None
    """File with the server's certificate and those that lead to its authority, in PEM."""
    key: str | None = None
    """File with its private key; None: the certificate's file has it."""
    clients: str | None = None
    """File with the authorities of clients: only those with a certificate of theirs may send over TLS."""

    def check(self) -> None:
        if not self._places():
            raise UsageError('give udp, tcp or tls: where to listen, such as udp = "0.0.0.0:514"')
        if (self.tls is None) != (self.certificate is None):
            raise UsageError("tls and certificate go together: give both, or none")

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [SyslogServer(**self._places(), tls_context=server_context(self.certificate, self.key, self.clients))]

    def _places(self) -> dict[str, tuple[str, int]]:
        given = {name: getattr(self, name) for name in ("udp", "tcp", "tls")}
        return {name: address_of(text, name) for name, text in given.items() if text is not None}


class OtlpListener(ListenerTable, frozen=True, kw_only=True, tag="otlp"):
    """OpenTelemetry logs from the network: OTLP/HTTP."""

    waits: ClassVar[bool] = True

    listen: str = "4318"
    """`PORT` or `HOST:PORT`."""
    token: str | None = None
    """What senders send as `Authorization: Bearer ...`; needed where other machines reach it."""
    certificate: str | None = None
    """As those of syslog: with one, HTTPS is spoken."""
    key: str | None = None
    clients: str | None = None

    def check(self) -> None:
        host, _ = address_of(self.listen, "listen")
        from millstream.serving.access import Access, is_loopback

        if self.token is None and not is_loopback(host):
            raise UsageError(
                f"listen is {self.listen!r}, which other machines reach; give a token too, such as "
                'token = "${OTLP_TOKEN}" in [[source]] of a file for --config'
            )
        Access.on(host, self.token)
        if self.certificate is None and (self.key or self.clients):
            raise UsageError("key and clients go with certificate: give that too")

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        self.check()
        context = server_context(self.certificate, self.key, self.clients)
        return [OtlpServer(*address_of(self.listen, "listen"), token=self.token, tls_context=context)]


class KafkaListener(ListenerTable, frozen=True, kw_only=True, tag="kafka"):
    """A topic of Kafka whose messages are lines."""

    url: str
    """Servers and topic: `kafka://HOST:PORT/TOPIC`."""
    start: str = "earliest"
    format: str = "auto"
    name: str | None = None
    settings: dict[str, str] = {}

    def check(self) -> None:
        self._source()

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [self._source(follow=follow)]

    def _source(self, *, follow: bool = True) -> Source:
        source = kafka(self.url, start=start_of(self.start), name=self.name, settings=self.settings)
        return BrokerLines(source, format=self.format, follow=follow)


class NatsListener(ListenerTable, frozen=True, kw_only=True, tag="nats"):
    """A stream of NATS JetStream, or plain subjects, whose messages are lines."""

    url: str
    stream: str | None = None
    subject: str | None = None
    start: str = "earliest"
    format: str = "auto"
    name: str | None = None
    settings: dict[str, str] = {}

    def check(self) -> None:
        self._source()

    def open(self, *, follow: bool = True) -> Sequence[Source]:
        return [self._source(follow=follow)]

    def _source(self, *, follow: bool = True) -> Source:
        source = nats(
            self.url,
            stream=self.stream,
            subject=self.subject,
            start=start_of(self.start),
            name=self.name,
            settings=self.settings,
        )
        return BrokerLines(source, format=self.format, follow=follow)


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


Listener = (
    FilesListener
    | JournalListener
    | SystemListener
    | SyslogListener
    | OtlpListener
    | KafkaListener
    | NatsListener
    | LoginsListener
    | DevicesListener
    | AuditListener
    | WindowsListener
    | EvtxListener
    | MacosListener
    | ProcessListener
    | StdinListener
)


@contextlib.contextmanager
def opened(listeners: Sequence[Listener], origin: str, *, follow: bool = True) -> Iterator[list[Source]]:
    """Open what a configuration names; closed again at the end.

    Args:
        origin: For messages: the file.

    Raises:
        UsageError: One cannot be opened, or waits for what is sent while nothing is to be followed.
    """
    with contextlib.ExitStack() as stack:
        found: list[Source] = []
        for number, listener in enumerate(listeners, 1):
            if listener.waits and not follow:
                raise UsageError(f"{origin}, source {number} waits for what is sent; leave out --no-follow")
            try:
                sources = listener.open(follow=follow)
            except UsageError as error:
                raise UsageError(f"{origin}, source {number}: {error}") from error
            for source in sources:
                if isinstance(source, Closable):
                    stack.callback(source.close)
            found += sources
        _check_names(found, origin)
        yield found


def _check_names(sources: Sequence[Source], origin: str) -> None:
    """Raise UsageError where two brokers would keep their positions under one name."""
    names = [source.origin for source in sources if isinstance(source, BrokerLines)]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{origin}: two sources are {name} and would share positions; give one a name of its own")


@runtime_checkable
class Closable(Protocol):
    """A source that holds something from when it is opened, such as a socket."""

    def close(self) -> None: ...


def server_context(certificate: str | None, key: str | None, clients: str | None) -> ssl.SSLContext | None:
    """Return what a server speaks TLS with; None without a certificate.

    Raises:
        UsageError: A file cannot be used.
    """
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
        if clients is not None:
            context.load_verify_locations(clients)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"certificate, key or clients cannot be used: {error}") from error
    return context


def address_of(text: str, what: str) -> tuple[str, int]:
    """Return host and port of `PORT`, `HOST:PORT` or `[IPV6]:PORT`; without a host only this machine reaches it.

    Raises:
        UsageError: It is none of these.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise UsageError(f"{what} is {text!r}; give a port, or host and port, such as 0.0.0.0:514")
    return host.strip("[]") or "127.0.0.1", int(port)
