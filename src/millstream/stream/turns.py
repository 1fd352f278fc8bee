"""Whose turn it is: of several runs of a stream the newest one is the only one that can commit.

A key of the stream's state counts its runs. Every commit expects the number of its own run there, so whoever raises it
has taken over, and what the run before it does from then on comes to nothing.
"""

from __future__ import annotations

from typing import Any, Final

from millstream.engines.protocol import StateChange
from millstream.log.group import Group

TURN: Final = b"t"
"""The key."""


def claim(group: Group[Any], partition: int, found: bytes | None) -> StateChange:
    """Take over what is kept with a partition; return what every commit has to expect from now on.

    Args:
        found: The turn as it was read before.

    Raises:
        CommitConflictError: Another process was faster.
    """
    before = StateChange(partition, TURN, found)
    taken = next_turn(before)
    group.commit([], state=[taken], expect=[before])
    return taken


def next_turn(turn: StateChange) -> StateChange:
    """Return the change that takes over after a turn."""
    return StateChange(turn.partition, TURN, str(int(turn.value or b"0") + 1).encode())
