"""The thread of a crew that looks after its workers: leases, slow records, timeouts, cancelled ones, heartbeats."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Final

from millstream.durations import duration
from millstream.errors import ClosedError, StorageError
from millstream.queue.autoscale import Load, Scaler, backlog
from millstream.queue.cancelling import Cancelled, cancelled
from millstream.queue.presence import Presence, hear, spent_us

if TYPE_CHECKING:
    from millstream.queue.crew import Crew

_log = logging.getLogger("millstream.queue")

BUSY_US: Final = 100_000
"""A record that takes longer than this no longer holds up the ones leased with it."""

TICK_S: Final = 0.1
IDLE_TICK_S: Final = 0.25
TICK_S_MIN: Final = 0.01

SCALE_S: Final = 1.0

FLAGS_S: Final = 1.0
"""A record that runs is cancelled within this time."""


class Keeper:
    """Looks at the workers at short intervals; what it does is in the methods of their team."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._over = threading.Event()
        self._thread = threading.Thread(
            target=crew.guarded, args=(self._keep,), name=f"{crew.name}-keeper", daemon=True
        )
        scaled_by = None if crew.prefix == crew.name else os.getppid()
        self._presence = None if crew.until_empty else Presence(crew.group, scaled_by=scaled_by)
        scaling = crew.scaling
        wanted = scaling is not None and scaling.maximum > scaling.minimum and not crew.until_empty
        self._scaler = Scaler(scaling) if scaling is not None and wanted else None
        self._size = scaling.minimum if scaling is not None else 0
        self._renewed_s = 0.0
        self._flags_s = 0.0
        self._scaled_s = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        crew = self._crew
        timeout_us = crew.options.timeout_us
        tick_s = min(TICK_S, crew.lease.total_seconds() / 6)
        if timeout_us is not None:
            tick_s = max(TICK_S_MIN, min(tick_s, timeout_us / 4_000_000))
        nap_s = tick_s
        while not self._over.wait(nap_s):
            running = crew.team.running()
            if running:
                crew.team.release_ahead(busy_us=BUSY_US)
                if timeout_us is not None:
                    self._end_overdue(timeout_us)
            self._renew(nap_s)
            if running:
                self._cancel_flagged(nap_s)
            if self._presence is not None:
                self._presence.tick(crew.states)
            if self._scaler is not None:
                self._scale(self._scaler, nap_s)
            nap_s = tick_s if running or timeout_us is not None else max(tick_s, IDLE_TICK_S)
        if self._presence is not None:
            self._presence.close()

    def _end_overdue(self, timeout_us: int) -> None:
        overdue = {record.position for record, busy_us in self._crew.team.running() if busy_us >= timeout_us}
        for position in overdue:
            limit = duration(self._crew.options.timeout or 0).total_seconds()
            error = TimeoutError(f"the handler took longer than {limit:g} s")
            self._crew.team.take_over(lambda record, at=position: record.position == at, error)  # type: ignore[misc]

    def _renew(self, since_s: float) -> None:
        self._renewed_s += since_s
        if self._renewed_s < self._crew.lease.total_seconds() / 3:
            return
        self._renewed_s = 0.0
        leases = self._crew.team.held()
        if leases:
            try:
                self._crew.group.extend(leases, self._crew.lease)
            except StorageError as error:
                _log.warning("queue %s: leases not renewed, trying again: %s", self._crew.name, error)

    def _scale(self, scaler: Scaler, since_s: float) -> None:
        """Have as many workers as the load needs."""
        self._scaled_s += since_s
        if self._scaled_s < SCALE_S or self._crew.stopping():
            return
        self._scaled_s = 0.0
        try:
            info, heard = self._crew.group.info(), hear(self._crew.topic.log)
        except StorageError as error:
            _log.warning("queue %s: number of workers not looked at, trying again: %s", self._crew.name, error)
            return
        states, now_us = self._crew.states(), self._crew.clock.now_us()
        load = Load(
            at_us=self._crew.clock.monotonic_us(),
            workers=self._size,
            accepted=info.ledger.accepted,
            backlog=backlog(info, now_us),
            handled=self._crew.team.handled,
            busy_us=sum(spent_us(state, now_us) for state in states) + self._crew.team.gone_busy_us,
            processes=heard.sharing(info.topic, info.group),
        )
        decision = scaler.decide(load)
        if decision.workers != self._size:
            _log.info("queue %s: %d workers: %s", self._crew.name, decision.workers, decision.reason)
            self._size = decision.workers
            self._crew.team.resize(self._size)

    def _cancel_flagged(self, since_s: float) -> None:
        self._flags_s += since_s
        if self._flags_s < FLAGS_S:
            return
        self._flags_s = 0.0
        at: dict[int, list[int]] = {}
        for record, _ in self._crew.team.running():
            at.setdefault(record.partition, []).append(record.offset)
        try:
            for partition, offsets in at.items():
                for offset, reason in cancelled(self._crew.group, partition, offsets).items():
                    self._crew.team.take_over(
                        lambda record, where=(partition, offset): (record.partition, record.offset) == where,  # type: ignore[misc]
                        Cancelled(reason),
                    )
        except ClosedError:
            return
        except StorageError as error:
            _log.warning("queue %s: cancelled records not looked for, trying again: %s", self._crew.name, error)
