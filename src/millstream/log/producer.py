"""From a call's values to batches for an engine: keys, partitions, sizes, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from millstream import limits
from millstream.engines.protocol import Append
from millstream.errors import LimitExceededError, SchemaError
from millstream.log.batches import RecordCoding
from millstream.log.partitioning import Partitioner
from millstream.log.schemas import TopicSchemas
from millstream.records import EncodedBatch, time_to_us

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")

Key = str | bytes | None
Headers = Mapping[str, str | bytes] | None

_BATCH_BYTES_AIM = 8 * 1024 * 1024
"""Larger batches are written as two: a reader of one record reads its whole batch."""

_ENCODING_THREADS = 2
"""Of one call that has a large frame: they hold what they make in memory."""


class Extras:
    """What is given beside values, checked and in the engine's form; None where nothing is."""

    __slots__ = ("headers", "keys", "times")

    def __init__(
        self,
        keys: Sequence[Key] | None = None,
        headers: Sequence[Headers] | None = None,
        times: Sequence[datetime | None] | None = None,
    ) -> None:
        self.keys: list[bytes | None] | None = None if keys is None else [_key(key) for key in keys]
        self.headers: list[dict[str, bytes] | None] | None = (
            None if headers is None else [_headers(entry) for entry in headers]
        )
        self.times: list[int | None] | None = (
            None if times is None else [None if moment is None else time_to_us(moment) for moment in times]
        )

    @classmethod
    def of_columns(cls, keys: pl.Series | None, times: pl.Series | None) -> Extras:
        """Return what is given as columns `_key` and `_event_time`."""
        import polars as pl

        extras = cls()
        extras.keys = None if keys is None or keys.null_count() == keys.len() else keys.to_list()
        extras.times = None if times is None else times.cast(pl.Int64).to_list()
        return extras

    @property
    def empty(self) -> bool:
        return self.keys is None and self.headers is None and self.times is None

    def at(self, places: Sequence[int]) -> dict[str, Any]:
        """Return the part for some of the values, as keywords of `RecordCoding.encode`."""
        return {name: _pick(getattr(self, name), places) for name in ("keys", "times", "headers")}


NOTHING = Extras()


class Producer(Generic[T]):
    """Encodes what goes into one topic."""

    def __init__(self, topic: str, partitions: int, schemas: TopicSchemas[T]) -> None:
        self._topic = topic
        self._schemas = schemas
        self._partitioner = Partitioner(partitions)

    def encode(self, values: Iterable[T], extras: Extras) -> list[Append]:
        """Return values as batches, in order within each partition.

        Raises:
            SchemaError: A value does not fit; `index` is its place. Nothing is appended.
            LimitExceededError: A record or the whole call is too large.
        """
        if not isinstance(values, (list, tuple)):
            values = _bounded(values, self._topic)
        count = len(values)
        if count == 0:
            return []
        if count > limits.EXTEND_RECORDS_MAX:
            raise _too_many(self._topic, count)
        coding = self._schemas.coding_to_write(values)
        if extras.empty and count < limits.ROWS_RECORDS_MAX and self._partitioner.single:
            batch = coding.encode(values)
            if batch.size_bytes <= limits.ROWS_BYTES_MAX:
                return [Append(self._topic, 0, batch)]
        places = self._places(count, extras, lambda: coding.keys(values))
        appends: list[Append] = []
        if isinstance(places, int):
            self._encode(appends, coding, places, values, range(count), extras)
        else:
            for partition, chosen in places.items():
                part = [values[place] for place in chosen]
                self._encode(appends, coding, partition, part, chosen, extras)
        _check_total(self._topic, appends)
        return appends

    def encode_one(self, value: T) -> list[Append]:
        """Return one value as a batch, as `encode` does."""
        if self._partitioner.single:
            values = [value]
            batch = self._schemas.coding_to_write(values).encode(values)
            if batch.size_bytes <= limits.ROWS_BYTES_MAX:
                return [Append(self._topic, 0, batch)]
        return self.encode([value], NOTHING)

    def encode_frame(self, frame: pl.DataFrame) -> list[Append]:
        """Return the rows of a Polars frame as batches of columns.

        Raises:
            SchemaError: A column is missing, unknown, or of a type that does not fit.
        """
        coding = self._schemas.coding_to_write_frame(frame)
        checked = coding.check_frame(frame)
        if checked.height == 0:
            return []
        if checked.height > limits.EXTEND_RECORDS_MAX:
            raise _too_many(self._topic, checked.height)
        pieces = [
            (partition, part.slice(start, limits.COLUMNS_RECORDS_MAX))
            for partition, part in self._parts(coding, checked)
            for start in range(0, part.height, limits.COLUMNS_RECORDS_MAX)
        ]
        if len(pieces) == 1:
            appends = self._encode_piece(coding, *pieces[0])
        else:
            # Polars compresses without the interpreter's lock.
            with ThreadPoolExecutor(_ENCODING_THREADS, thread_name_prefix="millstream-encode") as pool:
                made = pool.map(lambda piece: self._encode_piece(coding, *piece), pieces)
                appends = list(chain.from_iterable(made))
        _check_total(self._topic, appends)
        return appends

    def _parts(self, coding: RecordCoding[T], checked: pl.DataFrame) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield the rows of each partition that gets some, in order."""
        if self._partitioner.single:
            yield 0, checked
            return
        for place, given, own in coding.other_keys(checked):
            self._given(place, given, own)
        partitions = self._partitioner.split_column(coding.frame_key_column(checked))
        if isinstance(partitions, int):
            yield partitions, checked
            return
        for partition in partitions.unique().sort():
            yield partition, checked.filter(partitions == partition)

    def _encode_piece(self, coding: RecordCoding[T], partition: int, piece: pl.DataFrame) -> list[Append]:
        appends: list[Append] = []
        self._halve(appends, partition, lambda at, end: coding.encode_frame(piece[at:end]), piece.height)
        return appends

    def _places(
        self, count: int, extras: Extras, derived: Callable[[], list[bytes | None] | None]
    ) -> dict[int, list[int]] | int:
        if self._partitioner.single:
            return 0
        keys = derived()
        if extras.keys is not None:
            keys = [
                key if given is None else self._given(place, given, key)
                for place, (given, key) in enumerate(zip(extras.keys, keys or [None] * count, strict=True))
            ]
        return self._partitioner.split(count, keys)

    def _given(self, place: int, given: bytes, own: bytes | None) -> bytes:
        """Return a key that was given beside a value; only where it says the same as the value's own key field.

        Of several partitions a reader may take one, and counts on all records with one value of that field being there.

        Raises:
            SchemaError: It does not.
        """
        if own is not None and own != given:
            raise SchemaError(
                f"record {place} of {self._topic!r}: key={_shown(given)} is not the value of its key field, "
                f"{_shown(own)}; a topic of several partitions keeps all records with one value of that field in one "
                "of them. Leave out key=, or declare the topic without a key field",
                index=place,
            )
        return given

    def _encode(
        self,
        appends: list[Append],
        coding: RecordCoding[T],
        partition: int,
        values: Sequence[T],
        places: Sequence[int],
        extras: Extras,
    ) -> None:
        plain = extras.empty
        for start in range(0, len(values), limits.COLUMNS_RECORDS_MAX):
            stop = min(start + limits.COLUMNS_RECORDS_MAX, len(values))

            def piece(at: int, end: int, start: int = start) -> EncodedBatch:
                at, end = start + at, start + end
                whole = at == 0 and end == len(values)
                given = {} if plain else extras.at(places[at:end])
                try:
                    return coding.encode(values if whole else values[at:end], **given)
                except SchemaError as error:
                    if error.index is not None:
                        error.index = places[at + error.index]
                    raise

            self._halve(appends, partition, piece, stop - start)

    def _halve(
        self, appends: list[Append], partition: int, piece: Callable[[int, int], EncodedBatch], count: int
    ) -> None:
        """Append [0, count) as one batch, or as two where it is too large."""
        todo = [(0, count)]
        while todo:
            at, end = todo.pop()
            batch = piece(at, end)
            if end - at > 1 and batch.size_bytes > _BATCH_BYTES_AIM:
                middle = (at + end) // 2
                todo += [(middle, end), (at, middle)]
                continue
            if end - at == 1 and len(batch.data) > limits.RECORD_BYTES_MAX:
                raise LimitExceededError(
                    f"a record of {self._topic!r} in bytes",
                    limit=limits.RECORD_BYTES_MAX,
                    size=len(batch.data),
                    hint="put it into a file and append the file's name",
                )
            appends.append(Append(self._topic, partition, batch))


def _shown(key: bytes) -> str:
    return repr(key.decode("utf-8", "backslashreplace"))


def _pick(column: list[Any] | None, places: Sequence[int]) -> list[Any] | None:
    if column is None:
        return None
    if isinstance(places, range):
        return column[places.start : places.stop]
    return [column[place] for place in places]


def _key(key: Key) -> bytes | None:
    if key is None:
        return None
    encoded = key.encode() if isinstance(key, str) else bytes(key)
    if len(encoded) > limits.KEY_BYTES_MAX:
        raise LimitExceededError("a key in bytes", limit=limits.KEY_BYTES_MAX, size=len(encoded))
    return encoded


def _headers(headers: Headers) -> dict[str, bytes] | None:
    if not headers:
        return None
    encoded = {name: value.encode() if isinstance(value, str) else bytes(value) for name, value in headers.items()}
    size = sum(len(name.encode()) + len(value) for name, value in encoded.items())
    if size > limits.HEADER_BYTES_MAX:
        raise LimitExceededError("the headers of a record in bytes", limit=limits.HEADER_BYTES_MAX, size=size)
    return encoded


def _bounded(values: Iterable[T], topic: str) -> list[T]:
    """Return an iterable as a list, but not one without end."""
    taken: list[T] = []
    for value in values:
        if len(taken) == limits.EXTEND_RECORDS_MAX:
            raise _too_many(topic, len(taken) + 1)
        taken.append(value)
    return taken


def _too_many(topic: str, count: int) -> LimitExceededError:
    return LimitExceededError(
        f"the number of records of one extend of {topic!r}",
        limit=limits.EXTEND_RECORDS_MAX,
        size=count,
        hint="call extend with some of them at a time",
    )


def _check_total(topic: str, appends: Sequence[Append]) -> None:
    size = sum(append.batch.size_bytes for append in appends)
    if size > limits.EXTEND_BYTES_MAX:
        raise LimitExceededError(
            f"one extend of {topic!r} in bytes",
            limit=limits.EXTEND_BYTES_MAX,
            size=size,
            hint="call extend with some of the records at a time",
        )
