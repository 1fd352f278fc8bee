"""A worker process: one queue of an App that it imports, until it is told to stop.

It talks with its supervisor over a pipe. When the supervisor is gone, it stops as well.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from enum import StrEnum
from multiprocessing.connection import Connection
from typing import Final

import msgspec

from millstream.queue.crew import Crew
from millstream.queue.events import WorkerState
from millstream.queue.memory import resident_bytes
from millstream.queue.presence import spent_us
from millstream.run.place import AppPlace, find_app

_log = logging.getLogger("millstream.run")

REPORT_S: Final = 0.5
FIRST_REPORT_S: Final = 0.05

EXIT_OVERRUN: Final = 75
"""Of a process that ended itself because its handler overran: there is no other way to end that."""


class Order(StrEnum):
    """What the supervisor says."""

    STOP = "stop"
    ABORT = "abort"


class Report(msgspec.Struct, frozen=True):
    """What a worker process says."""

    states: tuple[WorkerState, ...] = ()
    resident_bytes: int = 0
    over: bool = False
    """The last one: it ends because it is done."""
    recycled: bool = False
    """It ends because it reached a limit of `Recycle`: another one is wanted."""
    error: str | None = None
    handled: int = 0
    busy_us: int = 0
    """Time spent in handlers, with what is running now."""


class Errand(msgspec.Struct, frozen=True):
    """What a worker process is to do."""

    places: list[AppPlace]
    queue: str
    number: int
    until_empty: bool = False
    path: tuple[str, ...] = ()
    """Where modules are found."""
    log_level: int = logging.WARNING


def serve(pipe: Connection, errand: bytes) -> None:
    """Be a worker process."""
    task = msgspec.msgpack.decode(errand, type=Errand)
    # Ctrl-C goes to all processes of a terminal; the supervisor says what is to be done about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: _Setting(stop).start())
    sys.path[:] = [*task.path, *(place for place in sys.path if place not in task.path)]
    logging.basicConfig(level=task.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    talk = _Talk(pipe, stop)
    handled, recycled, error, busy_us = 0, False, None, 0
    try:
        with find_app(task.places, task.queue) as app:
            app.log.leave_house()  # the supervisor keeps it, for all
            crew = app.queues[task.queue].crew(
                stop, until_empty=task.until_empty, workers=1, prefix=f"{task.queue}-p{task.number}", overrun=_end
            )
            talk.start(crew)
            handled = crew.run()
            recycled = crew.recycled
            busy_us = _spent_us(crew)
    except Exception as raised:  # noqa: BLE001 - told to the supervisor, which logs and decides
        _log.error("queue %s: worker process failed", task.queue, exc_info=raised)
        error = f"{type(raised).__name__}: {raised}"
    talk.last(Report(over=True, recycled=recycled, error=error, handled=handled, busy_us=busy_us))


def _spent_us(crew: Crew) -> int:
    now_us = crew.clock.now_us()
    return crew.team.gone_busy_us + sum(spent_us(state, now_us) for state in crew.states())


def _end() -> None:
    os._exit(EXIT_OVERRUN)


class _Setting(threading.Thread):
    """Sets an event from a thread of its own: a signal handler may interrupt the event's own lock."""

    def __init__(self, event: threading.Event) -> None:
        super().__init__(daemon=True)
        self._event = event

    def run(self) -> None:
        self._event.set()


class _Talk:
    """The two threads that talk with the supervisor."""

    def __init__(self, pipe: Connection, stop: threading.Event) -> None:
        self._pipe = pipe
        self._stop = stop
        self._over = threading.Event()
        self._lock = threading.Lock()

    def start(self, crew: Crew) -> None:
        threading.Thread(target=self._listen, args=(crew,), name="orders", daemon=True).start()
        threading.Thread(target=self._report, args=(crew,), name="reports", daemon=True).start()

    def last(self, report: Report) -> None:
        self._over.set()
        self._send(report)

    def _listen(self, crew: Crew) -> None:
        while True:
            try:
                order = self._pipe.recv_bytes().decode()
            except (EOFError, OSError):
                self._stop.set()
                return
            self._stop.set()
            if order == Order.ABORT:
                crew.abort()

    def _report(self, crew: Crew) -> None:
        # Often in the beginning: a process that dies soon has told that it did something.
        begun_s = time.monotonic()
        while not self._over.wait(FIRST_REPORT_S if time.monotonic() - begun_s < REPORT_S else REPORT_S):
            states = tuple(crew.states())
            handled = sum(state.handled for state in states)
            self._send(Report(states, resident_bytes(), handled=handled, busy_us=_spent_us(crew)))

    def _send(self, report: Report) -> None:
        with self._lock:
            try:
                self._pipe.send_bytes(msgspec.msgpack.encode(report))
            except OSError:
                self._stop.set()
