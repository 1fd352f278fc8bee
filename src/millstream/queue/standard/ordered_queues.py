"""LifoQueue and PriorityQueue: the newest item first, the lowest first."""

from __future__ import annotations

from typing import TypeVar

from millstream.queue.standard.order import can_be_compared, kind_of, rank
from millstream.queue.standard.queue import Queue

T = TypeVar("T")


class LifoQueue(Queue[T]):
    """A queue whose newest item leaves first."""

    _order = "lifo"
    _default_name = "lifo-queue"


class PriorityQueue(Queue[T]):
    """A queue whose lowest item leaves first; of equal ones, the one that was put first.

    Items are numbers, text, bytes, dates, tuples and lists of them, or of a `type` with `order=True`. Of a tuple, the
    elements from the first on that cannot be compared (a dict, None) do not count: `(priority, item)` works with any
    item.
    """

    _order = "priority"
    _default_name = "priority-queue"

    def _check(self, items: list[T], kind: str | None) -> None:
        said = kind
        for place, item in enumerate(items):
            of_item = kind_of(item)
            rank(item)  # refuses what can be compared and not be ranked
            if kind is None or of_item.startswith(f"{kind} of "):
                kind = of_item
            elif not can_be_compared(of_item, kind):
                # An empty queue takes any kind.
                if place or self.qsize():
                    raise TypeError(
                        f"'<' not supported: {item!r} is a {of_item}, and the queue holds items of the kind {kind}; "
                        "only items of one kind can be put in order"
                    )
                kind = of_item
        if kind is not None and kind != said:
            self._store.say_kind(kind)
