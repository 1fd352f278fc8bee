"""WindowOperator: which records are late, which windows close, what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.errors import UsageError
from millstream.stream.aggregates.plan import Plan
from millstream.stream.aggregates.table import KEY, SEQUENCE, TIME
from millstream.stream.operators import OperatorStatus, StateWrite
from millstream.stream.piece import Piece
from millstream.stream.record_keys import key_series
from millstream.stream.run_values import read_frame, write_frame
from millstream.stream.windowing.kind import AT, END, PASSED, START, Kind
from millstream.stream.windowing.panes import HoppingWindows, TumblingWindows
from millstream.stream.windowing.revisions import FINAL, REVISION, Revisions
from millstream.stream.windowing.sessions import SessionWindows
from millstream.stream.windowing.sliding import SlidingWindows
from millstream.stream.windowing.step import WindowStep
from millstream.stream.windowing.whole import CountedTotals, PeriodicTotals, own_folds
from millstream.stream.windows import GlobalWindow, Hopping, Session, Sliding, Tumbling

if TYPE_CHECKING:
    import polars as pl

RESULT_COLUMNS: Final = ("window_start", "window_end")


class _Info(msgspec.Struct, array_like=True):
    """What an operator knows beside its windows."""

    closed_us: int | None = None
    """The watermark, as of the last `advance`."""
    late: int = 0
    sequence: int = 0
    """Records that came so far, where their order matters."""


class WindowOperator:
    """The windows of one step.

    A record is late for a window when the watermark of its own partition just before it had passed the window's end
    plus the lateness. That depends only on the order of records in a partition, so results do not depend on where
    micro-batches end. (The operator's own watermark, the least of all partitions, is ahead of a record's only where
    idle input moved it; then it counts.)

    State, under the prefix: `i` -> _Info; `s` -> the columns it works on, as an empty Arrow file, so that windows can
    close before the next record comes; `t` + ... -> the tables of open windows.
    """

    def __init__(self, step: WindowStep, prefix: bytes) -> None:
        self.step = step
        self._prefix = prefix
        self._info = _Info()
        self._info_changed = False
        self._schema: pl.Schema | None = None
        self._schema_changed = False
        self._plan: Plan | None = None
        self._by = [f"_by{place}" for place in range(len(step.by))]
        self._keys: dict[str, pl.DataType] = {}
        self._kind = _kind_of(step, self._by, prefix + b"t")
        self._revisions = Revisions(step, self._kind, self._by, prefix + b"r") if step.revised else None
        self._late: Piece | None = None

    @property
    def prefix(self) -> bytes:
        return self._prefix

    # --- the columns ------------------------------------------------------------------------------------------------

    def bind(self, port: int, schema: pl.Schema) -> pl.Schema:
        """Note the columns of the records; return those of the results.

        Raises:
            UsageError: A `by` or aggregated column is missing, or of a type that cannot be used.
        """
        import polars as pl

        keys = {name: self._key_type(name, schema) for name in self.step.by}
        more = own_folds() if isinstance(self.step.window, GlobalWindow) else ()
        plan = Plan(self.step.aggregates, schema, more)
        needed = pl.Schema({name: schema[name] for name in dict.fromkeys((*self.step.by, *plan.columns))})
        if needed != self._schema:
            self._schema, self._schema_changed = needed, True
            self._plan, self._keys = plan, keys
            self._kind.bind(plan)
        return self._out_schema()

    def _key_type(self, name: str, schema: pl.Schema) -> pl.DataType:
        import polars as pl

        dtype = schema.get(name)
        if dtype is None:
            raise UsageError(f"window by {name!r}: there is no such column; there are {', '.join(schema.names())}")
        if dtype.is_nested() or dtype.is_decimal() or dtype == pl.Binary:
            raise UsageError(f"window by {name!r}: a column of type {dtype} cannot be a key; cast it in a select")
        # Numbers of categories are not the same in the next process; their texts are.
        return pl.String() if dtype.base_type() in (pl.Categorical, pl.Enum) else dtype

    def _out_schema(self) -> pl.Schema:
        import polars as pl

        assert self._plan is not None
        moment = pl.Datetime("us", "UTC")
        times = dict.fromkeys(RESULT_COLUMNS, moment)
        marks = {REVISION: pl.Int64(), FINAL: pl.Boolean()} if self.step.revised else {}
        return pl.Schema({**self._keys, **times, **self._plan.results, **marks})

    # --- records ----------------------------------------------------------------------------------------------------

    def process(self, port: int, piece: Piece) -> list[Piece]:
        """Add records to their windows; count and set aside those that are late."""
        if not piece.height:
            return []
        columns = piece.columns()
        if self._schema is None or any(columns.schema.get(name) != dtype for name, dtype in self._schema.items()):
            self.bind(port, columns.schema)
        records = self._records(piece)
        made: list[pl.DataFrame] = []
        if (doubtful := self._doubtful(piece, records)) is not None:
            some = self._in_time(piece, records, doubtful)
            records = records.filter(~doubtful)
            made += self._added(some)
        return self._pieces(made + self._added(records))

    def _added(self, records: pl.DataFrame) -> list[pl.DataFrame]:
        if not records.height:
            return []
        made = self._kind.add(records)
        if self._revisions is not None:
            self._revisions.add(records)
        return made

    def late(self) -> Piece | None:
        """Return the records of the last `process` that were late."""
        late, self._late = self._late, None
        return late

    def _records(self, piece: Piece) -> pl.DataFrame:
        """Return what windows need of records."""
        import polars as pl

        assert self._plan is not None
        columns = piece.columns()
        made = [
            columns.get_column(name).cast(dtype).alias(own)
            for (name, dtype), own in zip(self._keys.items(), self._by, strict=True)
        ]
        made += [columns.get_column(name) for name in self._plan.columns]
        made.append(piece.carried.get_column("_event_time").cast(pl.Int64).alias(TIME))
        if self._plan.ordered or isinstance(self.step.window, Sliding):
            first = self._info.sequence
            self._info.sequence += piece.height
            self._info_changed = True
            sequence = pl.int_range(first, self._info.sequence, dtype=pl.Int64, eager=True).alias(SEQUENCE)
            made += [piece.carried.get_column("_key").alias(KEY), sequence]
        return pl.DataFrame(made)

    def _doubtful(self, piece: Piece, records: pl.DataFrame) -> pl.Series | None:
        """Return which records may be late for a window, None: none is.

        One that is not further behind than the lateness is in time for all of its windows, as these end after it.
        """
        watermark, time = piece.carried.get_column("_watermark"), records.get_column(TIME)
        known: list[Any] = [us for us in (watermark.max(), self._info.closed_us) if us is not None]
        first: Any = time.min()
        if not known or first >= max(known) - self.step.lateness_us:
            return None
        if isinstance(self.step.window, GlobalWindow) and self.step.window.records is not None:
            return None  # Records are counted in the order they came, whenever that is.
        behind = (watermark > time + self.step.lateness_us).fill_null(False)
        if self._info.closed_us is not None:
            behind = behind | (time < self._info.closed_us - self.step.lateness_us)
        return behind if behind.any() else None

    def _in_time(self, piece: Piece, records: pl.DataFrame, doubtful: pl.Series) -> pl.DataFrame:
        """Return the doubtful records that are in time for a window, with PASSED; set aside the others."""
        import polars as pl

        some = records.filter(doubtful).with_columns(
            piece.carried.get_column("_watermark").filter(doubtful).alias(PASSED)
        )
        some = some.with_columns(pl.max_horizontal(PASSED, pl.lit(self._info.closed_us, dtype=pl.Int64)).alias(PASSED))
        late = some.select(self._kind.late().alias("late")).to_series()
        if late.len() < some.height:
            late = late.new_from_index(0, some.height)
        if not late.any():
            return some
        places = doubtful.arg_true().filter(late)
        everywhere = pl.repeat(False, piece.height, eager=True).scatter(places, True)
        self._late = piece.where(everywhere)
        self._info.late += self._late.height
        self._info_changed = True
        return some.filter(~late)

    # --- results ----------------------------------------------------------------------------------------------------

    def advance(self, watermark_us: int) -> list[Piece]:
        """Close the windows that the watermark has passed; return their results by time, then keys."""
        if self._info.closed_us is not None and watermark_us <= self._info.closed_us:
            return []
        self._info.closed_us = watermark_us
        self._info_changed = True
        if self._plan is None:
            return []
        if self._revisions is not None:
            return self._pieces(self._revisions.advance(watermark_us))
        return self._pieces(self._kind.close(watermark_us - self.step.lateness_us))

    def _pieces(self, frames: list[pl.DataFrame]) -> list[Piece]:
        return [self._piece(frame) for frame in frames if frame.height]

    def _piece(self, frame: pl.DataFrame) -> Piece:
        import polars as pl

        moment = pl.Datetime("us", "UTC")
        if frame.height > 1:
            # Totals of a key stay in the order in which they grew.
            frame = frame.sort(self._order(frame), maintain_order=isinstance(self.step.window, GlobalWindow))
        assert self._plan is not None
        # Series by series: of the few results that most windows have, a query costs more than they do.
        columns = pl.DataFrame(
            [
                *[
                    frame.get_column(own).cast(dtype).alias(name)
                    for own, (name, dtype) in zip(self._by, self._keys.items(), strict=True)
                ],
                frame.get_column(START).cast(moment).alias("window_start"),
                frame.get_column(END).cast(moment).alias("window_end"),
                *map(frame.get_column, self._plan.results),
                *(map(frame.get_column, (REVISION, FINAL)) if self.step.revised else ()),
            ]
        )
        nothing = pl.Series("_watermark", [None], dtype=pl.Int64).new_from_index(0, frame.height)
        at = frame.get_column(AT).cast(moment) if AT in frame.columns else columns.get_column("window_start")
        times = at.alias("_event_time")
        return Piece(pl.DataFrame([key_series(columns, self.step.by), times, nothing]), columns=columns)

    def _order(self, frame: pl.DataFrame) -> list[str]:
        """Return the columns to sort results by; those in which all are the same only cost time."""
        bounds = {Session: (START, END), GlobalWindow: (END,)}.get(type(self.step.window), (START,))
        several = [name for name in bounds if frame.get_column(name).min() != frame.get_column(name).max()]
        return [*several, *self._by] or [START]

    # --- time -------------------------------------------------------------------------------------------------------

    def due_us(self) -> int | None:
        if self._plan is None:
            return None
        due_us = self._kind.due_us()
        due = [] if due_us is None else [due_us + self.step.lateness_us]
        if self._revisions is not None and (revision_us := self._revisions.due_us()) is not None:
            due.append(revision_us)
        return min(due, default=None)

    def end_us(self) -> int | None:
        end_us = self._kind.end_us() if self._plan is not None else None
        return None if end_us is None else end_us + self.step.lateness_us

    def out_us(self, watermark_us: int) -> int:
        return self._kind.out_us(watermark_us - self.step.lateness_us)

    # --- what is stored ---------------------------------------------------------------------------------------------

    def load(self, state: Mapping[bytes, bytes]) -> None:
        if (columns := state.get(self._prefix + b"s")) is not None:
            declared = self._schema
            self.bind(0, read_frame(columns).schema)
            if declared is not None:
                self.bind(0, declared)
            self._schema_changed = declared is not None and declared != self._schema
        if (info := state.get(self._prefix + b"i")) is not None:
            self._info = msgspec.msgpack.decode(info, type=_Info)
        if self._plan is not None:
            self._kind.load(state)
            if self._revisions is not None:
                self._revisions.load(state)

    def changes(self) -> list[StateWrite]:
        changes = self._kind.changes() if self._plan is not None else []
        if self._revisions is not None:
            changes += self._revisions.changes()
        if self._info_changed:
            changes.append((self._prefix + b"i", msgspec.msgpack.encode(self._info)))
        if self._schema_changed and self._schema is not None:
            changes.append((self._prefix + b"s", write_frame(self._schema.to_frame())))
        self._info_changed = self._schema_changed = False
        return changes

    def status(self) -> OperatorStatus:
        if self._plan is None:
            return OperatorStatus(late=self._info.late)
        kind = self._kind
        return OperatorStatus(late=self._info.late, open=kind.open, rows=kind.height, bytes=kind.bytes)


def _kind_of(step: WindowStep, by: list[str], prefix: bytes) -> Kind:
    match step.window:
        case Tumbling():
            return TumblingWindows(step.window, step.lateness_us, by, prefix)
        case Hopping():
            return HoppingWindows(step.window, step.lateness_us, by, prefix)
        case Session():
            return SessionWindows(step.window, step.lateness_us, by, prefix)
        case Sliding():
            return SlidingWindows(step.window, step.lateness_us, by, prefix)
        case GlobalWindow(records=None):
            return PeriodicTotals(step.window, step.lateness_us, by, prefix)
        case GlobalWindow():
            return CountedTotals(step.window, by, prefix)
