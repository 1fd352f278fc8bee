"""What is kept of open windows: the rows of each table of a plan, in runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from millstream.stream.aggregates.folds import FoldTable
from millstream.stream.aggregates.plan import Plan
from millstream.stream.runs import Bytes, Changes, Runs, State

if TYPE_CHECKING:
    import polars as pl

LEAVE: Final = "_leave"
"""The event time at which a row is needed no more, in us. The lateness comes on top, so that it may be changed."""

BOUNDS: Final = frozenset(("_start", "_end", "_pane", "_from", LEAVE))
"""Group columns that are numbers of a window, and often the same in all rows."""

FEW_ROWS: Final = 64
"""Rows for which Python takes less time than the thread pool of Polars does to begin."""

GROUPS_COUNTED: Final = 4096
"""Rows among which groups are told apart to be counted: 0.1 ms with every commit."""

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
        self._groups: int | None = None
        """As counted last; None: something changed since."""

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

    def runs(self, name: str) -> Runs:
        """Return the rows of a table."""
        return self._runs[name]

    def add(self, records: pl.DataFrame, fixed: Mapping[str, int] | None = None) -> pl.DataFrame:
        """Add records; return the rows of the folds.

        Args:
            records: Prepared by the plan, with the group columns.
            fixed: Group columns that they do not have, as all records have the same there: grouping by fewer columns
                takes half the time.
        """
        self._groups = None
        main: pl.DataFrame | None = None
        for name, table in self.plan.tables.items():
            rows = _apart(table.rows, records, self.group, fixed or {})
            if rows is None:
                continue
            rows = self._leaving(rows)
            self._runs[name].add(rows)
            main = rows if main is None else main
        assert main is not None
        return main

    def merged(self, name: str, rows: pl.DataFrame, group: Sequence[str]) -> pl.DataFrame:
        """Return the rows of a table merged by group."""
        import polars as pl

        fixed = {column: value for column in group if (value := _only(rows, column)) is not None}
        # A frame of the other columns: to drop these would be a query.
        others = pl.DataFrame([column for column in rows if column.name not in fixed]) if fixed else rows
        made = _apart(self.plan.tables[name].merge, others, group, fixed)
        assert made is not None
        return made

    def take(self, time_us: int) -> Frames:
        """Remove and return the rows that leave at this time or before."""
        self._groups = None
        return {name: runs.take(time_us) for name, runs in self._runs.items()}

    def between(self, first_us: int, last_us: int) -> Frames:
        """Return the rows that leave within these times, both included, not merged."""
        return {name: runs.leaving(first_us, last_us, merge=False) for name, runs in self._runs.items()}

    def frames(self) -> Frames:
        """Return all rows."""
        return {name: runs.frame() for name, runs in self._runs.items()}

    def discard(self, time_us: int) -> None:
        """Remove the rows that leave at this time or before."""
        self._groups = None
        for runs in self._runs.values():
            runs.discard(time_us)

    def put(self, name: str, rows: pl.DataFrame) -> None:
        """Add rows of a table that have LEAVE."""
        self._groups = None
        self._runs[name].add(rows)

    @property
    def groups(self) -> int:
        """Number of groups; where they are many, each run's own."""
        if self._groups is None:
            self._groups = self._counted()
        return self._groups

    def _counted(self) -> int:
        import polars as pl

        frames = self.main.frames()
        if len(frames) < 2 or self.main.height > GROUPS_COUNTED:
            return self.main.height
        # Series by series: to select columns would be a query for each run.
        if self.group and self.main.height <= FEW_ROWS:
            columns = [[rows.get_column(column).to_list() for column in self.group] for rows in frames]
            return len({row for some in columns for row in zip(*some, strict=True)})
        rows = [pl.DataFrame([rows.get_column(column) for column in self.group]) for rows in frames]
        return pl.concat(rows, how="vertical_relaxed").n_unique()

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
            return self._leaving(self.merged(name, rows, self.group))

        return Runs(self._prefix + name.encode() + b"\0", leave=LEAVE, merge=merge, merged=self._regroup is None)


def _apart(
    function: Callable[[pl.DataFrame, Sequence[str]], pl.DataFrame | None],
    frame: pl.DataFrame,
    group: Sequence[str],
    fixed: Mapping[str, int],
) -> pl.DataFrame | None:
    """Call a function of a table without the group columns in which all rows are the same; add them afterwards."""
    import polars as pl

    others = [column for column in group if column not in fixed]
    columns = [pl.lit(value, dtype=pl.Int64).alias(name) for name, value in fixed.items()]
    if not fixed or (not others and not isinstance(getattr(function, "__self__", None), FoldTable)):
        return function(frame.with_columns(columns) if fixed else frame, group)
    made = function(frame, others)
    if made is None or made.height > FEW_ROWS:
        return None if made is None else made.with_columns(columns)
    return made.hstack([pl.Series(name, [fixed[name]] * made.height, dtype=pl.Int64) for name in fixed])


def _only(rows: pl.DataFrame, column: str) -> int | None:
    """Return the one value of a column of a window's bounds; None: there are several."""
    if column not in BOUNDS or not rows.height:
        return None
    values = rows.get_column(column)
    first = values[0]
    return first if isinstance(first, int) and values.min() == first and values.max() == first else None
