"""What a supervisor needs of a reader of the log."""

from __future__ import annotations

import threading
from typing import Protocol, runtime_checkable


class Reader(Protocol):
    """A queue or a stream."""

    @property
    def kind(self) -> str:
        """The word for messages: queue, stream."""
        ...

    @property
    def name(self) -> str: ...

    def run(self, stop: threading.Event) -> None:
        """Read until `stop` is set, then finish what was begun and return. What it raises ends this try only."""
        ...

    def run_now(self, stop: threading.Event) -> int:
        """Read what is there, then return how much that was."""
        ...


@runtime_checkable
class Abortable(Protocol):
    """A reader that can be stopped hard."""

    def abort(self) -> None:
        """Give back what is unfinished, and have `run` return soon."""
        ...
