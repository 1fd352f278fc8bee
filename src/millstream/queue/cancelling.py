"""Cancelling one record: a flag in the group's state, which workers look for before they start a record.

A key that says that there are flags at all keeps the look cheap while there are none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from millstream.engines.protocol import StateChange
from millstream.errors import Reject
from millstream.log.group import Group
from millstream.records import Position

FLAGGED: Final = b"ms-cancel"
"""State key: some record of the partition was cancelled."""

KEEP_US: Final = 30 * 86_400_000_000
"""A flag is forgotten after 30 days: what is delayed for longer has to be cancelled again."""


class Cancelled(Reject):
    """A record was cancelled: it goes to the dead letters under this name."""


def cancel(group: Group[Any], position: Position, reason: str) -> None:
    """Have a record not be started, or its outcome not count, by whichever worker gets or has it."""
    until_us = group.topic.log.clock.now_us() + KEEP_US
    flags = [(FLAGGED, b"1"), (_key(position.offset), reason.encode())]
    group.commit([], state=[StateChange(position.partition, key, value, until_us) for key, value in flags])


def cancelled(group: Group[Any], partition: int, offsets: Iterable[int]) -> dict[int, str]:
    """Return those of some records that were cancelled, with the reasons."""
    if not group.state(partition, [FLAGGED]):
        return {}
    keys = {_key(offset): offset for offset in offsets}
    return {keys[key]: reason.decode() for key, reason in group.state(partition, list(keys)).items()}


def _key(offset: int) -> bytes:
    return b"%s/%d" % (FLAGGED, offset)
