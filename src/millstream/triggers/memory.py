"""What a trigger remembers: state that changes in the transaction that writes its events.

It is the state of a group with the trigger's name, of the topic `millstream.triggers`, which holds no records. Whoever
writes an event says what it found there; of two processes that write the same one commits, and the other is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from millstream.engines.protocol import StateChange
from millstream.log.group import Group
from millstream.log.log import Log
from millstream.log.topic import Topic

TRIGGERS_TOPIC: Final = "millstream.triggers"


class Memory:
    """The state of one trigger, and its topic."""

    def __init__(self, log: Log, name: str, events: Topic[Any]) -> None:
        self.events = events
        self._topic = log.topic(TRIGGERS_TOPIC)
        self._group: Group[Any] = self._topic.group(name)

    def read(self, *keys: bytes) -> dict[bytes, bytes]:
        """Return the state of these keys, where there is some; of all without any."""
        return self._group.state(0, list(keys) or None)

    def write(
        self,
        events: Sequence[Any],
        *,
        found: Mapping[bytes, bytes | None],
        kept: Mapping[bytes, bytes | None],
        expires_us: int | None = None,
        times: Sequence[Any] | None = None,
    ) -> None:
        """Append events and change state, or neither.

        Args:
            found: The state that this is based on; None: not there.
            kept: The state from now on; None: forgotten.
            expires_us: When it may be forgotten.

        Raises:
            CommitConflictError: The state is another by now: another process has written these events.
        """
        self._group.commit(
            [],
            state=[StateChange(0, key, value, expires_us) for key, value in kept.items()],
            appends=self.events.encode(events, times=times) if events else (),
            expect=[StateChange(0, key, value) for key, value in found.items()],
        )
