"""What the writer of a record asks of the queues that deliver it: when, how urgently, only once.

Kept as headers of the record, so that every queue of the topic sees the same and nothing is remembered beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import msgspec

from millstream.clock import Clock
from millstream.durations import duration_us
from millstream.engines.protocol import Append
from millstream.errors import UsageError
from millstream.records import time_to_us

DUE: Final = "ms-due"
"""Header: not handed over before, in microseconds since 1970 UTC, as decimal text."""

PRIORITY: Final = "ms-priority"
"""Header: a whole number as decimal text, higher first; 0 where there is none. For queues declared with `priority`."""

UNIQUE_WINDOW: Final = timedelta(days=1)
"""How long a unique value is remembered unless told: each costs a row until then."""

Due = datetime | timedelta | str | float | None
"""A moment, or how long from now."""

Unique = str | bytes | None


class Delivery(msgspec.Struct, frozen=True):
    """Wishes for one record; all left out is a plain record."""

    due: Due = None
    priority: int = 0
    unique: Unique = None
    unique_window: timedelta | str | float = UNIQUE_WINDOW

    def headers(self, given: Mapping[str, str | bytes] | None, clock: Clock) -> Mapping[str, str | bytes] | None:
        """Return a record's headers with the wishes among them."""
        wishes = delivery_headers(due=self.due, priority=self.priority, clock=clock)
        return {**(given or {}), **wishes} if wishes else given

    def once(self, append: Append, clock: Clock) -> Append:
        """Return an append of this record that stores nothing where its unique value is known."""
        if self.unique is None:
            return append
        value = self.unique.encode() if isinstance(self.unique, str) else bytes(self.unique)
        until_us = clock.now_us() + duration_us(self.unique_window)
        return msgspec.structs.replace(append, unique=value, unique_until_us=until_us)


def delivery_headers(*, due: Due = None, priority: int = 0, clock: Clock) -> dict[str, str]:
    """Return the headers that ask for a time and an urgency; none where nothing is asked for."""
    headers: dict[str, str] = {}
    if due is not None:
        headers[DUE] = str(time_to_us(due) if isinstance(due, datetime) else clock.now_us() + duration_us(due))
    if priority:
        headers[PRIORITY] = str(priority)
    return headers


def due_us(headers: Mapping[str, bytes]) -> int:
    """Return when a record may be handed over; 0: at once. A header that is no number asks for nothing."""
    return _number(headers.get(DUE))


def priority(headers: Mapping[str, bytes]) -> int:
    """Return how urgent a record is, higher first; 0 where it does not say."""
    return _number(headers.get(PRIORITY))


def check_each(name: str, count: int, given: Sequence[object]) -> None:
    """Raise UsageError unless there is one for each value."""
    if len(given) != count:
        raise UsageError(f"{name} has {len(given)} entries for {count} values; give one for each")


def _number(text: bytes | None) -> int:
    if text is None:
        return 0
    try:
        number = int(text)
    except ValueError:
        return 0
    return number if -(2**62) < number < 2**62 else 0
