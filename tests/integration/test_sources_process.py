"""What processes print, and what comes through our standard input."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from millstream import App
from millstream.errors import SettingsError
from millstream.sources.line_split import LINE_BYTES_MAX
from millstream.sources.process import ProcessSource
from millstream.sources.source import Source
from millstream.sources.stdin import StdinSource
from millstream.sources.system import LogEvent, follow_system


class Reader:
    """Reads a source in a thread."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.stop_event = threading.Event()
        self.notes: list[str] = []
        self.lines: list[tuple[str, bytes]] = []
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        for reading in self.source.read({}, self.stop_event, self.notes.append):
            with self.changed:
                self.lines += [(line.origin, line.data) for line in reading.lines]
                self.changed.notify_all()

    def wait(self, count: int) -> list[tuple[str, bytes]]:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.lines) >= count, 60), self.lines
            return list(self.lines)

    def join(self) -> None:
        self.thread.join(60)
        assert not self.thread.is_alive()

    def stop(self) -> None:
        self.stop_event.set()
        self.join()


@pytest.fixture
def read() -> Iterator[Callable[[Source], Reader]]:
    readers: list[Reader] = []

    def start(source: Source) -> Reader:
        readers.append(Reader(source))
        return readers[-1]

    yield start
    for reader in readers:
        reader.stop()


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def test_both_streams_are_read_to_their_ends_with_their_names(read: Callable[[Source], Reader]) -> None:
    code = "import sys; print('out 1'); print('err 1', file=sys.stderr); sys.stdout.write('no end')"
    reader = read(ProcessSource(python(code), name="app", restart=False))
    reader.join()
    assert sorted(reader.lines) == [("app stderr", b"err 1"), ("app stdout", b"no end"), ("app stdout", b"out 1")]
    assert reader.notes == ["app ended with exit code 0"]


def test_a_process_that_ends_is_started_again(read: Callable[[Source], Reader]) -> None:
    reader = read(
        ProcessSource(python("import os; print('here', flush=True); os._exit(3)"), name="app", restart_s=0.05)
    )
    assert set(reader.wait(3)) == {("app stdout", b"here")}
    assert reader.notes[0] == "app ended with exit code 3 and is started again"


def test_a_signal_is_said_by_its_name(read: Callable[[Source], Reader]) -> None:
    reader = read(ProcessSource(python("import os; os.kill(os.getpid(), 9)"), name="app", restart=False))
    reader.join()
    assert reader.notes == ["app ended with signal SIGKILL"]


def test_a_program_that_is_missing_is_said(read: Callable[[Source], Reader]) -> None:
    reader = read(ProcessSource(["/no/such/program"], restart=False))
    reader.join()
    assert reader.notes == ["program cannot be started: No such file or directory; its command is ['/no/such/program']"]
    with pytest.raises(SettingsError, match="command is empty"):
        ProcessSource([])


def test_the_stop_ends_the_process_and_reads_its_last_words(read: Callable[[Source], Reader]) -> None:
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('last words'), sys.exit(0)))\n"
        "print('ready')\n"
        "while True: time.sleep(0.1)\n"
    )
    reader = read(ProcessSource(python(code), name="app"))
    reader.wait(1)
    assert reader.source.following() == ("app stdout", "app stderr")
    reader.stop()
    assert [line for _, line in reader.lines] == [b"ready", b"last words"]
    assert reader.source.following() == ()


def test_a_process_that_does_not_want_to_end_is_killed(
    read: Callable[[Source], Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("millstream.sources.process.GRACE_S", 0.1)
    code = (
        "import signal, os, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.getpid())\n"
        "while True: time.sleep(0.1)\n"
    )
    reader = read(ProcessSource(python(code)))
    [(_, number)] = reader.wait(1)
    reader.stop()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(int(number), signal.SIGCONT)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("it still runs")


def test_long_lines_are_cut_and_bytes_that_are_no_text_kept(read: Callable[[Source], Reader]) -> None:
    code = "import sys; sys.stdout.buffer.write(b'x' * 600_000 + b'\\n' + b'\\xff\\x00\\r\\n' + b'\\n\\nend\\n')"
    reader = read(ProcessSource(python(code), name="app", restart=False))
    reader.join()
    assert [len(line) for _, line in reader.lines] == [
        LINE_BYTES_MAX,
        LINE_BYTES_MAX,
        600_000 - 2 * LINE_BYTES_MAX,
        2,
        3,
    ]
    assert reader.lines[-2][1] == b"\xff\x00"


def test_a_trace_on_standard_error_is_one_event(read: Callable[[Source], Reader]) -> None:
    code = "import time, sys\nprint('before', file=sys.stderr)\ntime.sleep(0.1)\nraise ValueError('no')"
    reader = read(ProcessSource(python(code), name="app", multiline="python", restart=False))
    reader.join()
    [(origin, event)] = reader.lines
    assert origin == "app stderr"
    assert event.startswith(b"before\nTraceback")
    assert event.endswith(b"ValueError: no")


def test_a_writer_that_is_faster_than_we_are_waits(read: Callable[[Source], Reader]) -> None:
    code = "for i in range(200_000): print('line', i)"
    reader = read(ProcessSource([sys.executable, "-c", code], name="app", restart=False))
    reader.join()
    assert [line for _, line in reader.lines] == [b"line %d" % i for i in range(200_000)]


def test_standard_input_is_read_to_its_end(read: Callable[[Source], Reader]) -> None:
    out, into = os.pipe()
    reader = read(StdinSource(descriptor=out))
    os.write(into, b"one\ntw")
    assert reader.wait(1) == [("stdin", b"one")]
    os.write(into, b"o\nthree")
    os.close(into)
    reader.join()
    assert [line for _, line in reader.lines] == [b"one", b"two", b"three"]
    os.close(out)


def test_an_event_of_several_lines_is_held_until_it_is_quiet(read: Callable[[Source], Reader]) -> None:
    out, into = os.pipe()
    reader = read(StdinSource(descriptor=out, multiline="indented"))
    os.write(into, b"one\n  more\n")
    assert reader.wait(1) == [("stdin", b"one\n  more")]
    os.close(into)
    reader.join()
    os.close(out)


def test_the_stop_does_not_wait_for_input(read: Callable[[Source], Reader]) -> None:
    out, into = os.pipe()
    reader = read(StdinSource(descriptor=out))
    reader.stop()
    os.close(into)


def test_lines_become_events_of_their_format(tmp_path: Path) -> None:
    out, into = os.pipe()
    os.write(
        into,
        b'level=warn msg="no room" user=ann\n203.0.113.9 - - [01/Mar/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 5\n',
    )
    os.close(into)
    code = "print('it works')"
    with App(f"sqlite:///{tmp_path / 'log.db'}") as app:
        sources = [
            StdinSource(descriptor=out, format="logfmt"),
            ProcessSource(python(code), name="app", restart=False),
        ]
        with follow_system(app, sources=sources) as follower:
            follower.join()
        topic = app.topic("system", LogEvent, time="time")
        found = {(event.source, event.program, event.user, event.message) for event in (r.value for r in topic.read())}
    os.close(out)
    assert ("stdin", None, "ann", "no room") in found
    assert ("app stdout", "app", None, "it works") in found
