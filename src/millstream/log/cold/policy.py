"""What becomes cold, when, and where it lies."""

from __future__ import annotations

from datetime import timedelta

import msgspec

from millstream.durations import duration
from millstream.errors import UsageError


class Cold(msgspec.Struct, frozen=True):
    """When the old records of a topic move into Parquet files; both bounds count where both are given.

    A process that has declared it does so in the background, a good file at a time.
    """

    after: timedelta | str | float | None = None
    """Records appended longer ago than this."""
    size_bytes: int | None = None
    """The oldest records, as far as a partition holds more than this outside of Parquet files."""
    location: str | None = None
    """A folder, or the URL of an object store (`s3://bucket/folder`). None: the folder `NAME.cold` beside the log."""

    @property
    def after_us(self) -> int | None:
        return None if self.after is None else duration(self.after) // timedelta(microseconds=1)

    def __post_init__(self) -> None:
        if self.after is None and self.size_bytes is None:
            raise UsageError('say when records become cold: Cold(after="7d") or Cold(size_bytes=10 * 1024**3)')
        if self.size_bytes is not None and self.size_bytes < 0:
            raise UsageError(f"a partition cannot keep {self.size_bytes} bytes outside of files; give 0 or more")
