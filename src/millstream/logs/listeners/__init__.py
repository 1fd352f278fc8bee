"""Where events may come from: one Struct for each kind of `[[source]]`.

    [[source]]
    kind = "files"
    paths = ["/var/log/app.log"]

    table.py      what all kinds share
    files.py      files, and what programs print
    machine.py    what a machine writes down of itself
    network.py    what others send, and brokers keep

A new kind is a Struct with a `tag`, its name in `Listener`, and its part of docs/logs-config.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from millstream.errors import UsageError
from millstream.logs.listeners.files import FilesListener, ProcessListener, StdinListener
from millstream.logs.listeners.machine import (
    AuditListener,
    DevicesListener,
    EvtxListener,
    JournalListener,
    LoginsListener,
    MacosListener,
    SystemListener,
    WindowsListener,
)
from millstream.logs.listeners.network import KafkaListener, NatsListener, OtlpListener, SyslogListener
from millstream.logs.listeners.table import ListenerTable, address_of
from millstream.sources.broker_lines import BrokerLines
from millstream.sources.source import Source

__all__ = [
    "AuditListener",
    "Closable",
    "DevicesListener",
    "EvtxListener",
    "FilesListener",
    "JournalListener",
    "KafkaListener",
    "Listener",
    "ListenerTable",
    "LoginsListener",
    "MacosListener",
    "NatsListener",
    "OtlpListener",
    "ProcessListener",
    "StdinListener",
    "SyslogListener",
    "SystemListener",
    "WindowsListener",
    "address_of",
    "opened",
]

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
