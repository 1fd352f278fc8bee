"""One output of a stream at work: its steps, its window, and what it sends where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from millstream.engines.protocol import Append
from millstream.errors import SchemaError
from millstream.log.topic import Topic
from millstream.stream.description import WINDOW_COLUMNS, Each, MapBatches, Output, Step, ToTopic, WindowStep
from millstream.stream.piece import Piece, empty_piece, fields_of
from millstream.stream.row_types import row_type, rows_of
from millstream.stream.state import OpenWindows
from millstream.stream.steps import run_step, works_on_columns, works_on_values

if TYPE_CHECKING:
    import polars as pl


class Line:
    """The steps before a window, the window, the steps after it, and the output."""

    def __init__(self, source: Topic[Any], output: Output, occurrence: int) -> None:
        place = next((i for i, step in enumerate(output.steps) if isinstance(step, WindowStep)), None)
        self._before: tuple[Step, ...] = output.steps if place is None else output.steps[:place]
        self._after: tuple[Step, ...] = () if place is None else output.steps[place + 1 :]
        step = None if place is None else output.steps[place]
        self.windows = OpenWindows(step, occurrence) if isinstance(step, WindowStep) else None
        self.wants_values = works_on_values(self._before) and (self.windows is None or bool(self._before))
        self.wants_columns = works_on_columns(output.steps)
        self._source = source
        self._sink = output.sink
        self._target: Topic[Any] | None = None

    def prepare(self) -> None:
        """Check the steps and make the output's topic, as far as that can be before the first record.

        Raises:
            UsageError: A window names a column that is not there, or of a type it cannot use.
            polars.exceptions.PolarsError: An expression does.
        """
        if self._source.schema.open:
            return
        piece = _run_empty(self._before, empty_piece(self._source))
        if piece is not None and self.windows is not None:
            self.windows.bind(piece.columns().schema)
            results = self.windows.close(None)
            piece = _run_empty(self._after, Piece(_carried(results, self.windows.step), columns=results))
        if piece is not None and isinstance(self._sink, ToTopic):
            self._topic(self._values(piece)[1])

    def take(self, piece: Piece) -> list[Append]:
        """Put records of one partition through; return what the transaction is to append."""
        for step in self._before:
            piece = run_step(step, piece)
        if self.windows is None:
            return self._send(piece)
        if piece.height:
            self.windows.add(piece)
        return []

    def close(self, watermark_us: int | None) -> list[Append]:
        """Close windows that the watermark has passed; return what the transaction is to append."""
        if self.windows is None:
            return []
        results = self.windows.close(watermark_us)
        if not results.height:
            return []
        piece = Piece(_carried(results, self.windows.step), columns=results)
        for step in self._after:
            piece = run_step(step, piece)
        return self._send(piece)

    def _send(self, piece: Piece) -> list[Append]:
        if not piece.height:
            return []
        values, type = self._values(piece)
        if isinstance(self._sink, Each):
            for value in values:
                self._sink.function(value)
            return []
        target = self._topic(type)
        if target.schema.open:
            values = [fields_of(value) for value in values]
        elif self._makes_rows(piece) and target.type is not type:
            values = _as_type(values, target)
        # A topic that takes its key or time from a field of its own goes on doing so.
        keys = None if target.schema.key else piece.carried["_key"].to_list()
        times = None if target.schema.time else piece.carried["_event_time"].to_list()
        return target.encode(values, keys=keys, times=times)

    def _makes_rows(self, piece: Piece) -> bool:
        return self.windows is not None and not piece.has_values

    def _values(self, piece: Piece) -> tuple[Sequence[Any], Any]:
        """Return values and the type that a topic of them has."""
        if self.windows is None or piece.has_values:
            values = piece.values()
            return values, piece.type
        columns = piece.columns()
        counts = [name for name, a in self.windows.step.aggregates.items() if a.function == "count"]
        type = row_type(columns.schema, _class_name(self._sink_name()), (*WINDOW_COLUMNS, *counts))
        return rows_of(columns, type), type

    def _topic(self, type: Any) -> Topic[Any]:
        if self._target is None:
            target = self._sink.target if not isinstance(self._sink, Each) else self._source
            self._target = self._named(target, type) if isinstance(target, str) else target
        return self._target

    def _named(self, name: str, type: Any) -> Topic[Any]:
        """Return the topic of a name: with the schema of what arrives, unless it takes any JSON objects already."""
        log = self._source.log
        if name in log.topics():
            existing = log.topic(name)
            if existing.schema.open:
                return existing
        return log.topic(name, None if type is not None and issubclass(type, bytes) else type)

    def _sink_name(self) -> str:
        if isinstance(self._sink, Each):
            return "row"
        return self._sink.target if isinstance(self._sink.target, str) else self._sink.target.name


def _as_type(values: Sequence[Any], target: Topic[Any]) -> Sequence[Any]:
    """Return a window's rows as values of the type that the target was given.

    Raises:
        SchemaError: A field is missing there, or of another type.
    """
    try:
        made: Sequence[Any] = msgspec.convert(values, list[target.type], from_attributes=True)  # type: ignore[name-defined]
    except msgspec.ValidationError as error:
        names = ", ".join(type(values[0]).__struct_fields__)
        raise SchemaError(
            f"the window's results ({names}) do not fit topic {target.name!r} of {target.type.__name__}: {error}"
        ) from error
    return made


def lines_of(source: Topic[Any], outputs: Iterable[Output]) -> list[Line]:
    """Return a line for each output; outputs with the same window are told apart by their order."""
    seen: dict[str, int] = {}
    lines: list[Line] = []
    for output in outputs:
        step = next((step for step in output.steps if isinstance(step, WindowStep)), None)
        occurrence = 0
        if step is not None:
            occurrence = seen.get(step.fingerprint(), 0)
            seen[step.fingerprint()] = occurrence + 1
        lines.append(Line(source, output, occurrence))
    return lines


def _run_empty(steps: Iterable[Step], piece: Piece) -> Piece | None:
    """Put no records through; None where only records can tell what comes out."""
    for step in steps:
        if isinstance(step, MapBatches) or not piece.has_columns:
            return None
        piece = run_step(step, piece)
    return piece if piece.has_type else None


def _carried(results: pl.DataFrame, step: WindowStep) -> pl.DataFrame:
    """Return what goes along with a window's results: their keys, and their start as event time."""
    import polars as pl

    return pl.DataFrame(
        {
            "_key": pl.Series([_key(row) for row in results.select(step.by).iter_rows()], dtype=pl.Binary)
            if step.by
            else pl.Series([None] * results.height, dtype=pl.Binary),
            "_event_time": results["window_start"],
            "_watermark": pl.Series([None] * results.height, dtype=pl.Int64),
        }
    )


def _key(values: tuple[Any, ...]) -> bytes | None:
    """Return one value as its text, several as a JSON array, null as no key."""
    if len(values) > 1:
        return msgspec.json.encode(values)
    value = values[0]
    return None if value is None else str(value).encode()


def _class_name(topic: str) -> str:
    words = re.split(r"[^A-Za-z0-9]+", topic)
    return "".join(word[:1].upper() + word[1:] for word in words if word) or "Row"
