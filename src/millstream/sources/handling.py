"""What may be done with events between parser and topic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    import polars as pl


class Handled(msgspec.Struct, frozen=True):
    """What became of the events of a reading."""

    kept: pl.DataFrame
    """To be stored where all events are."""
    routed: Mapping[str, pl.DataFrame] = {}
    """To be stored in other topics, by name."""
    dropped: Mapping[str, int] = {}
    """How many were left out, by what left them out."""


class Handling(Protocol):
    """Changes events before they are stored. Called by many threads."""

    @property
    def topics(self) -> Sequence[str]:
        """The other topics that events may go to."""
        ...

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> Handled:
        """Return what is to be stored of some events.

        Args:
            frame: The columns of their topic.
            now: The time of reading.
        """
        ...

    def forget(self) -> None:
        """What was handled last may not have been stored, and may come again: keep nothing that would leave it out."""
        ...
