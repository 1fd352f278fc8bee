"""What is kept of open windows: the rows of each table of a plan, in runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from millstream.stream.aggregates.plan import Plan
from millstream.stream.runs import Bytes, Changes, Runs, State

if TYPE_CHECKING:
    import polars as pl

LEAVE: Final = "_leave"
"""The event time at which a row is needed no more, in us. The lateness comes on top, so that it may be changed."""

Frames: TypeAlias = "dict[str, pl.DataFrame | None]"
"""Rows by table."""


class Store:
    """Rows of all tables of a plan.

    Args:
        group: The columns that tell groups apart.
        leaving: Adds the column LEAVE to rows.
        regroup: Finds the groups of rows anew before they are merged.
    """

    def __init__(
        self,
        prefix: Bytes,
        group: Sequence[str],
        leaving: Callable[[pl.DataFrame], pl.DataFrame],
        regroup: Callable[[pl.DataFrame], pl.DataFrame] | None = None,
    ) -> None:
        self.group = list(group)
        self._prefix = prefix
        self._leaving = leaving
        self._regroup = regroup
        self._runs: dict[str, Runs] = {}
        self._plan: Plan | None = None

    @property
    def plan(self) -> Plan:
        assert self._plan is not None, "bind comes first"
        return self._plan

    def bind(self, plan: Plan) -> None:
        self._plan = plan
        for name in plan.tables:
            if name not in self._runs:
                self._runs[name] = self._made(name)

    @property
    def main(self) -> Runs:
        """The folds; they have a row for each group."""
        return self._runs[self.plan.main.name]

    def add(self, records: pl.DataFrame) -> pl.DataFrame:
        """Add records that have the group columns; return the rows of the folds."""
        records = self.plan.prepared(records)
        main: pl.DataFrame | None = None
        for name, table in self.plan.tables.items():
            rows = self._leaving(table.rows(records, self.group))
            self._runs[name].add(rows)
            main = rows if main is None else main
        assert main is not None
        return main

    def take(self, time_us: int) -> Frames:
        """Remove and return the rows that leave at this time or before."""
        return {name: runs.take(time_us) for name, runs in self._runs.items()}

    def between(self, first_us: int, last_us: int) -> Frames:
        """Return the rows that leave within these times, both included."""
        return {name: runs.leaving(first_us, last_us) for name, runs in self._runs.items()}

    def frames(self) -> Frames:
        """Return all rows."""
        return {name: runs.frame() for name, runs in self._runs.items()}

    def discard(self, time_us: int) -> None:
        """Remove the rows that leave at this time or before."""
        for runs in self._runs.values():
            runs.discard(time_us)

    def put(self, name: str, rows: pl.DataFrame) -> None:
        """Add rows of a table that have LEAVE."""
        self._runs[name].add(rows)

    @property
    def height(self) -> int:
        return sum(runs.height for runs in self._runs.values())

    @property
    def bytes(self) -> int:
        return sum(runs.bytes for runs in self._runs.values())

    def load(self, state: State) -> None:
        for runs in self._runs.values():
            runs.load(state)

    def changes(self) -> Changes:
        return [change for runs in self._runs.values() for change in runs.changes()]

    def _made(self, name: str) -> Runs:
        def merge(rows: pl.DataFrame) -> pl.DataFrame:
            if self._regroup is not None:
                rows = self._regroup(rows)
            return self._leaving(self.plan.tables[name].merge(rows, self.group))

        return Runs(self._prefix + name.encode() + b"\0", leave=LEAVE, merge=merge, merged=self._regroup is None)
