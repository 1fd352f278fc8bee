"""What a process tells of its listeners, in the log: read by whoever asks, in whatever process.

A process keeps a key of the state of the group that has the positions. What it told last stays when it ends, so that
one sees what did not get on, and is removed by the next process that begins.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from millstream.engines.protocol import StateChange
from millstream.engines.values import StateRange
from millstream.errors import ClosedError, MillstreamError
from millstream.log.group import Group
from millstream.sources.listening import ListenerSign, ListenerState, Listening
from millstream.sources.standing import standings

_log = logging.getLogger("millstream.sources")

GROUP: Final = "system-follower"
"""Of each topic that sources are read into; keeps their positions."""
BEAT_S: Final = 5.0
"""Between two signs: one small commit each."""
FIRST_S: Final = 0.5
"""Before the first: what only reads what there is has often ended by then, and tells once."""
LOOK_S: Final = 1.0
"""Between two looks whether a listener fares otherwise, which is told at once."""
EXPIRES_US: Final = 16_000_000
"""A process not heard of for so long is gone: two signs may come late."""
KEPT_US: Final = 7 * 86_400_000_000
"""So long the last sign of a process that ended is kept."""
BEHIND_FILES_MAX: Final = 500
"""Of more files than this it is not told how far behind each listener is: all of them would be opened at each sign."""
_PARTITION: Final = 0
_PREFIX: Final = b"millstream.listeners:"


class ProcessSign(msgspec.Struct, frozen=True):
    """The listeners of a process, as it last told."""

    process: str
    """`host:pid`."""
    at_us: int
    listeners: tuple[ListenerSign, ...]
    left: bool = False
    """It has ended by itself."""


class Telling:
    """Tells how the listeners of this process fare, from `begin` to `end`. Never in the way of reading."""

    def __init__(self, group: Group[Any], listeners: Sequence[Listening]) -> None:
        """Say nothing yet."""
        self._group = group
        self._listeners = listeners
        self._clock = group.topic.log.clock
        self._process = this_process()
        self._key = _PREFIX + self._process.encode()
        self._ended = threading.Event()
        self._is_told = False
        self._looked_us = self._clock.monotonic_us()
        self._thread = threading.Thread(target=self._beat, name=f"listeners-{group.topic.name}", daemon=True)

    def begin(self) -> None:
        if self._listeners:
            self._thread.start()

    def end(self) -> None:
        """Tell how it ended."""
        if self._listeners and not self._ended.is_set():
            self._ended.set()
            self._thread.join()
            self._tell(left=True)

    def is_stuck(self, for_s: float) -> bool:
        """Return whether nothing could even be tried for so long: neither did it end well nor with an error."""
        return self._clock.monotonic_us() - self._looked_us > for_s * 1e6

    def _beat(self) -> None:
        told_us, told = None, None
        if self._ended.wait(FIRST_S):
            return
        while True:
            now_us = self._clock.monotonic_us()
            fares = self._fares()
            if told_us is None or fares != told or now_us - told_us >= BEAT_S * 1e6:
                told_us, told = now_us, fares
                self._tell()
            self._looked_us = self._clock.monotonic_us()
            if self._ended.wait(LOOK_S):
                return

    def _fares(self) -> list[tuple[ListenerState, str | None]]:
        """Return what is told at once when it changes."""
        return [(sign.state, sign.why) for sign in (one.sign() for one in self._listeners)]

    def _tell(self, *, left: bool = False) -> None:
        try:
            behind = self._behind()
            signs = [one.sign(behind_bytes=_sum_of(behind, one.source.following())) for one in self._listeners]
            sign = ProcessSign(self._process, self._clock.now_us(), tuple(signs), left)
            change = StateChange(_PARTITION, self._key, msgspec.msgpack.encode(sign), sign.at_us + KEPT_US)
            self._group.commit([], state=[change, *([] if self._is_told else self._others())])
            self._is_told = True
        except ClosedError:
            pass
        except MillstreamError as error:
            # The next one may succeed; until then others see it as gone, and it is: nothing can be stored.
            _log.debug("the listeners of topic %s: their sign was not written: %s", self._group.topic.name, error)

    def _others(self) -> list[StateChange]:
        """Return what removes the signs of processes that are gone."""
        now_us = self._clock.now_us()
        told = told_signs(self._group).items()
        return [
            StateChange(_PARTITION, key, None) for key, sign in told if key != self._key and not lives(sign, now_us)
        ]

    def _behind(self) -> Mapping[str, int | None]:
        """Return what is not stored yet of each file that is followed; nothing where they are very many."""
        if sum(len(one.source.following()) for one in self._listeners) > BEHIND_FILES_MAX:
            return {}
        return {one.path: one.behind_bytes for one in standings(self._group.topic, self._group.name)}


def _sum_of(behind: Mapping[str, int | None], paths: Sequence[str]) -> int | None:
    """Return the sum of those that are known; None without one."""
    found = [one for one in map(behind.get, paths) if one is not None]
    return sum(found) if found else None


def this_process() -> str:
    """Return what this process is called in signs: `host:pid`."""
    return f"{socket.gethostname()}:{os.getpid()}"


def lives(sign: ProcessSign, now_us: int) -> bool:
    """Return whether a process that told this is at work."""
    return not sign.left and now_us - sign.at_us < EXPIRES_US


def told_signs(group: Group[Any]) -> dict[bytes, ProcessSign]:
    """Return what processes told last of a topic's listeners, by key."""
    decode = msgspec.msgpack.Decoder(ProcessSign).decode
    found = group.state(_PARTITION, within=StateRange.of_prefix(_PREFIX))
    return {key: decode(value) for key, value in found.items()}
