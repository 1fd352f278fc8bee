"""What a kind of window must know; the operator does the rest.

Records come as a frame with `_time` (Int64, us), the key columns `_by0`, `_by1`..., and the columns that aggregates
read; those that are behind by more than the lateness, and so may be late for some of their windows, apart from the
others and with `_passed` (Int64, us): how far event time had come when they came. Results go as a frame with `_start`,
`_end` (Int64, us), the key columns and the aggregates by name, and `_at` where their event time is not their start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from millstream.stream.aggregates.plan import Plan
from millstream.stream.runs import Changes, State

if TYPE_CHECKING:
    import polars as pl

PASSED: Final = "_passed"
START: Final = "_start"
END: Final = "_end"
AT: Final = "_at"


class Kind(Protocol):
    """Windows of one kind, those that are open."""

    def bind(self, plan: Plan) -> None:
        """Work with another plan from now on: columns were added or widened."""
        ...

    def late(self) -> pl.Expr:
        """Return whether a record is late for all of its windows. PASSED is not null."""
        ...

    def add(self, records: pl.DataFrame) -> list[pl.DataFrame]:
        """Add records that are not late; return the results that come at once."""
        ...

    def close(self, time_us: int) -> list[pl.DataFrame]:
        """Take out the windows that end at this time or before (the watermark less the lateness); return results."""
        ...

    def due_us(self) -> int | None:
        """Return the time at which `close` has something to return next."""
        ...

    def end_us(self) -> int | None:
        """Return the time at which `close` has closed all that is open now."""
        ...

    def out_us(self, time_us: int) -> int:
        """Return the earliest event time that a result after `close(time_us)` can have."""
        ...

    @property
    def open(self) -> int: ...

    @property
    def height(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    def load(self, state: State) -> None: ...

    def changes(self) -> Changes: ...
