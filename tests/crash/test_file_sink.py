"""Files of a stream: a disk that fills up, the order in which they are made durable, what a failed write leaves."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from millstream import App, Stream, UsageError, sinks
from millstream.errors import SinkError
from millstream.sinks import Patience
from millstream.sinks.files.staging import Staging
from millstream.testing.sink_faults import Crash, InterruptedSink, Interruptions

TMPFS_BYTES = 4 * 1024 * 1024
ROW_BYTES = 10_000


class Row(msgspec.Struct):
    n: int
    text: str


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root on Linux")
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def rows_in(folder: Path) -> list[int]:
    lines = b"".join(path.read_bytes() for path in sorted(folder.glob("*.ndjson")))
    return [row.n for row in msgspec.json.Decoder(Row).decode_lines(lines)]


def test_full_disk_stops_the_stream_and_room_lets_it_go_on_with_each_row_once(tmp_path: Path, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(TMPFS_BYTES * 3 // 4))
    out = small_disk / "out"
    with App(tmp_path / "log.db", durability="relaxed") as app:
        topic = app.topic("rows", Row)
        patience = Patience(attempts=3, first_s=0.01)
        app.stream(topic, name="s")(lambda s: s.to(sinks.files(out, "ndjson", size=300_000, patience=patience)))
        topic.extend([Row(n, "x" * ROW_BYTES) for n in range(200)])
        with pytest.raises(SinkError, match="No space left") as raised:
            app.run(until="now")
        assert raised.value.retryable
        seen = rows_in(out)
        assert seen == list(range(len(seen))), "what is visible is whole and in order"
        ballast.unlink()
        app.run(until="now")
        assert rows_in(out) == list(range(200))


def test_results_are_on_disk_before_the_log_counts_on_them_and_named_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    steps: list[str] = []
    sync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}") if sys.platform == "linux" else "?"
        if str(out) in name or name == "?":
            steps.append("folder" if os.path.isdir(name) else "staged")
        sync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        steps.append("named")
        return rename(self, target)

    with App("memory://") as app:
        topic = app.topic("rows", Row)
        reader = app.stream(topic, name="s")(lambda s: s.to(sinks.files(out, "ndjson")))
        topic.extend([Row(n, "x") for n in range(10)])
        commit = app.log.engine.commit

        def committed(*arguments: object, **options: object) -> object:
            steps.append("commit")
            return commit(*arguments, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(app.log.engine, "commit", committed)
        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(Path, "rename", renamed)
        app.run(until="now")
        monkeypatch.undo()
        assert reader.info().lag == 0
    named = steps.index("named")
    before = steps[:named]
    assert "staged" in before
    assert "commit" in before[before.index("staged") :], f"staged, then committed, then named: {steps}"
    assert before.index("folder") < len(before) - before[::-1].index("commit"), "the staged file's name is durable too"
    assert "folder" in steps[named:], "the new name is made durable"


def test_failed_write_that_left_more_behind_is_written_over_whole(tmp_path: Path) -> None:
    staging = Staging(tmp_path)
    staging.make()
    length = staging.write("x", 0, b"one,")
    with staging.path("x").open("ab") as file:
        file.write(b"half of a longer piece that was never committed")
    length = staging.write("x", length, b"two")
    assert staging.path("x").read_bytes() == b"one,two"
    assert length == 7


def test_file_that_a_crash_left_without_its_name_keeps_its_sink_in_the_description(tmp_path: Path) -> None:
    interruptions = Interruptions()
    sink = InterruptedSink(sinks.files(tmp_path / "out", "ndjson", size=1), interruptions)

    def dies(number: int, step: str) -> None:
        if step == "before publish":
            raise Crash(step)

    def run(*outputs: sinks.Sink | str) -> None:
        with App(tmp_path / "log.db", durability="relaxed") as app:
            topic = app.topic("rows", Row)

            def describe(s: Stream) -> None:
                for output in outputs:
                    s.to(output)

            reader = app.stream(topic, name="s")(describe)
            if topic.info().records == 0:
                topic.extend([Row(n, "x") for n in range(3)])
            reader.run_now(threading.Event())

    interruptions.at = dies
    with pytest.raises(Crash):
        run(sink, "results")
    assert rows_in(tmp_path / "out") == []
    with pytest.raises(UsageError, match="not visible yet"):
        run("results")
    interruptions.at = lambda number, step: None
    run(sink, "results")
    assert rows_in(tmp_path / "out") == [0, 1, 2]
    run("results")  # all is visible: the sink may go
