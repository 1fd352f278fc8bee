"""Compares the records of a topic with its chain of seals, and names the first that is not what it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.engines.protocol import Finding, PartitionInfo
from millstream.errors import MillstreamError
from millstream.log.columns import EVENT_TIME, HEADERS, KEY
from millstream.log.schema import RAW, Schema
from millstream.log.seals.digest import DIGEST_BYTES, columns_of, digests, names_of
from millstream.log.seals.seal import NO_HEAD, SUFFIX, Seal, seals_of

if TYPE_CHECKING:
    from millstream.log.log import Log
    from millstream.log.topic import Topic

_SEALS_AT_ONCE: Final = 256
_RECORDS_AT_ONCE: Final = 8192
_OFFSET: Final = "_offset"

_ALTERED: Final = "compare it with a backup or with what was sent elsewhere, and find out who may write the file"
_NO_KEY: Final = "set MILLSTREAM_SEAL_KEY or MILLSTREAM_SEAL_KEY_FILE to the key that the program had"


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of one sealed topic."""

    topic: str
    seals: int
    records: int
    """That are what they were when they were appended."""
    head: str
    """Of the last seal, in hex: given to a later check, it proves that nothing was cut from the end."""
    notes: tuple[str, ...] = ()
    """What the check could not look at, in sentences."""
    findings: tuple[Finding, ...] = ()


class _Altered(Exception):  # noqa: N818 - ends the check of one topic at its first finding
    def __init__(self, where: str, problem: str, advice: str = _ALTERED) -> None:
        super().__init__(problem)
        self.finding = Finding(where, problem, advice)


def sealed_topics(log: Log) -> list[str]:
    """Return the topics that have seals, sorted, whether they are still there or not."""
    return [name.removesuffix(SUFFIX) for name in log.topics() if name.endswith(SUFFIX)]


def verify(
    log: Log,
    topic: str,
    *,
    key: bytes | None = None,
    heads: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Verified:
    """Check one sealed topic from its oldest seal to its newest.

    Args:
        key: The secret of the chain, where it has one.
        heads: Heads of this chain from earlier checks: each has to be there still.
        progress: Called with seals done and seals in all.

    Returns:
        At most one finding: the first record, or seal, that is not what it was. Behind it nothing is certain.
    """
    check = _Check(log, topic, key, heads)
    found: tuple[Finding, ...] = ()
    try:
        check.run(progress)
    except _Altered as altered:
        found = (altered.finding,)
    return Verified(
        topic=topic,
        seals=check.seals,
        records=check.records,
        head=check.head.hex(),
        notes=tuple(check.notes),
        findings=found,
    )


class _Check:
    """One walk along the chain."""

    def __init__(self, log: Log, topic: str, key: bytes | None, heads: Sequence[str]) -> None:
        self._log = log
        self._name = topic
        self._key = key
        self._wanted = {head.lower() for head in heads}
        self.seals = 0
        self.records = 0
        self.head = NO_HEAD
        self.notes: list[str] = []
        self._was_keyed = False

    def run(self, progress: Callable[[int, int], None] | None) -> None:
        chain: Topic[Seal] = self._log.topic(seals_of(self._name), Seal)
        if self._name not in self._log.topics():
            raise _Altered(self._name, "the topic is gone, its seals are not")
        topic: Topic[Any] = self._log.topic(self._name)
        # Others go on appending meanwhile. What is there now has its seals by then, and these have their records later.
        there = topic.end_offsets()
        [part] = chain.info().partitions
        records = _Records(topic, there)
        place = part.start_offset
        while place < part.end_offset:
            some = [entry for entry in self._read(chain, place) if entry[0] < part.end_offset]
            records.look_ahead([seal for _, seal in some])
            for offset, seal in some:
                self._link(seal, offset, first=offset == part.start_offset)
                self._compare(seal, records)
                self.seals += 1
            place = some[-1][0] + 1
            if progress is not None:
                progress(place - part.start_offset, part.end_offset - part.start_offset)
        self._end(records)

    def _read(self, chain: Topic[Seal], place: int) -> list[tuple[int, Seal]]:
        where = f"{chain.name}/0"
        try:
            found = chain.read(place, records_max=_SEALS_AT_ONCE)
        except MillstreamError as error:
            raise _Altered(where, f"seal {place}, or one of those after it, cannot be read: {error}") from error
        if not found or found[0].offset != place:
            raise _Altered(where, f"seal {place} is missing")
        for number, record in enumerate(found):
            if record.offset != place + number:
                raise _Altered(where, f"seal {place + number} is missing")
        return [(record.offset, record.value) for record in found]

    def _link(self, seal: Seal, offset: int, *, first: bool) -> None:
        """Check one seal by itself and with the one before it."""
        where = f"{seals_of(self._name)}/0"
        if first and seal.before != NO_HEAD:
            self.notes.append(f"the seals before seal {offset} are gone; the check begins there")
        elif not first and seal.before != self.head:
            raise _Altered(
                where, f"seal {offset} does not follow the one before it: a seal was removed, put in or altered"
            )
        if self._was_keyed and not seal.keyed:
            raise _Altered(where, f"seal {offset} was made without the key, those before it with it")
        if seal.keyed and self._key is None:
            raise _Altered(where, f"seal {offset} was made with a key, and there is none to check it", _NO_KEY)
        if len(seal.digests) != seal.count * DIGEST_BYTES or seal.head_of(self._name, self._key) != seal.head:
            problem = f"seal {offset} is altered" + (", or was made with another key" if seal.keyed else "")
            raise _Altered(where, f"{problem}: its head is not that of what it says")
        if self._key is not None and not seal.keyed and not self.seals:
            self.notes.append("the chain begins without a key: who may write the file could have made that part anew")
        self._was_keyed = seal.keyed
        self.head = seal.head
        self._wanted.discard(seal.head.hex())

    def _compare(self, seal: Seal, records: _Records) -> None:
        """Check the records of one seal."""
        note = records.skip_to(seal)
        if note:
            self.notes.append(note)
        found = records.digests(seal)
        for place, wanted in enumerate(seal.each()):
            offset = seal.start + place
            if offset < records.start(seal.partition):
                continue
            if found.get(offset) != wanted:
                raise _Altered(f"{self._name}/{seal.partition}", _what_differs(seal, offset, wanted, found))
            self.records += 1
        records.passed(seal)

    def _end(self, records: _Records) -> None:
        for partition, offset, end in records.unsealed():
            raise _Altered(f"{self._name}/{partition}", _not_sealed(offset, end))
        for head in sorted(self._wanted):
            raise _Altered(
                f"{seals_of(self._name)}/0",
                f"no seal has the head {head}: the end of the chain was cut off, or made anew",
            )


class _Records:
    """The records of a topic, by the seals that say what they were."""

    def __init__(self, topic: Topic[Any], there: Mapping[int, int]) -> None:
        """Take a topic, and up to where its records have to be sealed."""
        self._topic = topic
        self._there = there
        info = topic.info()
        self._parts: Mapping[int, PartitionInfo] = {part.partition: part for part in info.partitions}
        self._schemas = {number: Schema.decode(data) for number, data in info.schemas.items()} | {0: RAW}
        self._next: dict[int, int] = {}
        """The end of the last seal of each partition."""
        self._ahead: list[Seal] = []
        """Seals to come: small ones are compared together."""
        self._known: dict[int, bytes] = {}
        self._known_of: tuple[int, int, int] | None = None
        """Partition, start and end of what is known."""

    def start(self, partition: int) -> int:
        return self._parts[partition].start_offset

    def skip_to(self, seal: Seal) -> str | None:
        """Check that no record lies between the last seal and this one; return what to say where none can be told."""
        before = self._next.get(seal.partition)
        first = self.start(seal.partition)
        if before is None:
            if seal.start > first:
                return f"the records {first} to {seal.start - 1} of partition {seal.partition} are from before sealing"
            if seal.start < first:
                return f"partition {seal.partition} begins with record {first} (retention), and so does the check"
            return None
        if seal.start > before and before >= first:
            raise _Altered(f"{self._topic.name}/{seal.partition}", _not_sealed(before, seal.start))
        return None

    def passed(self, seal: Seal) -> None:
        self._next[seal.partition] = max(seal.end, self._next.get(seal.partition, 0))

    def look_ahead(self, seals: Sequence[Seal]) -> None:
        """Take the next seals, so that the records of many small ones are read at once."""
        self._ahead = list(seals)

    def digests(self, seal: Seal) -> dict[int, bytes]:
        """Return what the records of a seal are now, by offset; those that are not there are missing."""
        if self._known_of is None or not _covers(self._known_of, seal):
            end = self._end_ahead(seal)
            try:
                self._known = self._read(seal, end)
            except MillstreamError:
                # Something in there is damaged: find out whether it is of this seal.
                end = seal.end
                self._known = self._read_or_say(seal)
            self._known_of = (seal.partition, seal.start, end)
        known = self._known
        return {offset: known[offset] for offset in range(seal.start, seal.end) if offset in known}

    def _end_ahead(self, seal: Seal) -> int:
        """Return up to where the seals after this one go on in the same way."""
        end = seal.end
        for other in self._ahead[self._ahead.index(seal) + 1 :]:
            same = (other.partition, other.schema_id, other.timed) == (seal.partition, seal.schema_id, seal.timed)
            if not same or other.start != end or other.end - seal.start > _RECORDS_AT_ONCE:
                break
            end = other.end
        return end

    def _read_or_say(self, seal: Seal) -> dict[int, bytes]:
        try:
            return self._read(seal, seal.end)
        except MillstreamError as error:
            where = f"{self._topic.name}/{seal.partition}"
            which = f"record {seal.start}" if seal.count == 1 else f"one of the records {seal.start} to {seal.end - 1}"
            raise _Altered(where, f"{which} is damaged, or its batch is: it cannot be read: {error}") from error

    def _read(self, seal: Seal, end: int) -> dict[int, bytes]:
        part = self._parts[seal.partition]
        start, end = max(seal.start, part.start_offset), min(end, part.end_offset)
        if start >= end:
            return {}
        schema = self._topic.schema
        names = names_of(self._schemas[seal.schema_id])
        columns = [*columns_of(schema, names), _OFFSET]
        frame = self._topic.read_frame(start, end, partition=seal.partition, columns=columns)
        offsets = frame.get_column(_OFFSET).to_list()
        return dict(zip(offsets, digests(frame, schema, names, timed=seal.timed), strict=True))

    def unsealed(self) -> Iterator[tuple[int, int, int]]:
        """Yield what lies behind the last seals: partition, first offset, end offset."""
        for number, part in self._parts.items():
            at = self._next.get(number)
            if at is not None and max(at, part.start_offset) < self._there[number]:
                yield number, max(at, part.start_offset), self._there[number]


def _covers(known: tuple[int, int, int], seal: Seal) -> bool:
    partition, start, end = known
    return partition == seal.partition and start <= seal.start and seal.end <= end


def _not_sealed(offset: int, end: int) -> str:
    many = f"records {offset} to {end - 1} were" if end - offset > 1 else f"record {offset} was"
    return f"{many} never sealed: written past the sealing program"


def _what_differs(seal: Seal, offset: int, wanted: bytes, found: Mapping[int, bytes]) -> str:
    sealed = {digest: seal.start + place for place, digest in enumerate(seal.each())}
    if offset not in found:
        return f"record {offset} is missing"
    other = sealed.get(found[offset])
    if other is not None:
        return f"record {offset} is not the one that was appended there, but what record {other} was: removed or moved"
    later = next((at for at, digest in found.items() if digest == wanted and at > offset), None)
    if later is not None:
        return f"record {offset} was never sealed: it was put before what is record {later} now"
    return f"record {offset} is altered: its {', '.join(('fields', KEY, HEADERS, EVENT_TIME))} are not what was sealed"
