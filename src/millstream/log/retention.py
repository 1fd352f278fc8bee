"""What a topic keeps."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from millstream.durations import duration
from millstream.errors import UsageError


class Retention(msgspec.Struct, frozen=True):
    """How long and how much a topic keeps; what a consumer group still needs is kept in any case.

    Whole batches are deleted, so a little more is kept than asked for. Both bounds hold where both are given.
    """

    age: timedelta | str | float | None = None
    """Records appended longer ago than this may be deleted."""
    size_bytes: int | None = None
    """Of one partition, as stored."""

    @property
    def age_us(self) -> int | None:
        return None if self.age is None else duration(self.age) // timedelta(microseconds=1)

    def __post_init__(self) -> None:
        if self.size_bytes is not None and self.size_bytes < 0:
            raise UsageError(f"a topic cannot keep {self.size_bytes} bytes; give 0 or more, or None to keep any number")
        if self.age is not None and self.age_us is not None and self.age_us <= 0:
            raise UsageError("a retention age must be longer than nothing, such as '7d'; None keeps records for ever")
