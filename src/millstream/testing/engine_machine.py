"""Random histories of an engine, compared step by step with the memory engine.

Both get the same calls by the same clock and must give the same answers: positions, records, leases, errors, ledgers.
Two engines on one log take turns as two writers do, and either may crash: it is dropped unclosed, and its log opened
again.

An engine binds it in a few lines:

    class MyMachine(EngineMachine):
        def open_engine(self, directory: Path, clock: FakeClock) -> Engine:
            return MyEngine(directory / "log", clock=clock)

    TestMyEngine = MyMachine.TestCase

Compared are records and not batches, since an engine may join batches. Every record has a value of its own, so that one
lost, doubled or moved shows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from millstream.engines.memory import MemoryEngine
from millstream.engines.protocol import (
    Append,
    Bound,
    Engine,
    Entry,
    Lease,
    Maintenance,
    OffsetMove,
    Outcome,
    Rate,
    Settlement,
    StateChange,
)
from millstream.records import Position
from millstream.testing.engine_views import (
    TOPICS,
    check_whole,
    content_of,
    group_of,
    is_there,
    offset_in,
    offsets_of,
    outcome_of,
    part_of,
    position_in,
    seen,
    spec_of,
    without_ids,
)
from millstream.testing.fake_clock import FakeClock
from millstream.testing.raw_batches import rows, values

R = TypeVar("R")

GROUPS = ("g", "h")

SORTED = "s"
"""A group of "a" in sorted order; of one partition, so that every order of its records is defined."""

SECOND_US = 1_000_000

LEASES_KEPT = 20
"""Old leases are kept, to see that what is lost stays lost; only so many, so that a draw hits a live one often."""

_places = st.sampled_from([("a", 0)] * 4 + [("b", 0), ("b", 1)] * 2 + [("gone", 0), ("a", 1), ("a", -1)])
"""Topic and partition, most of them such as exist."""

_topics = _places.map(lambda place: place[0])
_groups = st.sampled_from(GROUPS)
_readers = st.one_of(st.tuples(_topics, _groups), st.just(("a", SORTED)))
"""Topic and group."""
_steering = st.sampled_from(["pause", "resume", "resume", "one", "two", "runs", "delete"])
_fractions = st.integers(0, 4)
_which = st.integers(0, 1)
_few = st.sampled_from([1, 1, 1, 2, 3])
_appends = st.lists(st.tuples(_places, st.integers(1, 5)), max_size=2)
_changes = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 0, 1]), st.sampled_from([b"", b"k", b"l"]), st.sampled_from([None, b"", b"v", b"w"])
    ),
    max_size=4,
)
_outcomes = st.sampled_from(list(Outcome))


class EngineMachine(RuleBasedStateMachine):
    """A history: two engines on one log, and the model."""

    def open_engine(self, directory: Path, clock: FakeClock) -> Engine:
        """Open the log in this folder; the same log at each call. To be overridden."""
        raise NotImplementedError("override open_engine")

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory(prefix="millstream-")
        self.clock = FakeClock()
        self.model = MemoryEngine(clock=self.clock)
        self.opened: list[Engine] = []
        first = self._open()
        self.engines = [first, self._open() if first.capabilities.many_processes else first]
        self.leases: list[tuple[Lease, Lease]] = []
        """What is thought to be held, newest last: the model's lease and the engine's, cut to what is not settled."""
        self.settled: list[tuple[Lease, Lease]] = []
        """Parts of leases that are not held any more, and what an engine must say so of."""
        self.records = 0
        """Records appended so far; the next one's value."""

    def teardown(self) -> None:
        try:
            for topic in self.model.topics():
                for partition in range(TOPICS[topic]):
                    self._compare(lambda engine, of=topic, at=partition: content_of(engine, of, at))  # type: ignore[misc]
            if isinstance(self.engines[0], Maintenance):
                assert self.engines[0].check() == []
        finally:
            for engine in self.opened:
                engine.close()
            self.model.close()
            self._directory.cleanup()

    # --- topics and groups ----------------------------------------------------------------------------------------

    @initialize(counts=st.lists(st.integers(1, 12), min_size=3, max_size=3))
    def begin(self, counts: list[int]) -> None:
        """Have something to work on from the first step."""
        for place, count in zip((("a", 0), ("b", 0), ("b", 1)), counts, strict=True):
            self._compare(lambda engine, topic=place[0]: engine.create_topic(spec_of(topic)).spec)  # type: ignore[misc]
            for group in GROUPS:
                self.create_group(0, place[0], group, None)
            self.append(0, [(place, count)], None, None)
        self._compare(lambda engine: seen(engine.create_group("a", SORTED, parallel=1), self.clock))

    @rule(which=_which, topic=_topics, call=st.sampled_from(["create", "create", "keep less", "repartition", "delete"]))
    def change_topic(self, which: int, topic: str, call: str) -> None:
        if call == "delete":
            self._compare(lambda engine: engine.delete_topic("gone"), which)
            return
        topic = "gone" if topic not in self.model.topics() else topic
        changes = {"keep less": {"retention_bytes": 1000}, "repartition": {"partitions": 5}}.get(call, {})
        if call != "repartition" or topic in self.model.topics():
            spec = msgspec.structs.replace(spec_of(topic), **changes)
            self._compare(lambda engine: engine.create_topic(spec).spec, which)

    @rule(
        which=_which,
        topic=_topics,
        schema=st.sampled_from([b"1", b"2", b"3"]),
        after=st.one_of(st.none(), st.integers(0, 3)),
    )
    def put_schema(self, which: int, topic: str, schema: bytes, after: int | None) -> None:
        self._compare(lambda engine: engine.put_schema(topic, schema, after=after), which)

    @rule(which=_which, topic=_topics, group=_groups, fraction=st.one_of(st.none(), _fractions))
    def create_group(self, which: int, topic: str, group: str, fraction: int | None) -> None:
        start = None if fraction is None else {0: offset_in(self.model, topic, 0, fraction)}
        self._compare(lambda engine: seen(engine.create_group(topic, group, start=start), self.clock), which)

    # --- records --------------------------------------------------------------------------------------------------

    @rule(
        which=_which,
        appends=_appends,
        unique=st.sampled_from([None, None, None, b"1", b"2"]),
        bound=st.sampled_from([None, None, None, 10, 30]),
    )
    def append(
        self,
        which: int,
        appends: list[tuple[tuple[str, int], int]],
        unique: bytes | None,
        bound: int | None,
    ) -> None:
        batches = self._batches(appends)
        if unique is not None:
            until_us = self.clock.now_us() + 5 * SECOND_US
            batches = [msgspec.structs.replace(each, unique=unique, unique_until_us=until_us) for each in batches]
        limit = None if bound is None else Bound("a", "g", bound)
        expected, got = self._run(lambda engine: engine.append(batches, bound=limit), which, any_error=True)
        assert got == expected

    @rule(which=_which, place=_places, fraction=st.integers(-1, 5), records_max=st.integers(1, 20))
    def read(self, which: int, place: tuple[str, int], fraction: int, records_max: int) -> None:
        offset = offset_in(self.model, *place, fraction)

        def read(engine: Engine) -> dict[int, bytes]:
            batches = engine.read(*place, offset, records_max=records_max)
            check_whole(batches, offset, records_max)
            return {at: value for at, value in values(batches).items() if offset <= at < offset + records_max}

        self._compare(read, which)

    @rule(which=_which, topic=_topics, fraction=_fractions)
    def wait(self, which: int, topic: str, fraction: int) -> None:
        seen = {topic: {0: offset_in(self.model, topic, 0, fraction)}}
        if topic in self.model.topics() and self.model.wait(seen, 0):
            assert self.engines[which].wait(seen, 0)

    # --- streams --------------------------------------------------------------------------------------------------

    @rule(
        which=_which,
        place=_places,
        group=_groups,
        late=st.sampled_from([0] * 8 + [-1, 1]),
        expires=st.sampled_from([None, 1, 5]),
        count=st.integers(0, 6),
        changes=_changes,
        appends=_appends,
    )
    def commit(
        self,
        which: int,
        place: tuple[str, int],
        group: str,
        late: int,
        expires: int | None,
        count: int,
        changes: list[tuple[int, bytes, bytes | None]],
        appends: list[tuple[tuple[str, int], int]],
    ) -> None:
        topic, partition = place
        start = position_in(self.model, topic, group, partition) + late
        moves = [OffsetMove(partition, start, start + count)]
        state = self._changes(changes, expires)
        batches = self._batches(appends)

        def commit(engine: Engine) -> list[Position]:
            return engine.commit(topic, group, moves, state=state, appends=batches)

        expected, got = self._run(commit, which, any_error=True)
        assert got == expected

    # --- queues ---------------------------------------------------------------------------------------------------

    @rule(
        which=_which,
        reader=_readers,
        records_max=st.integers(1, 8),
        seconds=st.sampled_from([1, 5, 60]),
        lifo=st.booleans(),
        rate=st.sampled_from([None, None, Rate(1, 4 * SECOND_US), Rate(3, 3 * SECOND_US)]),
    )
    def lease(
        self, which: int, reader: tuple[str, str], records_max: int, seconds: int, lifo: bool, rate: Rate | None
    ) -> None:
        def lease(engine: Engine) -> list[Lease]:
            return engine.lease(
                *reader,
                worker=f"w{which}",
                records_max=records_max,
                duration_us=seconds * SECOND_US,
                lifo=lifo and reader[1] != SORTED,
                rate=rate if reader[1] == SORTED else None,
            )

        self._keep(*self._run(lease, which))

    @rule(
        which=_which,
        late=st.sampled_from([0] * 8 + [-1, 1]),
        entries=st.lists(
            st.builds(
                Entry,
                key=st.sampled_from([b"", b"k", b"k", b"l"]),
                rank=st.sampled_from([0, 0, 1, -1]),
                due_us=st.sampled_from([0, 0, 0, 2 * SECOND_US]),
            ),
            max_size=8,
        ),
    )
    def sort(self, which: int, late: int, entries: list[Entry]) -> None:
        info = self.model.describe_group("a", SORTED)
        start = info.next_offsets[0] + late
        if late == 0:
            entries = entries[: info.end_offsets[0] - start]
        later = [
            msgspec.structs.replace(entry, due_us=self.clock.now_us() + entry.due_us) if entry.due_us else entry
            for entry in entries
        ]
        self._compare(lambda engine: engine.sort("a", SORTED, 0, start, later), which)

    @rule(which=_which, reader=_readers, call=_steering)
    def steer(self, which: int, reader: tuple[str, str], call: str) -> None:
        if call in ("pause", "resume"):
            self._compare(lambda engine: engine.pause(*reader, paused=call == "pause"), which)
        elif call == "delete":
            # The other groups stay, so that their histories grow long. What it had out is lost from then on.
            self._compare(lambda engine: engine.delete_group(reader[0], GROUPS[-1]), which)
        elif reader[1] == SORTED:
            parallel = {"one": 1, "two": 2}.get(call)
            self._compare(lambda engine: seen(engine.create_group(*reader, parallel=parallel), self.clock), which)

    @precondition(lambda self: self.leases)
    @rule(which=_which, data=st.data(), count=_few, appends=_appends, changes=_changes)
    def settle(
        self,
        which: int,
        data: st.DataObject,
        count: int,
        appends: list[tuple[tuple[str, int], int]],
        changes: list[tuple[int, bytes, bytes | None]],
    ) -> None:
        pairs = self._draw_leases(data, count)
        chosen = []
        for pair in pairs:
            start = data.draw(st.integers(pair[0].start, pair[0].end - 1), label="start")
            end = data.draw(st.integers(start + 1, pair[0].end), label="end")
            outcome = data.draw(_outcomes, label="outcome")
            due_us = self.clock.now_us() + data.draw(st.sampled_from([0, 1, 3, 30]), label="due in") * SECOND_US
            chosen.append((start, end, outcome, due_us))
        self._settle(which, pairs, chosen, appends, self._changes(changes, None))

    @precondition(lambda self: self.leases)
    @rule(which=_which, data=st.data(), count=_few, outcome=_outcomes)
    def settle_whole(self, which: int, data: st.DataObject, count: int, outcome: Outcome) -> None:
        pairs = self._draw_leases(data, count)
        due_us = self.clock.now_us() + SECOND_US
        self._settle(which, pairs, [(pair[0].start, pair[0].end, outcome, due_us) for pair in pairs], [], [])

    @precondition(lambda self: self.leases)
    @rule(which=_which, data=st.data(), count=_few, seconds=st.sampled_from([1, 5, 60]))
    def extend(self, which: int, data: st.DataObject, count: int, seconds: int) -> None:
        pairs = self._draw_leases(data, count)

        def extend(of: Engine) -> list[Lease]:
            return of.extend([pair[0 if of is self.model else 1] for pair in pairs], seconds * SECOND_US)

        expected, got = self._run(extend, which)
        assert without_ids(got) == without_ids(expected)

    @rule(seconds=st.sampled_from([0, 0.5, 1, 4, 59, 60]), hours=st.sampled_from([0, 0, 0, 1]))
    def advance(self, seconds: float, hours: int) -> None:
        self.clock.advance(seconds)
        self.clock.jump(timedelta(hours=hours))  # not back: an engine may keep in order what was due once

    # --- storage --------------------------------------------------------------------------------------------------

    @rule(which=_which, place=_places, fraction=_fractions, force=st.sampled_from([False, False, True]))
    def trim(self, which: int, place: tuple[str, int], fraction: int, force: bool) -> None:
        topic, partition = place
        engine = self.engines[which]
        if not isinstance(engine, Maintenance) or not is_there(self.model, topic, partition):
            return
        before = offset_in(self.model, topic, partition, fraction)
        if not force:
            infos = [self.model.describe_group(topic, group) for group in self.model.groups(topic)]
            before = min([before, *(info.committed[partition] for info in infos)])
        start = engine.trim(topic, partition, before, force=force)
        # The engine's batches may be larger than the model's, so the model follows it, and what is left is looked at.
        assert self.model.trim(topic, partition, start, force=force) == start
        left = engine.batch_headers(topic, partition, start, start + 1, headers_max=1)
        assert all(batch.offset + batch.count > before for batch in left), "whole batches were left below the offset"

    @rule(which=_which, place=_places, fraction=_fractions, count=st.integers(2, 4))
    def merge(self, which: int, place: tuple[str, int], fraction: int, count: int) -> None:
        topic, partition = place
        engine = self.engines[which]
        if not isinstance(engine, Maintenance) or not is_there(self.model, topic, partition):
            return
        start = offset_in(self.model, topic, partition, fraction)
        old = engine.batch_headers(topic, partition, start, 10**9, headers_max=count)
        if len(old) < 2:
            return
        past = old[-1].offset + old[-1].count
        batches = [b for b in engine.read(topic, partition, old[0].offset, records_max=1000) if b.offset < past]
        merged = msgspec.structs.replace(
            batches[0], count=sum(batch.count for batch in batches), data=b"".join(batch.data for batch in batches)
        )
        assert engine.replace(topic, partition, old, [merged])

    @rule(which=_which, orderly=st.booleans())
    def reopen(self, which: int, orderly: bool) -> None:
        """Close and open again, or crash: the engine is dropped as it is, and others go on with its log."""
        if not self.engines[which].capabilities.durable:
            return
        if orderly:
            self.engines[which].close()
        self.engines[which] = self._open()

    # --- what must always be so -----------------------------------------------------------------------------------

    @invariant()
    def both_say_the_same(self) -> None:
        # The writers see the same log, so one of them is asked, in turn.
        which = self.records % 2
        self._compare(lambda engine: engine.topics(), which)
        for topic in self.model.topics():
            self._compare(lambda engine, of=topic: offsets_of(engine, of), which)  # type: ignore[misc]
            self._compare(lambda engine, of=topic: engine.groups(of), which)  # type: ignore[misc]
            for group in self.model.groups(topic):
                self._compare(
                    lambda engine, of=topic, by=group: group_of(engine, of, by, self.clock),  # type: ignore[misc]
                    which,
                )
                assert self.engines[which].describe_group(topic, group).ledger.balanced

    # --- running both ---------------------------------------------------------------------------------------------

    def _open(self) -> Engine:
        self.opened.append(self.open_engine(Path(self._directory.name), self.clock))
        return self.opened[-1]

    def _run(
        self, call: Callable[[Engine], R], which: int = 0, *, any_error: bool = False
    ) -> tuple[R | None, R | None]:
        """Return the answers of model and engine; none of a call that both refuse.

        Args:
            any_error: Where a call can be wrong in several ways, an engine may see any of them first.
        """
        expected, refusal = outcome_of(call, self.model)
        got, error = outcome_of(call, self.engines[which])
        same = (error is None) == (refusal is None) if any_error else type(error) is type(refusal)
        assert same, f"the model says {refusal or expected!r}, the engine {error or got!r}"
        return expected, got

    def _compare(self, call: Callable[[Engine], R], which: int = 0) -> None:
        expected, got = self._run(call, which)
        assert got == expected

    def _keep(self, expected: list[Lease] | None, got: list[Lease] | None) -> None:
        """Compare leases in everything but their ids, and keep them for later."""
        assert without_ids(got) == without_ids(expected)
        self.leases += zip(expected or [], got or [], strict=True)
        self.settled = [*self.settled, *self.leases[:-LEASES_KEPT]][-LEASES_KEPT:]
        self.leases = self.leases[-LEASES_KEPT:]

    def _settle(
        self,
        which: int,
        pairs: list[tuple[Lease, Lease]],
        chosen: list[tuple[int, int, Outcome, int]],
        appends: list[tuple[tuple[str, int], int]],
        state: list[StateChange],
    ) -> None:
        batches = self._batches(appends)

        def settle(of: Engine) -> list[Position]:
            leases = [pair[0 if of is self.model else 1] for pair in pairs]
            return of.settle(
                [Settlement(lease, *how) for lease, how in zip(leases, chosen, strict=True)],
                appends=batches,
                state=state,
            )

        expected, got = self._run(settle, which, any_error=True)
        assert got == expected
        if expected is None:
            return
        for pair, (start, end, _, _) in zip(pairs, chosen, strict=True):
            self.leases.remove(pair)
            self.leases += [
                part_of(pair, *rest) for rest in ((pair[0].start, start), (end, pair[0].end)) if rest[0] < rest[1]
            ]
            self.settled = [*self.settled, part_of(pair, start, end)][-LEASES_KEPT:]

    # --- drawing --------------------------------------------------------------------------------------------------

    def _draw_leases(self, data: st.DataObject, count: int) -> list[tuple[Lease, Lease]]:
        """Return some of what is held, each once; now and then with something that is not."""
        pairs = data.draw(st.lists(st.sampled_from(self.leases[::-1]), min_size=1, max_size=count), label="leases")
        if self.settled and data.draw(st.integers(0, 9), label="lost too") == 9:
            pairs.append(data.draw(st.sampled_from(self.settled[::-1]), label="lost"))
        return list({(pair[0].lease_id, pair[0].start): pair for pair in pairs}.values())

    def _batches(self, appends: Sequence[tuple[tuple[str, int], int]]) -> list[Append]:
        batches = []
        for (topic, partition), count in appends:
            numbers = range(self.records, self.records + count)
            batches.append(Append(topic, partition, rows(*(b"%d" % number for number in numbers))))
            self.records += count
        return batches

    def _changes(self, changes: Sequence[tuple[int, bytes, bytes | None]], expires: int | None) -> list[StateChange]:
        expires_us = None if expires is None else self.clock.now_us() + expires * SECOND_US
        return [StateChange(*change, expires_us=expires_us) for change in changes]
