"""What commands write: tables, sizes, counts, JSON with bytes in it."""

from __future__ import annotations

import json

import pytest

from millstream.cli import progress
from millstream.cli.output import bytes_text, count_text, one_line, print_json, print_table, readable


def test_a_table_lines_up_numbers_right_and_text_left(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["NAME", "N"], [["a", 5], ["long name", 12345], ["none", None]])
    assert capsys.readouterr().out.splitlines() == [
        "NAME           N",
        "a              5",
        "long name  12345",
        "none           -",
    ]


def test_wide_characters_take_two_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "B"], [["\U0001f375", "x"], ["e\u0301", "x"], ["ab", "x"]])
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["A   B", "\U0001f375  x", "e\u0301   x", "ab  x"]


def test_a_table_without_rows_is_its_names(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A", "B"], [])
    assert capsys.readouterr().out == "A  B\n"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345_678, "12.3 MB"),
        (999_960, "1.0 MB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_sizes_are_short(size: int, text: str) -> None:
    assert bytes_text(size) == text


def test_counts_agree_with_their_noun() -> None:
    assert [count_text(n, "record") for n in (0, 1, 2000)] == ["0 records", "1 record", "2,000 records"]


def test_control_characters_are_written_out() -> None:
    assert one_line("a\nb\x1b[0m\u202e") == "a\\nb\\x1b[0m\\u202e"
    assert one_line("grüße \U0001f375") == "grüße \U0001f375"


def test_bytes_in_json_are_text_where_they_can_be(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"text": b"caf\xc3\xa9", "other": [b"\xff"]})
    assert json.loads(capsys.readouterr().out) == {"text": "café", "other": [{"base64": "/w=="}]}
    assert readable({1: (b"a", None)}) == {"1": ["a", None]}


def test_progress_away_from_a_terminal_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter([0.0, 1.0, 6.0, 7.0, 12.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(moments))
    with progress.progress("loading") as advance:
        for done in (10, 60, 70):
            advance(done, 100, f"{done} records")
        advance(80, 0, "80 records")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "loading: 60%, 60 records\nloading: 80 records\n"


def test_bar_on_a_terminal_is_drawn_only_where_it_takes_a_while(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    with progress.progress("reading") as advance:
        advance(1, 10, "1 event")
    assert capsys.readouterr().err == ""
    with progress.progress("reading") as advance:
        now += 1
        advance(5, 10, "5 events")
    assert "reading" in capsys.readouterr().err
