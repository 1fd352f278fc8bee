"""Rows of state as columns: kept in runs, stored as what changed.

A micro-batch adds one run: a frame, sorted by the watermark at which its rows leave. Runs of about the same size are
merged when there are several of them, so there are few, each row is written a few times (the logarithm of the state's
size to the base 4), and what a micro-batch costs grows with what it changed.

| stored under the prefix | |
|---|---|
| `r` + run (8 bytes) + part (2 bytes) | rows of a run, see run_values.py; parts of at most `PART_BYTES_MAX` |
| `c` | the cut: rows that leave up to a watermark are gone from the runs below a number |
| `s` + number (2 bytes) | a schema of small values |

Rows that leave are cut off by writing the cut, not the runs anew; a run of which most has gone is written anew.

Source: O'Neil et al., The Log-Structured Merge-Tree, 1996; size-tiered compaction as in Cassandra.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from millstream.errors import UsageError
from millstream.stream.run_values import read_frame, read_value, write_frame, write_value

if TYPE_CHECKING:
    import polars as pl

TIER_RUNS_MAX: Final = 6
"""Runs of about one size before they are merged: fewer cost more writing, more cost more reading."""

TIER_GROWTH_BITS: Final = 2
"""A tier holds runs of up to 4 times the rows of the one below."""

PART_BYTES_MAX: Final = 16 * 1024 * 1024
"""A value of the engine is read and written whole; this bounds what one takes before compression."""

Merge: TypeAlias = "Callable[[pl.DataFrame], pl.DataFrame]"
Bytes: TypeAlias = bytes
"""The type, in a class that has an attribute of that name."""
State: TypeAlias = "Mapping[Bytes, Bytes]"
Changes: TypeAlias = "list[tuple[Bytes, Bytes | None]]"


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """Rows that leave up to a watermark are gone from the runs below a number."""

    watermark_us: int
    below: int


class _Run:
    """A frame sorted by its `leave` column, and what of it is stored."""

    def __init__(self, frame: pl.DataFrame, leave: str, parts: int = 0) -> None:
        self.frame = frame
        self.height_written = frame.height
        self.bytes_written = int(frame.estimated_size())
        self.parts = parts
        """Values that hold it; 0: it has not been stored yet."""
        column = frame.get_column(leave)
        self.first_us: int = column[0]
        self.last_us: int = column[-1]


class Runs:
    """Rows of one table of a step's state.

    `add` takes rows whose `leave` column (Int64, never null) says at which watermark they leave, in us. Runs hold the
    columns that went in, sorted by `leave`; rows that have an order of their own need a column for it, as merging mixes
    runs. Runs of different schemas come together as in Polars' "diagonal_relaxed": a column that was added is null in
    older rows, a number that was widened is widened everywhere.

    Args:
        leave: Name of the column with the watermark at which a row leaves.
        merge: Makes one frame of the rows of several runs; may combine rows (`group_by(keys).agg(...)`), must keep the
            column `leave`. `take` and `frame` return what it made.
        merged: What is added has been through `merge` already, so the rows of a single run need not go through it.
    """

    def __init__(self, prefix: Bytes, *, leave: str, merge: Merge | None = None, merged: bool = False) -> None:
        self._prefix = prefix
        self._leave = leave
        self._merge = merge
        self._single = merged
        self._runs: dict[int, _Run] = {}
        self._next = 0
        self._cut: Cut | None = None
        self._cut_changed = False
        self._removed: list[tuple[int, int]] = []
        self._schemas: dict[int, pl.Schema] = {}
        self._schemas_written = 0

    # --- what is there ------------------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """Rows; with `merge`, before those of different runs are combined."""
        return sum(run.frame.height for run in self._runs.values())

    @property
    def bytes(self) -> int:
        """Estimate of the memory that the rows take."""
        return sum(run.bytes_written for run in self._runs.values())

    def first_us(self) -> int | None:
        """Return the watermark at which the first row leaves; None without rows."""
        return min((run.first_us for run in self._runs.values()), default=None)

    def last_us(self) -> int | None:
        """Return the watermark at which the last row leaves; None without rows."""
        return max((run.last_us for run in self._runs.values()), default=None)

    def frames(self) -> list[pl.DataFrame]:
        """Return the runs as they are, oldest first."""
        return [self._runs[number].frame for number in sorted(self._runs)]

    def frame(self) -> pl.DataFrame | None:
        """Return all rows, merged; None without any."""
        return self._merged(self.frames())

    def leaving(self, first_us: int, last_us: int, *, merge: bool = True) -> pl.DataFrame | None:
        """Return the rows that leave within these watermarks, both included; they stay. `merge=False`: as they are."""
        found = [
            _between(self._runs[number], self._leave, first_us, last_us)
            for number in sorted(self._runs)
            if self._runs[number].first_us <= last_us and self._runs[number].last_us >= first_us
        ]
        found = [frame for frame in found if frame.height]
        return self._merged(found) if merge or not found else _together(found)

    # --- what changes -------------------------------------------------------------------------------------------

    def add(self, frame: pl.DataFrame) -> None:
        """Add rows as a run.

        Raises:
            UsageError: The columns do not fit those that are there (a text where numbers were).
        """
        if not frame.height:
            return
        frame = self._sorted(frame)
        self._runs[self._next] = _Run(frame, self._leave)
        self._next += 1

    def take(self, watermark_us: int) -> pl.DataFrame | None:
        """Remove and return the rows that leave at this watermark or before, merged; None when there are none."""
        return self._merged(self._cut_off(watermark_us))

    def discard(self, watermark_us: int) -> int:
        """Remove the rows that leave at this watermark or before; return how many they were."""
        return sum(frame.height for frame in self._cut_off(watermark_us))

    def clear(self) -> None:
        """Remove all rows."""
        for number in list(self._runs):
            self._remove(number)

    # --- what is stored -----------------------------------------------------------------------------------------

    def load(self, state: State) -> None:
        """Take over what was stored; keys of others are left alone.

        Raises:
            StorageCorruptError: The bytes are damaged.
        """
        parts: dict[int, list[tuple[int, Bytes]]] = {}
        for key, value in state.items():
            if not key.startswith(self._prefix):
                continue
            kind, rest = key[len(self._prefix) : len(self._prefix) + 1], key[len(self._prefix) + 1 :]
            if kind == b"c":
                self._cut = msgspec.msgpack.decode(value, type=Cut)
            elif kind == b"s":
                self._schemas[int.from_bytes(rest, "big")] = read_frame(value).schema
            elif kind == b"r":
                parts.setdefault(int.from_bytes(rest[:8], "big"), []).append((int.from_bytes(rest[8:], "big"), value))
        self._schemas_written = len(self._schemas)
        for number in sorted(parts):
            self._load_run(number, [value for _, value in sorted(parts[number])])
        self._next = max([*parts, self._cut.below - 1 if self._cut else -1], default=-1) + 1

    def changes(self) -> Changes:
        """Return (key, value, or None to delete) of what changed since the last call."""
        self._merge_full_tiers()
        changed: Changes = []
        for number, run in self._runs.items():
            if not run.parts:
                changed += self._written(number, run)
        changed += [(self._key(number, part), None) for number, parts in self._removed for part in range(parts)]
        if self._cut_changed:
            changed.append((self._prefix + b"c", msgspec.msgpack.encode(self._cut)))
        for number in range(self._schemas_written, len(self._schemas)):
            key = self._prefix + b"s" + number.to_bytes(2, "big")
            changed.append((key, write_frame(self._schemas[number].to_frame())))
        self._removed.clear()
        self._cut_changed = False
        self._schemas_written = len(self._schemas)
        return changed

    # --- inside -------------------------------------------------------------------------------------------------

    def _merged(self, frames: Sequence[pl.DataFrame]) -> pl.DataFrame | None:
        if not frames:
            return None
        if self._merge is None or (self._single and len(frames) == 1):
            return _together(frames)
        return self._merge(_together(frames))

    def _sorted(self, frame: pl.DataFrame) -> pl.DataFrame:
        column = frame.get_column(self._leave)
        if column.is_sorted():
            return frame
        return frame.sort(self._leave, maintain_order=True)

    def _merge_full_tiers(self) -> None:
        """Merge the runs of each tier that is full, the smallest first: what comes out may fill the next.

        Done when changes are stored, for what has left by then need neither be merged nor written.
        """
        tier = 0
        while len(self._runs) >= TIER_RUNS_MAX:
            tiers = {number: _tier(run.frame.height) for number, run in self._runs.items()}
            if tier > max(tiers.values()):
                return
            full = sorted(number for number, own in tiers.items() if own == tier)
            if len(full) >= TIER_RUNS_MAX:
                merged = self._merged([self._runs[number].frame for number in full])
                for number in full:
                    self._remove(number)
                if merged is not None and merged.height:
                    self._runs[self._next] = _Run(self._sorted(merged), self._leave)
                    self._next += 1
            tier += 1

    def _cut_off(self, watermark_us: int) -> list[pl.DataFrame]:
        """Remove what leaves up to a watermark from each run; return it, oldest run first."""
        taken: list[pl.DataFrame] = []
        for number in sorted(self._runs):
            run = self._runs[number]
            if run.first_us > watermark_us:
                continue
            if run.last_us <= watermark_us:
                taken.append(run.frame)
                self._remove(number)
                continue
            place = _place_after(run.frame.get_column(self._leave), watermark_us)
            taken.append(run.frame.head(place))
            self._keep_rest(number, run, place, watermark_us)
        return taken

    def _keep_rest(self, number: int, run: _Run, place: int, watermark_us: int) -> None:
        rest = run.frame.slice(place)
        mostly_gone = rest.height * 4 <= run.height_written
        backwards = self._cut is not None and watermark_us < self._cut.watermark_us
        if mostly_gone or backwards:
            # Copy the rest, so that neither memory nor disk holds the whole for the sake of a few; and a cut only moves
            # on, so one below it cannot be written as such.
            self._remove(number)
            self._runs[self._next] = _Run(_copied(rest), self._leave)
            self._next += 1
            return
        run.frame = rest
        run.first_us = rest.get_column(self._leave)[0]
        if run.parts:
            self._cut = Cut(watermark_us, self._next)
            self._cut_changed = True

    def _remove(self, number: int) -> None:
        run = self._runs.pop(number)
        if run.parts:
            self._removed.append((number, run.parts))

    def _load_run(self, number: int, values: list[Bytes]) -> None:
        frame = _together([read_value(value, self._schemas) for value in values])
        run = _Run(frame, self._leave, len(values))
        if self._cut is not None and number < self._cut.below:
            frame = frame.slice(_place_after(frame.get_column(self._leave), self._cut.watermark_us))
        if not frame.height:
            self._removed.append((number, len(values)))
            return
        run.frame, run.first_us = frame, frame.get_column(self._leave)[0]
        self._runs[number] = run

    def _written(self, number: int, run: _Run) -> Changes:
        schema = self._schema_number(run.frame.schema)
        rows = max(1, PART_BYTES_MAX * run.height_written // max(1, run.bytes_written))
        parts = [run.frame.slice(start, rows) for start in range(0, run.frame.height, rows)]
        run.parts = len(parts)
        return [(self._key(number, place), write_value(part, schema)) for place, part in enumerate(parts)]

    def _schema_number(self, schema: pl.Schema) -> int:
        for number in reversed(range(len(self._schemas))):
            if self._schemas[number] == schema:
                return number
        self._schemas[len(self._schemas)] = schema
        return len(self._schemas) - 1

    def _key(self, number: int, part: int) -> Bytes:
        return self._prefix + b"r" + number.to_bytes(8, "big") + part.to_bytes(2, "big")


def _together(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    import polars as pl

    if len(frames) == 1:
        return frames[0]
    first = frames[0].schema
    if all(frame.schema == first for frame in frames[1:]):
        return pl.concat(frames)
    try:
        return pl.concat(frames, how="diagonal_relaxed")
    except pl.exceptions.PolarsError as error:
        schemas = "; ".join(sorted({str(dict(frame.schema)) for frame in frames}))
        raise UsageError(
            f"columns changed their types in a way that rows kept by a stream cannot follow ({error}): {schemas}; "
            "cast the column to what it was before the step, or give the stream a new name to build its state anew"
        ) from error


def _place_after(leave: pl.Series, watermark_us: int) -> int:
    """Return how many rows of a sorted column are at a watermark or below."""
    return int(leave.search_sorted(watermark_us, side="right"))


def _between(run: _Run, leave: str, first_us: int, last_us: int) -> pl.DataFrame:
    if run.first_us >= first_us and run.last_us <= last_us:
        return run.frame
    column = run.frame.get_column(leave)
    start = int(column.search_sorted(first_us, side="left"))
    return run.frame.slice(start, _place_after(column, last_us) - start)


def _copied(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the rows in memory of their own: a slice keeps all of what it was cut from."""
    import polars as pl

    return frame.select(pl.all().gather(pl.int_range(pl.len())))


def _tier(height: int) -> int:
    """Return the tier of a run; up to 64 rows are the lowest, where a merge costs the same whatever their number."""
    return max(0, height.bit_length() - 6) // TIER_GROWTH_BITS
