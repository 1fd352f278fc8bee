"""What an operator asks of a queue: how long is it, how old is its head, does it keep up, how many workers?

Nothing here scans: depths are the group's own counters, the oldest record is the one at the committed offset, rates are
differences of counters that all processes share (`presence` keeps a minute of them in the log).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from millstream.engines.protocol import GroupInfo
from millstream.errors import GroupNotFoundError, TopicNotFoundError, UsageError
from millstream.log.append_time import append_time_us
from millstream.log.dead_letter import dead_topic_name
from millstream.log.log import Log
from millstream.queue import capacity
from millstream.queue.presence import Heard, ProcessReport, Sample, hear, sample_of
from millstream.records import time_from_us

OWN_TOPICS: Final = "millstream."
"""What topics of our own begin with: they hold state of processes and triggers, and no records."""

REDRIVE_GROUP: Final = "redrive"
"""The group of a dead letter topic whose committed records are those that were sent back or thrown away."""

WINDOW_US: Final = 60_000_000
"""Rates are taken over the last minute, or over as much of it as is known."""

WINDOW_US_MIN: Final = 500_000
"""Counters of a shorter time say more about chance than about a rate."""

SAMPLES_MAX: Final = 128
"""Of one's own, for each queue: two a second over the window."""


class QueueStats(msgspec.Struct, frozen=True):
    """One queue (a consumer group) at one moment. None: not known (yet)."""

    topic: str
    group: str
    at_us: int
    paused: bool
    ready: int
    """Wait for a worker and were never handed over; delayed ones among them."""
    leased: int
    """With a worker."""
    waiting: int
    """Given back: for a retry, or until their time has come."""
    done: int
    dead: int
    """Given up on, ever."""
    expired: int
    due: bool
    """There is something that a worker could be at now, or is."""
    next_due_us: int | None
    dead_letters: int
    """Of the topic, neither sent back nor thrown away."""
    oldest: tuple[int, int] | None
    """Partition and offset of the oldest record that is not settled."""
    oldest_age_s: float | None
    """Since it was appended."""
    window_s: float | None
    """Over which the rates are taken."""
    arrival_per_s: float | None
    finished_per_s: float | None
    """Done and dead."""
    service_s: float | None
    """Mean time of a handler in the last minute."""
    utilisation: float | None
    """Share of their time that the workers were busy in the last minute, 0 to 1."""
    drain_s: float | None
    """Until nothing is left, if things stay as they are; infinite where the queue does not get shorter."""
    workers: int
    """Of all processes."""
    busy: int
    workers_needed: int | None
    """To keep up and to do what is there within a minute, at 80% utilisation; see `millstream.queue.capacity`."""
    processes: tuple[ProcessReport, ...]

    @property
    def name(self) -> str:
        return f"{self.topic}/{self.group}"

    @property
    def unsettled(self) -> int:
        """Queued plus leased: what a scaler must not scale to zero under."""
        return self.ready + self.leased + self.waiting

    @property
    def handled(self) -> int:
        """Deliveries that ended in the processes that work on it now."""
        return sum(report.handled for report in self.processes)

    def to_object(self) -> dict[str, Any]:
        """Return it as JSON has it: all fields, and what is derived from them; what never ends is null."""
        return {**msgspec.to_builtins(self), "unsettled": self.unsettled, "at": time_from_us(self.at_us).isoformat()}


class QueueWatch:
    """Looks at the queues of a log, again and again; remembers what it saw, so that rates are known between samples.

    Made once, asked often. Safe to use from one thread at a time.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._samples: dict[tuple[str, str], deque[Sample]] = {}
        self._oldest: dict[tuple[str, str], tuple[tuple[int, int], int]] = {}

    def look(self, names: Iterable[tuple[str, str]] | None = None) -> list[QueueStats]:
        """Return the queues with these topics and groups, or all, sorted; those that are gone are left out."""
        wanted = self._all() if names is None else list(names)
        heard = hear(self._log)
        found: list[QueueStats] = []
        dead_letters: dict[str, int] = {}
        for topic, group in wanted:
            try:
                if topic not in dead_letters:
                    dead_letters[topic] = open_dead_letters(self._log, topic)
                found.append(self._look_at(topic, group, heard, dead_letters[topic]))
            except (TopicNotFoundError, GroupNotFoundError):
                self._samples.pop((topic, group), None)
                self._oldest.pop((topic, group), None)
        return found

    def _all(self) -> list[tuple[str, str]]:
        engine = self._log.engine
        return [
            (topic, group)
            for topic in self._log.topics()
            if not topic.startswith(OWN_TOPICS)
            for group in engine.groups(topic)
            if group != REDRIVE_GROUP
        ]

    def _look_at(self, topic: str, group: str, heard: Heard, dead_letters: int) -> QueueStats:
        info = self._log.engine.describe_group(topic, group)
        now_us = self._log.clock.now_us()
        processes = tuple(report for report in heard.reports if (report.topic, report.group) == (topic, group))
        sample = sample_of(info, now_us)
        rates = rates_over(self._known(topic, group, heard), sample)
        self._samples.setdefault((topic, group), deque(maxlen=SAMPLES_MAX)).append(sample)
        oldest = oldest_unsettled(info)
        ledger = info.ledger
        service_s = capacity.service_s(
            sum(report.recent_busy_us for report in processes), sum(report.recent_handled for report in processes)
        )
        backlog = ledger.ready + ledger.waiting
        return QueueStats(
            topic=topic,
            group=group,
            at_us=now_us,
            paused=info.paused,
            ready=ledger.ready,
            leased=ledger.leased,
            waiting=ledger.waiting,
            done=ledger.done,
            dead=ledger.dead,
            expired=ledger.expired,
            due=is_due(info, now_us),
            next_due_us=info.next_due_us,
            dead_letters=dead_letters,
            oldest=oldest,
            oldest_age_s=None if oldest is None else self._age_s(topic, group, oldest, now_us),
            window_s=rates.window_s if rates else None,
            arrival_per_s=rates.arrival_per_s if rates else None,
            finished_per_s=rates.finished_per_s if rates else None,
            service_s=service_s,
            utilisation=_utilisation(processes),
            drain_s=capacity.drain_s(ledger.in_progress, rates.arrival_per_s, rates.finished_per_s) if rates else None,
            workers=sum(report.workers for report in processes),
            busy=sum(report.busy for report in processes),
            workers_needed=None
            if rates is None or service_s is None
            else capacity.workers_needed(arrival_per_s=rates.arrival_per_s, backlog=backlog, service_s=service_s),
            processes=processes,
        )

    def _known(self, topic: str, group: str, heard: Heard) -> list[Sample]:
        own = self._samples.get((topic, group), ())
        return sorted({*heard.samples.get((topic, group), ()), *own}, key=lambda sample: sample.at_us)

    def _age_s(self, topic: str, group: str, oldest: tuple[int, int], now_us: int) -> float | None:
        known = self._oldest.get((topic, group))
        if known is None or known[0] != oldest:
            appended_us = append_time_us(self._log, topic, *oldest)
            if appended_us is None:
                return None
            known = self._oldest[topic, group] = (oldest, appended_us)
        return max(0.0, (now_us - known[1]) / 1e6)


def find_queue(log: Log, name: str) -> tuple[str, str]:
    """Return topic and group of a queue named `GROUP`, or `TOPIC/GROUP` where several topics have such a group.

    Raises:
        UsageError: There is none, or there are several.
    """
    topic, slash, group = name.rpartition("/")
    if slash:
        log.engine.describe_group(topic, group)
        return topic, group
    found = [topic for topic in log.topics() if not topic.startswith(OWN_TOPICS) and name in log.engine.groups(topic)]
    if not found:
        raise UsageError(f"no topic has a consumer group {name!r}; `millstream queue` lists those there are")
    if len(found) > 1:
        names = ", ".join(f"{topic}/{name}" for topic in found)
        raise UsageError(f"several topics have a consumer group {name!r}; give one of {names}")
    return found[0], name


def open_dead_letters(log: Log, topic: str) -> int:
    """Return how many dead letters of a topic were neither sent back nor thrown away, without a scan."""
    dead = dead_topic_name(topic)
    try:
        return log.engine.describe_group(dead, REDRIVE_GROUP).ledger.in_progress
    except GroupNotFoundError:
        return log.engine.describe_topic(dead).records
    except (TopicNotFoundError, UsageError):
        return 0


def oldest_unsettled(info: GroupInfo) -> tuple[int, int] | None:
    """Return partition and offset of what a group has not settled: of the partition that is furthest behind."""
    behind = [
        (offset - info.end_offsets[partition], partition, offset)
        for partition, offset in info.committed.items()
        if offset < info.end_offsets[partition]
    ]
    return min(behind)[1:] if behind else None


def is_due(info: GroupInfo, now_us: int) -> bool:
    """Say whether there is something that a worker could be at now, or is."""
    fresh = sum(end - info.next_offsets[partition] for partition, end in info.end_offsets.items())
    # In sorted order what is ready may also have to wait for its time, or for another record of its key.
    ready = info.ledger.ready if info.parallel is None else fresh
    if info.ledger.leased or ready:
        return True
    if info.next_due_us is not None:
        return info.next_due_us <= now_us
    return info.ledger.in_progress > 0


class Rates(NamedTuple):
    """How fast a queue grew and shrank."""

    window_s: float
    """Measured over."""
    arrival_per_s: float
    finished_per_s: float


def rates_over(known: Sequence[Sample], now: Sample, window_us: int = WINDOW_US) -> Rates | None:
    """Return the rates between the oldest sample of the window and now.

    Where none is in the window, the newest before it counts. None: nothing is known, or not for long enough.
    """
    # A clock that was set back, or a group that was made anew, leaves samples that are ahead of now.
    past = [
        sample
        for sample in known
        if now.at_us - sample.at_us >= WINDOW_US_MIN
        and sample.accepted <= now.accepted
        and sample.finished <= now.finished
    ]
    if not past:
        return None
    first = next((sample for sample in past if now.at_us - sample.at_us <= window_us), past[-1])
    elapsed_s = (now.at_us - first.at_us) / 1e6
    return Rates(elapsed_s, (now.accepted - first.accepted) / elapsed_s, (now.finished - first.finished) / elapsed_s)


def _utilisation(processes: Sequence[ProcessReport]) -> float | None:
    time_us = sum(report.recent_us for report in processes)
    return capacity.utilisation(sum(report.recent_busy_us for report in processes), 1, time_us)
