"""What the event log of Windows can do for us, as an interface: the system itself has it, and tests a stand-in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

ACCESS_DENIED: Final = 5
NOT_FOUND: Final = 1168
INVALID_CHANNEL: Final = 15000
CHANNEL_NOT_FOUND: Final = 15007
RESULT_STALE: Final = 15011
"""The record of a bookmark is there no more: the log went round, or was cleared. (winerror.h has all of them.)"""


class EventLogError(Exception):
    """A call that Windows refused."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} (error {code})")
        self.code = code


class RenderedEvent(msgspec.Struct, frozen=True):
    """One event."""

    xml: str
    bookmark: str
    """XML that says how far this is: `<BookmarkList><Bookmark Channel='System' RecordId='7' .../></BookmarkList>`."""


class Subscription(Protocol):
    """The events of one channel from a bookmark on, and those to come."""

    def take(self, count_max: int) -> list[RenderedEvent]:
        """Return the next events, oldest first; none when there are none now.

        Raises:
            EventLogError: As Windows says; the subscription is of no use any more.
        """
        ...

    def close(self) -> None: ...


class EventLogs(Protocol):
    """The channels of this machine. Every call but `wait` and `oldest` raises `EventLogError` as Windows says."""

    def newest(self, channel: str, count_max: int) -> list[RenderedEvent]:
        """Return the newest events of a channel, oldest first."""
        ...

    def subscribe(self, channel: str, bookmark: str | None) -> Subscription:
        """Return what comes after a bookmark; None: from the oldest record on.

        Raises:
            EventLogError: `RESULT_STALE` or `NOT_FOUND` where the record of the bookmark is there no more.
        """
        ...

    def oldest(self, channel: str) -> int | None:
        """Return the number of a channel's oldest record; None where it has none, or does not say."""
        ...

    def wait(self, subscriptions: Sequence[Subscription], seconds: float) -> None:
        """Wait until one of them may have events, at most for so long."""
        ...
