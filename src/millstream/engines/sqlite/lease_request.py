"""What a worker asks for, as one value: every way to hand records over takes it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from millstream.engines.protocol import Rate


class LeaseRequest(msgspec.Struct, frozen=True, gc=False):
    """The arguments of `Engine.lease`, and what the transaction must know of processes."""

    topic: str
    group: str
    worker: str
    records_max: int
    duration_us: int
    lifo: bool
    rate: Rate | None
    owner: str
    """The process that leases."""
    holds: Callable[[str, int], bool]
    """Whether a process keeps its leases at a moment of the steady clock although their deadlines have passed."""
    flag: bytes = b""
    """A state key to look for."""
