"""Open windows of one output: what they hold, which are late, which close, and what of that must be stored."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.engines.protocol import StateChange
from millstream.errors import UsageError
from millstream.stream.aggregates import Accumulator
from millstream.stream.piece import Piece

if TYPE_CHECKING:
    import polars as pl

STATE_PARTITION: Final = 0
"""Windows span the partitions of a topic, so their state is kept with the first."""


class Keys(msgspec.Struct, frozen=True, array_like=True):
    """The `by` values of a window, as physical numbers, texts or null."""

    values: list[Any]


class OpenWindows:
    """The windows of one WindowStep.

    A record is late when the watermark of its own partition just before it had passed its window (plus lateness), or
    the window was closed already. The first depends only on the order of records in the log, so results do not depend
    on where micro-batches end.

    Stored state, under the step's prefix: `w` + start, keys -> aggregates' states; `i` -> closed_us and late count;
    `s` -> the columns it works on, as an empty Arrow file, so that windows can close before the next record comes.
    """

    def __init__(self, step: Any, prefix: bytes) -> None:
        self.step = step
        self.late = 0
        self._prefix = prefix
        self._windows: dict[int, dict[bytes, list[Any]]] = {}
        self._closed_us: int | None = None
        self._changed: set[tuple[int, bytes]] = set()
        self._removed: set[tuple[int, bytes]] = set()
        self._info_changed = False
        self._schema_changed = False
        self._bound: tuple[pl.Schema, dict[str, Accumulator], dict[str, pl.DataType]] | None = None

    @property
    def count(self) -> int:
        """Windows times keys that are open."""
        return sum(map(len, self._windows.values()))

    @property
    def prefix(self) -> bytes:
        return self._prefix

    def load(self, state: Mapping[bytes, bytes]) -> None:
        """Take over what was stored."""
        import polars as pl

        for key, value in state.items():
            if not key.startswith(self._prefix):
                continue
            kind, rest = key[len(self._prefix) : len(self._prefix) + 1], key[len(self._prefix) + 1 :]
            if kind == b"i":
                self._closed_us, self.late = msgspec.msgpack.decode(value, type=tuple[int | None, int])
            elif kind == b"s":
                self.bind(pl.read_ipc(io.BytesIO(value)).schema)
                self._schema_changed = False
            else:
                start, keys = int.from_bytes(rest[:8], "big", signed=True), rest[8:]
                self._windows.setdefault(start, {})[keys] = msgspec.msgpack.decode(value)

    def bind(self, columns: pl.Schema) -> None:
        """Make the aggregates computable over columns of this schema.

        Raises:
            UsageError: A `by` or aggregated column is missing or of a type that cannot be used.
        """
        import polars as pl

        needed = {*self.step.by, *(a.column for a in self.step.aggregates.values())}
        schema = pl.Schema({name: dtype for name, dtype in columns.items() if name in needed})
        if self._bound is not None and self._bound[0] == schema:
            return
        keys: dict[str, pl.DataType] = {}
        for column in self.step.by:
            dtype = schema.get(column)
            if dtype is None:
                there = ", ".join(columns.names())
                raise UsageError(f"window by {column!r}: there is no such column; there are {there}")
            if dtype.is_nested() or dtype.is_decimal() or dtype == pl.Binary:
                raise UsageError(f"window by {column!r}: a column of type {dtype} cannot be a key; cast it in a select")
            # Numbers of categories are not the same in the next process; their texts are.
            keys[column] = pl.String() if dtype.base_type() in (pl.Categorical, pl.Enum) else dtype
        accumulators = {name: aggregate.bind(columns) for name, aggregate in self.step.aggregates.items()}
        self._bound = schema, accumulators, keys
        self._schema_changed = True

    def add(self, piece: Piece) -> None:
        """Add the records of a micro-batch to their windows; count those that are late."""
        import polars as pl

        self.bind(piece.columns().schema)
        assert self._bound is not None
        _, accumulators, keys = self._bound
        size = self.step.window.size_us
        lateness = self.step.lateness_us
        start = (pl.col("_event_time").to_physical() // size * size).alias("_start")
        frame = piece.frame().with_columns(start)
        passed = pl.max_horizontal(pl.col("_watermark"), pl.lit(self._closed_us, dtype=pl.Int64))
        on_time = frame.filter((pl.col("_start") + (size + lateness) > passed).fill_null(True))
        if late := frame.height - on_time.height:
            self.late += late
            self._info_changed = True
        parts = on_time.group_by(
            "_start", *[pl.col(name).cast(dtype).to_physical() for name, dtype in keys.items()]
        ).agg([accumulator.part.alias(f"_{name}") for name, accumulator in accumulators.items()])
        width = len(keys)
        for row in parts.iter_rows():
            self._merge(row[0], list(row[1 : 1 + width]), row[1 + width :], accumulators)

    def close(self, watermark_us: int | None) -> pl.DataFrame:
        """Take out the windows that the watermark has passed; return their results, in order of time, then keys."""
        import polars as pl

        rows: list[tuple[Any, ...]] = []
        if watermark_us is not None:
            if self._closed_us is None or watermark_us > self._closed_us:
                self._closed_us = watermark_us
                self._info_changed = True
            limit = watermark_us - self.step.window.size_us - self.step.lateness_us
            for start in sorted(start for start in self._windows if start <= limit):
                rows += self._results(start)
        if self._bound is None:
            return pl.DataFrame()
        return self._frame(rows)

    def due_us(self) -> int | None:
        """Return the watermark at which the next window closes; None without open windows."""
        if not self._windows:
            return None
        return min(self._windows) + self.step.window.size_us + self.step.lateness_us

    def end_us(self) -> int | None:
        """Return the watermark at which all that is open has closed."""
        if not self._windows:
            return None
        return max(self._windows) + self.step.window.size_us + self.step.lateness_us

    def changes(self) -> Iterator[StateChange]:
        """Return what must be stored since the last call."""
        import polars as pl

        for start, keys in self._changed - self._removed:
            value = msgspec.msgpack.encode(self._windows[start][keys])
            yield StateChange(STATE_PARTITION, self._key(start, keys), value)
        for start, keys in self._removed:
            yield StateChange(STATE_PARTITION, self._key(start, keys), None)
        if self._info_changed:
            info = msgspec.msgpack.encode((self._closed_us, self.late))
            yield StateChange(STATE_PARTITION, self._prefix + b"i", info)
        if self._schema_changed and self._bound is not None:
            columns = io.BytesIO()
            pl.DataFrame(schema=self._bound[0]).write_ipc(columns)
            yield StateChange(STATE_PARTITION, self._prefix + b"s", columns.getvalue())
        self._changed.clear()
        self._removed.clear()
        self._info_changed = self._schema_changed = False

    # --- inside -----------------------------------------------------------------------------------------------------

    def _merge(
        self, start: int, keys: list[Any], parts: tuple[Any, ...], accumulators: Mapping[str, Accumulator]
    ) -> None:
        encoded = msgspec.msgpack.encode(keys)
        states = self._windows.setdefault(start, {}).get(encoded)
        if states is None:
            states = self._windows[start][encoded] = [accumulator.new() for accumulator in accumulators.values()]
        for place, (accumulator, part) in enumerate(zip(accumulators.values(), parts, strict=True)):
            states[place] = accumulator.merge(states[place], part)
        self._changed.add((start, encoded))

    def _results(self, start: int) -> Iterator[tuple[Any, ...]]:
        for encoded, states in self._windows.pop(start).items():
            self._removed.add((start, encoded))
            yield (*msgspec.msgpack.decode(encoded), start, start + self.step.window.size_us, states)

    def _frame(self, rows: list[tuple[Any, ...]]) -> pl.DataFrame:
        import polars as pl

        assert self._bound is not None
        _, accumulators, keys = self._bound
        moment = pl.Datetime("us", "UTC")
        series = [
            _physical_series(name, [row[place] for row in rows], dtype)
            for place, (name, dtype) in enumerate(keys.items())
        ]
        width = len(keys)
        series.append(pl.Series("window_start", [row[width] for row in rows], dtype=pl.Int64).cast(moment))
        series.append(pl.Series("window_end", [row[width + 1] for row in rows], dtype=pl.Int64).cast(moment))
        for place, (name, accumulator) in enumerate(accumulators.items()):
            results = [accumulator.result(row[width + 2][place]) for row in rows]
            series.append(_physical_series(name, results, accumulator.dtype))
        return pl.DataFrame(series).sort("window_start", *keys)

    def _key(self, start: int, keys: bytes) -> bytes:
        return self._prefix + b"w" + start.to_bytes(8, "big", signed=True) + keys


def _physical_series(name: str, values: list[Any], dtype: pl.DataType) -> pl.Series:
    """Return a column of values given as physical numbers where the type has such."""
    import polars as pl

    if dtype.is_temporal():
        physical = pl.Int32() if dtype == pl.Date else pl.Int64()
        return pl.Series(name, values, dtype=physical).cast(dtype)
    return pl.Series(name, values, dtype=dtype)
