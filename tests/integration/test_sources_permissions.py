"""Files in a directory that may not be entered: said, and not the end of what reads the others."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from millstream.sources.audit import AuditSource
from millstream.sources.files import FileSource
from millstream.sources.linux import has_login_text, login_sources
from millstream.sources.login_databases import LoginDatabaseSource
from millstream.sources.logins import LoginSource
from millstream.sources.source import Source

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="rights of files are others there")
NOBODY = 65534


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Path]:
    """A directory with a file that this user may not enter, nor list."""
    directory = tmp_path / "private"
    (directory / "sub").mkdir(parents=True)
    (directory / "a.log").write_text("a line\n")
    directory.chmod(0)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)  # root may read everything
    try:
        yield directory
    finally:
        if is_root:
            os.seteuid(0)
        directory.chmod(0o700)


def notes_of(source: Source) -> list[str]:
    notes: list[str] = []
    assert [line for reading in source.read({}, threading.Event(), notes.append) for line in reading.lines] == []
    return list(dict.fromkeys(notes))


def test_a_log_file_there_is_said_to_be_unreadable(private: Path) -> None:
    paths = [private / "a.log", private / "none.log", private / "sub" / "b.log"]
    assert notes_of(FileSource(paths, follow=False)) == [f"{path} may not be read by this user" for path in paths]


def test_a_pattern_there_says_which_directory_it_is(private: Path) -> None:
    assert notes_of(FileSource([private / "*.log"], follow=False)) == [
        f"{private} may not be searched by this user: what is named like {private}/*.log is not read"
    ]


def test_the_other_sources_there_say_it_as_well(private: Path) -> None:
    [audit] = notes_of(AuditSource([private / "audit.log"], follow=False))
    assert audit == f"{private / 'audit.log'} may not be read by this user"
    [database] = notes_of(LoginDatabaseSource(private / "wtmp.db", follow=False))
    assert database.startswith(f"{private / 'wtmp.db'} cannot be read: ")
    records = notes_of(LoginSource(wtmp=[private / "wtmp"], btmp=[], utmp=private / "utmp", follow=False))
    assert f"{private / 'wtmp'} may not be read by this user" in records
    assert f"{private / 'utmp'} cannot be read: Permission denied" in records


def test_which_logs_there_are_is_found_out_without_the_right_to_look(private: Path) -> None:
    assert not has_login_text([private / "auth.log"], private / "log")
    assert [one.name for one in login_sources(decides=True, records_first=9, follow=False, root=private)] == [
        "login records"
    ]
