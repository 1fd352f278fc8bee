"""Which partition a record goes to."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


class Partitioner:
    """Records of one key stay in one partition, in order; those without a key take turns, a call at a time."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._turn = itertools.count()
        self.single = partitions == 1
        """Whether all records go to partition 0 anyway."""

    def split(self, count: int, keys: Sequence[bytes | None] | None) -> dict[int, list[int]] | int:
        """Return the places of a call's values by partition; just the partition where all go to one.

        Source: CRC-32 as in zlib; stable across processes, systems and releases, which `hash` is not.
        """
        turn = next(self._turn) % self._partitions
        if keys is None:
            return turn
        places: dict[int, list[int]] = {}
        for place, key in enumerate(keys):
            partition = turn if key is None else zlib.crc32(key) % self._partitions
            places.setdefault(partition, []).append(place)
        return next(iter(places)) if len(places) == 1 else places

    def split_column(self, keys: pl.Series | None) -> pl.Series | int:
        """Return the partition of each row of a frame, from its keys; just the partition where all go to one."""
        import polars as pl

        turn = next(self._turn) % self._partitions
        if keys is None or keys.null_count() == keys.len():
            return turn
        known = keys.unique()
        chosen = [turn if key is None else zlib.crc32(key) % self._partitions for key in known.to_list()]
        if len(set(chosen)) == 1:
            return chosen[0]
        table = pl.DataFrame({"key": known, "partition": pl.Series(chosen, dtype=pl.Int32)})
        rows = keys.to_frame("key").join(table, on="key", how="left", nulls_equal=True, maintain_order="left")
        return rows.get_column("partition")
