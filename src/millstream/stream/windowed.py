"""Records grouped by window and keys, before it is said what to compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from millstream.errors import UsageError
from millstream.stream.aggregates import Aggregate
from millstream.stream.graph import Graph, Node, ToTopic
from millstream.stream.windowing import WindowStep
from millstream.stream.windows import Window

if TYPE_CHECKING:
    from millstream.stream.description import Stream

WINDOW_COLUMNS: Final = ("window_start", "window_end")


class Windowed:
    """Records grouped by window and keys; made by `Stream.window`."""

    def __init__(
        self,
        graph: Graph,
        node: Node,
        window: Window,
        *,
        by: tuple[str, ...],
        lateness_us: int,
        early_us: int | None,
        corrections: bool,
        late_to: ToTopic | None,
        then: Callable[[Node], Stream],
    ) -> None:
        if not isinstance(window, Window):
            raise UsageError(f"{window!r} is not a window; give tumbling(minutes=1)")
        self._graph = graph
        self._node = node
        self._window = window
        self._by = by
        self._lateness_us = lateness_us
        self._early_us = early_us
        self._corrections = corrections
        self._late_to = late_to
        self._then = then

    def agg(self, **aggregates: Aggregate) -> Stream:
        """Compute one column each: `agg(views=count(), total=sum_("load_ms"))`.

        A result has the `by` columns, window_start, window_end and the aggregates.

        Raises:
            UsageError: No aggregate, something that is none, a name that is taken, a column that is not there.
        """
        if not aggregates:
            raise UsageError("agg needs an aggregate, such as agg(views=count())")
        for name, aggregate in aggregates.items():
            if not isinstance(aggregate, Aggregate):
                raise UsageError(f'agg({name}={aggregate!r}): give an aggregate, such as count() or sum_("load_ms")')
            if name in (*self._by, *WINDOW_COLUMNS) or name.startswith("_"):
                raise UsageError(
                    f"agg({name}=...): the name is taken by a column of the result, or starts with '_'; give another"
                )
        step: Any = WindowStep(
            window=self._window,
            by=self._by,
            aggregates=aggregates,
            lateness_us=self._lateness_us,
            corrections=self._corrections,
            early_us=self._early_us,
        )
        node = self._graph.step(step, self._node)
        if self._late_to is not None:
            self._graph.late(self._late_to, node)
        return self._then(node)
