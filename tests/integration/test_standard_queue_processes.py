"""Standard queues shared by processes, some of which die."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from millstream import Queue, ShutDown

SCRIPT = Path(__file__).with_name("queue_process.py")
ROUNDS = int(os.environ.get("MILLSTREAM_CRASHES", "500")) // 100

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def start(path: Path) -> Iterator[Start]:
    """Start processes on the test's file; what is left of them at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start_one(role: str, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, str(SCRIPT), str(path), role, *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert output(process).readline() == "ready\n"
        return process

    yield start_one
    for process in processes:
        process.kill()
        process.wait()
        output(process).close()


def output(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def rest(process: subprocess.Popen[str]) -> list[int]:
    """Wait for the end of a process and return the items that it says it got."""
    lines = output(process).read().split()
    process.wait(60)
    return [int(line) for line in lines]


def test_each_item_reaches_exactly_one_of_many_processes(path: Path, start: Start) -> None:
    with Queue[int | None](path, durability="relaxed") as q:
        consumers = [start("consume") for _ in range(3)]
        producers = [start("produce", first, 300) for first in (0, 1000)]
        q.put_many(range(2000, 12_000))
        for producer in producers:
            assert rest(producer) == []
        q.put_many([None] * 3)
        got = [rest(consumer) for consumer in consumers]
        assert sorted(item for mine in got for item in mine) == [*range(300), *range(1000, 1300), *range(2000, 12_000)]
        assert q.empty()


@pytest.mark.parametrize("seed", range(ROUNDS))
@pytest.mark.parametrize(("count", "maxsize"), [(20_000, 0), (3_000, 5_000)], ids=["in runs", "one by one"])
def test_killed_consumer_keeps_what_it_got_and_nothing_else_is_lost(
    path: Path, start: Start, seed: int, count: int, maxsize: int
) -> None:
    moment = random.Random(seed)
    with Queue[int | None](path, maxsize, durability="relaxed") as q:
        q.put_many(range(count))
        consumer = start("consume", maxsize)
        got = [int(output(consumer).readline()) for _ in range(moment.randrange(1, count // 5))]
        consumer.kill()
        got += rest(consumer)
        left = []
        while len(got) + len(left) < count - 1:
            left.append(q.get(timeout=60))
        # At most one item was on its way from `get` to the line that says so.
        assert q.qsize() in (0, 1)
        left += [q.get_nowait() for _ in range(q.qsize())]
        assert len(set(got) | set(left)) == len(got) + len(left)
        missing = set(range(count)) - set(got) - set(left)
        assert len(missing) <= 1
        assert missing <= {got[-1] + 1}


def test_items_leased_by_a_killed_process_come_back(path: Path, start: Start) -> None:
    with Queue[int](path, durability="relaxed") as q:
        q.put_many([1, 2, 3])
        holder = start("hold", 2)
        assert output(holder).readline() == "holds [1, 2]\n"
        assert q.get() == 3
        assert q.empty()
        holder.kill()
        assert sorted(q.get(timeout=60) for _ in range(2)) == [1, 2]


def test_items_leased_by_a_process_that_ends_by_itself_come_back(path: Path, start: Start) -> None:
    with Queue[int](path, durability="relaxed") as q:
        q.put(1)
        holder = start("hold", 1)
        assert output(holder).readline() == "holds [1]\n"
        holder.send_signal(signal.SIGTERM)
        assert q.get(timeout=60) == 1


@pytest.mark.parametrize("their_maxsize", [2, 0])
def test_put_into_a_full_queue_goes_on_when_another_process_takes(path: Path, start: Start, their_maxsize: int) -> None:
    with Queue[int | None](path, 2, durability="relaxed") as q:
        consumer = start("consume", their_maxsize)
        for number in range(50):
            q.put(number, timeout=60)
        q.put(None, timeout=60)
        assert rest(consumer) == list(range(50))


def test_waiting_process_gets_what_is_put(path: Path, start: Start) -> None:
    with Queue[int | None](path, durability="relaxed") as q:
        consumer = start("consume")
        for number in range(5):
            q.put(number)
            assert output(consumer).readline() == f"{number}\n"


def test_shutdown_reaches_other_processes(path: Path, start: Start) -> None:
    with Queue[int](path, durability="relaxed") as q:
        other = start("shutdown-aware")
        q.put(1)
        assert output(other).readline() == "1\n"
        q.shutdown()
        assert output(other).read() == "shut down\n"


def test_shutdown_between_the_look_and_the_wait_is_not_missed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Queue[int](path, durability="relaxed") as q, Queue[int](path, durability="relaxed") as other:
        look = q._store.end

        def look_before_the_shutdown() -> tuple[int, int]:
            found = look()
            other.shutdown()
            return found

        monkeypatch.setattr(q._store, "end", look_before_the_shutdown)
        start = time.monotonic()
        with pytest.raises(ShutDown):
            q.get(timeout=60)
        assert time.monotonic() - start < 30, "noticed, not timed out"


HANDED_OVER = """
import multiprocessing, sys
from millstream import Queue

def get_all(q, answers):
    items = []
    while not q.empty():
        items.append(q.get())
    answers.put(items)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    q, answers = Queue("tasks.db", durability="relaxed"), Queue("tasks.db", name="answers", durability="relaxed")
    q.put_many(range(3000))
    mine = [q.get() for _ in range(1500)]  # a run is at hand, and stays the parent's
    process = context.Process(target=get_all, args=(q, answers))
    process.start()
    theirs = answers.get(timeout=40)
    process.join(40)
    while not q.empty():
        mine.append(q.get())
    assert sorted(mine + theirs) == list(range(3000)), (len(mine), len(theirs))
    print("each once")
"""


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_queue_is_handed_to_a_process_as_an_argument(tmp_path: Path, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {method}")
    script = tmp_path / "program.py"
    script.write_text(HANDED_OVER)
    done = subprocess.run(
        [sys.executable, str(script), method], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("each once\n", 0), done.stderr


TUTORIAL = """
import threading
import time
from queue import Queue, LifoQueue, PriorityQueue, Empty, Full

# Producer and consumers, a sentinel for each.
q = Queue()
results = Queue()

def producer():
    for number in range(5):
        q.put(number)
        time.sleep(0.001)
    for _ in range(2):
        q.put(None)

def consumer():
    while True:
        item = q.get()
        if item is None:
            break
        results.put(item * item)
        q.task_done()

threads = [threading.Thread(target=producer)] + [threading.Thread(target=consumer) for _ in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(results.get() for _ in range(results.qsize())))

# A bounded queue.
small = Queue(maxsize=2)
small.put("a")
small.put("b")
print(small.full(), small.qsize())
try:
    small.put_nowait("c")
except Full:
    print("full")

# A stack, and priorities.
stack = LifoQueue(10)
for letter in "abc":
    stack.put(letter)
while not stack.empty():
    print(stack.get(), end=" ")
urgent = PriorityQueue()
urgent.put((2, "code"))
urgent.put((1, "eat"))
urgent.put((3, "sleep"))
while not urgent.empty():
    print(*urgent.get(), end=" ")
print()
try:
    urgent.get(timeout=0.01)
except Empty:
    print("empty")

# Tasks that are waited for.
tasks = Queue()
def work():
    while True:
        tasks.get()
        tasks.task_done()
threading.Thread(target=work, daemon=True).start()
for number in range(20):
    tasks.put(number)
tasks.join()
print("all done")
"""


def test_tutorial_runs_with_one_changed_import(tmp_path: Path) -> None:
    outputs = []
    for module in ("queue", "millstream"):
        script = tmp_path / f"{module}_tutorial.py"
        script.write_text(textwrap.dedent(TUTORIAL).replace("from queue import", f"from {module} import"))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MILLSTREAM_")}
        done = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert "all done" in outputs[0]
    # The names that queues without a name have, and what was left in them.
    with Queue[str](tmp_path / "millstream.db", name="queue-3") as small:
        assert [small.get_nowait(), small.get_nowait()] == ["a", "b"]


def test_the_program_of_the_readme_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
        import os, sys
        from millstream import Queue
        tasks = Queue("tasks.db")
        if sys.argv[1:] == ["first"]:
            for number in range(1, 4):
                tasks.put(f"Task {number}")
            print("Processing", tasks.get(), flush=True)
            os.kill(os.getpid(), 9)
        while not tasks.empty():
            print("Processing", tasks.get())
        """)
    )
    said = [
        subprocess.run(
            [sys.executable, str(script), *argument], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        for argument in (["first"], [])
    ]
    assert said[0].stdout == "Processing Task 1\n"
    assert said[1].stdout == "Processing Task 2\nProcessing Task 3\n", said[1].stderr
