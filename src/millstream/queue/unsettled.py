"""Outcomes of a run that has ended, which are recorded in the transaction that fetches the worker's next records."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from millstream.engines.protocol import Lease, Settlement
from millstream.queue.ended import Ended
from millstream.queue.part import Run


class Unsettled:
    """What a worker has finished and not told the log. Used by its thread; the keeper looks at the leases only."""

    def __init__(self, ended: Sequence[Ended], run: Run | None, settle: Callable[[Sequence[Ended]], None]) -> None:
        self._ended = list(ended)
        self._run = run
        self._settle = settle

    @property
    def settlements(self) -> list[Settlement]:
        return [one.settlement for one in self._ended]

    @property
    def leases(self) -> list[Lease]:
        return [one.settlement.lease for one in self._ended]

    def settle(self) -> None:
        """Record them now."""
        if self._ended:
            self._settle(self._ended)
        self.over()

    def over(self) -> None:
        """They have been recorded."""
        self._ended = []
        run, self._run = self._run, None
        if run is not None:
            run.close()
