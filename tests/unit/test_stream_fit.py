"""How many records a stream with state by key reads at once."""

from __future__ import annotations

import pytest

from millstream.errors import UsageError
from millstream.stream.fit import ASKED_SHARE, RECORD_BYTES, RECORDS_AT_FIRST, RECORDS_MIN, Fit
from millstream.stream.options import options_of

MOST = 500_000
MEMORY = 32 * 1024 * 1024


def fit(*, keyed: bool = True) -> Fit:
    return Fit(keyed=keyed, memory_bytes=MEMORY, records_max=MOST)


def test_stream_without_keys_reads_as_much_as_it_may() -> None:
    every = fit(keyed=False)
    every.note(1000, 0)
    assert every.records == MOST


def test_records_of_a_few_keys_are_read_more_and_more_at_once() -> None:
    few = fit()
    assert few.records == RECORDS_AT_FIRST
    for _ in range(20):
        few.note(few.records, 1000)
    aim_bytes = MEMORY // ASKED_SHARE
    assert 0.9 * aim_bytes < few.records * RECORD_BYTES < aim_bytes


def test_records_of_a_key_each_are_read_as_many_at_once_as_there_is_room() -> None:
    many, entry_bytes = fit(), 2000
    for _ in range(20):
        many.note(many.records, many.records * entry_bytes)
    entry_bytes += RECORD_BYTES
    assert many.records * entry_bytes <= MEMORY // ASKED_SHARE < (many.records + 1) * entry_bytes


def test_however_much_records_ask_for_some_are_read_at_once() -> None:
    large = fit()
    large.note(large.records, 1 << 40)
    assert large.records == RECORDS_MIN


def test_a_stream_that_may_read_few_reads_no_more() -> None:
    small = Fit(keyed=True, memory_bytes=MEMORY, records_max=4)
    small.note(4, 1 << 40)
    assert small.records == 4


def test_memory_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match=r"memory_bytes=128: give 1,048,576 or more"):
        options_of(memory_bytes=128)
