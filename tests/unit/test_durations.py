"""Durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millstream.durations import duration, duration_us, span_text
from millstream.errors import UsageError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("5m", timedelta(minutes=5)),
        ("30s", timedelta(seconds=30)),
        ("1h30m", timedelta(minutes=90)),
        ("1h 30m", timedelta(minutes=90)),
        (" 2d ", timedelta(days=2)),
        ("1w", timedelta(weeks=1)),
        ("250ms", timedelta(milliseconds=250)),
        ("7us", timedelta(microseconds=7)),
        ("1.5h", timedelta(minutes=90)),
        ("0s", timedelta(0)),
        (90, timedelta(seconds=90)),
        (0.5, timedelta(milliseconds=500)),
        (0, timedelta(0)),
        (timedelta(days=3), timedelta(days=3)),
    ],
)
def test_a_duration_is_read_as_written(written: timedelta | str | float, meant: timedelta) -> None:
    assert duration(written) == meant


@pytest.mark.parametrize(
    "written",
    ["", "5", "m", "5 minutes", "-5m", "30m1h", "5m5m", "1e3s", "1..5h", "５m x", -1, -0.001, True, None, [],
     float("nan"), float("inf"), 1e300, "99999999999w", timedelta(seconds=-1)],
)  # fmt: skip
def test_anything_else_is_refused_with_the_text_and_the_accepted_forms(written: object) -> None:
    with pytest.raises(UsageError) as caught:
        duration(written)  # type: ignore[arg-type]
    assert repr(written) in str(caught.value)
    assert '"1h30m"' in str(caught.value)
    assert "timedelta" in str(caught.value)
    assert "seconds" in str(caught.value)


@given(st.integers(0, 10**15))
def test_whole_microseconds_survive(us: int) -> None:
    assert duration_us(f"{us}us") == us
    assert duration_us(timedelta(microseconds=us)) == us


def test_decimal_texts_are_exact() -> None:
    assert duration_us("0.1s") == 100_000
    assert duration_us("1.000001s") == 1_000_001


@pytest.mark.parametrize("text", ["0s", "1us", "250ms", "1m", "1h30m", "1w2d", "1m5s3ms"])
def test_a_span_is_written_as_it_is_read(text: str) -> None:
    assert span_text(duration_us(text)) == text
