"""Stack traces in the logs of containers: joined on what is inside, each stream by itself, every line kept."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.tail_follower import Follower, add, rotate

from millstream import App
from millstream.parsers.formats import FORMATS
from millstream.sources.containers import BEHIND_BYTES_MAX, container_line
from millstream.sources.files import FileSource
from millstream.sources.line_split import READ_LINES_MAX
from millstream.sources.multiline import Multiline, multiline
from millstream.sources.system import follow_system

START = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
TRACE = [
    "Traceback (most recent call last):",
    '  File "/app/shop.py", line 3, in buy',
    "    return 1 / 0",
    'ZeroDivisionError: division by "zero"',
]
JAVA = ["java.lang.IllegalStateException: no room", "\tat com.example.Shop.buy(Shop.java:22)", "\t... 2 more"]


def cri(text: str, stream: str = "stdout", *, at: float = 0, tag: str = "F") -> str:
    time = (START + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return f"{time}789Z {stream} {tag} {text}"


def docker(text: str, stream: str = "stdout", *, at: float = 0, tag: str = "F") -> str:
    time = (START + timedelta(seconds=at)).strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z"
    return json.dumps({"log": text + "\n" * (tag == "F"), "stream": stream, "time": time}, separators=(",", ":"))


RUNTIMES = pytest.mark.parametrize("line", [cri, docker])


def events(lines: Sequence[str], chosen: str | Multiline = "traces", *, final: bool = True) -> list[list[str]]:
    found = multiline(chosen)
    assert found is not None
    data = "".join(f"{line}\n" for line in lines).encode()
    pieces, _ = found.splitter()(data, final)
    return [piece.decode().split("\n") for piece in pieces]


@RUNTIMES
def test_a_trace_is_one_event_with_the_lines_of_the_file(line) -> None:  # type: ignore[no-untyped-def]
    before, after = line("before"), line("after")
    trace = [line(text) for text in TRACE]
    assert events([before, before, *trace, after]) == [[before], [before, *trace], [after]]
    java = [line(text, "stderr") for text in JAVA]
    assert events([before, *java, after], "java") == [[before], java, [after]]


@RUNTIMES
def test_streams_stand_between_one_another_and_are_kept_apart(line) -> None:  # type: ignore[no-untyped-def]
    out = [line(text) for text in TRACE]
    err = [line(text, "stderr") for text in JAVA]
    mixed = [out[0], err[0], out[1], err[1], out[2], err[2], out[3], line("next")]
    assert events(mixed) == [out, err, [line("next")]]
    # A file of one container: a trace of its own is not continued by what another stream says.
    assert events([out[0], err[0], line("  File x")]) == [[out[0], line("  File x")], [err[0]]]


@RUNTIMES
def test_parts_of_a_line_are_put_together_first(line) -> None:  # type: ignore[no-untyped-def]
    first = [line("Traceback (most ", tag="P"), line("recent call last):")]
    frame = [line('  File "a.py", ', tag="P"), line("line 3", tag="P"), line("")]
    other = [line("  indented ", "stderr", tag="P"), line("stderr", "stderr")]
    mixed = [first[0], other[0], first[1], frame[0], other[1], frame[1], frame[2], line("ValueError: no")]
    assert events(mixed) == [[*first, *frame, line("ValueError: no")], other]
    for preset in ("docker", "cri"):
        assert events(mixed, preset) == [first, other, frame, [line("ValueError: no")]]
    [found] = FORMATS["container"].parser("s").events(["\n".join([*first, *frame]).encode()], now=START)  # type: ignore[attr-defined]
    assert found.message == 'Traceback (most recent call last):\n  File "a.py", line 3'
    assert found.fields == {"stream": "stdout"}


@RUNTIMES
def test_own_expressions_are_of_what_is_inside(line) -> None:  # type: ignore[no-untyped-def]
    lines = [line(text) for text in ("[1] a", "b", "[2] c", "d")]
    assert events(lines, Multiline(begins=r"\[\d")) == [lines[:2], lines[2:]]
    assert events(lines, Multiline(continues=r"[a-z]")) == [lines[:2], lines[2:]]
    assert events([line("a"), line("  b"), line("c")], "indented") == [[line("a"), line("  b")], [line("c")]]


@RUNTIMES
def test_a_quiet_stream_does_not_hold_up_the_other(line) -> None:  # type: ignore[no-untyped-def]
    last = line("the last of stdout")
    err = [line(str(n), "stderr", at=n * 0.5) for n in range(6)]
    found = events([last, *err], final=False)
    assert found == [[last], *([one] for one in err[:-1])]
    # Times that say nothing: what is far behind is complete.
    many = [line("x" * 1000, "stderr") for _ in range(BEHIND_BYTES_MAX // 1000 + 10)]
    assert events([last, *many], final=False)[0] == [last]


def test_lines_of_no_runtime_are_events_of_their_own() -> None:
    lines = ['{"log":1,"stream":"stdout"}', '{"log":"no end', "2026-03-01T10:00:00Z stdin F x", "a stdout b"]
    assert [container_line(line.encode()) for line in lines] == [None] * 4
    assert events([cri("a"), *lines, cri("b")]) == [[cri("a")], *([line] for line in lines), [cri("b")]]


def test_streams_that_always_lie_across_one_another_are_read_all_the_same() -> None:
    """Neither is ever complete where the other is: then all that is there is taken as it is."""
    lines = [cri("begin"), cri("begin", "stderr")]
    lines += [cri(f" {n}", ("stdout", "stderr")[n % 2]) for n in range(READ_LINES_MAX)]
    data = "".join(f"{line}\n" for line in lines).encode()
    split = Multiline(preset="indented").splitter()
    found, consumed = split(data, False)
    assert consumed
    rest, more = split(data[consumed:], True)
    assert consumed + more == len(data)
    assert sorted("\n".join(one.decode() for one in [*found, *rest]).split("\n")) == sorted(lines)


TEXTS = st.sampled_from([*TRACE, *JAVA, "INFO a", "  indented", "", "panic: x", "\tat a.b(C.java:1)", "é"])
STEPS = st.sampled_from([0.0, 0.001, 0.5, 2.5, -3.0])
LINES = st.tuples(TEXTS, st.sampled_from(["stdout", "stderr"]), STEPS, st.sampled_from("FFFFP"))


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=40), st.sampled_from([cri, docker]), st.data())
def test_however_a_file_comes_its_events_are_the_same(written, line, data) -> None:  # type: ignore[no-untyped-def]
    at, lines = 0.0, []
    for text, stream, step, tag in written:
        at += step
        lines.append(line(text, stream, at=at, tag=tag))
    text = "".join(f"{one}\n" for one in lines).encode()
    split = Multiline(preset="traces").splitter()
    whole, consumed = split(text, True)
    assert consumed == len(text)
    assert sorted(b"\n".join(whole).split(b"\n")) == sorted(text.strip(b"\n").split(b"\n"))
    place, seen, found = 0, 0, []
    while seen < len(text):
        seen = min(len(text), seen + data.draw(st.integers(1, 400)))
        pieces, taken = split(text[place:seen], False)
        found += pieces
        place += taken
    pieces, taken = split(text[place:], True)
    assert sorted([*found, *pieces]) == sorted(whole)
    assert [*found, *pieces] == whole


@pytest.mark.parametrize("seed", range(10))
@RUNTIMES
def test_every_event_comes_once_and_whole_through_kills_and_rotations(line, seed: int, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    choose = random.Random(seed)
    log = tmp_path / "0.log"
    log.write_bytes(b"")
    chosen = Multiline(begins=r"event ")
    one = Follower(log, lines_first=None, split=chosen.splitter(), quiet_us=chosen.quiet_us)
    written: list[bytes] = []
    rotations = 0
    for step in range(120):
        action = choose.choices(["add", "look", "kill", "rotate", "pass time"], [6, 5, 2, 1, 2])[0]
        if action == "add":
            both = [[line(f"event {step} {stream}", stream, at=step)] for stream in ("stdout", "stderr")]
            for lines, stream in zip(both, ("stdout", "stderr"), strict=True):
                lines += [line(f"line {n}", stream, at=step) for n in range(choose.randrange(4))]
            queues = [list(lines) for lines in both]
            mixed = [queues[0].pop(0)]
            while any(queues):
                mixed.append(choose.choice([queue for queue in queues if queue]).pop(0))
            text = "".join(f"{each}\n" for each in mixed)
            place = choose.randrange(len(text))
            add(log, text[:place])
            if choose.random() < 0.3:
                one.look()
            add(log, text[place:])
            written += ["\n".join(lines).encode() for lines in both]
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


def test_a_link_is_followed_to_what_its_file_was_renamed_to(tmp_path: Path) -> None:
    """As in Kubernetes: /var/log/containers has links, kubelet renames the files behind them."""
    pods, links = tmp_path / "pods", tmp_path / "containers"
    pods.mkdir()
    links.mkdir()
    file, link = pods / "0.log", links / "shop_default_shop-abc.log"
    link.symlink_to(file)
    add(file, cri("one") + "\n")
    one = Follower(link, lines_first=None)
    assert one.look() == [cri("one").encode()]
    one.tail.close()
    add(file, cri("two") + "\n")
    file.rename(pods / "0.log.20260301-100000")
    add(file, cri("three") + "\n")
    one.restart()
    one.look()
    one.clock.advance("2s")
    one.look()
    assert one.lines == [cri(text).encode() for text in ("one", "two", "three")]
    assert one.notes == []


def test_a_trace_of_a_container_is_one_event_in_the_log(tmp_path: Path) -> None:
    path = tmp_path / "abc-json.log"
    lines = [docker("ERROR no order", "stderr"), docker("GET /health")]
    lines += [docker(text, "stderr", at=0.1) for text in TRACE] + [docker('{"level":"info","msg":"next"}', at=9)]
    path.write_text("".join(f"{line}\n" for line in lines))
    with App(tmp_path / "log.db") as app:
        source = FileSource([path], format="container", multiline="traces", lines_first=None, follow=False)
        with follow_system(app, sources=[source]) as follower:
            follower.join()
        found = [record.value for record in app.topic("system").read(0, records_max=100)]
    assert [event["message"] for event in found] == ["ERROR no order\n" + "\n".join(TRACE), "GET /health", "next"]
    assert [event["fields"]["stream"] for event in found] == ["stderr", "stdout", "stdout"]
    assert found[0]["severity"] == "err"
    assert found[0]["raw"].split("\n") == [lines[0], *lines[2:-1]]
