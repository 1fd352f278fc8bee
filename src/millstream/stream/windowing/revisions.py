"""Results before a window is final: early ones, and corrections for late records.

What has changed since it last came out is noted as *touched*: a window and its keys. Touched windows come out every
`early_us` of event time, and, with corrections, when event time has passed their end and at each step after it; each
time with the next revision. The last one, when the lateness has passed, is final and always comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

import msgspec

from millstream.errors import UsageError
from millstream.stream.runs import Bytes, Changes, Runs, State
from millstream.stream.windowing.kind import END, START, Kind
from millstream.stream.windowing.step import WindowStep
from millstream.stream.windowing.store import LEAVE
from millstream.stream.windows import GlobalWindow, Sliding

if TYPE_CHECKING:
    import polars as pl

REVISION: Final = "revision"
FINAL: Final = "final"


class Revisable(Kind, Protocol):
    """A kind of window that can say what is in those that are open."""

    def touched(self, records: pl.DataFrame) -> pl.DataFrame:
        """Return the open windows that records, just added, are in: the bound that tells them apart, END and keys."""
        ...

    def current(self, touched: pl.DataFrame) -> pl.DataFrame | None:
        """Return the results, as of now, of those of the windows that are open."""
        ...


class Revisions:
    """Which windows are touched, and how often each came out."""

    def __init__(self, step: WindowStep, kind: Kind, by: Sequence[str], prefix: Bytes) -> None:
        if not hasattr(kind, "touched"):
            raise UsageError(
                f"{step.window}: results come by the number of records, and early results and corrections by event "
                'time; use a window of event time, such as global_window("1h")'
            )
        self._kind: Revisable = kind  # type: ignore[assignment]
        # All that there ever was of a key may begin earlier with each record; when its result is due tells them apart.
        self._window = [END if isinstance(step.window, GlobalWindow) else START, *by]
        # Records of the moment at which a sliding window ends are in it.
        self._closes_after_us = 1 if isinstance(step.window, Sliding) else 0
        self._corrections = step.corrections
        self._early_us = step.early_us
        self._lateness_us = step.lateness_us
        self._touched = Runs(prefix + b"touched\0", leave=LEAVE, merge=self._once)
        self._times = Runs(prefix + b"times\0", leave=LEAVE, merge=self._summed)
        self._key = prefix + b"early"
        self._turn: int | None = None
        """How many times `early_us` event time had passed when results last came."""
        self._turn_changed = False

    def add(self, records: pl.DataFrame) -> None:
        """Note the windows of records that were just added."""
        import polars as pl

        touched = self._kind.touched(records)
        self._touched.add(touched.with_columns((pl.col(END) + self._closes_after_us).alias(LEAVE)))

    def advance(self, watermark_us: int) -> list[pl.DataFrame]:
        """Return final results, then those of windows that changed."""
        done_us = watermark_us - self._lateness_us
        made = [self._revised(frame, final=True) for frame in self._kind.close(done_us)]
        self._touched.discard(done_us)
        self._times.discard(done_us)
        if self._corrections and (over := self._touched.take(watermark_us)) is not None:
            # A session that went on is not over; its later records are touched too.
            made += self._unfinal(over, watermark_us)
        if self._early_turn(watermark_us) and (all_touched := self._touched.frame()) is not None:
            self._touched.clear()
            made += self._unfinal(all_touched, None)
        return made

    def _unfinal(self, touched: pl.DataFrame, until_us: int | None) -> list[pl.DataFrame]:
        """Return the results of touched windows, of those that end until a time."""
        frame = self._kind.current(touched.drop(LEAVE))
        if frame is not None and until_us is not None:
            frame = frame.filter(frame.get_column(END) <= until_us)
        if frame is None or not frame.height:
            return []
        frame = self._revised(frame, final=False)
        self._note(frame)
        return [frame]

    def due_us(self) -> int | None:
        """Return the watermark at which a touched window comes out next."""
        first_us = self._touched.first_us()
        if first_us is None:
            return None
        due = [first_us] if self._corrections else []
        if self._early_us is not None and self._turn is not None:
            due.append((self._turn + 1) * self._early_us)
        return min(due, default=None)

    def load(self, state: State) -> None:
        self._touched.load(state)
        self._times.load(state)
        if (stored := state.get(self._key)) is not None:
            self._turn = msgspec.msgpack.decode(stored, type=int)

    def changes(self) -> Changes:
        changes = self._touched.changes() + self._times.changes()
        if self._turn_changed:
            changes.append((self._key, msgspec.msgpack.encode(self._turn)))
            self._turn_changed = False
        return changes

    # --- inside -----------------------------------------------------------------------------------------------------

    def _early_turn(self, watermark_us: int) -> bool:
        """Return whether it is time for early results."""
        if self._early_us is None:
            return False
        turn = watermark_us // self._early_us
        due = self._turn is not None and turn > self._turn
        if self._turn is None or due:
            self._turn, self._turn_changed = turn, True
        return due

    def _revised(self, frame: pl.DataFrame, *, final: bool) -> pl.DataFrame:
        """Return results with the number of those that came before for the same window."""
        import polars as pl

        times = self._times.frame()
        if times is None:
            frame = frame.with_columns(pl.lit(0, dtype=pl.Int64).alias(REVISION))
        else:
            frame = frame.join(times.drop(LEAVE), on=self._window, how="left", nulls_equal=True)
            frame = frame.with_columns(pl.col(REVISION).fill_null(0))
        return frame.with_columns(pl.lit(final).alias(FINAL))

    def _note(self, frame: pl.DataFrame) -> None:
        import polars as pl

        once = pl.lit(1, dtype=pl.Int64).alias(REVISION)
        leave = (pl.col(END) + self._closes_after_us).alias(LEAVE)
        # Each record of a moment has a result of its sliding window; together they are one revision.
        self._times.add(frame.select(*self._window, once, leave).unique())

    def _once(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.unique()

    def _summed(self, rows: pl.DataFrame) -> pl.DataFrame:
        import polars as pl

        return rows.group_by(self._window).agg(pl.col(REVISION).sum(), pl.col(LEAVE).max())
