"""What a run reads: exactly the records of its ranges, as lazy frames, as pieces, as relations of DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from millstream.batch.handler import Form
from millstream.batch.runs import Input
from millstream.engines.protocol import GroupInfo
from millstream.errors import UsageError
from millstream.log.ranges import OffsetRange
from millstream.log.topic import Topic

if TYPE_CHECKING:
    import polars as pl

PIECE_RECORDS: Final = 131_072
"""Of one frame of an iterator: large enough for columns to be fast, small enough for any memory."""


class Source:
    """One topic as a run reads it.

    Args:
        window: Of event times, [start, end): only these.
    """

    def __init__(
        self, topic: Topic[Any], ranges: Sequence[OffsetRange], group: str, window: tuple[datetime, datetime] | None
    ) -> None:
        self.topic = topic
        self._ranges = ranges
        self._group = group
        self._window = window

    def lazy(self) -> pl.LazyFrame:
        """Return the records as a frame that is read when it is collected; columns as of `Topic.frame`."""
        return self._frame([part for part in self._ranges if part.end > part.start] or self._ranges[:1])

    def pieces(self, check: Callable[[], None]) -> Iterator[pl.DataFrame]:
        """Yield the records as frames, in order, none of them empty.

        Args:
            check: Called between two; ends it by raising.
        """
        for part in self._ranges:
            for start in range(part.start, part.end, PIECE_RECORDS):
                check()
                end = min(part.end, start + PIECE_RECORDS)
                frame = self._frame([OffsetRange(part.partition, start, end)]).collect()
                if frame.height:
                    yield frame

    def rows(self) -> int:
        """Return how many records there are."""
        import polars as pl

        return int(self.lazy().select(pl.len()).collect().item())

    def in_form(self, form: Form, check: Callable[[], None]) -> Any:
        """Return the records as a parameter wants them."""
        match form:
            case Form.LAZY:
                return self.lazy()
            case Form.FRAME:
                return self.lazy().collect()
            case Form.PIECES:
                return self.pieces(check)
            case Form.RELATION:
                return _relation(self.lazy().collect())

    def _frame(self, ranges: Sequence[OffsetRange]) -> pl.LazyFrame:
        import polars as pl

        several = self.topic.partitions > 1
        parts = []
        for part in ranges:
            frame = self.topic.frame(part.start, part.end, group=self._group)
            parts.append(frame.filter(pl.col("_partition") == part.partition) if several else frame)
        lazy = pl.concat(parts) if len(parts) > 1 else parts[0]
        if self._window is None:
            return lazy
        start, end = self._window
        return lazy.filter(pl.col("_event_time") >= start, pl.col("_event_time") < end)


def new_input(info: GroupInfo) -> Input:
    """Return the records that a group has not had yet."""
    ends = sorted(info.end_offsets.items())
    return Input(info.topic, [OffsetRange(p, info.committed[p], max(info.committed[p], end)) for p, end in ends])


def whole_input(topic: Topic[Any]) -> Input:
    """Return all records of a topic."""
    return Input(topic.name, [OffsetRange(p.partition, p.start_offset, p.end_offset) for p in topic.info().partitions])


def arguments(
    sources: Mapping[str, Source], parameters: Sequence[tuple[str, Form]], check: Callable[[], None]
) -> tuple[list[Any], dict[str, Any]]:
    """Return what a handler is called with, without the run: in order, and by name."""
    if len(parameters) == 1:
        ((_, form),) = parameters
        inputs = {name: source.in_form(form, check) for name, source in sources.items()}
        return [*inputs.values()] if len(inputs) == 1 else [inputs], {}
    pairs = zip(sources.values(), parameters, strict=True)
    return [], {name: source.in_form(form, check) for source, (name, form) in pairs}


class _Arrow:
    """A frame that offers nothing but Arrow's own interface: DuckDB would otherwise ask for pyarrow."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._frame.__arrow_c_stream__(requested_schema)


def _relation(frame: pl.DataFrame) -> Any:
    try:
        import duckdb
    except ModuleNotFoundError:
        raise UsageError("the handler asks for a DuckDB relation, and duckdb is missing: pip install duckdb") from None
    connection = duckdb.connect()
    # Named, so that what the handler writes in SQL can name it: relation.query("frame", "SELECT ...").
    connection.register("frame", _Arrow(frame))
    return connection.table("frame")
