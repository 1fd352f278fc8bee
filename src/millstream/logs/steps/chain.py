"""Steps one after another."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from millstream.errors import UsageError
from millstream.log.seals.seal import SUFFIX
from millstream.logs.steps.step import Step, StepTable
from millstream.logs.where import condition
from millstream.parsers.event_parser import event_columns
from millstream.parsers.log_event import LogEvent, event_of
from millstream.records import check_name
from millstream.sources.handling import Handled

if TYPE_CHECKING:
    import polars as pl

_ROW: Final = "_row"
"""Order, while some rows are handled apart from the others."""


class RouteTable(StepTable, frozen=True, kw_only=True, tag="route"):
    """To another topic instead of the one that all events are in; later steps do not see them."""

    topic: str

    def check(self) -> None:
        super().check()
        if self.where is None:
            raise UsageError("where is missing: say which events go to the other topic")
        if not self.topic:
            raise UsageError("topic is empty; give the name of the other topic")
        check_name("topic", self.topic)
        if self.topic.endswith(SUFFIX):
            raise UsageError(f"topic: {self.topic!r} is the name of a topic of seals; give another one")


class Chain:
    """The steps of a configuration, at work."""

    def __init__(
        self, tables: Sequence[StepTable], environment: Mapping[str, str], *, rehearsing: bool = False
    ) -> None:
        """Open all steps.

        Args:
            environment: Where keys may be.
            rehearsing: For examples: nothing is asked over the network.

        Raises:
            UsageError: One cannot be opened; says which.
        """
        self._links = [_link(number, table, environment, rehearsing) for number, table in enumerate(tables, 1)]

    @property
    def topics(self) -> Sequence[str]:
        """The other topics that events may go to, each once."""
        return tuple(dict.fromkeys(link.topic for link in self._links if link.topic))

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> Handled:
        """Return what is kept of some events, what goes to other topics, and how many were left out by which step."""
        routed: dict[str, pl.DataFrame] = {}
        dropped: dict[str, int] = {}
        for link in self._links:
            if not frame.height:
                break
            before = frame.height
            frame, taken = link.apply(frame, now)
            if taken is None:
                if before > frame.height:
                    dropped[link.name] = before - frame.height
            elif taken.height:
                earlier = routed.get(link.topic)
                routed[link.topic] = taken if earlier is None else earlier.vstack(taken)
        return Handled(frame, routed, dropped)

    def events(self, events: Sequence[LogEvent], *, now: datetime) -> list[LogEvent]:
        """Return what is kept of some events, and of those that go to other topics, as events."""
        if not events:
            return []
        handled = self.apply(event_columns(events), now=now)
        return [event_of(row) for row in handled.kept.iter_rows(named=True)]

    def forget(self) -> None:
        for link in self._links:
            if link.step is not None:
                link.step.forget()


class _Link:
    """One step in its place."""

    def __init__(self, name: str, step: Step | None, where: str | None, topic: str) -> None:
        self.name = name
        self.step = step
        self.topic = topic
        self._where = where

    @functools.cached_property
    def _condition(self) -> pl.Expr | None:
        return None if self._where is None else condition(self._where).fill_null(value=False)

    def apply(self, frame: pl.DataFrame, now: datetime) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """Return what goes on, and of a route what does not."""
        import polars as pl

        if self._condition is None:
            assert self.step is not None
            return self.step.apply(frame, now=now), None
        mask = frame.select(self._condition.alias("mask")).get_column("mask")
        if self.step is None:
            return frame.filter(~mask), frame.filter(mask)
        if mask.all():
            return self.step.apply(frame, now=now), None
        if not mask.any():
            return frame, None
        numbered = frame.with_row_index(_ROW)
        changed = self.step.apply(numbered.filter(mask), now=now)
        return pl.concat([changed, numbered.filter(~mask)]).sort(_ROW).drop(_ROW), None


def _link(number: int, table: StepTable, environment: Mapping[str, str], rehearsing: bool) -> _Link:
    name = f"step {number} ({table.kind})"
    if isinstance(table, RouteTable):
        return _Link(name, None, table.where, table.topic)
    try:
        step = table.rehearse(environment) if rehearsing else table.open(environment)
        return _Link(name, step, table.where, "")
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error
