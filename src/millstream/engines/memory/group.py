"""What a consumer group still has to settle, as runs of offsets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

import msgspec

from millstream.engines.protocol import Lease, Ledger, Outcome, Settlement


class Place(StrEnum):
    """Where records are that the group has not settled."""

    FRESH = "fresh"
    """Never handed over."""
    LEASED = "leased"
    WAITING = "waiting"
    """Given back."""


class Run(msgspec.Struct, frozen=True):
    """Unsettled records [start, end) of a partition that share their fate."""

    start: int
    end: int
    place: Place = Place.FRESH
    attempt: int = 1
    """Of the lease that holds it, or else of the next one."""
    due_us: int = 0
    """Leased: the deadline. Waiting: when it may be handed over."""
    lease_id: int = 0
    worker: str = ""

    @property
    def count(self) -> int:
        return self.end - self.start

    def part(self, start: int, end: int) -> Run:
        """Return what lies in [start, end); the caller knows that there is some."""
        return msgspec.structs.replace(self, start=max(start, self.start), end=min(end, self.end))


@dataclass
class Group:
    """A consumer group of one topic; not thread-safe, and it does not know the log."""

    topic: str
    name: str
    runs: dict[int, list[Run]]
    """By partition: everything that is not settled."""
    accepted: int = 0
    done: int = 0
    dead: int = 0
    expired: int = 0
    state: dict[tuple[int, bytes], bytes] = field(default_factory=dict)

    def draft(self) -> Group:
        """Return a copy to change; its state is shared, because changing state cannot fail."""
        return replace(self, runs={partition: list(runs) for partition, runs in self.runs.items()})

    # --- looking --------------------------------------------------------------------------------------------------

    def all_runs(self, *places: Place) -> Iterator[tuple[int, Run]]:
        """Yield the runs that are in one of the places, with their partitions."""
        return ((partition, run) for partition, runs in self.runs.items() for run in runs if run.place in places)

    def committed(self, partition: int, end_offset: int) -> int:
        """Return the offset below which everything is settled."""
        runs = self.runs[partition]
        return runs[0].start if runs else end_offset

    def tail(self, partition: int, end_offset: int) -> int:
        """Return the offset from which on nothing was handed over: where a reader of the group as a stream goes on."""
        last = self.runs[partition][-1] if self.runs[partition] else None
        return last.start if last and last.place is Place.FRESH and last.end == end_offset else end_offset

    def ledger(self) -> Ledger:
        """Return where every record is."""
        return Ledger(
            accepted=self.accepted,
            done=self.done,
            dead=self.dead,
            expired=self.expired,
            ready=sum(run.count for _, run in self.all_runs(Place.FRESH)),
            leased=sum(run.count for _, run in self.all_runs(Place.LEASED)),
            waiting=sum(run.count for _, run in self.all_runs(Place.WAITING)),
        )

    # --- changing -------------------------------------------------------------------------------------------------

    def put(self, partition: int, start: int, end: int, *instead: Run) -> list[Run]:
        """Put runs in place of what is unsettled of [start, end); return what was there, cut to it."""
        runs = self.runs.get(partition, [])
        inside = [run.part(start, end) for run in runs if run.start < end and start < run.end]
        below = [run.part(run.start, start) for run in runs if run.start < start]
        above = [run.part(end, run.end) for run in runs if run.end > end]
        self.runs[partition] = [*below, *instead, *above]
        return inside

    def grow(self, partition: int, start: int, end: int) -> None:
        """Take in [start, end), just appended."""
        tail = self.tail(partition, start)
        self.put(partition, tail, end, Run(tail, end))
        self.accepted += end - start

    def lease(
        self, records_max: int, *, lease_id: int, worker: str, now_us: int, deadline_us: int, lifo: bool
    ) -> list[Lease]:
        """Hand over what is due, then what is fresh; leases are numbered from `lease_id` on."""
        self._take_back(now_us)
        due = [(partition, run) for partition, run in self.all_runs(Place.WAITING) if run.due_us <= now_us]
        leases: list[Lease] = []
        for partition, run in _in_order(due, lifo) + _in_order(list(self.all_runs(Place.FRESH)), lifo):
            count = min(records_max, run.count)
            if count == 0:
                break
            start = run.end - count if lifo else run.start
            held = Run(start, start + count, Place.LEASED, run.attempt, deadline_us, lease_id + len(leases), worker)
            self.put(partition, held.start, held.end, held)
            leases.append(self._lease_of(partition, held))
            records_max -= count
        return leases

    def settle(self, settlement: Settlement, now_us: int) -> bool:
        """Settle a part of a lease; False, and a group that is of no use any more, when it is not held."""
        lease, start, end = settlement.lease, settlement.start, settlement.end
        found = self.put(lease.partition, start, end)
        held = [run for run in found if run.lease_id == lease.lease_id and run.due_us > now_us]
        if sum(run.count for run in held) < end - start:
            return False
        attempt = held[0].attempt
        if settlement.outcome is Outcome.ACK:
            self.done += end - start
        elif settlement.outcome is Outcome.REJECT:
            self.dead += end - start
        elif settlement.outcome is Outcome.NACK:
            self.put(lease.partition, start, end, Run(start, end, Place.WAITING, attempt + 1, settlement.due_us))
        else:
            self.put(lease.partition, start, end, Run(start, end, Place.WAITING, attempt))
        return True

    def extend(self, lease: Lease, now_us: int, deadline_us: int) -> list[Lease]:
        """Move the deadline of a lease; return the parts of its range that are held, none when it was lost.

        The deadline is one of all that is held under the lease's id, also where `lease` names only a part of that.
        """
        held = [
            (partition, run)
            for partition, run in self.all_runs(Place.LEASED)
            if run.lease_id == lease.lease_id and run.due_us > now_us
        ]
        named = [(partition, run) for partition, run in held if run.start < lease.end and lease.start < run.end]
        if named:
            for partition, run in held:
                self.put(partition, run.start, run.end, msgspec.structs.replace(run, due_us=deadline_us))
        return [
            msgspec.structs.replace(
                self._lease_of(partition, run.part(lease.start, lease.end)), deadline_us=deadline_us
            )
            for partition, run in named
        ]

    def _take_back(self, now_us: int) -> None:
        """Make the records of expired leases due: the first of each with one more attempt, the others with the same."""
        blamed = set()
        for partition, run in list(self.all_runs(Place.LEASED)):
            if run.due_us <= now_us:
                back = Run(run.start, run.end, Place.WAITING, run.attempt)
                if run.lease_id in blamed:
                    self.put(partition, run.start, run.end, back)
                else:
                    blamed.add(run.lease_id)
                    suspect = Run(run.start, run.start + 1, Place.WAITING, run.attempt + 1)
                    self.put(partition, run.start, run.end, back)
                    self.put(partition, suspect.start, suspect.end, suspect)

    def _lease_of(self, partition: int, run: Run) -> Lease:
        return Lease(
            lease_id=run.lease_id,
            topic=self.topic,
            group=self.name,
            partition=partition,
            start=run.start,
            end=run.end,
            attempt=run.attempt,
            deadline_us=run.due_us,
            worker=run.worker,
        )


def _in_order(runs: list[tuple[int, Run]], lifo: bool) -> list[tuple[int, Run]]:
    """Return runs in the order they are handed over: lowest offset first, or highest; then by partition."""
    return sorted(runs, key=lambda of: (-of[1].start if lifo else of[1].start, of[0]))
