"""One topic of a stream at work: what is read next, as what, and how far its event time has come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from millstream import limits
from millstream.engines.protocol import OffsetMove
from millstream.errors import SchemaError
from millstream.log.addressed import rows_for
from millstream.log.batches import BadRecord
from millstream.log.group import Group
from millstream.log.topic import Topic
from millstream.stream.chunks import cut_as
from millstream.stream.failures import GivenUp
from millstream.stream.graph import Graph, Node
from millstream.stream.needs import Needs
from millstream.stream.options import StreamOptions
from millstream.stream.piece import Piece, concat
from millstream.stream.plan import has_functions, source_of, wants_columns, wants_keys, wants_values
from millstream.stream.watermark import Watermarks

if TYPE_CHECKING:
    import polars as pl

NEVER_US: Final = 1 << 62
"""The watermark of a source that holds nothing back."""

RECORDS_AT_FIRST: Final = 2 * limits.COLUMNS_RECORDS_MAX
"""Read at once while it is not known how large they are, and where each becomes a Python value of its own."""

READ_BYTES_AIM: Final = 16 * 1024 * 1024
"""Of the columns read at once: a stream holds three such micro-batches (one is read, one computed, one committed), and
what it makes of them."""


class Carried(NamedTuple):
    """What goes beside the values of records: columns of one length. A series each: a frame would cost a query."""

    key: pl.Series
    event_time: pl.Series
    append_time: pl.Series
    offset: pl.Series | None


class SourceReader:
    """Reads a topic for one stream, through the consumer group of the stream's name.

    Args:
        partition: Read this one only; None: all of them.
    """

    def __init__(
        self, graph: Graph, node: Node, needs: Needs, options: StreamOptions, partition: int | None = None
    ) -> None:
        self.node = node
        self.topic: Topic[Any] = source_of(node).topic
        self.is_table = source_of(node).table is not None
        self.group: Group[Any] = self.topic.group(graph.name, start="start" if self.is_table else options.start)
        self.watermarks = Watermarks(
            self.topic.name, delay_us=options.delay_us, future_us=options.future_us, partition=partition
        )
        self.positions: dict[int, int] = {}
        """The next offset to read, by partition."""
        self.ends: Mapping[int, int] = {}
        """As of the last look."""
        self.paused = False
        self.refused: list[GivenUp] = []
        """What the topic's type refuses of the records read last; where it is not passed over, reading raises."""
        self._skips = options.on_error.skips
        self._partition = partition
        self._needs = needs
        self._wants_values = wants_values(node, graph)
        self._wants_columns = wants_columns(node, graph)
        self._wants_origin = has_functions(graph)
        self._wants_keys = wants_keys(node, graph, needs)
        self._fit = RECORDS_AT_FIRST
        """As many records as are read at once, by the size of those read last."""

    def load(self, state: Mapping[bytes, bytes]) -> None:
        """Go on from what was committed last."""
        self.watermarks.load(state)
        self.positions = dict(self._own(self.group.info().committed))

    @property
    def unread(self) -> int:
        """The number of offsets between what was read and the end, as of the last look."""
        return sum(end - self.positions[partition] for partition, end in self.ends.items())

    def look(self) -> None:
        """Note where the topic ends, and whether the group was paused."""
        info = self.group.info()
        self.ends, self.paused = self._own(info.end_offsets), info.paused

    def moves(self, records_max: int) -> list[OffsetMove]:
        """Return what to read next: of each partition about as much, of large records fewer than `records_max`."""
        waiting = {p: end for p, end in sorted(self.ends.items()) if end > self.positions[p]}
        share = max(1, min(records_max, self._fit) // max(1, len(waiting)))
        return [OffsetMove(p, self.positions[p], min(end, self.positions[p] + share)) for p, end in waiting.items()]

    def read(self, moves: Sequence[OffsetMove]) -> Piece | None:
        """Return the records of the moves, and go on there; None where there are none.

        Raises:
            SchemaError: The topic's type refuses a record, and the stream is to stop at such.
        """
        self.refused = []
        pieces = [piece for move in moves if (piece := self._read(move)).height]
        self.positions.update({move.partition: move.end for move in moves})
        return concat(pieces) if pieces else None

    def watermark_us(self) -> int | None:
        """Return the watermark by the records read, None before the first."""
        return self.watermarks.now_us()

    def watermark_us_now(self, clock_us: int | None, newest_us: int) -> int | None:
        """Return the watermark with what was read.

        Args:
            clock_us: The wall clock of the last look, for partitions without news; None: only records count.
            newest_us: The newest event time of the stream: no clock moves the watermark beyond.

        Returns:
            None: it is not known yet; NEVER_US: there is not a single record to wait for.
        """
        at_end = {p for p, end in self.ends.items() if self.positions[p] >= end}
        us = self.watermarks.now_us()
        if us is None:
            return NEVER_US if len(at_end) == len(self.ends) else None
        if clock_us is None:
            return us
        return max(us, min(self.watermarks.live_us(clock_us, at_end), newest_us))

    # --- inside -----------------------------------------------------------------------------------------------------

    def _own(self, offsets: Mapping[int, int]) -> Mapping[int, int]:
        """Return those of the partitions that are read."""
        return offsets if self._partition is None else {self._partition: offsets[self._partition]}

    def _read(self, move: OffsetMove) -> Piece:
        import polars as pl

        columns: pl.DataFrame | None = None
        values: list[Any] | None = None
        if self._wants_values:
            values, beside_values = self._values(move)
        if self._wants_columns or not self._wants_values:
            frame = self.topic.read_frame(move.start, move.end, partition=move.partition, columns=self._columns())
            self._measure(frame)
            frame = rows_for(frame, self.group.name)
            if values is not None and frame.height != len(values):
                frame = frame.filter(pl.col("_offset").is_in(beside_values.get_column("_offset")))
            carried = self._carried(frame)
            columns = _fields_of(frame)
        if columns is None:
            carried = self._carried(beside_values)
        before = self.watermarks.take(move.partition, carried.event_time, carried.append_time)
        beside = [carried.key, carried.event_time, before]
        if self._wants_origin:
            beside += self._origin(move.partition, carried)
        return Piece(
            pl.DataFrame(beside) if columns is None else cut_as(pl.DataFrame(beside), columns),
            columns=columns,
            values=values,
            type=None if values is None else self.topic.type,
            json=self.topic.schema.json_types,
        )

    def _measure(self, frame: pl.DataFrame) -> None:
        """Note how many records like these are to be read at once."""
        if self._wants_values or not frame.height:
            return
        some = frame.head(limits.COLUMNS_RECORDS_MAX)  # The others are like them, and text takes time to measure.
        fit = int(READ_BYTES_AIM * some.height / max(1, some.estimated_size()))
        whole = fit - fit % limits.COLUMNS_RECORDS_MAX
        self._fit = max(1, whole or fit)  # Whole batches of a merged log, which are then not cut.

    def _columns(self) -> list[str] | None:
        carried = ["_event_time", "_append_time", "_headers"]
        carried += [*(["_key"] if self._wants_keys else []), *(["_offset"] if self._wants_origin else [])]
        if self._needs is None:
            return [*self.topic.schema.names, *carried]
        fields = [name for name in self.topic.schema.names if name in self._needs]
        return [*fields, *carried]

    def _carried(self, frame: pl.DataFrame) -> Carried:
        import polars as pl

        if self._wants_keys:
            key = frame.get_column("_key")
        else:
            key = pl.Series("_key", [None], dtype=pl.Binary).new_from_index(0, frame.height)
        offset = frame.get_column("_offset") if self._wants_origin else None
        return Carried(key, frame.get_column("_event_time"), frame.get_column("_append_time"), offset)

    def _origin(self, partition: int, carried: Carried) -> list[pl.Series]:
        import polars as pl

        assert carried.offset is not None
        count = carried.offset.len()
        source = pl.Series("_source", [self.node.number], dtype=pl.Int32).new_from_index(0, count)
        return [source, pl.Series("_partition", [partition], dtype=pl.Int32).new_from_index(0, count), carried.offset]

    def _readable(self, move: OffsetMove, error: Exception) -> tuple[list[Any], pl.DataFrame]:
        """Return what `_values` does of the records that can be read; raise the error where the stream is to stop."""
        import polars as pl

        items = self.group.peek(move.partition, move.start, move.end)
        bad = {item.record.offset: item for item in items if isinstance(item, BadRecord)}
        names = ["_key", "_event_time", "_append_time", "_headers", "_offset"]
        frame = self.topic.read_frame(move.start, move.end, partition=move.partition, columns=names)
        frame = rows_for(frame, self.group.name)
        refused = pl.col("_offset").is_in(list(bad))
        for row in frame.filter(refused).iter_slices(1):
            self._refuse(move.partition, row, bad[row.get_column("_offset")[0]], error)
        frame = frame.filter(~refused)
        kept = set(frame.get_column("_offset"))
        return [item.value for item in items if not isinstance(item, BadRecord) and item.offset in kept], frame

    def _refuse(self, partition: int, row: pl.DataFrame, bad: BadRecord, error: Exception) -> None:
        import polars as pl

        if not self._skips:
            offset = bad.record.offset
            error.add_note(
                f"It is the record at offset {offset} of {self.topic.name}/{partition}. Nothing of this micro-batch is "
                'committed; with on_error="skip" such records go to the dead letters.'
            )
            raise error
        carried = self._carried(row)
        beside = pl.DataFrame([carried.key, carried.event_time, *self._origin(partition, carried)])
        self.refused.append(GivenUp(self.node, Piece(beside), SchemaError(bad.error), 1))

    def _values(self, move: OffsetMove) -> tuple[list[Any], pl.DataFrame]:
        """Return the values of a move, and a frame of what the log knows of each."""
        import polars as pl

        try:
            parts = list(self.topic.read_values(move.start, move.end, partition=move.partition))
        except Exception as error:  # noqa: BLE001 - a __post_init__ of the user's may raise anything; the policy decides
            return self._readable(move, error)
        if not parts:
            return [], self.topic.read_frame(move.start, move.start, partition=move.partition)
        values = parts[0][0] if len(parts) == 1 else list(chain.from_iterable(some for some, _ in parts))
        frame = parts[0][1] if len(parts) == 1 else pl.concat([beside for _, beside in parts])
        mine = rows_for(frame, self.group.name)
        if mine.height < frame.height:
            kept = set(mine.get_column("_offset"))
            values = [
                value for value, offset in zip(values, frame.get_column("_offset"), strict=True) if offset in kept
            ]
        return values, mine


def _fields_of(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns that are fields; made of series, because to drop the others would be a query."""
    import polars as pl

    fields = [column for column in frame if not column.name.startswith("_")]
    # A frame without columns has a height all the same, if it is made of one that has.
    return pl.DataFrame(fields) if fields else frame.drop(frame.columns)
