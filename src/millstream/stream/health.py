"""Is a stream stuck? A watchdog: records wait, and none is processed for a while.

A stream that is paused, or has nothing to process, is not stuck.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from millstream.clock import Clock
from millstream.durations import duration_text, duration_us
from millstream.stream.info import StreamInfo
from millstream.stream.presence import Sign

STALL: Final = timedelta(minutes=10)
"""Longer than any micro-batch should take, and a machine's restart."""


class StreamStall(msgspec.Struct, frozen=True):
    """A stream that does not move."""

    topic: str
    """The first that it reads."""
    stream: str
    for_s: float
    """Without progress."""
    lag: int
    process: str | None
    """`host:pid` of one that runs it; None: nobody does."""
    step: str | None
    """Where that one is in the middle of something, for `step_s`."""
    step_s: float | None
    error: str | None
    """What ended its last run."""
    message: str

    @property
    def full_name(self) -> str:
        return f"{self.topic}/{self.stream}"


class _Progress(msgspec.Struct, frozen=True):
    records_in: int
    since_us: int


class StreamWatchdog:
    """Remembers when each stream last moved. Ask it regularly, at least a few times within `stall`."""

    def __init__(self, clock: Clock, *, stall: timedelta | str | float = STALL) -> None:
        self._clock = clock
        self._stall_us = duration_us(stall)
        self._progress: dict[str, _Progress] = {}

    def look(self, streams: Sequence[StreamInfo]) -> list[StreamStall]:
        """Return those of the streams that have processed nothing for `stall` although there is something."""
        now_us = self._clock.monotonic_us()
        stalls: list[StreamStall] = []
        progress: dict[str, _Progress] = {}
        for stream in streams:
            records_in = stream.progress.records_in if stream.progress else 0
            before = self._progress.get(stream.full_name)
            moved = before is None or before.records_in != records_in
            since_us = now_us if before is None or moved or stream.paused or not stream.lag else before.since_us
            progress[stream.full_name] = _Progress(records_in, since_us)
            if now_us - since_us >= self._stall_us:
                stalls.append(stall_of(stream, (now_us - since_us) / 1e6))
        self._progress = progress
        return stalls


def stall_of(stream: StreamInfo, for_s: float) -> StreamStall:
    """Say what a stream that has not moved for so long is stuck at."""
    longest = max(stream.processes, key=lambda sign: sign.step_s, default=None)
    return StreamStall(
        topic=stream.topics[0],
        stream=stream.name,
        for_s=for_s,
        lag=stream.lag,
        process=longest.process if longest else None,
        step=longest.step if longest else None,
        step_s=longest.step_s if longest and longest.step else None,
        error=stream.error,
        message=f"stream {stream.name} of topic {stream.topics[0]}: nothing has been processed for "
        f"{duration_text(for_s)}, with {stream.lag:,} records to go, the oldest of them appended "
        f"{duration_text(stream.lag_us / 1e6)} ago; {_cause(stream, longest)}",
    )


def _cause(stream: StreamInfo, longest: Sign | None) -> str:
    if stream.error is not None:
        return f"its last run ended with {stream.error}"
    if longest is None:
        return "no process runs it"
    if longest.step is not None:
        return f"{longest.process} has been at step {longest.step} for {duration_text(longest.step_s)}"
    return f"{longest.process} runs it and is at no step"
