"""What a consumer group still has to settle, as runs of offsets."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import takewhile
from typing import NamedTuple, TypeAlias

import msgspec

from millstream.clock import Clock
from millstream.engines import protocol
from millstream.engines.protocol import (
    Entry,
    Found,
    Lease,
    Ledger,
    Outcome,
    Rate,
    Settlement,
    StateChange,
    StateRange,
)
from millstream.errors import CommitConflictError

FOLLOWERS_MAX = 16
"""Records of one key in one lease: few enough that other keys get a turn, many enough for a key that comes alone."""


Keys: TypeAlias = Sequence[bytes] | None


class Moment(NamedTuple):
    """Now, on both clocks: what was told to wait until a time waits by the wall's, leases run out by the steady one."""

    now_us: int
    steady_us: int

    @classmethod
    def of(cls, clock: Clock) -> Moment:
        return cls(clock.now_us(), clock.monotonic_us())


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
    """Leased: the deadline, on the steady clock. Else: when it may be handed over, on the wall clock."""
    lease_id: int = 0
    worker: str = ""
    turn: int = 0
    """Leased: lower ones of the same lease are handled first."""
    entry: Entry | None = None
    """What `sort` told of it; such a run is one record."""

    @property
    def count(self) -> int:
        return self.end - self.start

    def leased(self, lease_id: int, worker: str, deadline_us: int, turn: int) -> Run:
        return msgspec.structs.replace(
            self, place=Place.LEASED, lease_id=lease_id, worker=worker, due_us=deadline_us, turn=turn
        )

    def given_back(self, attempt: int, due_us: int) -> Run:
        return msgspec.structs.replace(
            self, place=Place.WAITING, attempt=attempt, due_us=due_us, lease_id=0, worker="", turn=0
        )

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
    paused: bool = False
    parallel: int | None = None
    rates: dict[bytes, int] = field(default_factory=dict)
    """When the next delivery of a key would be on time."""
    state: dict[tuple[int, bytes], StateChange] = field(default_factory=dict)
    """The last change of each key that was not a deletion."""

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
        if last is None or last.place is not Place.FRESH or last.entry is not None or last.end != end_offset:
            return end_offset
        return last.start

    def find(self, partition: int, offset: int, moment: Moment) -> Found:
        """Return how one record stands."""
        run = next((run for run in self.runs[partition] if run.start <= offset < run.end), None)
        if run is None:
            return Found(protocol.Place.SETTLED)
        place = protocol.Place.READY if run.place is Place.FRESH else protocol.Place(run.place.value)
        return Found(place, run.attempt, _wall_us(run, moment), run.worker)

    def heads(self) -> list[tuple[int, Run]]:
        """Return what may be out of a group in sorted order: of each key the first `parallel`."""
        seen: dict[bytes, int] = {}
        heads = []
        for partition, run in sorted(self.all_runs(*Place), key=lambda of: (of[1].start, of[0])):
            if run.entry is not None:
                seen[run.entry.key] = seen.get(run.entry.key, 0) + 1
                if not run.entry.key or seen[run.entry.key] <= (self.parallel or 0):
                    heads.append((partition, run))
        return heads

    def next_due_us(self, moment: Moment) -> int | None:
        """Return when a lease runs out or something that cannot be handed over yet is due."""
        leased = [run for _, run in self.all_runs(Place.LEASED)]
        waiting = [run for _, run in self.all_runs(Place.WAITING)]
        if self.parallel is not None:
            heads = [run for _, run in self.heads() if run.place is not Place.LEASED]
            waiting = [run for run in heads if run.place is Place.WAITING or run.due_us]
        return min((_wall_us(run, moment) for run in leased + waiting), default=None)

    def state_of(self, partition: int, keys: Keys, now_us: int, within: StateRange | None = None) -> dict[bytes, bytes]:
        """Return the state of a partition, or those of the given keys or range that exist and have not expired."""
        found = {
            key: change.value
            for (of, key), change in self.state.items()
            if of == partition
            and change.value is not None
            and (keys is None or key in keys)
            and (within is None or within.first <= key < within.past)
            and (change.expires_us is None or change.expires_us > now_us)
        }
        return found if within is None else {key: found[key] for key in sorted(found)[: within.keys_max]}

    def check_state(self, expect: Sequence[StateChange], now_us: int) -> None:
        """Raise unless state is as expected."""
        for wanted in expect:
            if self.state_of(wanted.partition, [wanted.key], now_us).get(wanted.key) != wanted.value:
                raise CommitConflictError(
                    f"group {self.name!r} of {self.topic!r}: its state {wanted.key!r} is not what this reader left: "
                    "another reader has taken over; read the state anew and go on from there"
                )

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
        # Runs are in order and do not overlap: only those in between are cut.
        first = bisect_right(runs, start, key=lambda run: run.end)
        past = bisect_left(runs, end, first, key=lambda run: run.start)
        cut = runs[first:past]
        below = [run.part(run.start, start) for run in cut[:1] if run.start < start]
        above = [run.part(end, run.end) for run in cut[-1:] if run.end > end]
        self.runs[partition] = [*runs[:first], *below, *instead, *above, *runs[past:]]
        return [run.part(start, end) for run in cut]

    def grow(self, partition: int, start: int, end: int) -> None:
        """Take in [start, end), just appended."""
        tail = self.tail(partition, start)
        self.put(partition, tail, end, Run(tail, end))
        self.accepted += end - start

    def change_state(self, changes: Sequence[StateChange]) -> None:
        for change in changes:
            self.state.pop((change.partition, change.key), None)
            if change.value is not None:
                self.state[change.partition, change.key] = change

    def sort(self, partition: int, start: int, entries: Sequence[Entry]) -> None:
        """Take the records from `start` on, the tail, into sorted order."""
        runs = [Run(at, at + 1, due_us=entry.due_us, entry=entry) for at, entry in enumerate(entries, start)]
        self.put(partition, start, start + len(entries), *runs)

    def lease(
        self,
        records_max: int,
        *,
        lease_id: int,
        worker: str,
        moment: Moment,
        duration_us: int,
        lifo: bool,
        rate: Rate | None,
    ) -> list[Lease]:
        """Hand over what is due; leases are numbered from `lease_id` on."""
        now_us, deadline_us = moment.now_us, moment.steady_us + duration_us
        self._take_back(moment.steady_us)
        if self.paused:
            return []
        if self.parallel is None:
            chosen = self._next_runs(records_max, now_us, lifo)
            held = [
                (partition, run.leased(number, worker, deadline_us, run.start))
                for number, (partition, run) in enumerate(chosen, lease_id)
            ]
        else:
            # One lease a partition, as the worker handles them in this order.
            chosen = self._next_sorted(records_max, now_us, rate)
            held = [
                (partition, run.leased(lease_id + partition, worker, deadline_us, turn))
                for turn, (partition, run) in enumerate(chosen)
            ]
        for partition, run in held:
            self.put(partition, run.start, run.end, run)
        return [self._lease_of(partition, run, moment) for partition, run in held]

    def _next_runs(self, records_max: int, now_us: int, lifo: bool) -> list[tuple[int, Run]]:
        """Return what is due, then what is fresh; cut to so many records."""
        due = [(partition, run) for partition, run in self.all_runs(Place.WAITING) if run.due_us <= now_us]
        chosen = []
        for partition, run in _in_order(due, lifo) + _in_order(list(self.all_runs(Place.FRESH)), lifo):
            count = min(records_max, run.count)
            if count:
                start = run.end - count if lifo else run.start
                chosen.append((partition, run.part(start, start + count)))
                records_max -= count
        return chosen

    def _next_sorted(self, records_max: int, now_us: int, rate: Rate | None) -> list[tuple[int, Run]]:
        """Return the heads that are due, by rank; after the only head of a key what follows it, if there is room."""
        due = [(p, run) for p, run in self.heads() if run.place is not Place.LEASED and run.due_us <= now_us]
        due = sorted(due, key=lambda of: (_rank(of[1]), of[1].start, of[0]))[:records_max]
        chosen: list[tuple[int, Run]] = []
        for partition, run in due:
            room = records_max - len(chosen)
            if not room:
                break
            key = run.entry.key if run.entry else b""
            if rate is not None and key and not self._is_on_time(key, rate, now_us):
                due_us = self.rates[key] - rate.per_us + _gap(rate)
                self.put(partition, run.start, run.end, msgspec.structs.replace(run, due_us=due_us))
                continue
            chosen.append((partition, run))
            if key and self.parallel == 1 and rate is None and len(due) < room - 1:
                chosen += self._followers(partition, run, min(FOLLOWERS_MAX, room - len(due)))
        return chosen

    def _followers(self, partition: int, head: Run, count: int) -> list[tuple[int, Run]]:
        """Return what comes next of a key, up to the first record that is out or has to wait."""
        key = head.entry.key if head.entry else b""
        of_key = [(p, run) for p, run in self.all_runs(*Place) if run.entry is not None and run.entry.key == key]
        later = sorted(of for of in ((run.start, p, run) for p, run in of_key) if of[:2] > (head.start, partition))
        return [
            (p, run)
            for _, p, run in takewhile(lambda of: of[2].place is not Place.LEASED and not of[2].due_us, later[:count])
        ]

    def _is_on_time(self, key: bytes, rate: Rate, now_us: int) -> bool:
        """Count a delivery of a key if it is within its rate.

        Source: generic cell rate algorithm, ITU-T I.371 (virtual scheduling), with a burst of `records`.
        """
        arrival_us = max(now_us, self.rates.get(key, 0)) + _gap(rate)
        if arrival_us - now_us > rate.per_us:
            return False
        self.rates[key] = arrival_us
        return True

    def settle(self, settlement: Settlement, moment: Moment) -> bool:
        """Settle a part of a lease; False, and a group that is of no use any more, when it is not held."""
        lease, start, end = settlement.lease, settlement.start, settlement.end
        found = self.put(lease.partition, start, end)
        held = [run for run in found if run.lease_id == lease.lease_id and run.due_us > moment.steady_us]
        if sum(run.count for run in held) < end - start:
            return False
        due_us = settlement.due_us if settlement.due_us > moment.now_us else 0
        if settlement.outcome is Outcome.ACK:
            self.done += end - start
        elif settlement.outcome is Outcome.REJECT:
            self.dead += end - start
        else:
            more = settlement.outcome is Outcome.NACK
            self.put(lease.partition, start, end, *(run.given_back(run.attempt + more, due_us) for run in held))
        return True

    def extend(self, lease: Lease, moment: Moment, duration_us: int) -> list[Lease]:
        """Move the deadline of a lease; return the parts of its range that are held, none when it was lost.

        The deadline is one of all that is held under the lease's id, also where `lease` names only a part of that.
        """
        deadline_us = moment.steady_us + duration_us
        held = [
            (partition, msgspec.structs.replace(run, due_us=deadline_us))
            for partition, run in self.all_runs(Place.LEASED)
            if run.lease_id == lease.lease_id and run.due_us > moment.steady_us
        ]
        named = [(partition, run) for partition, run in held if run.start < lease.end and lease.start < run.end]
        if named:
            for partition, run in held:
                self.put(partition, run.start, run.end, run)
        return [self._lease_of(partition, run.part(lease.start, lease.end), moment) for partition, run in named]

    def _take_back(self, steady_us: int) -> None:
        """Make the records of expired leases due: the first of each with one more attempt, the others with the same."""
        expired = [of for of in self.all_runs(Place.LEASED) if of[1].due_us <= steady_us]
        blamed = set()
        for partition, run in sorted(expired, key=lambda of: of[1].turn):
            self.put(partition, run.start, run.end, run.given_back(run.attempt, 0))
            if run.lease_id not in blamed:
                blamed.add(run.lease_id)
                first = run.part(run.start, run.start + 1)
                self.put(partition, first.start, first.end, first.given_back(run.attempt + 1, 0))

    def _lease_of(self, partition: int, run: Run, moment: Moment) -> Lease:
        return Lease(
            lease_id=run.lease_id,
            topic=self.topic,
            group=self.name,
            partition=partition,
            start=run.start,
            end=run.end,
            attempt=run.attempt,
            deadline_us=_wall_us(run, moment),
            worker=run.worker,
        )


def _wall_us(run: Run, moment: Moment) -> int:
    """Return when a run is due, or its lease runs out if nobody sets the clock until then."""
    return run.due_us if run.place is not Place.LEASED else moment.now_us + run.due_us - moment.steady_us


def _in_order(runs: list[tuple[int, Run]], lifo: bool) -> list[tuple[int, Run]]:
    """Return runs in the order they are handed over: lowest offset first, or highest; then by partition."""
    return sorted(runs, key=lambda of: (-of[1].start if lifo else of[1].start, of[0]))


def _rank(run: Run) -> tuple[bool, int | bytes]:
    """Return what sorts a run: numbers, then bytes."""
    rank = run.entry.rank if run.entry else 0
    return isinstance(rank, bytes), rank


def _gap(rate: Rate) -> int:
    return max(1, rate.per_us // rate.records)
