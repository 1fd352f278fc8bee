"""What is kept of a job beside its record: its outcome and its progress, as state of the queue's group that expires.

An outcome is written in the transaction that settles the job's record, so that there is never one without the other.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from millstream.clock import Clock
from millstream.engines.protocol import OffsetMove, StateChange
from millstream.limits import RESULT_BYTES_MAX
from millstream.log.group import Group
from millstream.records import Position, Record

_log = logging.getLogger("millstream.queue")

PROGRESS_TTL_US: Final = 7 * 86_400_000_000
"""Of a job that never ends; that of one that ends goes with it."""


class OutcomeState(StrEnum):
    """How a job stands, where the log has been told."""

    DONE = "done"
    RETRYING = "retrying"
    DEAD = "dead"
    CANCELLED = "cancelled"


class JobOutcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a job ended, or failed for now."""

    state: OutcomeState
    at_us: int
    attempt: int
    value: bytes | None = None
    """What the function returned, as JSON; None where that was not kept."""
    lost: str = ""
    """Why not."""
    error_type: str = ""
    message: str = ""
    traceback: str = ""
    due_us: int = 0

    @property
    def final(self) -> bool:
        return self.state is not OutcomeState.RETRYING


class Progress(msgspec.Struct, frozen=True):
    """How far a job is, as it says itself."""

    fraction: float
    """0 to 1."""
    text: str
    at_us: int


class Results:
    """The outcomes and the progress of one queue's jobs."""

    def __init__(self, group: Group[Any], clock: Clock) -> None:
        self.group = group
        self._clock = clock

    def outcome(self, position: Position) -> JobOutcome | None:
        """Return how a job ended or failed last; None where it did not, or where that has expired."""
        data = self._read(position.partition, _outcome_key(position.offset))
        return None if data is None else _decode_outcome(data)

    def progress(self, position: Position) -> Progress | None:
        data = self._read(position.partition, _progress_key(position.offset))
        return None if data is None else msgspec.msgpack.decode(data, type=Progress)

    def put_progress(self, position: Position, fraction: float, text: str) -> None:
        now_us = self._clock.now_us()
        value = msgspec.msgpack.encode(Progress(fraction, text, now_us))
        change = StateChange(position.partition, _progress_key(position.offset), value, now_us + PROGRESS_TTL_US)
        self.group.commit(_NO_MOVES, state=[change])

    def change(self, record: Record[Any], outcome: JobOutcome, ttl_us: int) -> StateChange:
        """Return the change that keeps an outcome for a time."""
        now_us = max(self._clock.now_us(), outcome.due_us)
        return StateChange(
            record.partition, _outcome_key(record.offset), msgspec.msgpack.encode(outcome), now_us + ttl_us
        )

    def forget_progress(self, record: Record[Any]) -> StateChange:
        """Return the change that ends a job's progress."""
        return StateChange(record.partition, _progress_key(record.offset), None)

    def _read(self, partition: int, key: bytes) -> bytes | None:
        return self.group.state(partition, [key]).get(key)


def encoded_value(task: str, value: Any) -> tuple[bytes | None, str]:
    """Return what a function returned as JSON, or None and why that cannot be kept."""
    try:
        data = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        lost = f"what it returned is no data: {error}"
    else:
        if len(data) <= RESULT_BYTES_MAX:
            return data, ""
        lost = f"what it returned is {len(data):,} bytes, the limit is {RESULT_BYTES_MAX:,}; keep it elsewhere"
    _log.warning("task %s: the job is done, its result is not kept: %s", task, lost)
    return None, lost


_decode_outcome = msgspec.msgpack.Decoder(JobOutcome).decode
_NO_MOVES: Sequence[OffsetMove] = ()


def _outcome_key(offset: int) -> bytes:
    return b"job:%d" % offset


def _progress_key(offset: int) -> bytes:
    return b"progress:%d" % offset
