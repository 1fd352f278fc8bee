"""Who works on which queue: heartbeats in the log, so that every process sees the workers of all.

They are expiring state of one group of the topic `millstream.workers`, which holds no records: a key for each queue of
each process, a key for each queue with its counters of the last minute, and one with its `service_times`. A process
that dies leaves an entry that says when it was last heard of, and is forgotten a little later.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from millstream.engines.protocol import GroupInfo, StateChange
from millstream.errors import ClosedError, GroupNotFoundError, MillstreamError, TopicNotFoundError
from millstream.log.group import Group
from millstream.log.log import Log
from millstream.queue.events import WorkerState, WorkerStatus
from millstream.queue.service_times import ServiceTimes, service_key

_log = logging.getLogger("millstream.queue")

WORKERS_TOPIC: Final = "millstream.workers"
WORKERS_GROUP: Final = "workers"

BEAT_US: Final = 2_000_000
"""Between two heartbeats of a process at work: what `millstream top` shows is not older."""

IDLE_BEAT_US: Final = 10_000_000
"""The same while nothing changes: an idle worker costs a commit every ten seconds."""

EXPIRES_US: Final = 30_000_000
"""A process not heard of for this long is forgotten: three idle heartbeats."""

RECENT_BEATS: Final = 31
"""A minute of them."""

SAMPLE_US: Final = 5_000_000
"""Between two samples of a group's counters, whichever process takes them."""

SAMPLES_MAX: Final = 13
"""A minute of them: what rates are taken over."""

SAMPLES_EXPIRE_US: Final = 300_000_000

WORKERS_SHOWN_MAX: Final = 64
"""Of one process, the longest busy first: an entry stays small however many threads there are."""


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """The counters of a group at one moment."""

    at_us: int
    accepted: int
    finished: int
    """Done and dead."""


class ProcessReport(msgspec.Struct, frozen=True):
    """The workers of one queue in one process, as it last told."""

    topic: str
    group: str
    host: str
    pid: int
    started_us: int
    beat_us: int
    workers: int
    busy: int
    handled: int
    failed: int
    busy_us: int
    """Time that they spent in handlers since `started_us`."""
    recent_us: int
    """Time that the workers had in the last minute, all of them together."""
    recent_handled: int
    recent_busy_us: int
    states: tuple[WorkerState, ...]
    """Of each worker; of the longest busy ones where there are many."""
    scaled_by: str = ""
    """Who decides how many workers there are: this process, or the one that started it as a worker process."""

    @property
    def process(self) -> str:
        return f"{self.host}:{self.pid}"


class _Sums(NamedTuple):
    workers_us: int
    handled: int
    busy_us: int


class Presence:
    """Tells the others what the workers of one queue of this process do. Call `tick` often; it decides when to write.

    Never in the way of the work: a log that cannot be written is logged once, and tried again with the next beat.
    """

    def __init__(self, group: Group[Any], *, scaled_by: int | None = None) -> None:
        """Say nothing yet.

        Args:
            scaled_by: The process that started this one as a worker process; None: this one.
        """
        self._group = group
        self._clock = group.topic.log.clock
        self._started_us = self._clock.now_us()
        process = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
        self._key = _process_key(group, process)
        self._scaled_by = process if scaled_by is None else f"{socket.gethostname()}:{scaled_by}"
        self._state: Group[Any] | None = None
        self._looked_at_us = self._beat_at_us = self._clock.monotonic_us()
        # The first sample goes with the first heartbeat: rates are known a few seconds after the start.
        self._sample_at_us = self._beat_at_us - SAMPLE_US
        self._recent: deque[_Sums] = deque([_Sums(0, 0, 0)], maxlen=RECENT_BEATS)
        self._workers_us = 0
        self._counted_us = self._beat_at_us
        self._service_times = ServiceTimes()
        self._told: tuple[int, int] | None = None
        self._written = False
        self._failing = False

    def tick(self, states: Callable[[], Sequence[WorkerState]]) -> None:
        """Write a heartbeat where one is due; the first one comes `BEAT_US` after the start."""
        now_us = self._clock.monotonic_us()
        if now_us - self._looked_at_us < BEAT_US:
            return
        self._looked_at_us = now_us
        workers = states()
        summary = (sum(worker.handled for worker in workers), _busy(workers))
        if summary == self._told and now_us - self._beat_at_us < IDLE_BEAT_US:
            return
        self._beat_at_us = now_us
        try:
            self._write(workers, now_us)
        except ClosedError:
            return
        except MillstreamError as error:
            if not self._failing:
                _log.warning("queue %s: its heartbeat was not written: %s", self._group.name, error)
            self._failing = True
        else:
            self._told, self._failing, self._written = summary, False, True

    def close(self) -> None:
        """Take the entry away: its workers have ended."""
        if not self._written or self._state is None:
            return
        try:
            gone = StateChange(0, self._key, None)
            self._state.commit([], state=[gone, *self._served(self._state, self._clock.now_us())])
        except MillstreamError as error:
            # It expires by itself.
            _log.debug("queue %s: its heartbeat was not taken away: %s", self._group.name, error)

    def _write(self, workers: Sequence[WorkerState], now_us: int) -> None:
        if self._state is None:
            self._state = _state_group(self._group.topic.log)
        wall_us = self._clock.now_us()
        self._service_times.look(workers)
        handled = sum(worker.handled for worker in workers)
        busy_us = sum(spent_us(worker, wall_us) for worker in workers)
        count = sum(worker.state is not WorkerStatus.STOPPED for worker in workers)
        # Of those that came or went since the last heartbeat this is a little off.
        self._workers_us += count * (now_us - self._counted_us)
        self._counted_us = now_us
        first = self._recent[0]
        self._recent.append(_Sums(self._workers_us, handled, busy_us))
        report = ProcessReport(
            topic=self._group.topic.name,
            group=self._group.name,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_us=self._started_us,
            beat_us=wall_us,
            workers=count,
            busy=_busy(workers),
            handled=handled,
            failed=sum(worker.failed for worker in workers),
            busy_us=busy_us,
            recent_us=self._workers_us - first.workers_us,
            # A worker that was ended takes its share of the sums along.
            recent_handled=max(0, handled - first.handled),
            recent_busy_us=max(0, busy_us - first.busy_us),
            states=tuple(sorted(workers, key=_longest_busy_first)[:WORKERS_SHOWN_MAX]),
            scaled_by=self._scaled_by,
        )
        changes = [StateChange(0, self._key, msgspec.msgpack.encode(report), wall_us + EXPIRES_US)]
        if now_us - self._sample_at_us >= SAMPLE_US:
            self._sample_at_us = now_us
            changes += self._sampled(self._state, wall_us)
            changes += self._served(self._state, wall_us)
        self._state.commit([], state=changes)

    def _sampled(self, state: Group[Any], wall_us: int) -> list[StateChange]:
        """Return the change that adds a sample; none where another process has just done it.

        Two that do it at the same moment write the same counters: which of them stays does not matter.
        """
        key = _samples_key(self._group.topic.name, self._group.name)
        found = state.state(0, [key]).get(key)
        samples = [] if found is None else msgspec.msgpack.decode(found, type=list[Sample])
        # A clock that was set back leaves samples of the future, which say nothing any more.
        samples = [sample for sample in samples if sample.at_us <= wall_us]
        if samples and wall_us - samples[-1].at_us < SAMPLE_US // 2:
            return []
        samples = [*samples, sample_of(self._group.info(), wall_us)][-SAMPLES_MAX:]
        return [StateChange(0, key, msgspec.msgpack.encode(samples), wall_us + SAMPLES_EXPIRE_US)]

    def _served(self, state: Group[Any], wall_us: int) -> list[StateChange]:
        """Return the change that adds service times, if there are new ones.

        Of two processes that do it at the same moment one is lost: a sample need not have all.
        """
        if not self._service_times:
            return []
        key = service_key(self._group.topic.name, self._group.name)
        return [self._service_times.change(key, state.state(0, [key]).get(key), wall_us)]


class Heard(msgspec.Struct, frozen=True):
    """What the processes of a log have told."""

    reports: tuple[ProcessReport, ...]
    samples: dict[tuple[str, str], tuple[Sample, ...]]
    """By topic and group, oldest first."""

    def sharing(self, topic: str, group: str) -> int:
        """Return how many processes share a queue and scale for their part of it: at least 1, whoever asks."""
        scaling = {
            report.scaled_by or report.process
            for report in self.reports
            if (report.topic, report.group) == (topic, group) and report.workers
        }
        return max(1, len(scaling))


def hear(log: Log) -> Heard:
    """Return what the processes that work on a log have told of late; nothing where none ever did."""
    try:
        # Not by way of a Group, which would be made: whoever only looks changes nothing.
        told = log.engine.state(WORKERS_TOPIC, WORKERS_GROUP, 0)
    except (TopicNotFoundError, GroupNotFoundError):
        told = {}
    future_us = log.clock.now_us() + EXPIRES_US
    reports: list[ProcessReport] = []
    samples: dict[tuple[str, str], tuple[Sample, ...]] = {}
    for key, value in told.items():
        kind, topic, group, *_ = key.decode().split("/")
        try:
            if kind == "process":
                report = msgspec.msgpack.decode(value, type=ProcessReport)
                # A clock that was set back: who lives tells again soon, who died would be shown until it is that late.
                if report.beat_us <= future_us:
                    reports.append(report)
            elif kind == "samples":
                samples[topic, group] = msgspec.msgpack.decode(value, type=tuple[Sample, ...])
        except msgspec.MsgspecError:
            # Written by another version; it expires.
            continue
    reports.sort(key=lambda report: (report.topic, report.group, report.host, report.pid))
    return Heard(tuple(reports), samples)


def sample_of(info: GroupInfo, at_us: int) -> Sample:
    return Sample(at_us, info.ledger.accepted, info.ledger.done + info.ledger.dead)


def _state_group(log: Log) -> Group[Any]:
    return log.topic(WORKERS_TOPIC).group(WORKERS_GROUP)


def _process_key(group: Group[Any], process: str) -> bytes:
    return f"process/{group.topic.name}/{group.name}/{process}".encode()


def _samples_key(topic: str, group: str) -> bytes:
    return f"samples/{topic}/{group}".encode()


def _busy(workers: Sequence[WorkerState]) -> int:
    return sum(worker.state is WorkerStatus.BUSY for worker in workers)


def spent_us(worker: WorkerState, now_us: int) -> int:
    """Return the time a worker spent in handlers, what it is at included."""
    running_us = max(0, now_us - worker.since_us) if worker.state is WorkerStatus.BUSY else 0
    return worker.busy_us + running_us


def _longest_busy_first(worker: WorkerState) -> tuple[bool, int]:
    return (worker.state is not WorkerStatus.BUSY, worker.since_us)
