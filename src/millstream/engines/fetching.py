"""What an engine offers to workers that want their next record soon: the Fetching protocol.

A worker that was idle needs a lease, the records, and to know whether any was cancelled; one that has finished a run
has outcomes to tell as well. Each of these is a call of the engine's own protocol; here they are one transaction. For
an engine without it `log.fetching` makes the calls one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol, runtime_checkable

import msgspec

from millstream.engines.protocol import Lease, Rate, Settlement
from millstream.records import StoredBatch

READ_RECORDS_MAX: Final = 64
"""A lease of fewer records comes with them, if its batches hold fewer as well: reading more is a call of its own."""


class Fetched(msgspec.Struct, frozen=True):
    """What a worker gets, and what it needs to wait for more."""

    leases: list[Lease]
    mark: Any
    """For `wait_news`, and known to the engine only: news after it are not in here."""
    next_due_us: int | None = None
    """When something is due that nobody could get now; None: nothing is known of."""
    batches: list[StoredBatch] | None = None
    """All records of the only lease; None: they have to be read."""
    flagged: bool = True
    """Whether a partition of the leases has the flag that was asked for."""

    @property
    def count(self) -> int:
        """How many records."""
        return sum(lease.end - lease.start for lease in self.leases)

    def and_more(self, more: Fetched) -> Fetched:
        """Return what two fetches got, one after the other."""
        leases = [*self.leases, *more.leases]
        return Fetched(leases, more.mark, more.next_due_us, None, self.flagged or more.flagged)


@runtime_checkable
class Fetching(Protocol):
    """What an engine offers to workers that want their next record soon."""

    def fetch(
        self,
        topic: str,
        group: str,
        *,
        worker: str,
        records_max: int,
        duration_us: int,
        lifo: bool = False,
        rate: Rate | None = None,
        settlements: Sequence[Settlement] = (),
        flag: bytes,
    ) -> Fetched:
        """Settle what was taken before, lease more, and read it, in one transaction; as `Engine.settle` and `lease`.

        Args:
            flag: Key of the group's state that is looked for.

        Raises:
            LeaseLostError: A lease is no longer held for some record settled. Nothing was changed.
        """
        ...

    def wait_news(self, topic: str, group: str, mark: Any, timeout_us: int) -> bool:
        """Block until something of a topic has changed since a fetch; False when the time passed.

        After True there may still be nothing: another took it.
        """
        ...
