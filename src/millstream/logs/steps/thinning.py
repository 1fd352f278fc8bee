"""Steps that leave events out. What they leave out is counted, never silent."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.durations import duration_us
from millstream.errors import UsageError
from millstream.logs.steps.step import Step, StepTable
from millstream.logs.where import column_of, condition

if TYPE_CHECKING:
    import polars as pl

KEYS_MAX: Final = 100_000
"""That dedupe and limit remember; the oldest go first, and then count as new. About 20 MB."""

_BAD: Final = ("emerg", "alert", "crit", "err")


class FilterTable(StepTable, frozen=True, kw_only=True, tag="filter"):
    """Keeps, or drops, events of which a condition is true."""

    keep: str | None = None
    drop: str | None = None

    def check(self) -> None:
        super().check()
        if (self.keep is None) == (self.drop is None):
            raise UsageError("give keep or drop: a condition, such as drop = \"program = 'cron'\"")
        condition(self.keep or self.drop or "", what="keep" if self.drop is None else "drop")

    def open(self, environment: Mapping[str, str]) -> Step:
        if self.keep is not None:
            return _Filter(condition(self.keep).fill_null(value=False))
        return _Filter(~condition(self.drop or "").fill_null(value=False))


class SampleTable(StepTable, frozen=True, kw_only=True, tag="sample"):
    """Keeps one of so many values of some fields, and everything that is bad."""

    one_in: int
    by: tuple[str, ...] = ("raw",)
    """Events that have these in common are kept or left out together."""
    keep_errors: bool = True

    def check(self) -> None:
        super().check()
        if self.one_in < 1:
            raise UsageError(f"one_in is {self.one_in}; give 1 or more")
        _check_by(self.by)

    def open(self, environment: Mapping[str, str]) -> Step:
        import polars as pl

        kept = pl.struct(column_of(name).cast(pl.String).alias(name) for name in self.by).hash() % self.one_in == 0
        if self.keep_errors:
            bad = pl.col("severity").is_in(_BAD) | ~pl.col("success")
            kept = kept | bad.fill_null(value=False)
        return _Filter(kept)


class DedupeTable(StepTable, frozen=True, kw_only=True, tag="dedupe"):
    """Keeps the first of equal events within a time; the next one after it says how many were left out."""

    within: str
    by: tuple[str, ...] = ("source", "host", "program", "message")

    def check(self) -> None:
        super().check()
        _check_by(self.by)
        if duration_us(self.within) < 1:
            raise UsageError(f"within is {self.within!r}, which is too short")

    def open(self, environment: Mapping[str, str]) -> Step:
        return _Dedupe(duration_us(self.within), self.by)


class LimitTable(StepTable, frozen=True, kw_only=True, tag="limit"):
    """Keeps at most so many events of equal fields in a second of event time."""

    per_second: int
    by: tuple[str, ...] = ("source", "program")

    def check(self) -> None:
        super().check()
        _check_by(self.by)
        if self.per_second < 1:
            raise UsageError(f"per_second is {self.per_second}; give 1 or more")

    def open(self, environment: Mapping[str, str]) -> Step:
        return _Limit(self.per_second, self.by)


class _Filter(Step):
    def __init__(self, kept: pl.Expr) -> None:
        self._kept = kept

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        return frame.filter(self._kept)


class _Dedupe(Step):
    def __init__(self, within_us: int, by: tuple[str, ...]) -> None:
        self._within_us = within_us
        self._by = by
        self._lock = threading.Lock()
        self._seen: OrderedDict[tuple[Any, ...], tuple[int, int]] = OrderedDict()
        """Fields -> event time of the last that was kept (us), and how many were left out since."""

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        import polars as pl

        kept: list[bool] = []
        repeated: dict[int, int] = {}
        with self._lock:
            for place, (time_us, *key) in enumerate(frame.select(_time_us(), *_columns(self._by)).iter_rows()):
                count = self._left_out_before(tuple(key), time_us)
                kept.append(count is not None)
                if count:
                    repeated[place] = count
        if repeated:
            places = list(repeated)
            fields = frame.get_column("fields")
            said = [_with_repeated(fields[place], repeated[place]) for place in places]
            frame = frame.with_columns(fields.scatter(places, said))
        return frame if all(kept) else frame.filter(pl.Series(kept))

    def forget(self) -> None:
        with self._lock:
            self._seen.clear()

    def _left_out_before(self, key: tuple[Any, ...], time_us: int) -> int | None:
        """Return how many equal ones were left out since the last that was kept; None: this one is left out."""
        found = self._seen.get(key)
        if found is not None and abs(time_us - found[0]) < self._within_us:
            self._seen[key] = (found[0], found[1] + 1)
            return None
        self._seen[key] = (time_us, 0)
        self._seen.move_to_end(key)
        if len(self._seen) > KEYS_MAX:
            self._seen.popitem(last=False)
        return 0 if found is None else found[1]


class _Limit(Step):
    def __init__(self, per_second: int, by: tuple[str, ...]) -> None:
        self._per_second = per_second
        self._by = by
        self._lock = threading.Lock()
        self._counts: OrderedDict[tuple[Any, ...], int] = OrderedDict()

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        import polars as pl

        with self._lock:
            kept = [self._is_within((time_us // 1_000_000, *key)) for time_us, *key in self._rows(frame)]
        return frame if all(kept) else frame.filter(pl.Series(kept))

    def forget(self) -> None:
        with self._lock:
            self._counts.clear()

    def _rows(self, frame: pl.DataFrame) -> Any:
        return frame.select(_time_us(), *_columns(self._by)).iter_rows()

    def _is_within(self, key: tuple[Any, ...]) -> bool:
        count = self._counts.get(key, 0) + 1
        if count > self._per_second:
            return False
        self._counts[key] = count
        if len(self._counts) > KEYS_MAX:
            self._counts.popitem(last=False)
        return True


def _time_us() -> pl.Expr:
    import polars as pl

    return pl.col("time").dt.timestamp("us").alias("_us")


def _columns(by: tuple[str, ...]) -> list[pl.Expr]:
    return [column_of(name).alias(name) for name in by]


def _with_repeated(fields: str | None, count: int) -> str:
    found = {} if fields is None else msgspec.json.decode(fields)
    return msgspec.json.encode({**found, "repeated": count}).decode()


def _check_by(names: tuple[str, ...]) -> None:
    if not names:
        raise UsageError("by is empty; give fields of events")
    for name in names:
        column_of(name)
