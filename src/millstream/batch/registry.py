"""Which batches there are and when they run, told in the log: for processes that do not have the program.

A key for each in the state of one group of the topic `millstream.batches`, which holds no records.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.engines.protocol import StateChange
from millstream.errors import GroupNotFoundError, TopicNotFoundError
from millstream.log.group import Group
from millstream.log.log import Log
from millstream.triggers.schedule import Cron, Every

if TYPE_CHECKING:
    from millstream.batch.work import BatchWork

REGISTRY_TOPIC: Final = "millstream.batches"
REGISTRY_GROUP: Final = "batches"


class Declared(msgspec.Struct, frozen=True):
    """A batch as a program declared it last."""

    name: str
    topics: list[str]
    on: str | None
    crons: list[tuple[str, str]]
    """Expression and time zone."""
    every_us: list[int]
    when: str
    missed: str
    overlap: str
    fresh_us: int | None
    since_us: int = 0
    """When it was declared for the first time."""


def declared_of(batch: BatchWork) -> Declared:
    options = batch.options
    schedules = () if options.schedule is None else options.schedule.schedules
    return Declared(
        name=batch.name,
        topics=[topic.name for topic in batch.topics],
        on=None if batch.on is None else batch.on.name,
        crons=[(one.expression, one.timezone) for one in schedules if isinstance(one, Cron)],
        every_us=[one.interval_us for one in schedules if isinstance(one, Every)],
        when="" if options.when is None else str(options.when),
        missed=options.missed,
        overlap=options.overlap,
        fresh_us=options.fresh_us,
    )


def declare(batch: BatchWork) -> None:
    """Tell of a batch, where the log does not say the same already."""
    log = batch.topic.log
    group: Group[Any] = log.topic(REGISTRY_TOPIC).group(REGISTRY_GROUP)
    key = batch.name.encode()
    raw = group.state(0, [key]).get(key)
    old = None if raw is None else msgspec.msgpack.decode(raw, type=Declared)
    since_us = log.clock.now_us() if old is None else old.since_us
    value = msgspec.msgpack.encode(msgspec.structs.replace(declared_of(batch), since_us=since_us))
    if raw != value:
        batch.infos()  # its groups are made: whoever looks finds them
        group.commit([], state=[StateChange(0, key, value)])


def declared(log: Log) -> list[Declared]:
    """Return the batches there are, by name."""
    try:
        state = log.engine.state(REGISTRY_TOPIC, REGISTRY_GROUP, 0)
    except (TopicNotFoundError, GroupNotFoundError):
        return []
    found = [msgspec.msgpack.decode(value, type=Declared) for value in state.values()]
    return sorted(found, key=lambda one: one.name)
