"""How streams fare, from the log alone: whoever asks, in whatever process they run, with or without their program.

Nothing here scans: what a stream counts it stores with its commits (`progress.py`), how it is described when it begins
(`outline.py`), who runs it every few seconds (`presence.py`); the rest are the group's own counters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from millstream.engines.protocol import GroupInfo
from millstream.errors import GroupNotFoundError, TopicNotFoundError, UsageError
from millstream.log.append_time import append_time_us
from millstream.log.group import Group
from millstream.log.log import Log
from millstream.records import time_from_us
from millstream.stream import outline, progress
from millstream.stream.outline import Outline
from millstream.stream.presence import Sign, signs
from millstream.stream.progress import StreamProgress

FRESH_US: Final = 10_000_000
"""A rate as of a commit that is longer ago is none any more: nothing came since."""


class StreamState(StrEnum):
    """The word that an operator looks for first."""

    PAUSED = "paused"
    FAILING = "failing"
    """Its last run ended with an error, and nothing was committed since."""
    NO_PROCESS = "no process"
    """There are records that nobody is going to take."""
    WORKING = "working"
    UP_TO_DATE = "up to date"
    """All records are processed."""


class StreamInfo(msgspec.Struct, frozen=True):
    """How far a stream came and how it fares, as of its last commit."""

    committed: Mapping[int, int]
    """Of its first topic, by partition."""
    lag: int
    """Records of its topics that are not processed yet."""
    lag_us: int
    """How long ago the oldest record that is not processed yet was appended; 0 without one."""
    watermark_us: int | None
    """By the records read; None before the first."""
    late: int
    """Records that came too late for their window or join, and were left out of it."""
    open_windows: int
    """Windows times keys, and records that wait for a match."""
    paused: bool
    progress: StreamProgress | None
    """Rates, times, state by step; None before the first commit."""
    name: str = ""
    topics: tuple[str, ...] = ()
    """That it reads, the first of which has its state."""
    outputs: tuple[str, ...] = ()
    """Topics that it appends to."""
    at_us: int = 0
    """When this was found."""
    watermark_delay_us: int | None = None
    """How far the watermark is behind now; of old records, as old as they are."""
    rate_in: float = 0.0
    """Records a second, lately; 0 where nothing was committed for some seconds."""
    rate_out: float = 0.0
    state_rows: int = 0
    """In memory, of all steps."""
    state_bytes: int = 0
    processes: tuple[Sign, ...] = ()
    """That run it now."""
    error: str | None = None
    """What ended its last run, where nothing was committed since."""
    failing_since_us: int | None = None
    """When the first run ended so."""

    @property
    def full_name(self) -> str:
        """Its name behind that of its first topic: no other stream has it."""
        return f"{self.topics[0]}/{self.name}"

    @property
    def state(self) -> StreamState:
        if self.paused:
            return StreamState.PAUSED
        if self.error is not None:
            return StreamState.FAILING
        if not self.lag:
            return StreamState.UP_TO_DATE
        return StreamState.WORKING if self.processes else StreamState.NO_PROCESS

    @property
    def failing_s(self) -> float | None:
        """How long it has been failing; None where it is not, or that is not known."""
        return None if self.failing_since_us is None else max(0.0, (self.at_us - self.failing_since_us) / 1e6)

    def to_object(self) -> dict[str, Any]:
        """Return it as JSON has it: all fields, and what is derived from them."""
        fields: dict[str, Any] = msgspec.to_builtins(self, str_keys=True)
        return {"name": self.name, "state": str(self.state), **fields, "at": time_from_us(self.at_us).isoformat()}


class Found(msgspec.Struct, frozen=True):
    """A stream of the log."""

    topic: str
    """The first one that it reads."""
    name: str
    outline: Outline

    @property
    def full_name(self) -> str:
        return f"{self.topic}/{self.name}"

    @property
    def groups(self) -> list[tuple[str, str]]:
        """Topic and consumer group of all that it reads."""
        return [(topic, self.name) for topic in self.outline.sources]


class StreamWatch:
    """Looks at the streams of a log, again and again. Safe to use from one thread at a time."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._appended: dict[tuple[str, int, int], int | None] = {}

    def look(self, streams: Iterable[Found] | None = None) -> list[StreamInfo]:
        """Return how these streams fare, or all; those that are gone are left out."""
        infos: list[StreamInfo] = []
        seen: dict[tuple[str, int, int], int | None] = {}
        for found in find_streams(self._log) if streams is None else streams:
            try:
                infos.append(info_of(self._log, found.name, found.outline, self._appended, seen))
            except (TopicNotFoundError, GroupNotFoundError):
                continue
        self._appended = seen
        return infos


def find_streams(log: Log) -> list[Found]:
    """Return the streams that were ever begun on this log and not deleted since, by topic and name."""
    found: list[Found] = []
    for topic in log.topics():
        try:
            for name in log.engine.groups(topic):
                stored = log.engine.state(topic, name, 0, [outline.KEY]).get(outline.KEY)
                if stored is not None:
                    found.append(Found(topic, name, outline.decode(stored)))
        except (TopicNotFoundError, GroupNotFoundError):
            continue
    return found


def reader_groups(log: Log) -> set[tuple[str, str]]:
    """Return topic and consumer group of all that streams read: groups that no queue hands over."""
    return {group for stream in find_streams(log) for group in stream.groups}


def find_stream(log: Log, name: str) -> Found:
    """Return the stream named `NAME`, or `TOPIC/NAME` where several topics have one of that name.

    Raises:
        UsageError: There is none, or there are several.
    """
    found = [stream for stream in find_streams(log) if name in (stream.name, stream.full_name)]
    if not found:
        raise UsageError(f"there is no stream {name!r}; `millstream stream` lists those there are")
    if len(found) > 1:
        names = ", ".join(stream.full_name for stream in found)
        raise UsageError(f"several topics have a stream {name!r}; give one of {names}")
    return found[0]


def info_of(
    log: Log,
    name: str,
    described: Outline,
    known: Mapping[tuple[str, int, int], int | None] | None = None,
    seen: dict[tuple[str, int, int], int | None] | None = None,
) -> StreamInfo:
    """Return how a stream fares.

    Args:
        known: When records were appended, by topic, partition and offset, as an earlier look found out.
        seen: Takes what this one found out.

    Raises:
        GroupNotFoundError: It was never begun.
        TopicNotFoundError: A topic of it is gone.
    """
    infos = [log.engine.describe_group(topic, name) for topic in described.sources]
    group = log.topic(described.sources[0]).group(name)
    stored = _progress(group)
    told = signs(group)
    now_us = log.clock.now_us()
    fresh = stored is not None and now_us - stored.at_us < FRESH_US
    errors = [sign for sign in told if sign.error is not None and (stored is None or sign.at_us > stored.at_us)]
    last = max(errors, key=lambda sign: sign.at_us, default=None)
    watermark_us = stored.watermark_us if stored else None
    steps = stored.steps if stored else ()
    return StreamInfo(
        committed=infos[0].committed,
        lag=sum(info.lag for info in infos),
        lag_us=_lag_us(log, infos, now_us, known or {}, {} if seen is None else seen),
        watermark_us=watermark_us,
        late=stored.late if stored else 0,
        open_windows=stored.open if stored else 0,
        paused=infos[0].paused,
        progress=stored,
        name=name,
        topics=described.sources,
        outputs=described.outputs,
        at_us=now_us,
        watermark_delay_us=None if watermark_us is None else max(0, now_us - watermark_us),
        rate_in=stored.rate_in if stored is not None and fresh else 0.0,
        rate_out=stored.rate_out if stored is not None and fresh else 0.0,
        state_rows=sum(step.rows for step in steps),
        state_bytes=sum(step.bytes for step in steps),
        processes=tuple(sign for sign in told if sign.error is None),
        error=None if last is None else last.error,
        failing_since_us=None if last is None else last.since_us,
    )


def _progress(group: Group[Any]) -> StreamProgress | None:
    """Return what was stored with the last commits: by one run of all partitions, or by one run each."""
    stored = [group.state(partition, [progress.KEY]) for partition in range(group.topic.partitions)]
    return progress.combined([progress.decode(found[progress.KEY]) for found in stored if found])


def _lag_us(
    log: Log,
    infos: Sequence[GroupInfo],
    now_us: int,
    known: Mapping[tuple[str, int, int], int | None],
    seen: dict[tuple[str, int, int], int | None],
) -> int:
    """Return the age of the oldest record that is not processed."""
    for info in infos:
        for partition, offset in info.committed.items():
            if offset < info.end_offsets[partition]:
                place = (info.topic, partition, offset)
                seen[place] = known[place] if place in known else append_time_us(log, *place)
    places = {(info.topic, partition, offset) for info in infos for partition, offset in info.committed.items()}
    appended = [us for place, us in seen.items() if place in places and us is not None]
    return max(0, now_us - min(appended)) if appended else 0
