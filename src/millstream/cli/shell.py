"""What all commands share: their common options, and the log these lead to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millstream.errors import SettingsError, StorageError

if TYPE_CHECKING:
    from millstream.log.log import Log

UrlOption = Annotated[
    str | None,
    typer.Option("--url", metavar="URL", help="The log: a file or URL. [$MILLSTREAM_URL, else ./millstream.db]"),
]
DataOption = Annotated[
    Path | None, typer.Option("--data", metavar="DIR", help="The log DIR/millstream.db, such as the demo's.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, one object a line; errors too.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show where an error was raised.")]

DATA_FILE = "millstream.db"

LOCK_SUFFIX = "-lock"

BESIDE_MAX = 3
"""Logs that an error names; a folder of hundreds is no answer."""


@dataclass(frozen=True)
class Shell:
    """The common options of one command line; given before or after the command's name."""

    url: str | None = None
    data: Path | None = None
    json: bool = False
    debug: bool = False

    @classmethod
    def of(cls, context: typer.Context, url: str | None, data: Path | None, json: bool, debug: bool) -> Shell:
        """Return a command's own options, completed by those given before its name."""
        outer = context.obj if isinstance(context.obj, Shell) else cls()
        if url is None and data is None:
            url, data = outer.url, outer.data
        return cls(url=url, data=data, json=json or outer.json, debug=debug or outer.debug)

    def place(self) -> str:
        """Return the URL of the log.

        Raises:
            SettingsError: Both `--url` and `--data` were given.
        """
        if self.url is not None and self.data is not None:
            raise SettingsError("--url and --data both say where the log is; give one of them")
        if self.data is not None:
            return str(self.data / DATA_FILE)
        if self.url is not None:
            return self.url
        from millstream.settings import Settings

        return Settings.from_environment(os.environ).url

    @contextmanager
    def open(self, *, create: bool = False) -> Iterator[Log]:
        """Open the log, and close it at the end.

        Args:
            create: Make a new file where there is none.

        Raises:
            StorageError: There is no such file, and `create` is False: a command that only looks leaves no file behind.
        """
        place = self.place()
        path = file_of(place)
        if path is not None and not create and not path.exists():
            raise StorageError(f"there is no log at {path}; {self._elsewhere(path)}")
        from millstream.engines.connect import connect
        from millstream.log.log import Log
        from millstream.settings import Settings

        log = Log(connect(place, durability=Settings.from_environment(os.environ).durability))
        try:
            yield log
        finally:
            log.close()

    def _elsewhere(self, path: Path) -> str:
        """Return where a log can be found or made: an App names its file, and the next command forgets to."""
        if self.data is not None:
            return "`millstream put` or an App makes one, --data names another"
        beside = logs_beside(path)
        if beside:
            return f"beside it: {', '.join(beside)}; say --url {beside[0]}"
        return "`millstream put` or an App makes one, --url names another"


def logs_beside(path: Path) -> list[str]:
    """Return the logs in the folder of a file that is missing, as one would type them; at most `BESIDE_MAX`."""
    # A log in use, or that was, has this file of its locks beside it: no file of others is opened.
    found = sorted(lock.with_name(lock.name.removesuffix(LOCK_SUFFIX)) for lock in path.parent.glob(f"*{LOCK_SUFFIX}"))
    return [str(log) for log in found if log.is_file()][:BESIDE_MAX]


def file_of(url: str) -> Path | None:
    """Return the file that a URL means, None where it means none."""
    if url.startswith("sqlite:///"):
        return Path(url.removeprefix("sqlite:///"))
    return None if "://" in url else Path(url)


def complete_topic(context: typer.Context, incomplete: str) -> list[str]:
    """Return the topics that a shell offers for a half-typed name; none where the log cannot be read."""
    from millstream.errors import MillstreamError

    parent = context.parent.params if context.parent else {}
    given = {**parent, **{name: value for name, value in context.params.items() if value}}
    try:
        with Shell(url=given.get("url"), data=given.get("data")).open() as log:
            return [name for name in log.topics() if name.startswith(incomplete)]
    except MillstreamError:
        return []


TopicArgument = Annotated[str, typer.Argument(metavar="TOPIC", autocompletion=complete_topic, help="The topic's name.")]
