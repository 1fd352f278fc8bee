"""What of a partition is worth merging, and what is looked at no more."""

from __future__ import annotations

from collections.abc import Sequence

from millstream.engines.protocol import BatchHeader
from millstream.log.merging import BATCHES_MIN, Survey, survey
from millstream.records import Coding


def headers(*sizes: int, coding: Coding = Coding.COLUMNS) -> list[BatchHeader]:
    """Return headers of batches of so many records each, appended one microsecond after the other."""
    made: list[BatchHeader] = []
    offset = 0
    for i, count in enumerate(sizes):
        made.append(BatchHeader(0, offset, coding, count, 0, count * 50, i + 1, None, None))
        offset += count
    return made


def seen(batches: Sequence[BatchHeader]) -> Survey:
    return survey(batches, 0, batches[-1].offset + batches[-1].count)


def test_batches_that_are_neither_small_nor_many_enough_are_settled() -> None:
    """13 of 5,000 records fill a batch and are fewer than it takes: a follower's topic has nothing else."""
    found = seen(headers(*[5000] * 400))
    assert found.settled == 1_950_000  # 30 fillings of 13; of the last ten it is not known yet
    assert (found.batches, found.records, found.newest_us) == (10, 50_000, 400)


def test_what_is_settled_stays_so_from_there_on() -> None:
    batches = headers(*[5000] * 400)
    settled = seen(batches).settled
    rest = [batch for batch in batches if batch.offset >= settled]
    assert survey(rest, settled, 2_000_000) == seen(batches)


def test_the_first_batches_that_are_worth_it_hold_the_place() -> None:
    found = seen(headers(*[5000] * 14, *[10] * BATCHES_MIN, *[40_000] * 3))
    assert found.settled == 65_000  # the last 5,000 and the small ones behind them make one batch
    assert (found.batches, found.records) == (BATCHES_MIN + 1, 5000 + 10 * BATCHES_MIN)


def test_few_small_batches_at_the_end_may_become_more() -> None:
    found = seen(headers(40_000, 10, 10))
    assert (found.settled, found.batches) == (40_000, 2)


def test_few_small_batches_between_large_ones_are_settled() -> None:
    found = seen(headers(40_000, 10, 10, 40_000))
    assert (found.settled, found.batches) == (80_020, 0)


def test_one_batch_of_many_rows_is_worth_it() -> None:
    found = seen(headers(1000, coding=Coding.ROWS))
    assert (found.settled, found.batches) == (0, 1)


def test_nothing_is_there() -> None:
    assert survey([], 7, 7) == Survey(7, 0, 0, 0)
