"""Deliveries that have ended, on their way to be settled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from millstream.engines.protocol import Append, Outcome, Settlement, StateChange
from millstream.log.batches import BadRecord
from millstream.log.dead_letter import Failure
from millstream.queue.events import QueueEventKind
from millstream.records import Record

WORKER_DIED: Final = "WorkerDied"
"""Error type of a record whose workers did not live to finish it."""

KINDS: Final = {
    Outcome.ACK: QueueEventKind.DONE,
    Outcome.NACK: QueueEventKind.RETRY,
    Outcome.REJECT: QueueEventKind.DEAD,
    Outcome.RELEASE: QueueEventKind.RELEASED,
}


class Ended(msgspec.Struct, frozen=True):
    """A range with its outcome, and what is stored with it."""

    settlement: Settlement
    records: Sequence[Record[Any] | BadRecord] = ()
    """What observers are told of."""
    failure: Failure | None = None
    appends: Sequence[Append] = ()
    state: Sequence[StateChange] = ()

    @property
    def kind(self) -> QueueEventKind:
        return KINDS[self.settlement.outcome]
