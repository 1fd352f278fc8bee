"""Adds links to the chain of a topic, in the transaction of the append."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.engines.protocol import Append
from millstream.errors import SettingsError
from millstream.log.columns import EVENT_TIME
from millstream.log.frames import frame_of
from millstream.log.schema import RAW, Schema
from millstream.log.seals.digest import columns_of, digests, names_of
from millstream.log.seals.seal import NO_HEAD, Seal, seals_of
from millstream.records import EncodedBatch, StoredBatch

if TYPE_CHECKING:
    from millstream.log.topic import Topic

_NO_TIME_US: Final = -(2**40)
"""Stands for the append time, which is not known before the commit; in 1969, which no record has for an event time."""


def is_sealed(topic: Topic[Any]) -> bool:
    """Whether a topic has seals: then everything that is appended to it has to be sealed."""
    return seals_of(topic.name) in topic.log.topics()


class Sealer:
    """Seals what is appended to one topic. Belongs to whoever commits; not safe to use from many threads at once."""

    def __init__(self, topic: Topic[Any], key: bytes | None = None) -> None:
        """Take a topic, and the key, if any; begin a chain where there is none."""
        self._topic = topic
        self._key = key
        self._seals: Topic[Seal] = topic.log.topic(seals_of(topic.name), Seal)
        self._schemas: dict[int, Schema] = {0: RAW}
        self.head = NO_HEAD
        self.load()

    def of(self, topic: Topic[Any]) -> Sealer:
        """Return what seals another topic, with the same key."""
        return Sealer(topic, self._key)

    def load(self) -> None:
        """Look where the chain ends.

        Raises:
            SettingsError: It was made with a key, and there is none.
        """
        end = self._seals.end_offsets()[0]
        last = self._seals.read(end - 1, records_max=1)[0].value if end else None
        self.head = NO_HEAD if last is None else last.head
        if last is not None and last.keyed and self._key is None:
            raise SettingsError(
                f"topic {self._topic.name!r} is sealed with a key, and there is none; "
                "set MILLSTREAM_SEAL_KEY or MILLSTREAM_SEAL_KEY_FILE"
            )

    def seal(self, appends: Sequence[Append], ends: Mapping[int, int]) -> tuple[list[Append], bytes]:
        """Return the seals of appends, as appends for the same transaction, and the head after them.

        Args:
            ends: The end offset of each partition before the commit.
        """
        starts = dict(ends)
        before = self.head
        made: list[Seal] = []
        for append in appends:
            start = starts[append.partition]
            starts[append.partition] = start + append.batch.count
            unsigned = self._digested(append.partition, start, append.batch, before)
            before = unsigned.head_of(self._topic.name, self._key)
            made.append(msgspec.structs.replace(unsigned, head=before))
        return self._seals.encode(made), before

    def _digested(self, partition: int, start: int, batch: EncodedBatch, before: bytes) -> Seal:
        schema_id = batch.schema_id
        if schema_id not in self._schemas:
            self._schemas[schema_id] = Schema.decode(self._topic.info().schemas[schema_id])
        found, timed = batch_digests(batch, self._schemas[schema_id])
        return Seal(
            partition=partition,
            start=start,
            count=batch.count,
            schema_id=schema_id,
            timed=timed,
            keyed=self._key is not None,
            before=before,
            digests=b"".join(found),
        )


def batch_digests(batch: EncodedBatch, schema: Schema) -> tuple[list[bytes], bool]:
    """Return the digest of each record of a batch on its way to the engine, and whether event times are in them."""
    import polars as pl

    stored = StoredBatch(
        partition=0,
        offset=0,
        coding=batch.coding,
        count=batch.count,
        data=batch.data,
        meta=batch.meta,
        schema_id=batch.schema_id,
        append_time_us=_NO_TIME_US,
        event_time_min_us=batch.event_time_min_us,
        event_time_max_us=batch.event_time_max_us,
    )
    names = names_of(schema)
    frame = frame_of(stored, schema, schema, columns_of(schema, names))
    timed = not (frame.get_column(EVENT_TIME).cast(pl.Int64()) == _NO_TIME_US).any()
    return digests(frame, schema, names, timed=timed), timed
