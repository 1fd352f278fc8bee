"""Files whose lines mean nothing without their head are understood wherever reading goes on."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from millstream import App
from millstream.sources.files import FileSource
from millstream.sources.heads import head_of
from millstream.sources.system import follow_system

CSV = "time,level,message,minutes\n"
IIS = "#Version: 1.0\n#Fields: date time c-ip cs-method cs-uri-stem sc-status\n"
IIS_AGAIN = "#Version: 1.0\n#Fields: date time cs-method cs-uri-stem c-ip sc-status\n"
ZEEK = "#separator \\x09\n#path\tconn\n#fields\tts\tuid\tid.orig_h\tproto\n"


def read(database: Path, path: Path, format: str, lines_first: int | None = None) -> list[tuple[str | None, Any]]:
    """Return the format and the fields of all events, after a start that reads on."""
    with App(str(database)) as app:
        source = FileSource([path], lines_first=lines_first, follow=False, format=format)
        with follow_system(app, "logs", sources=[source]) as follower:
            follower.join()
        return [(one.value.format, one.value.fields) for one in follower.topic.read(0, records_max=1000)]


def added(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


@pytest.mark.parametrize("chosen", ["auto", "its own"])
@pytest.mark.parametrize(
    ("format", "head", "first", "later", "fields"),
    [
        ("csv", CSV, "2026-03-01T10:00:00Z,warn,a,7\n", "2026-03-01T10:00:01Z,warn,b,8\n", {"minutes": "8"}),
        (
            "w3c",
            IIS,
            "2026-03-01 10:00:00 203.0.113.9 GET /a 200\n",
            "2026-03-01 10:00:01 203.0.113.9 GET /b 404\n",
            {"cs-method": "GET", "cs-uri-stem": "/b", "sc-status": "404"},
        ),
        (
            "zeek",
            ZEEK,
            "1772359200.000000\tCa\t203.0.113.9\ttcp\n",
            "1772359201.000000\tCb\t203.0.113.9\tudp\n",
            {"proto": "udp"},
        ),
    ],
)
def test_head_is_known_after_a_restart(
    tmp_path: Path, chosen: str, format: str, head: str, first: str, later: str, fields: Mapping[str, str]
) -> None:
    path, wanted = tmp_path / "a.log", "auto" if chosen == "auto" else format
    path.write_text(head + first)
    before = read(tmp_path / "own.db", path, wanted)
    added(path, later)
    events = read(tmp_path / "own.db", path, wanted)
    assert len(events) == len(before) + 1
    name, found = events[-1]
    assert name == format
    assert fields.items() <= found.items()


def test_head_is_known_to_who_begins_with_the_last_lines(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(CSV + "2026-03-01T10:00:00Z,warn,a,7\n" * 20)
    assert read(tmp_path / "own.db", tmp_path / "a.csv", "auto", 3) == [("csv", {"minutes": "7"})] * 3


def test_the_last_head_before_the_place_is_the_one_that_counts(tmp_path: Path) -> None:
    path = tmp_path / "iis.log"
    path.write_text(IIS + "2026-03-01 10:00:00 203.0.113.9 GET /a 200\n" * 300 + IIS_AGAIN)
    read(tmp_path / "own.db", path, "auto")
    added(path, "2026-03-01 10:00:01 GET /b 203.0.113.9 404\n")
    assert read(tmp_path / "own.db", path, "auto")[-1][1]["cs-uri-stem"] == "/b"


def test_format_stays_what_the_file_begins_with_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    path.write_text('{"time":"2026-03-01T10:00:00Z","level":"error","msg":"broken"}\n' * 60)
    read(tmp_path / "own.db", path, "auto")
    added(path, "Traceback (most recent call last):\n  File 'x'\nValueError: y\n")
    assert [name for name, _ in read(tmp_path / "own.db", path, "auto")] == ["json"] * 63


def test_head_of_a_compressed_file_is_that_of_its_text_and_of_a_missing_one_nothing(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.gz", "wt") as file:
        file.write(CSV + "more\n")
    assert head_of(tmp_path / "a.gz", len(CSV) + 5) == [CSV.strip().encode(), b"more"]
    assert head_of(tmp_path / "a.gz", len(CSV)) == [CSV.strip().encode()]
    assert head_of(tmp_path / "none", 10) == []
