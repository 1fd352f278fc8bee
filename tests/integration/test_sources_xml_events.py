"""Events of Windows that its own tools exported as XML."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.windows_events import as_xml

from millstream import App
from millstream.cli.application import run
from millstream.parsers.log_event import LogEvent
from millstream.sources.files import FileSource
from millstream.sources.record_split import split_with_records
from millstream.sources.system import follow_system
from millstream.sources.xml_events import EVENT_BYTES_MAX, begins_as_events

ONE = as_xml(
    4625, {"TargetUserName": "ann"}, message="An account failed to log on.\r\n\r\nSubject:\r\n\tName:\teve"
).decode()
TWO = as_xml(4624, {"TargetUserName": "bob"}).decode()
PROLOG = '<?xml version="1.0" encoding="utf-8" standalone="yes"?>\r\n'
EXPORTS = {
    "wevtutil": f"{ONE}\r\n{TWO}\r\n",
    "wevtutil with a root": f"<root>\r\n{ONE}\r\n{TWO}\r\n</root>\r\n",
    "Event Viewer": f"\ufeff{PROLOG}<Events>{ONE}{TWO}</Events>",
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
@pytest.mark.parametrize("text", EXPORTS.values(), ids=list(EXPORTS))
def test_each_event_is_one(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "Security.xml"
    path.write_bytes(text.encode(encoding))
    with App("memory://") as app:
        source = FileSource([path], lines_first=None, follow=False, format="auto", end_after="1s")
        with follow_system(app, "logs", sources=[source]) as follower:
            follower.join()
        events = [one.value for one in app.topic("logs", LogEvent, time="time").read()]
    assert [(event.user, event.action, event.format) for event in events] == [
        ("ann", "login_failed", "windows"), ("bob", "login", "windows"),
    ]  # fmt: skip
    assert events[0].message == "An account failed to log on.\r\n\r\nSubject:\r\n\tName:\teve"
    assert [event.raw for event in events] == [ONE, TWO]


@pytest.mark.parametrize("text", EXPORTS.values(), ids=list(EXPORTS))
def test_an_export_is_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("Security.xml").write_bytes(text.encode())
    assert run(["put", "security", "--file", "Security.xml", "--format", "auto"]) == 0
    assert "is read as windows" in capsys.readouterr().err
    with App("millstream.db") as app:
        events = [one.value for one in app.topic("security", LogEvent, time="time").read()]
    assert [(event.user, event.action) for event in events] == [("ann", "login_failed"), ("bob", "login")]
    assert events[0].message == "An account failed to log on.\r\n\r\nSubject:\r\n\tName:\teve".replace("\r", "")


@given(st.sampled_from(sorted(EXPORTS.values())), st.lists(st.integers(1, 400), max_size=20))
def test_events_are_the_same_however_their_bytes_come(text: str, sizes: list[int]) -> None:
    data, held, found = text.encode(), b"", []
    for size in [*sizes, len(data)]:
        held, data = held + data[:size], data[size:]
        while True:
            lines, consumed = split_with_records(held)
            found += lines
            held = held[consumed:]
            if not consumed:
                break
    # What stands in front of them is a line where it came by itself.
    assert [line for line in found if line.startswith(b"<Event ")] == [ONE.encode(), TWO.encode()]
    assert not held.strip()


def test_lines_around_events_stay_lines() -> None:
    data = b"before\n<Eventual>\n" + ONE.encode() + b"\nafter\n<?xml version='1.0'?><other/>\nlast\n"
    lines, consumed = split_with_records(data)
    assert lines == [b"before", b"<Eventual>", ONE.encode(), b"after", b"<?xml version='1.0'?><other/>", b"last"]
    assert consumed == len(data)


def test_what_does_not_end_is_cut_as_lines_are() -> None:
    data = b"<Event x\n" + b"y" * EVENT_BYTES_MAX + b"\n"
    lines, consumed = split_with_records(data)
    assert lines[0] == b"<Event x"
    assert b"".join(lines) == data.replace(b"\n", b"")
    assert consumed == len(data)
    assert split_with_records(b"<Event x\ny\n") == ([], 0)
    assert split_with_records(b"<Event x\ny\n", True) == ([b"<Event x", b"y"], 11)


@pytest.mark.parametrize(
    ("head", "is_events"),
    [
        (b"<Event xmlns=''>", True),
        (b"<?xml version='1.0'?><Events><Event>", True),
        (b"<Eventual>", False),
        (b"<a>", False),
        (b"", False),
    ],
)
def test_a_file_of_events_is_known_by_its_beginning(head: bytes, is_events: bool) -> None:
    assert begins_as_events(head) is is_events


def test_a_hostile_text_takes_no_time() -> None:
    for piece in (b"<Event ", b"<Event>\n", b"<Event x>\n</Event>", b"<?xml", b"</Events>", b"<root>", b"\n<root>\n"):
        data: Any = piece * (1_000_000 // len(piece))
        started = time.process_time()
        lines, consumed = split_with_records(data, True)
        assert consumed or lines
        assert time.process_time() - started < 5, piece  # a square of it is minutes, a multiple milliseconds
