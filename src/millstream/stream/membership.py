"""Which processes share a stream, and which partitions each of them is to have.

Every process keeps a key of the group's state, which expires, and says in it which partitions it holds. Whoever looks
sees the same processes and comes to the same division: nobody hands out anything. When they do not see the same for a
moment, two run one partition, and the turn (`turns.py`) lets one of them commit: this is about balance, never about
correctness.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from millstream.engines.protocol import StateChange
from millstream.engines.values import StateRange
from millstream.errors import ClosedError, MillstreamError
from millstream.log.group import Group

_log = logging.getLogger("millstream.stream")

BEAT_S: Final = 1.0
"""Between two signs of life: one small commit each."""

EXPIRES_US: Final = 4_000_000
"""A process not heard of for this long is gone, and its partitions go to the others: three signs may come late."""

_PREFIX: Final = b"g"
_PARTITION: Final = 0
"""All of them are kept with this one."""


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A process, as it last told."""

    process: str
    """Host and process id."""
    told_us: int
    holds: tuple[int, ...]
    """The partitions that it works on."""


class Membership:
    """One process among those that share a stream, in a `with`: its sign of life is given by a thread of its own.

    Args:
        process: Its name for people.
    """

    def __init__(self, group: Group[Any], process: str) -> None:
        self._group = group
        self._clock = group.topic.log.clock
        self._process = process
        # Those that came first stay first: who joins or leaves moves as few partitions as taking turns allows.
        self.key = _PREFIX + f"{self._clock.now_us():016x}{secrets.token_hex(4)}".encode()
        self._holds: tuple[int, ...] = ()
        self._lock = threading.Lock()
        """Of what is told: a sign of life must not overwrite a newer one."""
        self._ended = threading.Event()
        self._beats = threading.Thread(target=self._beat, name=f"stream-{group.name}-member", daemon=True)

    def __enter__(self) -> Self:
        self._tell()
        self._beats.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave at once, so that the others need not wait until it expires."""
        self._ended.set()
        self._beats.join()
        try:
            self._group.commit([], state=[StateChange(_PARTITION, self.key, None)])
        except MillstreamError as failed:
            _log.debug("stream %s: could not tell that this process leaves: %s", self._group.name, failed)

    def hold(self, partitions: Iterable[int]) -> None:
        """Tell the others what this process works on, at once where that changed."""
        holds = tuple(sorted(partitions))
        if holds != self._holds:
            with self._lock:
                self._holds = holds
            self._tell()

    def others(self) -> dict[bytes, Member]:
        """Return the processes beside this one that are there."""
        return {key: member for key, member in members(self._group).items() if key != self.key}

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_S):
            try:
                self._tell()
            except ClosedError:
                return
            except MillstreamError as error:
                # The next one may succeed; until then the others may take its partitions, which is as it should be.
                _log.warning("stream %s: its sign of life was not written: %s", self._group.name, error)

    def _tell(self) -> None:
        with self._lock:
            now_us = self._clock.now_us()
            value = msgspec.msgpack.encode(Member(self._process, now_us, self._holds))
            self._group.commit([], state=[StateChange(_PARTITION, self.key, value, now_us + EXPIRES_US)])


def members(group: Group[Any]) -> dict[bytes, Member]:
    """Return the processes that share a stream, those that came first at the front."""
    future_us = group.topic.log.clock.now_us() + EXPIRES_US
    decode = msgspec.msgpack.Decoder(Member).decode
    found = {key: decode(value) for key, value in group.state(_PARTITION, within=StateRange.of_prefix(_PREFIX)).items()}
    # A clock that was set back: who lives tells again soon, who died would stay until it is that late.
    return {key: member for key, member in sorted(found.items()) if member.told_us <= future_us}


def assigned(keys: Iterable[bytes], key: bytes, partitions: int) -> Sequence[int]:
    """Return the partitions of one of several processes: they take turns."""
    everyone = sorted({*keys, key})
    return range(everyone.index(key), partitions, len(everyone))
