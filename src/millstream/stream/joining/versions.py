"""Rows of one input that count until a newer one of their key: quotes, prices, rows of a table.

Each row is a version of its key from its event time on. A version leaves when a newer one counts for all that can still
be asked. Which those are is found out now and then, when the rows have doubled, for all at once: so each row is looked
at a few times, and what a micro-batch costs grows with what it brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from millstream.stream.joining.keyed_rows import KeyedRows
from millstream.stream.joining.newest import FEW, Newest
from millstream.stream.joining.reach import first_and_last_us
from millstream.stream.joining.steps import FOREVER_US

if TYPE_CHECKING:
    import polars as pl

    from millstream.stream.operators import StateWrite

SPARE_ROWS: Final = 4096
"""So many versions too many cost less than looking for them."""

DELETED_KEPT_US: Final = 24 * 3_600_000_000
"""How long it is kept that a row was deleted, in event time: an older version that comes later than that would be taken
for a new one. Source: Kafka's `delete.retention.ms`, a day too."""


class Versions:
    """Rows of the right input by key and event time.

    A row has its columns, `_key`, `_t`, its event time in us, and `_deleted` where rows can be deleted.

    Args:
        key: Columns that tell the keys apart.
        stay_us: How long after its event time a row is wanted; None: until a newer one counts.
        lateness_us: How far behind the watermark may be asked.
        timeless: The first version of a key counts for all earlier times.
    """

    def __init__(
        self, prefix: bytes, key: tuple[str, ...], *, stay_us: int | None, lateness_us: int, timeless: bool = False
    ) -> None:
        self._rows = KeyedRows(prefix + b"r", leave="_leave" if stay_us is None else "_t")
        self._key = list(key)
        self._stay_us = stay_us
        self._lateness_us = lateness_us
        self._timeless = timeless
        self._next = 0
        self._live = 0
        """Rows when it was last known of all which ones leave."""
        self._prepared: Newest | None = None

    @property
    def height(self) -> int:
        return self._rows.runs.height

    @property
    def size_bytes(self) -> int:
        return self._rows.runs.bytes

    def add(self, rows: pl.DataFrame) -> None:
        """Keep rows; those with a null in the key match nothing, so they are not kept."""
        import polars as pl

        self._prepared = None
        rows = rows.drop_nulls(self._key)
        ids = pl.int_range(self._next, self._next + rows.height, dtype=pl.Int64)
        self._next += rows.height
        more = [ids.alias("_id")]
        if self._stay_us is None:
            more.append(pl.lit(FOREVER_US, dtype=pl.Int64).alias("_leave"))
        self._rows.add(rows.with_columns(more))

    def as_of(
        self, asked: pl.DataFrame, key: list[pl.Expr], tolerance_us: int | None = None
    ) -> tuple[pl.Series, pl.DataFrame] | None:
        """Return the newest row of a key that is not newer than a time, for each of many; None without rows.

        Args:
            asked: The key's columns, and `_t`. Null keys find nothing.
            key: Makes the same columns of the rows here.

        Returns:
            The places in `asked` for which there is a row, ascending, and those rows.
        """

        if not asked.height:
            return None
        keys = [name for name in asked.columns if name != "_t"]
        newest = self._newest(asked, keys, key)
        if newest is None:
            return None
        return newest.of(asked.with_row_index("_l").drop_nulls(keys), tolerance_us)

    def _newest(self, asked: pl.DataFrame, keys: list[str], key: list[pl.Expr]) -> Newest | None:
        """Return the rows that may be found, prepared; those of all, for as long as they stay the same."""
        import polars as pl

        if self._stay_us is None and asked.height * FEW >= self.height:
            types = asked.select(keys).schema
            if self._prepared is None or self._prepared.types != types:
                rows = self._rows.runs.frame()
                self._prepared = None if rows is None else Newest(rows, key, None, timeless=self._timeless)
            return self._prepared
        first_us, last_us = -FOREVER_US, FOREVER_US
        if self._stay_us is not None:
            first_us, last_us = first_and_last_us(asked["_t"])
            first_us -= self._stay_us
        found = self._rows.near(asked, [pl.col(name) for name in keys], key, first_us, last_us)
        return None if found is None else Newest(found, key, asked, timeless=self._timeless)

    def advance(self, watermark_us: int) -> None:
        """Let go of the rows that count no more for anything asked from now on."""
        if self._stay_us is not None:
            self._rows.runs.discard(watermark_us - self._lateness_us - self._stay_us - 1)
            return
        if self.height > 2 * self._live + SPARE_ROWS:
            self._find_leaving()
            self._prepared = None
        if self._rows.runs.discard(watermark_us - self._lateness_us):
            self._prepared = None
        self._live = min(self._live, self.height)

    def _find_leaving(self) -> None:
        """Write down, for each row that a newer one follows, when that one counts for all that can be asked."""
        import polars as pl

        rows = self._rows.runs.frame()
        assert rows is not None
        rows = rows.sort(*self._key, "_t", "_id")
        same = [pl.col(name) == pl.col(name).shift(-1) for name in self._key]
        followed = pl.all_horizontal(same).fill_null(value=False)
        last = pl.lit(FOREVER_US)
        # Where the first version counts for all earlier times, it matters for ever that a later one is not the first.
        if "_deleted" in rows.columns and not self._timeless:
            last = pl.when("_deleted").then(pl.col("_t") + DELETED_KEPT_US).otherwise(last)
        leave = pl.when(followed).then(pl.col("_t").shift(-1)).otherwise(last)
        rows = rows.with_columns(leave.alias("_leave"))
        stays = pl.col("_leave") == FOREVER_US
        # Apart, so that the run of those that stay is not cut again and again.
        self._rows.replace(rows.filter(stays), rows.filter(~stays))
        self._live = self.height

    def load(self, state: Mapping[bytes, bytes]) -> None:
        self._rows.load(state)
        frames = self._rows.runs.frames()
        self._next = max((i for frame in frames if isinstance(i := frame["_id"].max(), int)), default=-1) + 1
        self._live = self._count_live() if self._stay_us is None else 0

    def _count_live(self) -> int:
        """Return how many rows there would be if it were known of all which ones leave."""
        rows = self._rows.runs.frame()
        if rows is None:
            return 0
        stay = rows.filter(rows["_leave"] == FOREVER_US).select(self._key)
        return rows.height - stay.height + stay.n_unique()

    def changes(self) -> list[StateWrite]:
        return self._rows.changes()
