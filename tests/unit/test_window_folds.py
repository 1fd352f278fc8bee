"""Folds of many records: whatever engine of Polars groups them, the rows are the same."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

import polars as pl
import pytest

from millstream.stream.aggregates import folds
from millstream.stream.aggregates.folds import Fold, FoldTable, How, count_of, extreme_of, sum_of

ROWS = 5_000


@pytest.fixture
def records() -> pl.DataFrame:
    number = pl.int_range(ROWS, dtype=pl.Int64, eager=True)
    return pl.DataFrame({"n": number}).with_columns(
        key=pl.concat_str(pl.lit("key "), pl.col("n") * 7919 % 97),
        few=pl.when(pl.col("n") % 5 == 0).then(None).otherwise(pl.col("n") % 3),
        big=pl.lit(2**63 - 1, dtype=pl.Int64) - pl.col("n"),
        share=pl.when(pl.col("n") % 11 == 0)
        .then(float("nan"))
        .when(pl.col("n") % 7 == 0)
        .then(None)
        .otherwise(pl.col("n") / 3),
        text=pl.when(pl.col("n") % 13 == 0).then(None).otherwise(pl.col("n").cast(pl.String)),
        good=pl.col("n") % 2 == 0,
        at=pl.lit(datetime(2026, 1, 1, tzinfo=UTC)) + pl.duration(seconds=pl.col("n")),
        day=pl.lit(date(2026, 1, 1)) + pl.duration(days=pl.col("n") % 40),
    )


@pytest.mark.parametrize("group", [["key"], ["few"], ["key", "few"], ["good"], ["share"]])
def test_the_streaming_engine_folds_as_the_other(
    records: pl.DataFrame, group: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extremes = [
        extreme_of(name, how) for name in ("n", "share", "text", "good", "at", "day") for how in (How.MIN, How.MAX)
    ]
    counts: list[Fold] = [count_of(None), count_of("few"), count_of("text")]
    table = FoldTable([*counts, sum_of("big"), sum_of("few"), sum_of("good"), *extremes])

    def folded() -> pl.DataFrame:
        rows = table.rows(records, group)
        merged = table.merge(pl.concat([rows, rows]), group)
        return pl.concat([rows, merged]).sort(pl.all())

    at_once = folded()
    monkeypatch.setattr(folds, "STREAMED_ROWS", 1)
    streamed = folded()

    assert streamed.schema == at_once.schema
    assert streamed.equals(at_once)
