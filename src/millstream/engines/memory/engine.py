"""The engine: topics, partitions and groups behind one lock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from millstream import limits
from millstream.clock import Clock, SystemClock
from millstream.engines.memory.checks import check_limit, tell
from millstream.engines.memory.contents import Contents
from millstream.engines.memory.group import Group, Keys, Moment
from millstream.engines.memory.topic import Partition, Topic
from millstream.engines.protocol import (
    NO_MOVES,
    Append,
    BatchHeader,
    Bound,
    Capabilities,
    Durability,
    Entry,
    Finding,
    Found,
    GroupInfo,
    Lease,
    OffsetMove,
    Rate,
    Settlement,
    StateChange,
    StateRange,
    TopicInfo,
    TopicSpec,
)
from millstream.errors import (
    CapabilityError,
    ConflictError,
    LeaseLostError,
    MillstreamError,
    QueueFullError,
    TopicExistsError,
    UsageError,
)
from millstream.records import Position, StoredBatch, check_name


class MemoryEngine:
    """Keeps the log in this process's memory. See the package for how, and `Engine` for what it promises."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._kept = Contents(self.url)
        self._leases = 0
        self._callbacks = ThreadPoolExecutor(1, "millstream-memory-callbacks")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            name="memory",
            durable=False,
            many_processes=False,
            atomic_commit=True,
            atomic_append=True,
            leases=True,
            maintenance=True,
        )

    @property
    def url(self) -> str:
        return "memory://"

    # --- topics ---------------------------------------------------------------------------------------------------

    def create_topic(self, spec: TopicSpec) -> TopicInfo:
        check_name("topic", spec.name)
        check_limit(f"the number of partitions of topic {spec.name!r}", spec.partitions, limits.PARTITIONS_MAX)
        with self._changed:
            self._kept.check_open()
            topic = self._kept.topics.get(spec.name)
            if topic is None:
                check_limit("the number of topics", len(self._kept.topics) + 1, limits.TOPICS_MAX)
                partitions = [Partition(spec.name, number) for number in range(spec.partitions)]
                self._kept.topics[spec.name] = Topic(spec, self._clock.now_us(), partitions)
            elif topic.spec.partitions != spec.partitions:
                raise TopicExistsError(
                    f"topic {spec.name!r} exists with {topic.spec.partitions} partitions, not {spec.partitions}; "
                    "the number cannot be changed"
                )
            else:
                topic.spec = spec
            return self.describe_topic(spec.name)

    def delete_topic(self, topic: str) -> None:
        with self._changed:
            self._kept.topic(topic)
            del self._kept.topics[topic]
            self._changed.notify_all()

    def describe_topic(self, topic: str) -> TopicInfo:
        with self._changed:
            return self._kept.topic(topic).info()

    def topics(self) -> list[str]:
        with self._changed:
            self._kept.check_open()
            return sorted(self._kept.topics)

    def put_schema(self, topic: str, schema: bytes, *, after: int | None = None) -> int:
        with self._changed:
            schemas = self._kept.topic(topic).schemas
            if schema not in schemas:
                if after not in (None, len(schemas)):
                    raise ConflictError(
                        f"topic {topic!r} has schema {len(schemas)} now, not {after}: read it and go on from there"
                    )
                schemas.append(schema)
            return schemas.index(schema) + 1

    # --- records --------------------------------------------------------------------------------------------------

    def append(
        self, appends: Sequence[Append], *, durability: Durability | None = None, bound: Bound | None = None
    ) -> list[Position]:
        with self._changed:
            self._kept.check_open()
            if bound is not None:
                ledger = self._kept.group(bound.topic, bound.group).ledger()
                size = ledger.in_progress + sum(each.batch.count for each in appends if each.topic == bound.topic)
                if size > bound.records_max:
                    raise QueueFullError(bound.topic, bound.group, limit=bound.records_max, size=size)
            self._kept.check_appends(appends)
            return self._store(appends)

    def submit(
        self,
        appends: Sequence[Append],
        done: Callable[[list[Position] | None, BaseException | None], None],
        *,
        durability: Durability | None = None,
    ) -> None:
        with self._changed:
            self._kept.check_open()
            positions, error = None, None
            try:
                positions = self.append(appends)
            except MillstreamError as raised:
                error = raised
            self._callbacks.submit(tell, done, positions, error)

    def read(
        self, topic: str, partition: int, offset: int, *, records_max: int, bytes_max: int = 64 * 1024 * 1024
    ) -> list[StoredBatch]:
        check_limit("the number of records of a read", records_max, limits.READ_RECORDS_MAX)
        with self._changed:
            found = self._kept.partition(topic, partition)
            found.check_offset(offset)
            return found.read(offset, records_max, bytes_max)

    def wait(
        self,
        positions: Mapping[str, Mapping[int, int]],
        timeout_us: int,
        *,
        until: Callable[[], bool] | None = None,
    ) -> bool:
        with self._changed:
            changes = {name: self._kept.topic(name).changes for name in positions}

            def something_new() -> bool:
                return (until is not None and until()) or any(
                    self._kept.topic(name).changes != changes[name]
                    or any(
                        self._kept.partition(name, partition).end_offset > seen for partition, seen in offsets.items()
                    )
                    for name, offsets in positions.items()
                )

            return self._changed.wait_for(something_new, timeout_us / 1_000_000)

    # --- groups ---------------------------------------------------------------------------------------------------

    def create_group(
        self, topic: str, group: str, *, start: Mapping[int, int] | None = None, parallel: int | None = None
    ) -> GroupInfo:
        check_name("group", group)
        if parallel is not None and parallel < 1:
            raise UsageError(f"of a key at least one record has to be handed over at once, not {parallel}")
        with self._changed:
            found = self._kept.topic(topic)
            if group not in found.groups:
                new = Group(topic, group, runs={number: [] for number in range(len(found.partitions))})
                first = {number: partition.start_offset for number, partition in enumerate(found.partitions)}
                for number, offset in {**first, **(start or {})}.items():
                    partition = self._kept.partition(topic, number)
                    partition.check_offset(offset)
                    if offset < partition.end_offset:
                        new.grow(number, offset, partition.end_offset)
                found.groups[group] = new
                new.parallel = parallel
            elif parallel is not None:
                self._kept.sort_existing(found, found.groups[group], parallel)
            return self.describe_group(topic, group)

    def describe_group(self, topic: str, group: str) -> GroupInfo:
        with self._changed:
            found = self._kept.group(topic, group)
            ends = {number: partition.end_offset for number, partition in enumerate(self._kept.topic(topic).partitions)}
            return GroupInfo(
                topic=topic,
                group=group,
                committed={number: found.committed(number, end) for number, end in ends.items()},
                next_offsets={number: found.tail(number, end) for number, end in ends.items()},
                end_offsets=ends,
                ledger=found.ledger(),
                next_due_us=found.next_due_us(Moment.of(self._clock)),
                paused=found.paused,
                parallel=found.parallel,
            )

    def find(self, topic: str, group: str, partition: int, offset: int) -> Found:
        with self._changed:
            if not 0 <= offset < self._kept.partition(topic, partition).end_offset:
                self._kept.partition(topic, partition).check_offset(offset if offset < 0 else offset + 1)
            return self._kept.group(topic, group).find(partition, offset, Moment.of(self._clock))

    def groups(self, topic: str) -> list[str]:
        with self._changed:
            return sorted(self._kept.topic(topic).groups)

    def delete_group(self, topic: str, group: str) -> None:
        with self._changed:
            del self._kept.topic(topic).groups[self._kept.group(topic, group).name]

    def commit(
        self,
        topic: str,
        group: str,
        moves: Sequence[OffsetMove],
        *,
        state: Sequence[StateChange] = (),
        appends: Sequence[Append] = (),
        others: Mapping[str, Sequence[OffsetMove]] = NO_MOVES,
        expect: Sequence[StateChange] = (),
    ) -> list[Position]:
        with self._changed:
            drafts = {at: self._kept.group(at, group).draft() for at in (topic, *others)}
            for at, some in ((topic, moves), *others.items()):
                for move in some:
                    self._kept.move(drafts[at], move)
            drafts[topic].check_state(expect, self._clock.now_us())
            self._kept.check_state(topic, state)
            self._kept.check_appends(appends)
            for at, draft in drafts.items():
                self._kept.topic(at).groups[group] = draft
            drafts[topic].change_state(state)
            self._kept.topic(topic).changes += bool(state)
            return self._store(appends)

    def state(
        self, topic: str, group: str, partition: int, keys: Keys = None, *, within: StateRange | None = None
    ) -> dict[bytes, bytes]:
        with self._changed:
            self._kept.partition(topic, partition)
            return self._kept.group(topic, group).state_of(partition, keys, self._clock.now_us(), within)

    def pause(self, topic: str, group: str, *, paused: bool = True) -> None:
        with self._changed:
            self._kept.group(topic, group).paused = paused
            self._kept.topic(topic).changes += 1
            self._changed.notify_all()

    def sort(self, topic: str, group: str, partition: int, start: int, entries: Sequence[Entry]) -> bool:
        with self._changed:
            found = self._kept.group(topic, group)
            if found.parallel is None:
                raise UsageError(f"group {group!r} of {topic!r} hands over runs of offsets and sorts nothing")
            records = self._kept.partition(topic, partition)
            if start != found.tail(partition, records.end_offset):
                return False
            records.check_offset(start + len(entries))
            found.sort(partition, start, entries)
            return True

    # --- leases ---------------------------------------------------------------------------------------------------

    def lease(
        self,
        topic: str,
        group: str,
        *,
        worker: str,
        records_max: int,
        duration_us: int,
        lifo: bool = False,
        rate: Rate | None = None,
    ) -> list[Lease]:
        check_limit("the number of records of a lease", records_max, limits.LEASE_RECORDS_MAX)
        if duration_us < 1:
            raise UsageError(f"a lease of {duration_us} microseconds is over before it begins")
        with self._changed:
            leases = self._kept.group(topic, group).lease(
                records_max,
                lease_id=self._leases + 1,
                worker=worker,
                moment=Moment.of(self._clock),
                duration_us=duration_us,
                lifo=lifo,
                rate=rate,
            )
            self._leases = max([self._leases, *(lease.lease_id for lease in leases)])
            return leases

    def settle(
        self,
        settlements: Sequence[Settlement],
        *,
        appends: Sequence[Append] = (),
        state: Sequence[StateChange] = (),
    ) -> list[Position]:
        with self._changed:
            self._kept.check_open()
            moment = Moment.of(self._clock)
            drafts: dict[tuple[str, str], Group] = {}
            for settlement in settlements:
                lease, start, end = settlement.lease, settlement.start, settlement.end
                if start >= end:
                    raise UsageError(f"a settlement of [{start}, {end}) settles nothing")
                group = drafts.get((lease.topic, lease.group)) or self._kept.draft_of(lease)
                if group is None or not group.settle(settlement, moment):
                    raise LeaseLostError(
                        f"lease {lease.lease_id} of worker {lease.worker!r} no longer holds all of [{start}, {end}) of "
                        f"{lease.topic}/{lease.partition} for group {lease.group!r}: it expired or was settled; "
                        "another worker may have the records, so drop the result"
                    )
                drafts[lease.topic, lease.group] = group
            if state and len(drafts) != 1:
                raise UsageError("state is changed with settlements of one group, and these are of several or none")
            self._kept.check_appends(appends)
            for (topic, name), draft in drafts.items():
                self._kept.check_state(topic, state)
                draft.change_state(state)
                self._kept.topics[topic].groups[name] = draft
                self._kept.topics[topic].changes += 1
            self._changed.notify_all()
            return self._store(appends)

    def extend(self, leases: Sequence[Lease], duration_us: int) -> list[Lease]:
        with self._changed:
            self._kept.check_open()
            moment = Moment.of(self._clock)
            renewed: list[Lease] = []
            for lease in leases:
                topic = self._kept.topics.get(lease.topic)
                if topic and lease.group in topic.groups:
                    renewed += topic.groups[lease.group].extend(lease, moment, duration_us)
            return renewed

    def close(self) -> None:
        with self._changed:
            self._kept.closed = True
            self._changed.notify_all()
        self._callbacks.shutdown()

    # --- maintenance ----------------------------------------------------------------------------------------------

    def batch_headers(self, topic: str, partition: int, start: int, end: int, *, headers_max: int) -> list[BatchHeader]:
        with self._changed:
            return self._kept.partition(topic, partition).headers(start, end)[:headers_max]

    def replace(self, topic: str, partition: int, old: Sequence[BatchHeader], new: Sequence[StoredBatch]) -> bool:
        start, end = old[0].offset, old[-1].offset + old[-1].count
        if [start, *(batch.end_offset for batch in new)] != [*(batch.offset for batch in new), end]:
            raise UsageError(f"the new batches do not cover [{start}, {end}) of {topic}/{partition} without a gap")
        with self._changed:
            found = self._kept.partition(topic, partition)
            if found.headers(start, end) != list(old):
                return False
            found.put(start, end, new)
            return True

    def trim(self, topic: str, partition: int, before: int, *, force: bool = False) -> int:
        with self._changed:
            found = self._kept.partition(topic, partition)
            groups = self._kept.topic(topic).groups.values()
            if not force:
                before = min([before, *(group.committed(partition, found.end_offset) for group in groups)])
            start = found.trim(before)
            for group in groups:
                group.expired += sum(run.count for run in group.put(partition, 0, start))
            return start

    def vacuum(self, bytes_max: int) -> int:
        with self._changed:
            self._kept.check_open()
            return 0

    def check(self, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
        with self._changed:
            self._kept.check_open()
            findings: list[Finding] = []
            for done, topic in enumerate(self._kept.topics.values(), start=1):
                findings += topic.check()
                if progress:
                    progress(done, len(self._kept.topics))
            return findings

    def backup(self, path: str, progress: Callable[[int, int], None] | None = None) -> None:
        raise CapabilityError("memory", "back up", "it keeps no file; open one, such as sqlite:///app.db")

    def _store(self, appends: Sequence[Append]) -> list[Position]:
        positions = self._kept.append(appends, self._clock.now_us())
        self._changed.notify_all()
        return positions
