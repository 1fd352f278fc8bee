"""A process beside the one that runs a stream: it looks on, writes nothing, and takes over when nobody goes on.

Whether the other one lives is not asked: only whether what it should do is done. That is enough, as two that run the
same stream for a moment cannot harm one another: one of them commits, the other finds that out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from millstream.clock import Clock
from millstream.log.group import Group
from millstream.stream.progress import KEY, decode

LOOK_S: Final = 1.0
"""Between two looks."""

QUIET_US: Final = 5_000_000
"""Records that nobody took for this long have nobody: a micro-batch is meant to take a quarter of a second."""

QUIET_OPEN_US: Final = 30_000_000
"""The same where there are no records, but windows or timers that may be due. Nobody can tell from outside whether one
is, so this is a try, which costs the other one a micro-batch at most."""


class Standby:
    """What is seen of a stream that another process runs.

    Args:
        groups: Of its topics; the first one has the state.
    """

    def __init__(self, groups: Sequence[Group[Any]], partition: int, clock: Clock) -> None:
        self._groups = groups
        self._partition = partition
        self._clock = clock
        self._seen: object = None
        self._since_us = clock.monotonic_us()

    def look(self) -> bool:
        """Return whether to take over."""
        infos = [group.info() for group in self._groups]
        stored = self._groups[0].state(self._partition, [KEY]).get(KEY)
        now_us = self._clock.monotonic_us()
        seen = ([info.committed for info in infos], stored)
        if seen != self._seen:
            self._seen, self._since_us = seen, now_us
        quiet_us = now_us - self._since_us
        if infos[0].paused:
            return False
        if any(info.lag for info in infos):
            return quiet_us >= QUIET_US
        return stored is not None and decode(stored).open > 0 and quiet_us >= QUIET_OPEN_US
