"""What is known of a topic and of what is wanted of it. None: not known."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Approach(StrEnum):
    """One of the three ways to read a topic."""

    QUEUE = "queue"
    STREAM = "stream"
    BATCH = "batch"


class Use(StrEnum):
    """What is done with records."""

    EACH = "each"
    """Each is a piece of work by itself: a mail, a picture, a call of another service."""
    COMBINE = "combine"
    """Results join several of them as they come: counts, windows, joins, alerts."""
    WHOLE = "whole"
    """Many are looked at together: a report, a model, an export."""


class Order(StrEnum):
    """Which records must be handled in the order of their append."""

    NONE = "none"
    KEY = "key"
    """Those of one customer, device, account; others may go on meanwhile."""
    ALL = "all"


class ReaderFacts(msgspec.Struct, frozen=True):
    """Somebody who reads the topic already, or is declared to."""

    approach: Approach
    name: str
    lag: int = 0


class Facts(msgspec.Struct, frozen=True):
    """Everything that the rules look at."""

    topic: str = "events"
    use: Use | None = None
    latency_s: float | None = None
    """Within which a result is wanted."""
    order: Order | None = None
    service_s: float | None = None
    """Mean time of work on one record."""
    rate_per_s: float | None = None
    dispersion: float | None = None
    peak_ratio: float | None = None
    window_s: float | None = None
    """Of the peak."""
    records: int | None = None
    records_per_append: float | None = None
    record_bytes: float | None = None
    """As stored."""
    key_share: float | None = None
    """Of the records, those of the commonest key, 0 to 1."""
    key_field: str | None = None
    time_field: str | None = None
    fields: tuple[str, ...] = ()
    raw: bool = False
    """Values are bytes that nobody looks into."""
    readers: tuple[ReaderFacts, ...] = ()

    @property
    def offered(self) -> float | None:
        """Workers that would be busy all the time."""
        return None if self.rate_per_s is None or self.service_s is None else self.rate_per_s * self.service_s
