"""Files of a run: prepared beside their place under another name, put there once the run is committed.

    write ──▶ noted in the log ──▶ .NAME.TOKEN.part, fsynced ──▶ commit of the run ──▶ renamed, note removed

What a crash leaves is decided by the note: where the commit happened, the file is renamed by whoever runs the batch
next; where it did not, the hidden file is removed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.batch.claim import AT, alive, put
from millstream.engines.protocol import StateChange
from millstream.engines.values import StateRange
from millstream.errors import CommitConflictError, UsageError
from millstream.log.group import Group

if TYPE_CHECKING:
    import polars as pl

FILE: Final = b"file:"

FORMATS: Final = (".parquet", ".csv", ".ndjson", ".jsonl")
"""That a frame is written in, by the name's ending."""


class Note(msgspec.Struct, frozen=True):
    """A file on its way."""

    hidden: str
    place: str
    host: str
    pid: int
    committed: bool = False


class Files:
    """The files of one run.

    Args:
        process: Host and process id: the files of a process that is gone are removed.
        expect: State as it has to be when they are written.
    """

    def __init__(self, group: Group[Any], token: str, process: tuple[str, int], expect: Sequence[StateChange]) -> None:
        self._group = group
        self._process = process
        self._token = token
        self._expect = expect
        self._notes: dict[bytes, Note] = {}
        self._discarded = False

    def write(self, path: str | os.PathLike[str], content: pl.DataFrame | pl.LazyFrame | str | bytes) -> Path:
        """Prepare a file, durably; see `BatchRun.write`."""
        place = Path(path).absolute()
        check_writable(place, content)
        host, pid = self._process
        hidden = place.with_name(f".{place.name}.{self._token}.part")
        note = Note(str(hidden), str(place), host, pid)
        key = FILE + str(hidden).encode()
        if key not in self._notes:
            self._group.commit([], state=[put(key, note)], expect=self._expect)
            self._notes[key] = note
        place.parent.mkdir(parents=True, exist_ok=True)
        _write(hidden, place.suffix, content)
        if self._discarded:
            # A handler that was left behind, as it took too long, was still at it.
            hidden.unlink(missing_ok=True)
        return place

    def committed(self) -> list[StateChange]:
        """Return what the commit of the run has to store."""
        return [put(key, msgspec.structs.replace(note, committed=True)) for key, note in self._notes.items()]

    def publish(self) -> None:
        """Put the files in their places, after the commit."""
        if self._notes:
            for note in self._notes.values():
                _place(note)
            self._group.commit([], state=[put(key, None) for key in self._notes])

    def discard(self) -> None:
        """Remove what was prepared, as there is no commit."""
        self._discarded = True
        notes, self._notes = self._notes, {}
        for note in notes.values():
            Path(note.hidden).unlink(missing_ok=True)
        if notes:
            self._group.commit([], state=[put(key, None) for key in notes])


def recover(group: Group[Any]) -> None:
    """Finish or remove the files of runs whose process died.

    A file that was committed and whose hidden form is gone was renamed already.
    """
    for key, raw in group.state(AT, within=StateRange.of_prefix(FILE)).items():
        note = msgspec.msgpack.decode(raw, type=Note)
        if note.committed:
            _place(note)
        elif alive(note.host, note.pid):
            continue
        else:
            Path(note.hidden).unlink(missing_ok=True)
        try:
            group.commit([], state=[put(key, None)], expect=[StateChange(AT, key, raw)])
        except CommitConflictError:
            continue  # Another process did the same.


def check_writable(place: Path, content: Any) -> None:
    """Raise UsageError where a frame is to be written under a name that says no format, or the content is no file's."""
    if isinstance(content, str | bytes):
        return
    if type(content).__name__ not in ("DataFrame", "LazyFrame"):
        raise UsageError(f"a run writes frames, text or bytes, not {type(content).__name__}, to {place}")
    if place.suffix not in FORMATS:
        raise UsageError(f"{place.name} does not say how a frame is written; end it in {', '.join(FORMATS)}")


def _write(hidden: Path, suffix: str, content: Any) -> None:
    if isinstance(content, str):
        content = content.encode()
    if isinstance(content, bytes):
        hidden.write_bytes(content)
    else:
        lazy = type(content).__name__ == "LazyFrame"
        form = {".parquet": "parquet", ".csv": "csv"}.get(suffix, "ndjson")
        getattr(content, f"sink_{form}" if lazy else f"write_{form}")(hidden)
    with hidden.open("r+b") as file:
        os.fsync(file.fileno())


def _place(note: Note) -> None:
    place = Path(note.place)
    try:
        Path(note.hidden).replace(place)
    except FileNotFoundError:
        return
    if sys.platform != "win32":
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
