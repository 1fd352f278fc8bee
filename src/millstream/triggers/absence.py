"""Records that do not come, as a trigger: "no heartbeat for five minutes"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, NamedTuple

import msgspec

from millstream.durations import duration_us
from millstream.errors import UsageError
from millstream.log.log import Log
from millstream.log.topic import Topic
from millstream.records import Record, time_from_us
from millstream.triggers.following import LOOK_S, Following, Piece
from millstream.triggers.matching import topic_of
from millstream.triggers.protocol import EventSource, Trigger, name_of

KEYS_MAX: Final = 100_000
"""Watched at the same time, in memory; those that came first when there are more are the ones that are kept."""

FORGET_US: Final = 30 * 86_400_000_000
"""A key that was told to be silent and stays so is forgotten."""

_WHOLE: Final = b"*"
"""Key of the state of a trigger that watches the whole topic."""


class Absent(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing came for the time that was stated."""

    topic: str
    key: str | None = None
    """The value of the `by` field; None where the whole topic is watched."""
    since: datetime
    """When the last record was appended; where none was yet, when the trigger began to watch."""
    time: datetime
    """When the time was over."""


def absence(
    topic: Topic[Any] | str, after: timedelta | str | float, *, by: str | None = None, name: str | None = None
) -> AbsenceTrigger:
    """Notice that records do not come: `@app.on(absence(heartbeats, "5m", by="device"))`; the handler gets an `Absent`.

    Each silence is one event, however many processes run; the next one is possible when records came again. It is told
    while the app runs, and after a restart if it is still so.

    Args:
        after: How long nothing came, by the times of the appends.
        by: A field: each value of it is watched for itself, from its first record on.
        name: Of the trigger, which is that of its consumer group as well; None: made of the topic's name.

    Raises:
        UsageError: `after` is no time, or 0.
    """
    if not duration_us(after):
        raise UsageError("after is 0; give how long nothing may come, such as '5m'")
    topic_name = topic if isinstance(topic, str) else topic.name
    parts = (topic_name,) if by is None else (topic_name, by)
    return AbsenceTrigger(topic, duration_us(after), by, name=name or name_of("absence", *parts))


class AbsenceTrigger(Trigger):
    """Records that do not come; see `absence`."""

    kind = "absence"
    event: ClassVar[type] = Absent
    time_field = "time"

    def __init__(self, topic: Topic[Any] | str, after_us: int, by: str | None, *, name: str) -> None:
        super().__init__(name)
        self.topic = topic
        self.after_us = after_us
        self.by = by

    def source(self, log: Log) -> EventSource:
        return AbsenceSource(log, self)


class _Seen(NamedTuple):
    at_us: int
    told: bool


class AbsenceSource(Following):
    """Reads a topic for one trigger, and looks at the clock."""

    def __init__(self, log: Log, trigger: AbsenceTrigger) -> None:
        super().__init__(log, topic_of(log, trigger.topic), trigger.events(log), trigger.name, start="end")
        self._after_us = trigger.after_us
        self._by = trigger.by
        self._seen: dict[bytes, _Seen] = {}

    def load(self) -> None:
        self._seen = {key: _decode(data) for key, data in self.state().items()}
        if self._by is None and _WHOLE not in self._seen:
            begun = _Seen(self._clock.now_us(), told=False)
            if self.write([], [], {_WHOLE: _encode(begun)}, found={_WHOLE: None}):
                self._seen[_WHOLE] = begun

    def take(self, piece: Piece) -> tuple[Sequence[Any], Mapping[bytes, bytes | None]]:
        seen: dict[bytes, bytes | None] = {}
        for record in piece.records:
            key = _WHOLE if self._by is None else _key_of(record, self._by)
            if key is not None and (key in self._seen or key in seen or len(self._seen) + len(seen) < KEYS_MAX):
                seen[key] = _encode(_Seen(record.append_time_us, told=False))
        return [], seen

    def taken(self, kept: Mapping[bytes, bytes | None]) -> None:
        self._seen |= {key: _decode(data) for key, data in kept.items() if data is not None}

    def idle(self) -> int:
        now_us = self._clock.now_us()
        silent = [key for key, seen in self._seen.items() if not seen.told and now_us - seen.at_us >= self._after_us]
        return sum(self._tell(key, now_us) for key in silent)

    def wait_s(self) -> float:
        now_us = self._clock.now_us()
        left_us = [seen.at_us + self._after_us - now_us for seen in self._seen.values() if not seen.told]
        return min([LOOK_S, *(max(us, 1000) / 1e6 for us in left_us)])

    def _tell(self, key: bytes, now_us: int) -> int:
        """Write that a key is silent; 0 where another process did, or a record came."""
        seen = self._seen.get(key)
        if seen is None or seen.told:
            return 0
        event = Absent(
            topic=self.topic.name,
            key=None if self._by is None else key.decode(),
            since=time_from_us(seen.at_us),
            time=time_from_us(seen.at_us + self._after_us),
        )
        told = _Seen(seen.at_us, told=True)
        expires_us = None if self._by is None else now_us + FORGET_US
        if not self.write([], [event], {key: _encode(told)}, found={key: _encode(seen)}, expires_us=expires_us):
            return 0
        self._seen[key] = told
        return 1


def _key_of(record: Record[Any], field: str) -> bytes | None:
    value = record.value.get(field) if isinstance(record.value, dict) else getattr(record.value, field, None)
    return None if value is None else str(value).encode()


def _encode(seen: _Seen) -> bytes:
    return b"%d %d" % seen


def _decode(data: bytes) -> _Seen:
    at_us, told = data.split()
    return _Seen(int(at_us), told == b"1")
