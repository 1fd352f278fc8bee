"""Whose turn it is: of all processes that run a batch, one has the claim to its next run.

The claim is a key of the group's state, taken in a commit that expects none, or the one of a process that died. Every
commit of the run expects it, so a run that was replaced comes to nothing. Beside it is a beat, a number that its holder
raises once a second: a claim whose beat stands still by the clock of whoever watches is dead, however wall clocks are
set.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any, Final

import msgspec

from millstream.batch.runs import Input
from millstream.engines.protocol import StateChange
from millstream.log.group import Group

CLAIM: Final = b"claim"
BEAT: Final = b"beat"
CANCEL: Final = b"cancel"
AT: Final = 0
"""The partition that all state of a batch is kept with."""

BEAT_S: Final = 1.0
"""Between two signs of life: one small commit each, only while a run is in progress."""

DEAD_US: Final = 6_000_000
"""A beat that stands still for this long: five in a row did not come."""


class Claim(msgspec.Struct, frozen=True):
    """A run in progress."""

    run_id: str
    token: str
    """Of this attempt alone."""
    host: str
    pid: int
    trigger: str
    due_us: int | None
    attempt: int
    crashes: int
    """Of processes that had this run before."""
    started_us: int
    inputs: list[Input]
    events: Input | None
    """What started it, of `on=`."""

    @property
    def process(self) -> str:
        return f"{self.host}:{self.pid}"


class Beat(msgspec.Struct, frozen=True):
    """How a run in progress fares."""

    token: str
    number: int
    share: float | None = None
    """Of its work that is done, 0 to 1."""
    text: str = ""


def here() -> tuple[str, int]:
    """Return this host and process."""
    return socket.gethostname(), os.getpid()


def alive(host: str, pid: int) -> bool:
    """Return False where a process is known to be gone."""
    if host != socket.gethostname() or sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def read_claim(group: Group[Any]) -> tuple[Claim | None, bytes | None, Beat | None]:
    """Return the claim, the bytes that are to be expected, and its beat."""
    state = group.state(AT, [CLAIM, BEAT])
    raw = state.get(CLAIM)
    claim = None if raw is None else msgspec.msgpack.decode(raw, type=Claim)
    beat = None if BEAT not in state else msgspec.msgpack.decode(state[BEAT], type=Beat)
    return claim, raw, beat if claim is not None and beat is not None and beat.token == claim.token else None


def put(key: bytes, value: Any) -> StateChange:
    """Return the change that stores a value of ours."""
    return StateChange(AT, key, None if value is None else msgspec.msgpack.encode(value))


class Watch:
    """Tells whether the holder of a claim is dead."""

    def __init__(self) -> None:
        self._seen: tuple[str, int] | None = None
        self._since_us = 0

    def dead(self, claim: Claim, beat: Beat | None, monotonic_us: int) -> bool:
        """Return whether a claim may be taken over; ask again and again."""
        if not alive(claim.host, claim.pid):
            return True
        seen = (claim.token, beat.number if beat is not None else 0)
        if seen != self._seen:
            self._seen, self._since_us = seen, monotonic_us
        return monotonic_us - self._since_us >= DEAD_US
