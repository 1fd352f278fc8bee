"""Stack traces and other events of several lines, in files that grow."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.integration.tail_follower import Follower, add, rotate

from millstream.errors import SettingsError, UsageError
from millstream.sources.line_split import LINE_BYTES_MAX
from millstream.sources.multiline import EVENT_LINES_MAX, Multiline, multiline
from millstream.sources.traces import PRESETS, Compiled

PYTHON = """\
Traceback (most recent call last):
  File "/app/a.py", line 3, in one
    return 1 / 0
           ~~^~~
ZeroDivisionError: division by zero

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/app/a.py", line 9, in <module>
    two()
ValueError: no"""
GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/app/a.py", line 1, in <module>
  |     raise ExceptionGroup("two", [ValueError(1)])
  | ExceptionGroup: two (1 sub-exception)
  +-+---------------- 1 ----------------
    | ValueError: 1
    +------------------------------------"""
JAVA = """\
java.lang.IllegalStateException: no room
\tat com.example.Shop.buy(Shop.java:22)
\tat com.example.Main.main(Main.java:5)
Caused by: java.io.IOException: disk
\tat com.example.Disk.write(Disk.java:7)
\t... 2 more
\tSuppressed: java.lang.RuntimeException: closing
\t\tat com.example.Disk.close(Disk.java:9)"""
GO = """\
panic: runtime error: index out of range [3] with length 2

goroutine 1 [running]:
main.(*Shop).Buy(0xc000012345)
\t/src/shop.go:12 +0x1d
main.main()
\t/src/main.go:5 +0x20
created by main.start in goroutine 7
\t/src/main.go:9 +0x31
exit status 2"""
DOTNET = """\
Unhandled exception. System.InvalidOperationException: no room
 ---> System.IO.IOException: disk
   at Shop.Disk.Write() in /src/Disk.cs:line 7
   --- End of inner exception stack trace ---
   at Shop.Program.Main() in /src/Program.cs:line 5"""
NODE = """\
Error: ENOENT: no such file or directory, open 'x'
    at Object.openSync (node:fs:603:3)
    at main (/app/a.js:3:4) {
  errno: -2,
  code: 'ENOENT'
}"""
RUBY = """\
/app/a.rb:2:in 'Integer#/': divided by 0 (ZeroDivisionError)
\tfrom /app/a.rb:2:in 'one'
\tfrom /app/a.rb:5:in '<main>'"""
DOCKER = """\
{"log":"a line that was \\"cut\\", here ","stream":"stdout"}
{"log":"and its end\\n","stream":"stdout"}"""
CRI = """\
2026-03-01T10:00:00.1Z stdout P a line that was cut, here
2026-03-01T10:00:00.1Z stdout F and its end"""
INDENTED = "2026-03-01 10:00:00 a statement:\n  SELECT *\n\n  FROM a"

TRACES = [
    ("python", PYTHON),
    ("python", GROUP),
    ("java", JAVA),
    ("go", GO),
    ("dotnet", DOTNET),
    ("javascript", NODE),
    ("ruby", RUBY),
    ("docker", DOCKER),
    ("cri", CRI),
    ("indented", INDENTED),
]
BEFORE = {"docker": '{"log":"before\\n"}', "cri": "2026-03-01T10:00:00Z stdout F before"}


def events(preset: str | Multiline, text: str) -> list[str]:
    chosen = multiline(preset)
    assert chosen is not None
    found, consumed = chosen.splitter()(text.encode() + b"\n", True)
    assert consumed == len(text.encode()) + 1
    return [one.decode() for one in found if one]


@pytest.mark.parametrize(("preset", "trace"), TRACES)
def test_a_trace_is_one_event_and_what_is_around_it_is_not_of_it(preset: str, trace: str) -> None:
    line = BEFORE.get(preset, "2026-03-01 10:00:00 INFO a line of its own")
    assert events(preset, f"{line}\n{line}") == [line, line]
    # Some print a trace below the line of the log that tells of it: then that is where it belongs.
    below = preset in ("python", "java", "javascript", "dotnet")
    joined = [f"{line}\n{trace}"] if below and not trace.startswith("panic") else [line, trace]
    assert events(preset, f"{line}\n{trace}\n{line}") == [*joined, line]


@pytest.mark.parametrize(("preset", "trace"), [one for one in TRACES if one[0] not in ("docker", "cri", "indented")])
def test_one_preset_knows_the_traces_of_all_languages(preset: str, trace: str) -> None:
    line = "2026-03-01 10:00:00 INFO a line of its own"
    found = events("traces", f"{trace}\n{line}\n{line}")
    assert found == [trace, line, line]


def test_two_traces_are_two_events() -> None:
    assert events("java", f"{JAVA}\n{JAVA}") == [JAVA, JAVA]
    assert events("go", "panic: a\n\ngoroutine 1 [running]:\nx\n") == ["panic: a\n\ngoroutine 1 [running]:", "x"]


def test_a_real_traceback_is_one_event() -> None:
    code = "try:\n  1/0\nexcept Exception as e:\n  raise ValueError('no\\nroom') from e"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.rstrip()
    *events_found, rest = events("python", said)
    assert "\n".join([*events_found, rest]) == said
    # The second line of an exception's own message looks like any other line.
    assert (len(events_found), rest) == (1, "room")


def test_own_expressions_say_where_events_begin_or_continue() -> None:
    text = "[1] a\nb\n[2] c\n\nd\n[3] e"
    assert events(Multiline(begins=r"\[\d"), text) == ["[1] a\nb", "[2] c\n\nd", "[3] e"]
    assert events(Multiline(continues=r"[a-z]"), text) == ["[1] a\nb", "[2] c", "d", "[3] e"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Multiline(), "none of them"),
        (Multiline(preset="java", begins="x"), "preset and begins"),
        (Multiline(preset="cobol"), "no multiline preset 'cobol'; there is indented, java"),
        (Multiline(begins="("), "no regular expression"),
        (Multiline(begins="x", quiet="soon"), "not a duration"),
    ],
)
def test_what_cannot_be_meant_is_refused(wrong: Multiline, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        wrong.check()
    with pytest.raises(SettingsError, match="no multiline preset"):
        multiline("nothing")


def follower(log: Path, chosen: Multiline) -> Follower:
    return Follower(log, lines_first=None, split=chosen.splitter(), quiet_us=chosen.quiet_us)


def test_an_event_waits_for_the_next_or_for_quiet_and_is_not_stored_in_parts(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    add(log, "one\n  more\n")
    one = follower(log, Multiline(preset="indented"))
    assert one.look() == []
    one.clock.advance("1.9s")
    add(log, "  and more\n")
    assert one.look() == []
    one.restart()  # nothing of it was stored, so nothing is lost
    assert one.look() == []
    one.clock.advance("1.9s")
    assert one.look() == []
    one.clock.advance("200ms")
    assert one.look() == [b"one\n  more\n  and more"]
    add(log, "two\n  more\nthree")
    assert one.look() == []
    add(log, "\n")
    assert one.look() == [b"two\n  more"]
    rotate(log)
    add(log, "four\n")
    one.look()
    one.clock.advance("1s")
    assert one.look() == [b"three"]
    one.clock.advance("3s")
    assert one.look() == [b"four"]


def test_a_last_line_without_an_end_belongs_to_its_event_when_the_file_is_left(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    add(log, "one\n  more\n  unfinished")
    one = follower(log, Multiline(preset="indented"))
    assert one.look() == []
    log.unlink()
    one.look()
    one.clock.advance("1s")
    assert one.look() == [b"one\n  more\n  unfinished"]


def test_an_event_without_an_end_is_cut(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    add(log, "begin\n" + " x\n" * (2 * EVENT_LINES_MAX) + "next\n")
    one = follower(log, Multiline(preset="indented"))
    assert [event.count(b"\n") + 1 for event in one.look()] == [EVENT_LINES_MAX, EVENT_LINES_MAX, 1]
    add(log, (" " + "y" * 1000 + "\n") * 1000)
    found = one.look()
    assert all(len(event) <= LINE_BYTES_MAX for event in found)
    one.clock.advance("3s")
    assert sum(event.count(b"y") for event in [*found, *one.look()]) == 1_000_000


@pytest.mark.parametrize("seed", range(10))
def test_every_event_comes_once_and_whole_through_kills_and_rotations(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    log = tmp_path / "app.log"
    log.write_bytes(b"")
    one = follower(log, Multiline(begins=r"event "))
    written: list[bytes] = []
    rotations = 0
    for step in range(200):
        action = choose.choices(["add", "look", "kill", "rotate", "pass time"], [6, 5, 2, 1, 2])[0]
        if action == "add":
            event = "\n".join([f"event {step}", *(f"line {n}" for n in range(choose.randrange(5)))])
            place = choose.randrange(len(event))
            add(log, event[:place])
            if choose.random() < 0.3:
                one.look()
            add(log, event[place:] + "\n")
            written.append(event.encode())
        elif action == "look":
            one.look()
        elif action == "kill":
            one.restart()
        elif action == "rotate" and log.stat().st_size:
            rotate(log)
            rotations += 1
        elif action == "pass time":
            one.clock.advance("900ms")
    for _ in range(rotations * 3 + 3):
        one.look()
        one.clock.advance("3s")
    assert one.lines == written


@pytest.mark.parametrize("preset", ["java", "python", "go", "ruby", "dotnet", "javascript", "traces", "indented"])
def test_nothing_is_lost_whatever_the_bytes_are(preset: str) -> None:
    choose = random.Random(7)
    pieces = [*(PYTHON + "\n" + JAVA + "\n" + GO).encode().split(b"\n"), b"", b"\r", b" ", b"\xff\x00", b"x" * 999]
    chosen = multiline(preset)
    assert chosen is not None
    cut = chosen.splitter()
    data = b"\n".join(choose.choices(pieces, k=3000)) + b"\n"
    found: list[bytes] = []
    place = 0
    while place < len(data):
        events_found, consumed = cut(data[place : place + 50_000], place + 50_000 >= len(data))
        found += events_found
        place += consumed
        assert consumed
    wanted = [line.rstrip(b"\r") for line in data.split(b"\n") if line.rstrip(b"\r")]
    assert [line for line in b"\n".join(found).split(b"\n") if line] == wanted


@pytest.mark.parametrize("preset", ["traces", "docker", "cri"])
def test_no_line_takes_quadratic_time(preset: str) -> None:
    """Quadratic would be hours for lines of this length: the time limit of tests is what notices it."""
    machine = Compiled(PRESETS[preset])
    for unit in (b"(", b"a.", b" ", b":1", b"'", b"\\", b"a.Exception", b"(a", b"x:1:in `", b'{"log":"'):
        line = unit * (LINE_BYTES_MAX // len(unit))
        machine.begin(line)
        for state in PRESETS[preset].states:
            machine.after(state, line)
