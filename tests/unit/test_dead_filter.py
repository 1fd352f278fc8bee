"""Which dead letters a filter means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from millstream.errors import UsageError
from millstream.log.dead_letter import DeadLetter, ValueCoding
from millstream.queue.dead.filter import DeadFilter, position_of
from millstream.queue.rate import rate_per_s
from millstream.records import Position, Record, time_from_us
from millstream.testing.fake_clock import START_US, FakeClock

NOW = time_from_us(START_US)


def letter(offset: int = 17, **changes: Any) -> Record[DeadLetter]:
    given: dict[str, Any] = {
        "topic": "mails",
        "partition": 0,
        "offset": 3,
        "group": "send",
        "key": b"ann",
        "value": '{"to":"Zoë"}'.encode(),
        "value_coding": ValueCoding.JSON,
        "error_type": "smtplib.SMTPRecipientsRefused",
        "message": "550 no such user",
        "traceback": "Traceback ... File send.py line 3",
        "attempts": 5,
        "worker": "send-1",
        "failed_at": NOW - timedelta(minutes=30),
    }
    value = DeadLetter(**{**given, **changes})
    return Record("mails.dead", 0, offset, value, value.key, {}, START_US, START_US)


def matches(record: Record[DeadLetter], **where: Any) -> bool:
    return DeadFilter.of(clock=FakeClock(), **where).matches(record)


def test_without_a_condition_everything_is_meant() -> None:
    assert matches(letter())


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        ({"error": "recipientsrefused"}, True),
        ({"error": "smtplib.SMTPRecipientsRefused"}, True),
        ({"error": "ValueError"}, False),
        ({"text": "NO SUCH"}, True),
        ({"text": "send.py"}, True),
        ({"text": "zoë"}, True),
        ({"text": "nowhere"}, False),
        ({"key": "ann"}, True),
        ({"key": b"ann"}, True),
        ({"key": "an"}, False),
        ({"group": "send"}, True),
        ({"group": "other"}, False),
        ({"since": "1h"}, True),
        ({"since": "30m"}, True),
        ({"since": "29m"}, False),
        ({"until": "30m"}, False),
        ({"until": "29m"}, True),
        ({"since": NOW - timedelta(minutes=30), "until": NOW}, True),
        ({"until": NOW - timedelta(minutes=30)}, False),
        ({"at": 17}, True),
        ({"at": "0/17"}, True),
        ({"at": [1, "17"]}, True),
        ({"at": Position(1, 17)}, False),
        ({"at": []}, False),
        ({"error": "smtp", "text": "550", "key": "ann", "since": "1h", "at": 17}, True),
        ({"error": "smtp", "text": "550", "key": "bob"}, False),
    ],
)
def test_every_condition_that_is_given_must_fit(where: dict[str, Any], meant: bool) -> None:
    assert matches(letter(), **where) is meant


def test_a_value_that_is_no_text_is_searched_as_far_as_it_is() -> None:
    assert matches(letter(value=b"\xff\xfeneedle", value_coding=ValueCoding.RAW), text="needle")


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(UsageError, match="time zone"):
        matches(letter(), since=datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("place", ["x", "", "1/", "/1", "-1", "1/2/3", "²"])
def test_a_place_that_is_none_is_refused(place: str) -> None:
    with pytest.raises(UsageError, match="no place"):
        position_of(place)


@pytest.mark.parametrize(
    ("rate", "per_s"), [(None, None), ("10/s", 10.0), ("600/m", 10.0), ("1.5 / s", 1.5), ("3600/h", 1.0), (2.5, 2.5)]
)
def test_rates_are_records_a_second(rate: str | float | None, per_s: float | None) -> None:
    assert rate_per_s(rate) == per_s


@pytest.mark.parametrize("rate", ["10", "fast", "0/s", 0, -1, float("inf"), "10/d"])
def test_a_rate_that_is_none_is_refused(rate: str | float) -> None:
    with pytest.raises(UsageError, match="no rate"):
        rate_per_s(rate)


def test_times_have_a_zone_in_letters() -> None:
    assert letter().value.failed_at.tzinfo is UTC
