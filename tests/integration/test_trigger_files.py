"""Files as triggers: each version once, none half read, also across restarts."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.waiting import until

from millstream import App, File, Reject, Retry, UsageError, files
from millstream.triggers.inbox.completeness import open_for_writing

ONLY_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells who has a file open")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with App(str(tmp_path / "app.db")) as app:
        yield app


def names_of_events(app: App, name: str) -> list[str]:
    return [record.value.name for record in app.topic(f"{name}.events", File).read(records_max=10_000)]


# --- the event ------------------------------------------------------------------------------------------------------


def test_a_file_comes_to_its_handler_once(app: App, inbox: Path) -> None:
    got: list[tuple[str, str, int]] = []

    @app.on(files(inbox / "*.csv", settle="50ms"))
    def load(file: File) -> None:
        got.append((file.name, file.text(), file.size))

    (inbox / "before.csv").write_text("a\n1\n")
    with app.start():
        until(lambda: len(got) == 1)
        (inbox / "after.csv").write_text("b\n")
        (inbox / "other.txt").write_text("-")
        (inbox / ".hidden.csv").write_text("-")
        (inbox / "folder.csv").mkdir()
        until(lambda: len(got) == 2)
    with app.start():
        (inbox / "third.csv").write_text("c")
        until(lambda: len(got) == 3)
    assert got == [("before.csv", "a\n1\n", 4), ("after.csv", "b\n", 2), ("third.csv", "c", 1)]


def test_a_frame_is_read_by_what_the_name_ends_in(app: App, inbox: Path) -> None:
    sums: list[int] = []

    @app.on(files(inbox / "*", settle="closed", name="tables"), retry=Retry(attempts=1))
    def load(file: File) -> None:
        sums.append(file.frame(separator=";").collect()["b"].sum())

    (inbox / "a.csv").write_text("a;b\n1;2\n3;4\n")
    (inbox / "a.xyz").write_text("a;b\n")
    app.run(until="now")
    assert sums == [6]
    assert app.dead("tables.events").count() == 1


def test_a_file_that_is_written_anew_is_a_new_version(app: App, inbox: Path) -> None:
    got: list[str] = []

    @app.on(files(inbox / "*.csv", settle="20ms", name="rewritten"))
    async def load(file: File) -> None:
        got.append(file.text())

    with app.start():
        for text in ("one", "second", "third!!"):
            (inbox / "a.csv").write_text(text)
            until(lambda text=text: got[-1:] == [text])
    assert got == ["one", "second", "third!!"]


@ONLY_LINUX
@pytest.mark.parametrize("settle", ["20ms", "closed"])
def test_a_file_is_not_taken_while_a_program_has_it_open(app: App, inbox: Path, settle: str) -> None:
    got: list[str] = []

    @app.on(files(inbox / "*.csv", settle=settle))
    def load(file: File) -> None:
        got.append(file.text())

    with app.start(), (inbox / "slow.csv").open("w") as slow:
        slow.write("first half, ")
        slow.flush()
        assert open_for_writing(slow.name)
        # Another file, written later, is through long before: the slow one had its chance.
        (inbox / "fast.csv").write_text("fast")
        until(lambda: got == ["fast"])
        slow.write("second half")
        slow.close()
        assert open_for_writing(slow.name) is False
        until(lambda: len(got) == 2)
    assert got == ["fast", "first half, second half"]


@ONLY_LINUX
def test_asking_who_writes_a_file_does_not_disturb_who_begins_to(inbox: Path) -> None:
    """A lease that is broken sends a signal, which must not end the process."""
    path = inbox / "busy"
    path.write_bytes(b"x")
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            with path.open("ab") as file:
                file.write(b"x")

    thread = threading.Thread(target=write)
    thread.start()
    try:
        answers = {open_for_writing(str(path)) for _ in range(3000)}
    finally:
        stop.set()
        thread.join()
    assert answers <= {True, False}


def test_a_marker_says_that_a_file_is_complete(app: App, inbox: Path) -> None:
    got: list[str] = []

    @app.on(files(inbox / "*", marker=".done"))
    def load(file: File) -> None:
        got.append(file.name)

    with app.start():
        (inbox / "a.bin").write_text("a")
        (inbox / "b.bin").write_text("b")
        (inbox / "b.bin.done").touch()
        until(lambda: got)
        (inbox / "a.bin.done").touch()
        until(lambda: len(got) == 2)
    assert got == ["b.bin", "a.bin"]


def test_folders_below_are_looked_into_where_that_is_asked_for(app: App, inbox: Path) -> None:
    (inbox / "2026" / "11").mkdir(parents=True)
    (inbox / "2026" / "11" / "deep.csv").write_text("d")
    (inbox / "top.csv").write_text("t")
    flat, deep = (
        files(inbox / "*.csv", name="flat", settle=0),
        files(inbox / "*.csv", name="deep", settle=0, recursive=True),
    )
    for trigger in (flat, deep):
        app.on(trigger, name=trigger.name)(lambda file: None)
    app.run(until="now")
    assert names_of_events(app, "flat") == ["top.csv"]
    assert sorted(names_of_events(app, "deep")) == ["deep.csv", "top.csv"]


def test_polling_alone_finds_files(app: App, inbox: Path) -> None:
    got: list[str] = []

    @app.on(files(inbox / "*.csv", settle=0, polling="20ms"))
    def load(file: File) -> None:
        got.append(file.name)

    with app.start():
        (inbox / "a.csv").write_text("a")
        until(lambda: got == ["a.csv"])


def test_files_of_a_burst_come_in_one_call(app: App, inbox: Path) -> None:
    calls: list[list[str]] = []

    @app.on(files(inbox / "*.csv", settle=0), coalesce="10s")
    def load(found: list[File]) -> None:
        calls.append(sorted(file.name for file in found))

    for name in "abc":
        (inbox / f"{name}.csv").write_text(name)
    app.run(until="now")
    assert calls == [["a.csv", "b.csv", "c.csv"]]


def test_a_batch_is_started_by_a_file(app: App, inbox: Path) -> None:
    rows: list[int] = []
    sales = app.topic("sales", dict)

    @app.batch(sales, on=files(inbox / "*.go", settle=0))
    def report(frame: pl.LazyFrame) -> None:
        rows.append(frame.collect().height)

    with app.start():
        sales.extend([{"n": 1}, {"n": 2}])
        (inbox / "a.go").touch()
        until(lambda: rows == [2])
        sales.append({"n": 3})
        (inbox / "b.go").touch()
        until(lambda: rows == [2, 1])


# --- what becomes of it ---------------------------------------------------------------------------------------------


def test_done_files_are_moved_and_failed_ones_elsewhere(app: App, inbox: Path, tmp_path: Path) -> None:
    done, failed = tmp_path / "processed", tmp_path / "failed"

    @app.on(files(inbox / "*.csv", settle=0, done=f"move:{done}", failed=f"move:{failed}"))
    def load(file: File) -> None:
        if file.text() == "bad":
            raise Reject("not a table")

    for round_ in range(2):
        (inbox / "a.csv").write_text(f"good {round_}")
        (inbox / "b.csv").write_text("bad")
        app.run(until="now")
    assert sorted(path.name for path in done.iterdir()) == ["a-1.csv", "a.csv"]
    assert sorted(path.name for path in failed.iterdir()) == ["b-1.csv", "b.csv"]
    assert list(inbox.iterdir()) == []
    # Moved back by hand, it is new.
    os.rename(failed / "b.csv", inbox / "b.csv")
    app.run(until="now")
    assert sorted(path.name for path in failed.iterdir()) == ["b-1.csv", "b.csv"]


def test_done_files_are_marked(app: App, inbox: Path) -> None:
    @app.on(files(inbox / "*", settle=0, done="mark", failed="mark"))
    def load(file: File) -> None:
        if file.text() == "bad":
            raise Reject("no")

    (inbox / "a").write_text("good")
    (inbox / "b").write_text("bad")
    app.run(until="now")
    app.run(until="now")
    assert sorted(path.name for path in inbox.iterdir()) == ["a", "a.processed", "b", "b.failed"]


def test_a_file_moved_before_that_was_recorded_is_not_handled_again(app: App, inbox: Path, tmp_path: Path) -> None:
    calls: list[str] = []

    @app.on(files(inbox / "*.csv", settle=0, done=f"move:{tmp_path / 'done'}"), retry=Retry(attempts=3, delay=0))
    def load(file: File) -> None:
        calls.append(file.name)
        os.rename(file.path, tmp_path / "done" / file.name)
        raise ConnectionError("the process ended here")

    (tmp_path / "done").mkdir()
    (inbox / "a.csv").write_text("a")
    app.run(until="now")
    app.run(until="now")
    assert calls == ["a.csv"]
    assert app.queues["load"].info().ledger.done == 1


def test_a_version_that_was_replaced_before_its_handler_began_is_left_to_the_next(app: App, inbox: Path) -> None:
    got: list[str] = []
    go = threading.Event()

    @app.on(files(inbox / "*.csv", settle=0))
    def load(file: File) -> None:
        if file.name == "first.csv":
            go.wait(60)
        else:
            got.append(file.text())

    (inbox / "first.csv").write_text("-")
    with app.start():
        until(lambda: app.queues["load"].info().ledger.accepted == 1)
        (inbox / "a.csv").write_text("old")
        until(lambda: app.queues["load"].info().ledger.accepted == 2)
        (inbox / "a.csv").write_text("newer")
        until(lambda: app.queues["load"].info().ledger.accepted == 3)
        go.set()
        until(lambda: got)
        until(lambda: app.queues["load"].info().ledger.done == 3)
    assert got == ["newer"]


def test_a_file_that_went_away_is_a_dead_letter(app: App, inbox: Path) -> None:
    trigger = files(inbox / "*.csv", settle=0)

    @app.on(trigger, retry=Retry(attempts=1))
    def load(file: File) -> None:
        raise AssertionError("it is not called")

    (inbox / "a.csv").write_text("a")
    trigger.source(app.log).run_now(threading.Event())
    (inbox / "a.csv").unlink()
    app.run(until="now")
    [letter] = app.dead(trigger.topic_name).list()
    assert "went away" in str(letter)


@pytest.mark.parametrize(
    ("pattern", "settings", "says"),
    [
        ("inbox/", {}, "no pattern of files"),
        ("in*/a.csv", {}, "no pattern of files"),
        ("in/*.csv", {"settle": "soon"}, "not a duration"),
        ("in/*.csv", {"marker": ""}, "marker is ''"),
        ("in/*.csv", {"done": "delete"}, "done is 'delete'"),
        ("in/*.csv", {"failed": "move:"}, "failed is 'move:'"),
        ("in/*", {"done": "move:in/done", "recursive": True}, "where they are looked for"),
    ],
)
def test_a_declaration_that_cannot_work_says_why(pattern: str, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        files(pattern, **settings)


def test_only_one_handler_can_move_files(app: App, inbox: Path) -> None:
    trigger = files(inbox / "*.csv", done="mark")
    app.on(trigger, name="one")(lambda file: None)
    with pytest.raises(UsageError, match="only one"):
        app.on(trigger, name="two")(lambda file: None)
    with pytest.raises(UsageError, match="only one"):
        app.queue(trigger, name="three")(lambda file: None)


# --- storms and restarts --------------------------------------------------------------------------------------------

APP = """
import sys
from millstream import App, File, files
app = App(sys.argv[1])
@app.on(files(sys.argv[2] + "/*.txt", settle=sys.argv[3]))
def load(file: File):
    text = file.text()
    with open(sys.argv[4], "a") as out:
        out.write(f"{file.name} {text.strip()} {len(text)}\\n")
app.run()
"""


def drop(inbox: Path, number: int, draw: random.Random) -> tuple[str, set[str]]:
    """Write a file in one of the ways that programs have; return its name and the texts that may be seen of it."""
    path = inbox / f"{number}.txt"
    text = f"v1-{number}-" + "x" * draw.randrange(1, 3000)
    match draw.randrange(4):
        case 0:
            path.write_text(text)
        case 1:  # slowly, with the file open
            with path.open("w") as file:
                for at in range(0, len(text), 1 + len(text) // 3):
                    file.write(text[at : at + 1 + len(text) // 3])
                    file.flush()
                    time.sleep(draw.random() / 50)
        case 2:  # beside, then renamed into place
            hidden = inbox / f".{number}.part"
            hidden.write_text(text)
            hidden.rename(path)
        case _:  # written anew
            path.write_text(text)
            time.sleep(draw.random() / 10)
            text2 = f"v2-{number}-" + "y" * draw.randrange(1, 3000)
            with path.open("w") as file:
                file.write(text2)
            return path.name, {text, text2}
    return path.name, {text}


@ONLY_LINUX
@pytest.mark.parametrize("settle", ["closed", "60ms"])
def test_files_dropped_in_every_way_with_restarts_come_once_and_whole(tmp_path: Path, settle: str) -> None:
    """Two processes watch the same folder, and are killed and started again while files come."""
    count = int(os.environ.get("MILLSTREAM_TEST_FILES", "100"))
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    inbox, out = tmp_path / "in", tmp_path / "out.txt"
    inbox.mkdir()
    out.touch()
    script = tmp_path / "app.py"
    script.write_text(APP)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(script), str(tmp_path / "log.db"), str(inbox), settle, str(out)])

    processes = [start(), start()]
    last: dict[str, set[str]] = {}
    try:
        for number in range(count):
            name, texts = drop(inbox, number, draw)
            last[name] = texts
            if number % (count // 4) == count // 8:
                at = number // (count // 4) % 2
                processes[at].kill() if number % 2 else processes[at].terminate()
                processes[at].wait(60)
                processes[at] = start()
        final = {f"{path.name} {path.read_text()}" for path in inbox.glob("*.txt")}

        def seen() -> list[str]:
            return [line.rpartition(" ")[0] for line in out.read_text().splitlines()]

        until(lambda: final <= set(seen()), 60)
        # Nothing more comes: the log has handled all its events.
        with App(str(tmp_path / "log.db")) as app:
            group = app.topic(_events_topic(app)).group("load")
            until(lambda: group.info().lag == 0)
            versions = Counter(
                (r.value.name, r.value.signature) for r in app.topic(_events_topic(app), File).read(records_max=10_000)
            )
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert set(versions.values()) == {1}
    for line in seen():
        name, _, text = line.partition(" ")
        # Whoever writes a file anew in place, while its handler reads it, shows it the beginning of the next version.
        half_anew = any(whole.startswith("v2-") and whole.startswith(text) for whole in last[name])
        assert text in last[name] or half_anew, (seed, line[:60])


def _events_topic(app: App) -> str:
    [name] = [topic for topic in app.log.topics() if topic.endswith(".events")]
    return name
