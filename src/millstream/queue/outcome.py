"""How a delivery ended, for those who keep something with it: the results of tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from millstream.engines.protocol import StateChange
from millstream.log.dead_letter import Failure
from millstream.queue.events import QueueEventKind
from millstream.records import Record


class HandlerOutcome(msgspec.Struct, frozen=True):
    """What came out of one delivery of one record."""

    kind: QueueEventKind
    """DONE, RETRY or DEAD."""
    value: Any = None
    """What the handler returned."""
    failure: Failure | None = None
    attempt: int = 1
    due_us: int = 0
    """Of RETRY: when it is tried again at the earliest."""


OutcomeHook = Callable[[Record[Any], HandlerOutcome], Sequence[StateChange]]
"""Called in the worker's thread when a delivery has ended. The changes it returns are made in the transaction that
records the outcome: a result is there if, and only if, the record is done.

What it raises counts as a failure of the handler.
"""
