"""The threads of a crew."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

from millstream.engines.protocol import Lease
from millstream.queue.events import WorkerState
from millstream.queue.worker import Worker
from millstream.records import Record

if TYPE_CHECKING:
    from millstream.queue.crew import Crew

_log = logging.getLogger("millstream.queue")

ABANDONED_MAX: Final = 100
"""Threads with handlers that never end, each with its stack and what the handler holds: more of them is no accident."""

JOIN_S: Final = 0.2
"""A hard stop is noticed within this time."""

Chosen = Callable[[Record[Any]], bool]


class Team(Protocol):
    """Those who handle the records of a crew, as its keeper sees them."""

    gone_busy_us: int
    """Time that workers that are gone spent in handlers."""

    @property
    def handled(self) -> int:
        """Deliveries that have ended."""
        ...

    def start(self) -> None: ...

    def join(self, aborted: threading.Event) -> None:
        """Wait until all have ended; sooner after a hard stop."""
        ...

    def close(self) -> None: ...

    def states(self) -> list[WorkerState]: ...

    def held(self) -> list[Lease]:
        """Return the leases of records that are not settled."""
        ...

    def release_ahead(self, *, busy_us: int) -> None:
        """Give unstarted records back where the current one takes longer than this."""
        ...

    def running(self) -> list[tuple[Record[Any], int]]:
        """Return what handlers are at, and for how long (us)."""
        ...

    def take_over(self, chosen: Chosen, error: BaseException | None) -> bool:
        """Take records away from their handlers; see `Worker.take_over`. False: none was."""
        ...

    def abort(self) -> None:
        """Take everything away and give it back."""
        ...

    def resize(self, workers: int) -> None:
        """Have so many from now on; those too many end when they have done what they hold."""
        ...


class ThreadTeam:
    """A thread for each worker."""

    def __init__(self, crew: Crew, workers: int) -> None:
        self._crew = crew
        self._lock = threading.Lock()
        self._wanted = workers
        self._numbers = 0
        self._workers: list[Worker] = []
        self._threads: list[threading.Thread] = []
        self._gone_handled = 0
        self.gone_busy_us = 0
        self._abandoned = 0
        self._ending = False

    @property
    def handled(self) -> int:
        return self._gone_handled + sum(worker.handled for worker in self._workers)

    def start(self) -> None:
        self.resize(self._wanted)

    def resize(self, workers: int) -> None:
        with self._lock:
            self._wanted = workers
            wanted = [worker for worker in self._workers if not worker.unwanted]
            for surplus in wanted[workers:]:
                surplus.unwanted = True
            first = self._numbers + 1
            self._numbers += max(0, workers - len(wanted))
            fresh = [Worker(self._crew, f"{self._crew.prefix}-{number}") for number in range(first, self._numbers + 1)]
            self._workers += fresh
            for worker in fresh:
                self._start(worker)

    def _start(self, worker: Worker) -> None:
        thread = threading.Thread(target=self._guarded, args=(worker,), name=worker.name, daemon=True)
        worker.thread = thread
        self._threads.append(thread)
        thread.start()

    def _guarded(self, worker: Worker) -> None:
        self._crew.guarded(worker.work)
        with self._lock:
            if worker.unwanted and worker in self._workers and worker.thread is threading.current_thread():
                self._workers.remove(worker)
                self._gone_handled += worker.handled
                self.gone_busy_us += worker.state.busy_us

    def join(self, aborted: threading.Event) -> None:
        while True:
            with self._lock:
                current = [worker.thread for worker in self._workers if worker.thread is not None]
                alive = [thread for thread in current if thread.is_alive()]
            if not alive or aborted.is_set():
                return
            alive[0].join(JOIN_S)

    def close(self) -> None:
        self._ending = True

    def states(self) -> list[WorkerState]:
        return [worker.state for worker in tuple(self._workers)]

    def held(self) -> list[Lease]:
        return [lease for worker in tuple(self._workers) for lease in worker.held()]

    def release_ahead(self, *, busy_us: int) -> None:
        for worker in tuple(self._workers):
            running = worker.running()
            if running is not None and running[2] >= busy_us:
                worker.release_ahead()

    def running(self) -> list[tuple[Record[Any], int]]:
        found = [worker.running() for worker in tuple(self._workers)]
        return [(one[0], one[2]) for one in found if one is not None]

    def take_over(self, chosen: Chosen, error: BaseException | None) -> bool:
        taken = False
        for worker in tuple(self._workers):
            running = worker.running()
            if running is not None and chosen(running[0]) and worker.take_over(running[0], error):
                taken = True
                self._replace(worker)
        return taken

    def abort(self) -> None:
        self._ending = True
        for worker in tuple(self._workers):
            running = worker.running()
            if running is not None:
                worker.take_over(running[0], None)

    def _replace(self, worker: Worker) -> None:
        """Put another thread in the place of one that is with its handler still, for as long as that takes."""
        with self._lock:
            self._abandoned = sum(thread.is_alive() for thread in self._threads) - len(self._workers) + 1
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            if self._ending:
                return
            if self._crew.overrun is not None:
                self._crew.overrun()
            if self._abandoned > ABANDONED_MAX:
                raise RuntimeError(
                    f"queue {self._crew.name!r}: {self._abandoned} handlers overran their time and have not ended; "
                    'give what they call a timeout of its own, or run them in kind="processes", where they are killed'
                )
            _log.warning("queue %s, worker %s: its handler was left behind", self._crew.name, worker.name)
            self._start(worker)
