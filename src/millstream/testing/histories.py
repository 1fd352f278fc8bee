"""What busy readers and writers of a log were told, compared with what the log holds after a crash.

Producers append `Event`s to topic `events`. Workers lease and settle them (group `workers`) and append a `Done` to
`results` with each end. A stream reads them (group `stream`), keeps the next offset as its state under `next`, and
appends a `Done` to `totals` with each commit. Other workers take the same records in the order of keys (group `keyed`,
keys as of `key_of`), and set a key of state with each end. A `History` keeps what was asked and what was answered in
time; the functions raise AssertionError for what is lost, doubled, out of order or half done.

Source: the histories of Jepsen (`kafka.clj`).
"""

from __future__ import annotations

from collections import Counter, defaultdict

import msgspec

from millstream.engines.protocol import Engine, Entry, Outcome, Settlement
from millstream.testing.fake_clock import FakeClock
from millstream.testing.raw_batches import read_values

HOUR_US = 3_600_000_000

KEYS = 3


def key_of(partition: int, offset: int) -> bytes:
    return b"%d %d" % (partition, offset % KEYS)


class Event(msgspec.Struct, frozen=True, array_like=True):
    """A value of `events`: number `index` of the `count` that the producer's call wrote to each of its partitions."""

    producer: int
    call: int
    index: int
    count: int
    partitions: tuple[int, ...]
    filler: bytes = b""


class Done(msgspec.Struct, frozen=True, array_like=True):
    """A value of `results` or `totals`: the records [start, end) of `events` were settled or read."""

    partition: int
    start: int
    end: int


class History:
    """What was asked for and what was answered in time."""

    def __init__(self) -> None:
        self.calls: dict[tuple[int, int], dict[int, int]] = {}
        """Acknowledged appends: (producer, call) -> partition -> offset of the first record."""
        self.settled: set[tuple[int, int]] = set()
        """(partition, offset) whose end as done or dead was acknowledged."""
        self.settling: set[tuple[int, int]] = set()
        """The same, and those where it was asked for."""
        self.keyed_settling: set[tuple[int, int]] = set()
        """The same for the group in the order of keys."""
        self.committed: dict[int, int] = {}
        """partition -> end of the last acknowledged commit of the stream."""
        self.acknowledged_ends: dict[tuple[int, int], int] = {}
        """(producer, partition) -> end of its last acknowledged append."""


def lost_calls(engine: Engine, history: History) -> int:
    """Check `events` and return how many acknowledged appends are missing: of each producer the newest, if any."""
    found: dict[tuple[int, int], dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    starts = {}
    shapes: dict[tuple[int, int], Event] = {}
    for partition in range(len(engine.describe_topic("events").partitions)):
        starts[partition], values = read_values(engine, "events", partition)
        newest: dict[int, tuple[int, int]] = {}
        for offset, value in enumerate(values, starts[partition]):
            event = msgspec.msgpack.decode(value, type=Event)
            place = (event.call, event.index)
            assert place > newest.get(event.producer, (-1, -1)), f"{event.producer} {place} is twice or late"
            newest[event.producer] = place
            found[event.producer, event.call][partition].append(offset)
            shapes[event.producer, event.call] = event
    for call, places in found.items():
        if call in history.calls:  # parts of others are not trimmed
            continue
        assert sorted(places) == list(shapes[call].partitions), f"unacknowledged {call} is in {sorted(places)} only"
        assert {len(offsets) for offsets in places.values()} == {shapes[call].count}
    newest_found = dict(sorted(found))  # producer -> call: of each the last wins
    lost = 0
    for call, positions in history.calls.items():
        for partition, offset in positions.items():
            offsets = found[call][partition] if call in found else []
            if not offsets and offset >= starts[partition]:
                lost += 1
                assert call[1] > newest_found.get(call[0], -1), f"call {call} is lost, later ones are not"
            if not offsets:
                continue
            count = shapes[call].count
            assert offsets == list(range(max(offset, starts[partition]), offset + count)), f"call {call} moved or torn"
    return lost


def check_queue(engine: Engine, history: History, clock: FakeClock, *, nothing_lost: bool) -> None:
    """Every record is either delivered again or done, with its result; those whose settlement was answered are done."""
    assert engine.describe_group("events", "workers").ledger.balanced
    results = Counter(
        (done.partition, offset) for done in _dones(engine, "results") for offset in range(done.start, done.end)
    )
    assert not [place for place, count in results.items() if count > 1], "settled twice"
    clock.advance("24h")
    again: set[tuple[int, int]] = set()
    while leases := engine.lease("events", "workers", worker="last", records_max=1000, duration_us=HOUR_US):
        for lease in leases:
            places = {(lease.partition, offset) for offset in range(lease.start, lease.end)}
            assert not places & again, "leased twice"
            again |= places
    ends = {p.partition: p.end_offset for p in engine.describe_topic("events").partitions}
    everything = {(partition, offset) for partition, end in ends.items() for offset in range(end)}
    assert again | set(results) == everything
    assert not again & set(results)
    assert set(results) <= history.settling
    if nothing_lost:
        assert history.settled <= set(results)
    ledger = engine.describe_group("events", "workers").ledger
    assert (ledger.done + ledger.dead, ledger.leased) == (len(results), len(again))
    assert ledger.balanced


def check_keyed(engine: Engine, history: History, clock: FakeClock) -> None:
    """State and ledger tell the same; of no key more than `parallel` records were out; what is left comes, once.

    An outcome without appends may be taken back by a power loss, with its state: a redelivery.
    """
    info = engine.describe_group("events", "keyed")
    assert info.ledger.balanced
    done = {(p, int(key)) for p in info.end_offsets for key in engine.state("events", "keyed", p)}
    assert info.ledger.done + info.ledger.dead == len(done)
    assert done <= history.keyed_settling
    left = {(p, offset) for p, end in info.end_offsets.items() for offset in range(end)} - done
    for key in {key_of(*at) for at in done}:
        last = max(at for at in done if key_of(*at) == key)
        passed_over = [at for at in left if key_of(*at) == key and at < last]
        assert len(passed_over) < (info.parallel or 0), f"key {key!r}: {passed_over} were passed over by {last}"
    clock.advance("24h")
    sort_all(engine)
    handed: list[tuple[int, int]] = []
    while leases := engine.lease("events", "keyed", worker="last", records_max=1000, duration_us=HOUR_US):
        handed += [(lease.partition, offset) for lease in leases for offset in range(lease.start, lease.end)]
        engine.settle([Settlement(lease, lease.start, lease.end, Outcome.ACK) for lease in leases])
    assert sorted(handed) == sorted(left), "lost, or handed over twice"


def sort_all(engine: Engine) -> None:
    """Tell the group `keyed` about all records that it does not know."""
    info = engine.describe_group("events", "keyed")
    for partition, start in info.next_offsets.items():
        entries = [Entry(key_of(partition, offset)) for offset in range(start, info.end_offsets[partition])]
        if entries:
            engine.sort("events", "keyed", partition, start, entries)


def check_stream(engine: Engine, history: History, *, nothing_lost: bool) -> None:
    """Offsets, state and outputs of the group tell the same."""
    info = engine.describe_group("events", "stream")
    assert info.ledger.balanced
    reached = dict.fromkeys(info.committed, 0)
    for done in _dones(engine, "totals"):
        assert done.start == reached[done.partition]
        reached[done.partition] = done.end
    assert dict(info.committed) == reached
    for partition, offset in reached.items():
        state = engine.state("events", "stream", partition)
        assert state == ({b"next": b"%d" % offset} if offset else {})
        if nothing_lost:
            assert offset >= history.committed.get(partition, 0)


def _dones(engine: Engine, topic: str) -> list[Done]:
    return [msgspec.msgpack.decode(value, type=Done) for value in read_values(engine, topic)[1]]
