"""A table of what is kept of records until their window closes.

Rows belong to a *group*: the columns of a window and of its keys, whatever they are for a kind of window. All work on
groups is columnar; a table never looks at how groups are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import polars as pl

TIME: Final = "_time"
"""Event time of a record, in us."""
KEY: Final = "_key"
SEQUENCE: Final = "_sequence"
"""The place of a record among all that came."""
ORDER: Final = (TIME, KEY, SEQUENCE)


class Table(Protocol):
    """What is kept of records for some of the aggregates."""

    @property
    def name(self) -> str:
        """Tells the tables of a step apart, and where they are stored."""
        ...

    @property
    def ordered(self) -> bool:
        """Whether it reads the columns of `ORDER`."""
        ...

    def rows(self, records: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame | None:
        """Return the rows of records: group columns and its own; None: there are none."""
        ...

    def merge(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        """Return fewer rows that say the same."""
        ...

    def finish(self, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        """Return one row a group: group columns and the results of its aggregates by name."""
        ...

    def over_records(self) -> dict[str, pl.Expr]:
        """Return aggregations over a group's records, in the order of time, by the names that `finish` gives."""
        ...

    def read(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame of `over_records` with what Python must do to it."""
        ...
