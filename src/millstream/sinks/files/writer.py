"""Files at work: rows are added to hidden files, each of which gets its name when it is complete and committed.

The log keeps, with every commit, how long each hidden file is: what is behind that was written and not committed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import msgspec

from millstream.errors import UsageError
from millstream.sinks.files.folders import Folders
from millstream.sinks.files.formats import Format
from millstream.sinks.files.staging import Staging
from millstream.sinks.protocol import SinkPlace, SinkWriter
from millstream.sinks.rows import Rows

OPEN_FILES_MAX = 128
"""Files that grow at the same time, one a folder. The one that grew longest ago is completed when there are more."""


class Part(msgspec.Struct, array_like=True):
    """A file that grows."""

    folder: str
    number: int
    staged: str
    """Its name for now."""
    shape: str
    """See `Format.shape`."""
    since_us: int
    """When it began, by the clock."""
    length: int = 0
    """Bytes that are durable."""
    rows: int = 0


class Complete(msgspec.Struct, array_like=True):
    """A file that is to be published after the commit that has this."""

    staged: str
    name: str
    """Below the sink's folder, with `/`."""
    rows: int = 0


class Noted(msgspec.Struct, array_like=True):
    """What is committed of a sink."""

    number: int = 0
    """Of the next file."""
    parts: list[Part] = []
    complete: list[Complete] = []


class FilesWriter(SinkWriter):
    """Adds rows to files.

    Args:
        bytes_max: A file is complete when it is this long.
        age_us: Or when it began so long ago.
    """

    def __init__(
        self,
        root: Path,
        format: Format,
        folders: Folders,
        place: SinkPlace,
        stored: bytes | None,
        *,
        bytes_max: int,
        age_us: int,
    ) -> None:
        self._format = format
        self._folders = folders
        self._place = place
        self._bytes_max = bytes_max
        self._age_us = age_us
        self._staging = Staging(root)
        self._parts: dict[str, Part] = {}
        """By folder; the one that grew longest ago first."""
        self._added: dict[str, list[bytes]] = {}
        """What is not written yet, by the part's staged name."""
        self._closing: list[Part] = []
        """No row comes to these any more."""
        self._complete: list[Complete] = []
        self._waste: list[str] = []
        """Staged files that nothing refers to after the next commit."""
        self._number = 0
        self._finishing = False
        self._staging.make()
        if stored is None:
            self._check_fresh()
        else:
            self._recover(msgspec.msgpack.decode(stored, type=Noted))

    # --- the calls of a sink ----------------------------------------------------------------------------------------

    def write(self, rows: Rows) -> None:
        encoded = [self._encoded(folder, some) for folder, some in self._folders.spread(rows)]
        for folder, some, shape, as_next, as_first in encoded:
            part = self._parts.pop(folder, None)
            if part is not None and part.shape != shape:
                self._closing.append(part)
                part = None
            if part is None:
                part = self._new(folder, shape)
            self._parts[folder] = part
            self._added.setdefault(part.staged, []).append(as_first if part.rows == 0 else as_next)
            part.rows += some.height
        while len(self._parts) > OPEN_FILES_MAX:
            self._closing.append(self._parts.pop(next(iter(self._parts))))

    def prepare(self) -> bytes:
        self._grow()
        self._close_what_is_due()
        self._seal()
        # Until they are published, complete files are held too: whoever stops here must come back for them.
        self.held = self._growing() + sum(one.rows for one in self._complete)
        return msgspec.msgpack.encode(Noted(self._number, [*self._parts.values()], self._complete))

    def publish(self) -> None:
        self._publish(self._complete)
        self._complete = []
        self.held = self._growing()
        for name in self._waste:
            self._staging.remove(name)
        self._waste = []

    def finish(self) -> None:
        self._finishing = True

    def due_us(self) -> int | None:
        return min((part.since_us + self._age_us for part in self._parts.values()), default=None)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _encoded(self, folder: str, rows: Rows) -> tuple[str, Rows, str, bytes, bytes]:
        """Return what rows are in a file; raises before anything has changed."""
        shape = self._format.shape(rows)
        as_next = self._format.encode(rows, first=False)
        part = self._parts.get(folder)
        begins = part is None or part.shape != shape
        return folder, rows, shape, as_next, self._format.encode(rows, first=True) if begins else as_next

    def _growing(self) -> int:
        return sum(part.rows for part in self._parts.values())

    def _new(self, folder: str, shape: str) -> Part:
        number = self._number
        self._number += 1
        return Part(folder, number, self._staged(number), shape, self._place.clock.now_us())

    def _grow(self) -> None:
        """Write what was added; called again after an error, it goes on where it was."""
        created = False
        for part in (*self._closing, *self._parts.values()):
            if added := self._added.get(part.staged):
                created = created or part.length == 0
                part.length = self._staging.write(part.staged, part.length, b"".join(added))
                del self._added[part.staged]
        if created:
            self._staging.sync({self._staging.folder})

    def _close_what_is_due(self) -> None:
        now_us = self._place.clock.now_us()
        for folder, part in [*self._parts.items()]:
            if self._finishing or part.length >= self._bytes_max or now_us - part.since_us >= self._age_us:
                self._closing.append(self._parts.pop(folder))
        self._finishing = False

    def _seal(self) -> None:
        """Turn the files to which no row comes any more into what is to be published."""
        while self._closing:
            part = self._closing[0]
            staged = part.staged
            if self._format.converts:
                staged = f"{part.staged}.ready"
                self._format.convert(self._staging.path(part.staged), self._staging.path(staged))
                self._waste.append(part.staged)
                self._staging.sync({self._staging.folder})
            self._complete.append(Complete(staged, self._name(part), part.rows))
            del self._closing[0]

    def _publish(self, complete: list[Complete]) -> None:
        for one in complete:
            self._staging.publish(one.staged, Path(one.name))
        if complete:
            self._staging.sync({self._staging.folder, *((self._staging.root / one.name).parent for one in complete)})

    def _recover(self, noted: Noted) -> None:
        """Publish what is committed, go on with what is held, remove the rest."""
        self._publish(noted.complete)
        self._number = noted.number
        for old in noted.parts:
            # An earlier run may still be at its file, so this one goes on with a copy. The file itself is what the log
            # refers to until the next commit.
            part = msgspec.structs.replace(old, staged=self._staged(old.number))
            self._staging.copy(old.staged, old.length, part.staged)
            self._parts[part.folder] = part
            self._waste.append(old.staged)
        self.held = self._growing()
        kept = {*self._waste, *(part.staged for part in self._parts.values())}
        for path in self._staging.folder.glob(f"{self._place.name}-{self._place.incarnation}-*"):
            if path.name not in kept:
                path.unlink(missing_ok=True)
        self._staging.sync({self._staging.folder})

    def _check_fresh(self) -> None:
        """See to it that a stream that begins anew does not mix its files with those of another."""
        pattern = re.compile(re.escape(self._place.name) + r"-\d{6,}\." + self._format.extension)
        if found := next((path for path in _visible(self._staging.root) if pattern.fullmatch(path.name)), None):
            raise UsageError(
                f"{found} is of another stream of this name, or of this one before it began anew; move these files "
                "away, or choose another folder"
            )

    def _staged(self, number: int) -> str:
        return f"{self._place.name}-{self._place.incarnation}-{self._place.turn}-{number:06}"

    def _name(self, part: Part) -> str:
        return str(PurePosixPath(part.folder) / f"{self._place.name}-{part.number:06}.{self._format.extension}")


def _visible(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if not path.relative_to(root).parts[0].startswith("."))
