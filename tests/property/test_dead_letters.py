"""Whatever is done with dead letters, in any order: each is open or was settled once; nothing is lost or doubled."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from millstream.app import App
from millstream.engines.protocol import Lease, Outcome, Settlement
from millstream.log.dead_letter import DeadLetter, Failure, Origin, dead_letter_append
from millstream.queue.stats import REDRIVE_GROUP
from millstream.records import Position

ERRORS = ("ValueError", "KeyError")


class Job(msgspec.Struct, frozen=True):
    number: int


class DeadLettersMachine(RuleBasedStateMachine):
    """The box against a dict of what is open; somebody else takes letters in hand now and then."""

    leases: Bundle[Lease] = Bundle("leases")

    def __init__(self) -> None:
        super().__init__()
        self.app = App("memory://")
        self.jobs = self.app.topic("jobs", Job)
        self.group = self.jobs.group("work")
        self.app.log.topic("jobs.dead", DeadLetter)
        self.box = self.app.dead("jobs")
        self.open: dict[int, tuple[int, str]] = {}
        """Offset of the letter -> number of its job, error."""
        self.held: set[int] = set()
        self.sent: Counter[int] = Counter()
        self.read = 0
        self.made = 0

    def teardown(self) -> None:
        self.app.close()

    @rule(errors=st.lists(st.sampled_from(ERRORS), min_size=1, max_size=6))
    def give_up(self, errors: list[str]) -> None:
        self.jobs.extend([Job(self.made + place) for place in range(len(errors))])
        first = self.box.topic.end_offsets()[0]
        records = [
            (record, lease)
            for lease in self.group.lease(worker="w", records_max=10_000, duration="1h")
            for record in self.group.records(lease)
        ]
        fresh = 0
        for record, lease in records:
            settlement = Settlement(lease, record.offset, record.offset + 1, Outcome.ACK)  # type: ignore[union-attr]
            if record.value.number < self.made:  # type: ignore[union-attr]
                self.group.settle([settlement])
                continue
            error = errors[fresh]
            appends = dead_letter_append(
                self.box.topic, record, Failure(error, "", ""), Origin("work", "w", 1, datetime.now(UTC))
            )
            self.group.settle([msgspec.structs.replace(settlement, outcome=Outcome.REJECT)], appends=appends)
            self.open[first + fresh] = (record.value.number, error)  # type: ignore[union-attr]
            fresh += 1
        self.made += fresh
        self.read = self.jobs.end_offsets()[0]

    @rule(error=st.sampled_from([None, *ERRORS]))
    def redrive(self, error: str | None) -> None:
        meant = {place for place, (_, its) in self.open.items() if error in (None, its)} - self.held
        assert self.box.redrive(error=error).redriven == len(meant)
        self._sent(meant)

    @rule(data=st.data())
    def redrive_some(self, data: st.DataObject) -> None:
        places = data.draw(st.sets(st.integers(0, max(self.open, default=0) + 2), max_size=5))
        meant = places & self.open.keys() - self.held
        assert self.box.redrive(at=sorted(places)).redriven == len(meant)
        self._sent(meant)

    @rule(data=st.data())
    def edit(self, data: st.DataObject) -> None:
        free = sorted(self.open.keys() - self.held)
        if free:
            place = data.draw(st.sampled_from(free))
            number, error = self.open.pop(place)
            self.open[self.box.edit(place, Job(number)).offset] = (number, error)

    @rule(error=st.sampled_from(ERRORS))
    def purge(self, error: str) -> None:
        meant = {place for place, (_, its) in self.open.items() if its == error} - self.held
        assert self.box.purge(confirm="jobs", error=error) == len(meant)
        for place in meant:
            del self.open[place]

    @rule(target=leases, count=st.integers(1, 5))
    def take_in_hand(self, count: int) -> object:
        taken = self.box.topic.group(REDRIVE_GROUP).lease(worker="other", records_max=count, duration="1h")
        for lease in taken:
            self.held |= {*range(lease.start, lease.end)}
        return multiple(*taken)

    @rule(lease=consumes(leases))
    def give_back(self, lease: Lease) -> None:
        self.box.topic.group(REDRIVE_GROUP).settle([Settlement(lease, lease.start, lease.end, Outcome.RELEASE)])
        self.held -= {*range(lease.start, lease.end)}

    @invariant()
    def what_is_open_is_listed(self) -> None:
        listed = {one.position: one.letter.error_type for one in self.box.list(limit=10_000)}
        assert listed == {Position(0, place): error for place, (_, error) in self.open.items()}
        assert self.box.count() == len(self.open)

    @invariant()
    def what_was_sent_back_is_in_the_topic_once(self) -> None:
        records = self.jobs.read(0, records_max=100_000)
        sent = Counter(record.value.number for record in records if "ms-redrives" in record.headers)
        assert sent == self.sent

    @invariant()
    def nothing_is_remembered_of_what_is_settled_for_good(self) -> None:
        groups = self.app.log.engine.groups("jobs.dead")
        if groups:
            info = self.app.log.engine.describe_group("jobs.dead", REDRIVE_GROUP)
            assert info.ledger.balanced
            kept = self.app.log.engine.state("jobs.dead", REDRIVE_GROUP, 0)
            assert all(int(key) < self.box.topic.end_offsets()[0] for key in kept)
            if not self.open:
                assert kept == {}

    def _sent(self, places: set[int]) -> None:
        for place in places:
            number, _ = self.open.pop(place)
            self.sent[number] += 1


TestDeadLetters = DeadLettersMachine.TestCase
TestDeadLetters.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
