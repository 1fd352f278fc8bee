"""Which partition a record goes to, from values and from frames."""

from __future__ import annotations

import polars as pl
import pytest

from millstream.log.partitioning import Partitioner


@pytest.mark.parametrize("keys", [[b"a", b"b", None, b"a", b"c", None, b"d"], [b"a", b"a"], [None, None], [b"", b"x"]])
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_rows_of_a_frame_go_where_values_with_their_keys_go(keys: list[bytes | None], turns: int) -> None:
    by_value, by_column = Partitioner(3), Partitioner(3)
    for _ in range(turns):
        by_value.split(1, None)
        by_column.split_column(None)
    places = by_value.split(len(keys), keys)
    found = by_column.split_column(pl.Series(keys, dtype=pl.Binary()))
    if isinstance(places, int):
        assert found == places
    else:
        assert isinstance(found, pl.Series)
        assert {p: [i for i, at in enumerate(found) if at == p] for p in found.unique()} == places


def test_rows_without_keys_take_turns_a_call_at_a_time() -> None:
    partitioner = Partitioner(2)
    assert [partitioner.split_column(None) for _ in range(3)] == [0, 1, 0]
