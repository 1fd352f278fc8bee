"""The end of a stream: its position and its state leave the log; what it put out stays."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

import msgspec

from millstream.engines.protocol import StateChange
from millstream.engines.values import StateRange
from millstream.errors import GroupNotFoundError, TopicNotFoundError, UsageError
from millstream.log.log import Log
from millstream.stream.info import Found, info_of
from millstream.stream.operators import OPERATORS

_KEYS_MIN: Final = 100
_KEYS_MAX: Final = 10_000
_BYTES: Final = 4_000_000
"""Deleted at once, about: writers wait for a few milliseconds only."""

_OPERATORS: Final = StateRange.of_prefix(OPERATORS)
"""What its steps hold, which may be much; the rest goes with the group."""


def drop(log: Log, stream: Found, progress: Callable[[int], None] = lambda keys: None) -> int:
    """Delete a stream's consumer groups and its state; return how many keys it had.

    Interrupted, it leaves the stream paused; do it again.

    Args:
        progress: Called with the number of keys that are gone so far.

    Raises:
        UsageError: A process runs it.
    """
    processes = ", ".join(sign.process for sign in info_of(log, stream.name, stream.outline).processes)
    if processes:
        raise UsageError(
            f"stream {stream.full_name} is run by {processes}; stop it first (one that was killed is forgotten within "
            "16 seconds)"
        )
    group = log.topic(stream.topic).group(stream.name)
    # Of some of its state it would make something wrong, should this be interrupted and the stream be run.
    group.pause()
    keys = 0
    for partition in range(group.topic.partitions):
        count = _KEYS_MIN
        while found := group.state(partition, within=msgspec.structs.replace(_OPERATORS, keys_max=count)):
            group.commit([], state=[StateChange(partition, key, None) for key in found])
            keys += len(found)
            progress(keys)
            small = sum(map(len, found.values())) < _BYTES // 2
            count = min(_KEYS_MAX, count * 2) if small else max(1, count // 2)
    # The first one goes last: by its outline the stream is found, as long as something of it is there.
    for topic, name in reversed(stream.groups):
        with contextlib.suppress(TopicNotFoundError, GroupNotFoundError):
            log.engine.delete_group(topic, name)
    return keys
