"""Fetching for engines that do not offer it: the same by calls of the engine's own protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from millstream.engines.fetching import Fetched, Fetching
from millstream.engines.protocol import Engine, Rate, Settlement


def fetching_of(engine: Engine) -> Fetching:
    """Return what fetches from an engine."""
    return engine if isinstance(engine, Fetching) else OneByOne(engine)


class OneByOne:
    """Settles, leases and looks in calls of their own; what fails in between has happened so far."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def fetch(
        self,
        topic: str,
        group: str,
        *,
        worker: str,
        records_max: int,
        duration_us: int,
        lifo: bool = False,
        rate: Rate | None = None,
        settlements: Sequence[Settlement] = (),
        flag: bytes,
    ) -> Fetched:
        engine = self._engine
        if settlements:
            engine.settle(settlements)
        ends = {of.partition: of.end_offset for of in engine.describe_topic(topic).partitions}
        leases = engine.lease(
            topic, group, worker=worker, records_max=records_max, duration_us=duration_us, lifo=lifo, rate=rate
        )
        flagged = any(engine.state(topic, group, number, [flag]) for number in {lease.partition for lease in leases})
        return Fetched(leases, ends, engine.describe_group(topic, group).next_due_us, None, flagged)

    def wait_news(self, topic: str, group: str, mark: Any, timeout_us: int) -> bool:
        return self._engine.wait({topic: mark}, timeout_us)
