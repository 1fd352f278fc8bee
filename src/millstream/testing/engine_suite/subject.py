"""The engine under test: its fixtures, and short ways to say things."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from millstream.clock import Clock
from millstream.engines.protocol import Append, Engine, Lease, Ledger, Outcome, Settlement, TopicSpec
from millstream.records import Position, StoredBatch
from millstream.testing.fake_clock import FakeClock
from millstream.testing.raw_batches import rows, values

EngineFactory: TypeAlias = Callable[[Clock], Engine]
Spawn: TypeAlias = Callable[..., "Future[Any]"]

PATIENCE_S = 30
"""How long a test waits for what must happen: far longer than any machine needs, so that it fails and does not hang."""

PATIENCE_US = PATIENCE_S * 1_000_000

MINUTE_US = 60_000_000


class EngineTests:
    """Fixtures of all parts of the suite."""

    @pytest.fixture
    def make_engine(self) -> EngineFactory:
        """Open an engine by this clock; a durable one on the same log at each call. To be overridden."""
        raise NotImplementedError("bind the suite: override the fixture make_engine")

    @pytest.fixture
    def open_copy(self) -> Callable[[Path], Engine] | None:
        """Open the file that `backup` wrote; None for an engine that has no backup."""
        return None

    @pytest.fixture
    def clock(self) -> FakeClock:
        return FakeClock()

    @pytest.fixture
    def open_engine(self, make_engine: EngineFactory, clock: FakeClock) -> Iterator[Callable[[], Engine]]:
        """Open another engine on the same log; all are closed after the test."""
        opened: list[Engine] = []

        def open_engine() -> Engine:
            opened.append(make_engine(clock))
            return opened[-1]

        yield open_engine
        for engine in opened:
            engine.close()

    @pytest.fixture
    def engine(self, open_engine: Callable[[], Engine]) -> Engine:
        return open_engine()

    @pytest.fixture
    def queue(self, engine: Engine) -> Engine:
        """Return an engine with ten records for group g of topic t."""
        if not engine.capabilities.leases:
            pytest.skip(f"the {engine.capabilities.name} engine has no leases")
        create(engine, group="g")
        fill(engine, 10)
        return engine

    @pytest.fixture
    def spawn(self) -> Spawn:
        """Run a call in a thread of its own and return its future."""
        return _spawn


def _spawn(call: Callable[..., Any], *arguments: Any) -> Future[Any]:
    future: Future[Any] = Future()

    def run() -> None:
        try:
            future.set_result(call(*arguments))
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)

    # A daemon, so that an engine that never wakes its waiter fails a test and does not hang all of them.
    threading.Thread(target=run, daemon=True).start()
    return future


# --- short ways to say things in tests --------------------------------------------------------------------------------


def create(engine: Engine, topic: str = "t", *, partitions: int = 1, group: str | None = None) -> None:
    """Create a topic, and a group of it that starts at the start."""
    engine.create_topic(TopicSpec(topic, partitions=partitions))
    if group is not None:
        engine.create_group(topic, group)


def put(engine: Engine, *records: bytes, topic: str = "t", partition: int = 0) -> Position:
    """Append records as one batch."""
    [position] = engine.append([Append(topic, partition, rows(*records))])
    return position


def fill(engine: Engine, count: int, *, topic: str = "t", partition: int = 0) -> None:
    """Append records whose values are the numbers 0 up, as one batch."""
    put(engine, *(b"%d" % number for number in range(count)), topic=topic, partition=partition)


def content(engine: Engine, topic: str = "t", partition: int = 0) -> dict[int, bytes]:
    """Return every record of a partition by its offset."""
    info = engine.describe_topic(topic).partitions[partition]
    return values(read_all(engine, topic, partition, info.start_offset))


def read_all(engine: Engine, topic: str, partition: int, offset: int) -> list[StoredBatch]:
    """Return the batches from an offset to the end."""
    return engine.read(topic, partition, offset, records_max=1_000_000)


def take(
    engine: Engine, records_max: int = 100, *, worker: str = "w", minutes: int = 1, lifo: bool = False
) -> list[Lease]:
    """Lease from group g of topic t."""
    return engine.lease("t", "g", worker=worker, records_max=records_max, duration_us=minutes * MINUTE_US, lifo=lifo)


def runs(leases: Sequence[Lease]) -> list[tuple[int, int, int]]:
    """Return leases as (start, end, attempt), in order."""
    return [(lease.start, lease.end, lease.attempt) for lease in leases]


def handed(leases: Sequence[Lease]) -> list[tuple[int, int]]:
    """Return leased records as (partition, offset), in order."""
    return [(lease.partition, offset) for lease in leases for offset in range(lease.start, lease.end)]


def settled(
    lease: Lease, outcome: Outcome = Outcome.ACK, start: int | None = None, end: int | None = None, *, due_us: int = 0
) -> Settlement:
    """Settle a lease, or the part [start, end) of it."""
    return Settlement(
        lease, lease.start if start is None else start, lease.end if end is None else end, outcome, due_us
    )


def ledger(engine: Engine, topic: str = "t", group: str = "g") -> Ledger:
    """Return the ledger, after a look at whether it balances."""
    result = engine.describe_group(topic, group).ledger
    assert result.balanced, f"accepted is not done + dead + expired + in progress: {result}"
    return result


def counts(engine: Engine, topic: str = "t", group: str = "g") -> dict[str, int]:
    """Return what is not zero in a balanced ledger, except `accepted`."""
    book = ledger(engine, topic, group)
    numbers = {name: getattr(book, name) for name in book.__struct_fields__ if name != "accepted"}
    return {name: number for name, number in numbers.items() if number}


def committed(engine: Engine, topic: str = "t", group: str = "g") -> Mapping[int, int]:
    """Return the committed offset of each partition."""
    return engine.describe_group(topic, group).committed
