"""Waiting until a queue is empty, or at rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from millstream.durations import duration
from millstream.engines.protocol import Ledger
from millstream.log.group import Group

LOOK_S_MIN: Final = 0.01
LOOK_S_MAX: Final = 0.25
"""Outcomes wake nobody, as nobody but this waits for them; a look is one read without a scan."""


def drain(group: Group[Any], timeout: timedelta | str | float | None = None) -> bool:
    """Pause a group and wait until nothing of it is leased; False: not within the time. It stays paused."""
    group.pause()
    return _wait(group, lambda ledger: not ledger.leased, timeout)


def join(group: Group[Any], timeout: timedelta | str | float | None = None) -> bool:
    """Wait until everything in a group is done, dead or expired; False: not within the time."""
    return _wait(group, lambda ledger: not ledger.in_progress, timeout)


def _wait(group: Group[Any], reached: Callable[[Ledger], bool], timeout: timedelta | str | float | None) -> bool:
    until = None if timeout is None else time.monotonic() + duration(timeout).total_seconds()
    look_s = LOOK_S_MIN
    while not reached(group.info().ledger):
        left = look_s if until is None else until - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(look_s, left))
        look_s = min(look_s * 1.5, LOOK_S_MAX)
    return True
