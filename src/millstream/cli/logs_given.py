"""Files named on the command line of `millstream logs`: what each is, and what reads it.

| given | read as |
|---|---|
| a file of text, plain or compressed | lines, their format seen from the first ones |
| `.evtx`, by what it begins with | records of the Windows event log |
| wtmp, btmp; wtmpdb, lastlog | login records |
| a folder | the files below it that are one of these |
| a pattern, in quotes | the files of such names |

What is none of these is said, and left out; where nothing is left that is an error.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from millstream.errors import UsageError

if TYPE_CHECKING:
    from millstream.logs.listeners import Listener

FOLDER_FILES_MAX: Final = 1000
"""Files of one folder: each is opened, and read side by side."""
RECORDS_MAX: Final = 10_000_000
"""Login records of a file: all that there are."""
END_AFTER: Final = "10s"
"""The last line of a file that somebody sent often has no end: it is taken when nobody adds to it."""
HEAD_BYTES: Final = 4096
ODD_SHARE: Final = 0.02
"""Of control characters: no text has as many, in any encoding of one byte or more; anything else has."""
_PRESETS: Final = (
    (re.compile(rb"(?:^|\n)# User@Host: "), "mysql"),
    (
        re.compile(rb"[^\n]{10,200}\n[^\",\n]{2,40},[^\",\n]{8,40},[^\",\n]{1,200},\d{1,6},[^\",\n]{0,200},\""),
        "windows_csv",
    ),
)
"""What shows in the beginning of a text that its events have several lines, and what puts these together."""
_ODD: Final = bytes({*range(9), *range(14, 27), *range(28, 32), 127})
_RUN_OF_NUL: Final = re.compile(rb"\0{16,}")
"""What a crash, or a file that was emptied under its writer, leaves in a log."""
_SYSTEMD: Final = b"LPKSHHRH"
_SQLITE: Final = b"SQLite format 3\0"
_EVTX: Final = b"ElfFile\0"
_ZIP: Final = b"PK\x03\x04"
_TAR: Final = b"ustar"
_TAR_AT: Final = 257
_LOGIN_TEXTS: Final = ("auth.log", "secure")
"""What text logs of logins are called: login records beside one do not decide, else each attempt would count twice."""


class Reads(StrEnum):
    """What reads a file."""

    LINES = "lines"
    EVTX = "evtx"
    WTMP = "wtmp"
    BTMP = "btmp"
    DATABASE = "database"


class Looked(msgspec.Struct, frozen=True):
    """What a look at a file says."""

    path: str
    reads: Reads | None = None
    """None: nothing does."""
    problem: str = ""
    is_empty: bool = False
    multiline: str | None = None
    """Of text: the preset that puts its lines together, where what is in it says so."""


def given_files(
    words: Sequence[str], format: str | None, multiline: str | None = None, *, follow: bool
) -> tuple[tuple[Listener, ...], tuple[str, ...]]:
    """Return what reads the files of some words, and what is to be said of them.

    Args:
        format: What lines are; None: that is seen. With one, a file is text whatever it looks like.
        multiline: What lines are one event: a preset; None: each is one.
        follow: Whether what is added to an empty file is waited for.

    Raises:
        UsageError: A file does not exist, or none of them can be read.
    """
    from millstream.sources.patterns import is_pattern

    looked: list[Looked] = []
    notes: list[str] = []
    for word in words:
        path = Path(word)
        if is_pattern(word) and not path.exists():
            looked += _of_pattern(word, format)
        elif path.is_dir():
            found = _of_folder(path, format)
            looked += found
            notes.append(_folder_note(path, found))
        elif path.exists():
            looked.append(_look(path, format))
        else:
            raise UsageError(f"{word}: there is no such file")
    waits = "; what is added to it is shown" if follow else ""
    notes += [f"{one.path} {one.problem}{waits if one.is_empty else ''}" for one in looked if one.problem]
    usable = [one for one in looked if one.reads is not None and (follow or not one.is_empty)]
    if not usable:
        raise UsageError(f"nothing can be read: {'; '.join(notes)}" if notes else "nothing can be read")
    return _listeners(usable, format, multiline), tuple(notes)


def _of_pattern(pattern: str, format: str | None) -> list[Looked]:
    from millstream.sources.patterns import FilePattern

    found = FilePattern(pattern).search()
    if not found:
        raise UsageError(f"{pattern}: no file is named so; ** stands for any folders, * for a part of a name")
    return [_look(path, format) for path in found]


def _of_folder(folder: Path, format: str | None) -> list[Looked]:
    if not os.access(folder, os.R_OK | os.X_OK):
        raise UsageError(f"{folder}: the folder may not be read by this user")
    found = sorted(path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder)))
    if len(found) > FOLDER_FILES_MAX:
        raise UsageError(
            f"{folder}: the folder has {len(found):,} files, and at most {FOLDER_FILES_MAX:,} are read of one; "
            f"give a folder in it, or a pattern such as '{folder}/*.log'"
        )
    if not found:
        raise UsageError(f"{folder}: there is no file in the folder")
    return [_look(path, format) for path in found]


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _folder_note(folder: Path, found: Sequence[Looked]) -> str:
    usable = sum(one.reads is not None and not one.is_empty for one in found)
    return f"{folder} is a folder: {usable} of the {len(found)} files below it are read"


def _look(path: Path, format: str | None) -> Looked:
    """Return what one file is."""
    from millstream.sources.log_file import open_log_file

    said: list[str] = []
    file = open_log_file(path, said.append)
    if file is None:
        return Looked(str(path), problem=_without(said, path) or "went away")
    try:
        head = file.read(HEAD_BYTES, 0)
        if file.utf16 is not None:
            head = file.utf16.text_of(head)
    finally:
        file.close()
    if said:
        return Looked(str(path), problem=_without(said, path))
    if not head:
        return Looked(str(path), Reads.LINES, "is empty", is_empty=True)
    if format is not None:
        return Looked(str(path), Reads.LINES)
    return _by_content(path, head)


def _without(said: Sequence[str], path: Path) -> str:
    """Return sentences about a file without its name in front of them."""
    return "; ".join(sentence.removeprefix(f"{path} ") for sentence in said)


def _by_content(path: Path, head: bytes) -> Looked:
    name, at = path.name, str(path)
    if head.startswith(_EVTX):
        from millstream.logs.extras import is_installed

        if is_installed("evtx"):
            return Looked(at, Reads.EVTX)
        return Looked(at, problem="is a Windows event log: pip install 'millstream[evtx]' reads it")
    if head.startswith(_SYSTEMD):
        how = f"journalctl --file {path} -o json | millstream logs --stdin --format journal"
        return Looked(at, problem=f"is a file of the systemd journal; its own tool reads it: {how}")
    if head.startswith(_SQLITE):
        if name.startswith(("wtmp", "lastlog")):
            return Looked(at, Reads.DATABASE)
        return Looked(at, problem="is a database of SQLite, and no log of lines")
    if head.startswith(_ZIP) or head[_TAR_AT:].startswith(_TAR):
        return Looked(at, problem="is an archive; unpack it, and give the folder")
    if not _is_binary(head):
        return Looked(at, Reads.LINES, multiline=_preset_of(head))
    for prefix, reads in (("wtmp", Reads.WTMP), ("btmp", Reads.BTMP), ("lastlog", Reads.DATABASE)):
        if name.startswith(prefix):
            return Looked(at, reads)
    return Looked(at, problem="is no text; --format NAME reads it as lines all the same")


def _preset_of(head: bytes) -> str | None:
    return next((preset for shape, preset in _PRESETS if shape.search(head)), None)


def _is_binary(head: bytes) -> bool:
    text = _RUN_OF_NUL.sub(b"", head)
    return sum(text.count(byte) for byte in _ODD) > ODD_SHARE * len(text)


def _listeners(found: Sequence[Looked], format: str | None, multiline: str | None) -> tuple[Listener, ...]:
    from millstream.logs.listeners import EvtxListener, FilesListener, LoginsListener
    from millstream.sources.sampled import AUTO

    of: dict[Reads, list[str]] = {}
    for one in found:
        if one.reads is not None and one.path not in of.setdefault(one.reads, []):
            of[one.reads].append(one.path)
    made: list[Listener] = [
        FilesListener(
            paths=[one.path for one in texts],
            lines_first=None,
            format=format or AUTO,
            multiline=multiline or preset,
            end_after=END_AFTER,
        )
        for preset, texts in _by_preset(found).items()
    ]
    if Reads.EVTX in of:
        made.append(EvtxListener(paths=tuple(of[Reads.EVTX])))
    beside = {Path(path).parent for path in of.get(Reads.LINES, ()) if Path(path).name.startswith(_LOGIN_TEXTS)}
    for decides in (True, False):
        wtmp, btmp, databases = (
            tuple(path for path in of.get(kind, ()) if (Path(path).parent not in beside) is decides)
            for kind in (Reads.WTMP, Reads.BTMP, Reads.DATABASE)
        )
        if wtmp or btmp or databases:
            made.append(
                LoginsListener(
                    wtmp=wtmp,
                    btmp=btmp,
                    utmp="",
                    databases=databases,
                    decides=decides,
                    records_first=RECORDS_MAX,
                )
            )
    return tuple(made)


def _by_preset(found: Sequence[Looked]) -> dict[str | None, list[Looked]]:
    """Return the texts by what puts their lines together."""
    texts: dict[str | None, list[Looked]] = {}
    for one in {one.path: one for one in found if one.reads is Reads.LINES}.values():
        texts.setdefault(one.multiline, []).append(one)
    return texts
