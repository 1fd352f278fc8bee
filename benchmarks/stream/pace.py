"""The processes of `latency`: python -m benchmarks.stream.pace append|stream|read FILE stateless|window DURABILITY"""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.stream.latency import PER_SECOND, SECONDS
from benchmarks.stream.runs import opened
from millstream.log.log import Log
from millstream.stream.aggregates import count
from millstream.stream.reader import StreamReader
from millstream.stream.windows import tumbling

if TYPE_CHECKING:
    from millstream.stream.description import Stream

WARM_S = 2.0
"""Results of the first seconds are not counted: imports, the first transactions."""


class Click(msgspec.Struct):
    at: datetime
    page: str
    load_ms: int


class Passed(msgspec.Struct):
    at: datetime
    page: str


def append(log: Log) -> None:
    """Append at a steady rate, one by one."""
    topic = log.topic("clicks", Click, time="at")
    begin = time.monotonic()
    for i in range(PER_SECOND * SECONDS):
        if (wait := begin + i / PER_SECOND - time.monotonic()) > 0:
            time.sleep(wait)
        topic.append(Click(datetime.now(UTC), f"/page/{i % 20}", i % 1000))


def stream(log: Log, kind: str) -> None:
    """Run the stream until standard input says so."""
    topic = log.topic("clicks", Click, time="at")

    def stateless(clicks: Stream) -> None:
        clicks.select("at", "page").to(log.topic("out", Passed, time="at"))

    def window(clicks: Stream) -> None:
        clicks.window(tumbling(seconds=1), by="page").agg(views=count()).to("out")

    reader = StreamReader(topic, description=stateless if kind == "stateless" else window, name="measured")
    stop = threading.Event()
    runner = threading.Thread(target=reader.run, args=(stop,))
    # The output's topic is there once the stream is open.
    reader.open()
    runner.start()
    print("ready", flush=True)
    sys.stdin.readline()
    stop.set()
    runner.join()


def read(log: Log, kind: str) -> None:
    """Follow the output; print how long after its cause each result was here."""
    topic = log.topic("out")
    stop = threading.Event()
    latencies: list[float] = []
    print("ready", flush=True)
    threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
    first: float | None = None
    for record in topic.tail("start", stop=stop.is_set):
        now = time.time()
        caused = record.value["at" if kind == "stateless" else "window_end"].timestamp()
        first = caused if first is None else first
        if caused - first >= WARM_S:
            latencies.append(now - caused)
    print(msgspec.json.encode(latencies).decode())


def main(role: str, path: str, kind: str, durability: str) -> None:
    with opened(Path(path), durability) as log:
        match role:
            case "append":
                append(log)
            case "stream":
                stream(log, kind)
            case "read":
                read(log, kind)


if __name__ == "__main__":
    main(*sys.argv[1:])
