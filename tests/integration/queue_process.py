"""A process that shares a standard queue with its test; what it got goes to stdout, one line an item, at once.

python queue_process.py PATH consume [MAXSIZE]      get until None comes
python queue_process.py PATH hold COUNT             get(ack=True) so many, then sleep
python queue_process.py PATH produce FIRST COUNT    put numbers, one by one
python queue_process.py PATH shutdown-aware         get until ShutDown, then say "shut down"
"""

from __future__ import annotations

import os
import sys
import time

from millstream import Queue, ShutDown


def say(what: object) -> None:
    # One write a line: what is said before a kill is said whole.
    os.write(1, f"{what}\n".encode())


def main(path: str, role: str, *arguments: str) -> None:
    maxsize = int(arguments[0]) if role == "consume" and arguments else 0
    q: Queue[int | None] = Queue(path, maxsize, durability="relaxed")
    say("ready")
    match role:
        case "consume":
            while (item := q.get()) is not None:
                say(item)
        case "hold":
            held = [q.get(ack=True) for _ in range(int(arguments[0]))]
            say(f"holds {held}")
            time.sleep(600)
        case "produce":
            first, count = map(int, arguments)
            for number in range(first, first + count):
                q.put(number)
        case "shutdown-aware":
            try:
                while True:
                    say(q.get())
            except ShutDown:
                say("shut down")


if __name__ == "__main__":
    main(*sys.argv[1:])
