"""Files of `log show --style json`: an array over many lines becomes an entry a line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import millstream.sources.macos_array as array_module
from millstream import App
from millstream.cli.application import run
from millstream.parsers.log_event import LogEvent
from millstream.sources.macos_array import ArrayLines


class File(io.BytesIO):
    size_bytes = 0
    done_bytes = 0


def lines_of(data: bytes) -> list[bytes]:
    lines = ArrayLines(File(data))
    found = b""
    while part := lines.read(100):
        found += part
    return found.splitlines()


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inside: st.lists(inside, max_size=3), max_leaves=5
)


@given(st.lists(st.dictionaries(st.text(), plain), max_size=6), st.integers(3, 80), st.booleans())
def test_entries_are_those_of_the_array_whatever_pieces_it_is_read_in(
    entries: list[dict[str, Any]], piece: int, ascii_only: bool
) -> None:
    text = "[" + ",".join(json.dumps(one, indent=2, ensure_ascii=ascii_only) for one in entries) + "]\n"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_module, "READ_BYTES", piece)
        found = lines_of(text.encode("utf-8", "backslashreplace"))
    assert [json.loads(line) for line in found] == json.loads(text.encode("utf-8", "backslashreplace"))


def test_what_is_no_entry_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lines_of(b'[{"a":1},{"b":\n cut off') == [b'{"a":1}', b'{"b":', b" cut off"]
    monkeypatch.setattr(array_module, "ENTRY_CHARS_MAX", 10)
    assert lines_of(b'[{"a":1},\n{"' + b"x" * 100) == [b'{"a":1}', b'{"' + b"x" * 100]


def test_put_reads_such_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MILLSTREAM_URL", raising=False)
    entries = [
        {
            "timestamp": f"2026-03-01 11:00:{second:02}.123456+0100",
            "eventMessage": "ann : TTY=ttys001 ; PWD=/ ; USER=root ; COMMAND=/bin/ls",
            "processImagePath": "/usr/bin/sudo",
            "machTimestamp": second,
        }
        for second in range(5)
    ]
    Path("log.json").write_text(json.dumps(entries, indent=2).replace("[\n  {", "[{"))
    assert run(["put", "mac", "--file", "log.json", "--format", "macos"]) == 0
    with App("millstream.db") as app:
        events = [record.value for record in app.topic("mac", LogEvent, time="time").read()]
    assert [(event.action, event.user, event.time.second) for event in events] == [("sudo", "ann", n) for n in range(5)]
