"""A process that forks while its engine is open; run by the tests of this folder, not a test itself.

    python forking_process.py fork|multiprocessing|busy PATH

Parent and children append to topic `events` through the same engine object at the same time: "<name>:<call>". Exits 0
when every child did, after printing the number of appends of each.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import traceback

from millstream.engines.protocol import Append, TopicSpec
from millstream.engines.sqlite import SqliteEngine
from millstream.testing.raw_batches import raw_batch, read_values

APPENDS = 100
CHILDREN = 3


def append(engine: SqliteEngine, name: str) -> None:
    for call in range(APPENDS):
        value = b"%s:%d" % (name.encode(), call)
        [position] = engine.append([Append("events", 0, raw_batch([value]))])
        start, values = read_values(engine, "events")
        assert values[position.offset - start] == value


def fork(engine: SqliteEngine) -> list[int]:
    children = []
    for number in range(CHILDREN):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                append(engine, f"child{number}")
                engine.close()
                status = 0
            except BaseException:  # noqa: BLE001 - a child has no caller: it says what happened and exits
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    append(engine, "parent")
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def processes(engine: SqliteEngine) -> list[int]:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=append, args=(engine, f"child{number}")) for number in range(CHILDREN)]
    for child in children:
        child.start()
    append(engine, "parent")
    for child in children:
        child.join()
    return [child.exitcode or 0 for child in children]


def busy(engine: SqliteEngine) -> list[int]:
    """Fork while other threads are in the middle of their appends."""
    stop = threading.Event()

    def run(number: int) -> None:
        call = 0
        while not stop.is_set():
            engine.append([Append("events", 0, raw_batch([b"thread%d:%d" % (number, call)]))])
            call += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        return fork(engine)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    engine = SqliteEngine(sys.argv[2])
    engine.create_topic(TopicSpec("events"))
    engine.append([Append("events", 0, raw_batch([b"before:0"]))])
    statuses = {"fork": fork, "multiprocessing": processes, "busy": busy}[sys.argv[1]](engine)
    engine.append([Append("events", 0, raw_batch([b"after:0"]))])
    assert engine.check() == []
    engine.close()
    sys.exit(any(statuses))
