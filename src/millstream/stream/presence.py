"""Which processes run a stream, what each is at, and why the last one ended: told by them, read by whoever asks.

A process that runs a stream keeps a key of the group's state, which expires. It says that the process lives, which the
stored progress of a quiet stream cannot, and at which step it has been for long, which that of a stuck one cannot.
"""

from __future__ import annotations

import logging
import threading
import time
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from millstream.engines.protocol import StateChange
from millstream.engines.values import StateRange
from millstream.errors import ClosedError, CommitConflictError, MillstreamError
from millstream.log.group import Group
from millstream.stream import progress
from millstream.stream.run import StreamRun
from millstream.stream.sharing import SharedRun

_log = logging.getLogger("millstream.stream")

BEAT_S: Final = 5.0
"""Between two signs of life: one small commit each."""

FIRST_S: Final = 1.0
"""Before the first one of a run that is to end by itself: most have ended by then."""

EXPIRES_US: Final = 16_000_000
"""A process not heard of for so long is gone: two signs may come late."""

ERROR_EXPIRES_US: Final = 120_000_000
"""An error is shown for so long; a stream that goes on failing is started again every 30 s at the latest."""

ERROR_CHARACTERS_MAX: Final = 1_000

PREFIX: Final = b"h"
_ERROR: Final = b" error"
"""Behind the name of a process, where it keeps its last error: the next run's sign of life does not take its place."""
_PARTITION: Final = 0


class Sign(msgspec.Struct, frozen=True):
    """A process, as it last told."""

    process: str
    """`host:pid`."""
    at_us: int
    step: str | None = None
    """Where it is in the middle of something."""
    step_s: float = 0.0
    """For how long."""
    error: str | None = None
    """What ended the last run; the process may try again."""
    since_us: int | None = None
    """Of an error, when the first run ended so of which nothing was committed since."""


class Presence:
    """Tells that this process runs a stream, while it is entered.

    Args:
        first_s: Before the first sign.
    """

    def __init__(self, group: Group[Any], process: str, *, first_s: float = 0.0) -> None:
        self._group = group
        self._process = process
        self._clock = group.topic.log.clock
        self._first_s = first_s
        self._key = PREFIX + process.encode()
        self._gone = StateChange(_PARTITION, self._key, None)
        self._told = False
        self._run: StreamRun | None = None
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, name=f"stream-{group.name}-presence", daemon=True)

    def of(self, run: StreamRun | SharedRun) -> None:
        """Say what runs now."""
        # The steps of a shared run are at work one partition after another, each for a moment.
        self._run = run if isinstance(run, StreamRun) else None

    def __enter__(self) -> Self:
        self._beats.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave at once; of an error something stays for a while."""
        self._ended.set()
        self._beats.join()
        failed = isinstance(error, Exception) and not isinstance(error, ClosedError | CommitConflictError)
        if not failed and not self._told:
            return
        try:
            if failed:
                text = f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS_MAX]
                now_us = self._clock.now_us()
                sign = Sign(self._process, now_us, error=text, since_us=self._failing_since_us(now_us))
                told = _change(self._key + _ERROR, sign, ERROR_EXPIRES_US)
                self._group.commit([], state=[self._gone, told])
            else:
                self._group.commit([], state=[self._gone])
        except MillstreamError as untold:
            _log.debug("stream %s: could not tell that this process leaves: %s", self._group.name, untold)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        wait_s = self._first_s
        while not self._ended.wait(wait_s):
            wait_s = BEAT_S
            try:
                self._tell(self._sign(), EXPIRES_US)
            except ClosedError:
                return
            except MillstreamError as error:
                # The next one may succeed; until then others see it as gone, which changes nothing of what it does.
                _log.debug("stream %s: its sign of life was not written: %s", self._group.name, error)

    def _sign(self) -> Sign:
        at = None if self._run is None else self._run.at
        now_us = self._clock.now_us()
        if at is None:
            return Sign(self._process, now_us)
        step, since_s = at
        return Sign(self._process, now_us, step, time.monotonic() - since_s)

    def _failing_since_us(self, now_us: int) -> int:
        """Return since when runs of this process have failed, of which nothing was committed."""
        key = self._key + _ERROR
        stored = self._group.state(_PARTITION, [key, progress.KEY])
        before = msgspec.msgpack.decode(stored[key], type=Sign) if key in stored else None
        committed_us = progress.decode(stored[progress.KEY]).at_us if progress.KEY in stored else 0
        if before is None or before.since_us is None or committed_us > before.since_us:
            return now_us
        return before.since_us

    def _tell(self, sign: Sign, expires_us: int) -> None:
        self._group.commit([], state=[_change(self._key, sign, expires_us)])
        self._told = True


def _change(key: bytes, sign: Sign, expires_us: int) -> StateChange:
    return StateChange(_PARTITION, key, msgspec.msgpack.encode(sign), sign.at_us + expires_us)


def signs(group: Group[Any]) -> list[Sign]:
    """Return what the processes that run a stream told, by their names."""
    future_us = group.topic.log.clock.now_us() + ERROR_EXPIRES_US
    decode = msgspec.msgpack.Decoder(Sign).decode
    found = [decode(value) for value in group.state(_PARTITION, within=StateRange.of_prefix(PREFIX)).values()]
    # A clock that was set back: who lives tells again soon.
    return [sign for sign in found if sign.at_us <= future_us]
