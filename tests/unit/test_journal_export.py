"""The journal's export format, as lines of JSON: text and bytes, one by one and more than once, whole and cut."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream import UsageError
from millstream.cli.lines import open_file
from millstream.parsers.choose import choose_format
from millstream.parsers.journal import JournalParser
from millstream.sources.journal_export import VALUE_BYTES_MAX, ExportReader

NOW = datetime(2026, 3, 7, 12, 0, tzinfo=UTC)


def field(name: str, value: bytes, *, binary: bool = False) -> bytes:
    """Return a field as journalctl writes it."""
    if not binary:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"


def entry(message: bytes, *, binary: bool = False, more: bytes = b"") -> bytes:
    return (
        field("__CURSOR", b"s=1;i=2")
        + field("__REALTIME_TIMESTAMP", b"1772359200000000")
        + field("SYSLOG_IDENTIFIER", b"sshd")
        + field("_PID", b"7")
        + more
        + field("MESSAGE", message, binary=binary)
        + b"\n"
    )


def lines(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ExportReader(io.BytesIO(data)).read(10**9).splitlines()]


def test_entry_is_an_event_of_the_journal() -> None:
    data = entry(b"Failed password for ann from 203.0.113.9 port 4000 ssh2") + entry(b"two\nlines", binary=True)
    raw = ExportReader(io.BytesIO(data)).read(10**9).splitlines()
    first, second = JournalParser().events(raw, now=NOW)
    assert (first.time, first.program, first.pid) == (datetime(2026, 3, 1, 10, tzinfo=UTC), "sshd", 7)
    assert (first.action, first.user, first.source_ip) == ("login_failed", "ann", "203.0.113.9")
    assert second.message == "two\nlines"


def test_bytes_are_numbers_and_what_comes_twice_is_a_list() -> None:
    more = field("A", b"x") + field("A", b"\xff", binary=True) + field("A", b"z") + field("B", b"\xff\xfe", binary=True)
    [found] = lines(entry(b"hi", more=more))
    assert (found["A"], found["B"]) == (["x", [255], "z"], [255, 254])


@pytest.mark.parametrize("binary", [False, True])
def test_field_that_is_too_long_is_null_and_the_next_one_is_read(binary: bool) -> None:
    long = field("COREDUMP", b"x" * (3 * VALUE_BYTES_MAX), binary=binary)
    [first, second] = lines(entry(b"hi", more=long) + entry(b"there"))
    assert (first["COREDUMP"], first["MESSAGE"], second["MESSAGE"]) == (None, "hi", "there")


@pytest.mark.parametrize("damage", [b"not a field\n", b"NAME\n" + b"\xff" * 8 + b"x", b"=x\n"])
def test_damage_is_an_error_that_says_where(damage: bytes) -> None:
    good = entry(b"hi")
    with pytest.raises(UsageError, match=r"byte \d+ of this export"):
        lines(good + damage)


@given(st.integers(0, 400))
def test_file_that_was_cut_gives_what_is_there(length: int) -> None:
    data = (entry(b"hi") + entry(b"a\nb", binary=True))[:length]
    assert len(lines(data)) <= 2


values = st.binary(max_size=30)


@given(
    st.lists(st.dictionaries(st.from_regex(r"\A[A-Z_][A-Z0-9_]{0,5}\Z"), values, min_size=1, max_size=4), max_size=4)
)
def test_what_is_exported_is_what_is_read(entries: list[dict[str, bytes]]) -> None:
    data = b"".join(b"".join(field(name, value, binary=True) for name, value in one.items()) + b"\n" for one in entries)

    def said(value: bytes) -> Any:
        try:
            return value.decode()
        except UnicodeDecodeError:
            return list(value)

    assert lines(data) == [{name: said(value) for name, value in one.items()} for one in entries]


def test_file_is_known_by_its_first_bytes_and_read_as_lines(tmp_path: Path) -> None:
    file = tmp_path / "journal.export"
    file.write_bytes(entry(b"hi") * 3)
    with open_file(file) as reader:
        found = reader.read(10**6).splitlines()
    assert len(found) == 3
    assert choose_format(found) == "journal"
