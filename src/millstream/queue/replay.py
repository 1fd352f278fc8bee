"""Old records once more: to one consumer group of their topic, or into another topic.

Nothing is taken back and no offset moves: records are appended again, behind what is there, with their key, headers and
event time. For a consumer group they carry its name, so that the topic's other readers pass over them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final

import msgspec

from millstream.durations import duration_us
from millstream.engines.protocol import Append, TopicSpec
from millstream.errors import GroupNotFoundError, LimitExceededError, SchemaError, TopicNotFoundError, UsageError
from millstream.log.addressed import FOR, is_for
from millstream.log.delivery import DUE
from millstream.log.log import Log
from millstream.log.ranges import OffsetRange
from millstream.log.topic import Topic
from millstream.queue.dead.redrive import REFUSALS_MAX, Refusal, redrives_of
from millstream.queue.rate import rate_per_s
from millstream.records import Record, check_name, time_from_us

REPLAYS_MAX: Final = 1
"""A record that was appended again is a copy; without `force` only what came by itself is replayed, once each."""

REPLAYS_HEADER: Final = "ms-replays"
"""How often a record was replayed, as decimal text."""

PAGE_RECORDS: Final = 1000
"""Appended in one transaction: it takes milliseconds, so that workers do not wait for the file."""

Start = int | datetime | timedelta | str
"""An offset (of every partition), an append time, or how long ago."""


class Replayed(msgspec.Struct, frozen=True):
    """What was (or, in a dry run, would be) appended again."""

    dry_run: bool
    replayed: int
    copies: int
    """Left out: appended again by an earlier replay or redrive, or for another consumer group."""
    refused: int
    """Left out: they do not fit the other topic."""
    refusals: tuple[Refusal, ...]
    """The first of them, with reasons."""
    ranges: tuple[OffsetRange, ...]
    """What was looked at, by partition: the next replay goes on at their ends."""


class Replay:
    """One replay; nothing happens before `run`.

    Args:
        to: A consumer group of the topic: its handlers get the records again, other readers do not.
        into: Another topic, all readers of which get them; made like the first where there is none.
        start: First record.
        end: First record that is not in it; None: all there are now.
        partition: Only this one.
        key: Only records with this key.
        replays_max: Leave what was replayed or sent back so often already.
        force: However often it was.

    Raises:
        TopicNotFoundError: There is no such topic.
        GroupNotFoundError: It has no such consumer group.
        UsageError: Neither or both of `to` and `into`, or a place that is none.
    """

    def __init__(
        self,
        log: Log,
        topic: str,
        *,
        to: str | None = None,
        into: str | None = None,
        start: Start,
        end: Start | None = None,
        partition: int | None = None,
        key: str | bytes | None = None,
        replays_max: int = REPLAYS_MAX,
        force: bool = False,
    ) -> None:
        if (to is None) == (into is None):
            raise UsageError("say where the records go: to a consumer group of the topic, or into another topic")
        if into == topic:
            raise UsageError(f"into={into!r} is the topic itself; name the consumer group that is to have them: to=")
        if topic not in log.topics():
            raise TopicNotFoundError(topic, log.engine.url)
        self._log = log
        self._source: Topic[Any] = log.topic(topic)
        if to is not None and to not in log.engine.groups(topic):
            raise GroupNotFoundError(topic, to)
        self._to = to
        self._into = None if into is None else check_name("topic", into)
        self._key = key.encode() if isinstance(key, str) else key
        self._replays_max = None if force else replays_max
        self._ranges = self._ranges_of(start, end, partition)
        self._done = Replayed(True, 0, 0, 0, (), ())

    @property
    def done(self) -> Replayed:
        """How far the last run came, also one that was stopped."""
        return self._done

    def rehearse(self) -> Replayed:
        """Say what `run` would do; change nothing."""
        target = self._existing()
        self._begin(dry_run=True)
        for page, place in self._pages():
            self._count(self._encoded(page, target), place)
        return self._done

    def run(self, *, rate: str | float | None = None, stop: threading.Event | None = None) -> Replayed:
        """Append the records again, oldest first, partition after partition, each page in one transaction.

        Args:
            rate: At most so many a second ("10/s", "600/m", 10).
            stop: When set, it ends after the page that it is at.
        """
        per_s = rate_per_s(rate)
        stop = stop or threading.Event()
        target = self._existing() or self._made()
        split = PAGE_RECORDS if per_s is None else max(1, int(per_s / 10))
        self._begin(dry_run=False)
        begun = monotonic()
        for page, place in self._pages(split):
            encoded = self._encoded(page, target)
            if encoded.appends and per_s is not None:
                stop.wait(max(0.0, begun + self._done.replayed / per_s - monotonic()))
            if stop.is_set():
                break
            if encoded.appends:
                self._log.engine.append(encoded.appends)
            self._count(encoded, place)
        return self._done

    # --- inside -----------------------------------------------------------------------------------------------------

    def _existing(self) -> Topic[Any] | None:
        if self._into is None:
            return self._source
        return self._log.topic(self._into) if self._into in self._log.topics() else None

    def _made(self) -> Topic[Any]:
        """Make the other topic with the fields that this one has now."""
        assert self._into is not None
        info = self._source.info()
        self._log.engine.create_topic(TopicSpec(self._into, info.spec.partitions))
        if info.schemas:
            self._log.engine.put_schema(self._into, info.schemas[max(info.schemas)])
        return self._log.topic(self._into)

    def _ranges_of(self, start: Start, end: Start | None, partition: int | None) -> list[OffsetRange]:
        info = self._source.info()
        known = {p.partition: range(p.start_offset, p.end_offset) for p in info.partitions}
        if partition is not None and partition not in known:
            raise UsageError(f"topic {self._source.name!r} has partitions 0 to {len(known) - 1}, not {partition}")
        starts, ends = self._offsets(start), None if end is None else self._offsets(end)
        return [
            OffsetRange(p, low, max(low, min(offsets.stop, ends[p] if ends else offsets.stop)))
            for p, offsets in known.items()
            if partition in (None, p)
            for low in [min(max(starts[p], offsets.start), offsets.stop)]
        ]

    def _offsets(self, place: Start) -> Mapping[int, int]:
        if isinstance(place, int):
            if place < 0:
                raise UsageError(f"an offset is 0 or more, not {place}")
            return dict.fromkeys(range(self._source.partitions), place)
        if not isinstance(place, datetime):
            place = time_from_us(self._log.clock.now_us() - duration_us(place))
        return self._source.offsets_at(place)

    def _begin(self, *, dry_run: bool) -> None:
        ranges = tuple(OffsetRange(r.partition, r.start, r.start) for r in self._ranges)
        self._done = Replayed(dry_run, 0, 0, 0, (), ranges)

    def _pages(self, records_max: int = PAGE_RECORDS) -> Iterator[tuple[Sequence[Record[Any]], OffsetRange]]:
        """Yield records, and the offsets that they stand for."""
        for range_ in self._ranges:
            start = range_.start
            while start < range_.end:
                most = min(records_max, range_.end - start)
                page = self._source.read(start, partition=range_.partition, records_max=most)
                past = page[-1].offset + 1 if page else range_.end
                yield page, OffsetRange(range_.partition, range_.start, past)
                start = past

    def _encoded(self, page: Sequence[Record[Any]], target: Topic[Any] | None) -> _Encoded:
        """Return a page as appends; where one record is refused, one by one."""
        wanted = [record for record in page if self._key is None or record.key == self._key]
        fresh = [record for record in wanted if self._is_fresh(record)]
        copies = len(wanted) - len(fresh)
        if target is None or not fresh:
            return _Encoded([], len(fresh), copies, [])
        try:
            return _Encoded(self._appends(target, fresh), len(fresh), copies, [])
        except (SchemaError, LimitExceededError):
            return self._encoded_each(target, fresh, copies)

    def _encoded_each(self, target: Topic[Any], records: Sequence[Record[Any]], copies: int) -> _Encoded:
        appends: list[Append] = []
        refusals: list[Refusal] = []
        for record in records:
            try:
                appends += self._appends(target, [record])
            except (SchemaError, LimitExceededError) as error:
                refusals.append(Refusal(record.position, str(error)))
        return _Encoded(appends, len(records) - len(refusals), copies, refusals)

    def _appends(self, target: Topic[Any], records: Sequence[Record[Any]]) -> list[Append]:
        return target.encode(
            [record.value for record in records],
            keys=[record.key for record in records],
            headers=[self._headers(record) for record in records],
            times=[None if record.event_time_us == record.append_time_us else record.event_time for record in records],
        )

    def _headers(self, record: Record[Any]) -> dict[str, bytes]:
        # Its time has come long ago; and whom it was for is decided anew.
        headers = {name: value for name, value in record.headers.items() if name not in (DUE, FOR)}
        headers[REPLAYS_HEADER] = str(replays_of(record.headers) + 1).encode()
        if self._to is not None:
            headers[FOR] = self._to.encode()
        return headers

    def _is_fresh(self, record: Record[Any]) -> bool:
        if self._to is not None and not is_for(record.headers, self._to):
            return False
        sent = replays_of(record.headers) + redrives_of(dict(record.headers))
        return self._replays_max is None or sent < self._replays_max

    def _count(self, encoded: _Encoded, place: OffsetRange) -> None:
        done = self._done
        self._done = msgspec.structs.replace(
            done,
            replayed=done.replayed + encoded.count,
            copies=done.copies + encoded.copies,
            refused=done.refused + len(encoded.refusals),
            refusals=(*done.refusals, *encoded.refusals)[:REFUSALS_MAX],
            ranges=tuple(place if r.partition == place.partition else r for r in done.ranges),
        )


class _Encoded(msgspec.Struct, frozen=True):
    """What becomes of a page."""

    appends: list[Append]
    count: int
    copies: int
    refusals: list[Refusal]


def replays_of(headers: Mapping[str, bytes]) -> int:
    """Return how often a record was replayed; a header that is no number counts as never."""
    text = headers.get(REPLAYS_HEADER, b"0")
    return int(text) if text.isdigit() and len(text) < 10 else 0


def replay(log: Log, topic: str, *, dry_run: bool = False, rate: str | float | None = None, **which: Any) -> Replayed:
    """Append old records again, for a consumer group of their topic or into another topic.

        replay(app.log, "orders", to="send", start="2h")        # what came in the last two hours, to the queue `send`

    Their readers see them again. Nothing is taken back of what was done with them before.

    Args:
        dry_run: Change nothing; say what would be replayed.
        rate: At most so many a second ("10/s", "600/m", 10).
        which: to=, into=, start=, end=, partition=, key=, replays_max=, force=; see `Replay`.
    """
    wanted = Replay(log, topic, **which)
    return wanted.rehearse() if dry_run else wanted.run(rate=rate)
