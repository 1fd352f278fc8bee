"""Files, and what programs print."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from millstream.errors import UsageError
from millstream.logs.listeners.table import LINES_FIRST, ListenerTable
from millstream.sources.files import FileSource
from millstream.sources.multiline import Multiline
from millstream.sources.process import ProcessSource
from millstream.sources.sampled import AUTO
from millstream.sources.source import Source
from millstream.sources.stdin import StdinSource


class FilesListener(ListenerTable, frozen=True, kw_only=True, tag="files"):
    """Text files, as they grow."""

    paths: list[str]
    """Of files, and patterns such as `/var/log/app/*.log`."""
    lines_first: int | None = LINES_FIRST
    """Of a file without a position, at the very first start: its last lines; None, which no file can say: all."""
    format: str | None = None
    """A name of `FORMATS`, `auto`, or a pattern; None: syslog."""
    multiline: str | Multiline | None = None
    olddirs: list[str] = msgspec.field(default_factory=list)
    """Where rotated files go, besides the directory of each file."""
    end_after: str | None = None
    """A last line without a line end is complete when its file did not change for so long; None: it waits."""

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
                end_after=self.end_after,
            )
        ]


class ProcessListener(ListenerTable, frozen=True, kw_only=True, tag="process"):
    """What a process prints, which is started, and started again when it ends."""

    command: list[str]
    name: str | None = None
    format: str | None = None
    multiline: str | Multiline | None = None
    directory: str | None = None
    environment: dict[str, str] = msgspec.field(default_factory=dict)

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
