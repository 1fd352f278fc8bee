"""What happens to a record whose handler failed."""

from __future__ import annotations

import pytest

from millstream.engines.protocol import Outcome
from millstream.errors import Reject, RetryLater, SettingsError, UsageError
from millstream.queue.retry import Retry, decide

MIDDLE = 0.5
"""The draw that leaves the delay as it is."""


def test_delays_grow_by_the_factor_up_to_the_limit() -> None:
    retry = Retry(attempts=10, delay="1s", factor=2.0, delay_max="10s")
    delays = [decide(retry, attempt=n, error=ValueError(), draw=MIDDLE).delay_us for n in range(1, 7)]
    assert delays == [1_000_000, 2_000_000, 4_000_000, 8_000_000, 10_000_000, 10_000_000]


def test_jitter_moves_the_delay_by_its_share_at_most() -> None:
    retry = Retry(delay="10s", jitter=0.1)
    assert decide(retry, attempt=1, error=ValueError(), draw=0.0).delay_us == 9_000_000
    assert decide(retry, attempt=1, error=ValueError(), draw=1.0).delay_us == 11_000_000


def test_the_last_attempt_goes_to_the_dead_letters() -> None:
    retry = Retry(attempts=3)
    outcomes = [decide(retry, attempt=n, error=ValueError(), draw=MIDDLE).outcome for n in (1, 2, 3, 4)]
    assert outcomes == [Outcome.NACK, Outcome.NACK, Outcome.REJECT, Outcome.REJECT]


def test_reject_goes_to_the_dead_letters_at_once() -> None:
    assert decide(Retry(), attempt=1, error=Reject("no such user"), draw=MIDDLE).outcome is Outcome.REJECT


def test_retry_later_names_its_own_delay_and_counts_as_an_attempt() -> None:
    retry = Retry(attempts=2)
    assert decide(retry, attempt=1, error=RetryLater("5m"), draw=MIDDLE) == (Outcome.NACK, 300_000_000)
    assert decide(retry, attempt=2, error=RetryLater("5m"), draw=MIDDLE).outcome is Outcome.REJECT


def test_a_huge_attempt_number_does_not_overflow() -> None:
    retry = Retry(attempts=10_000, factor=10.0, delay_max="1h", jitter=0)
    assert decide(retry, attempt=9_999, error=ValueError(), draw=MIDDLE).delay_us == 3_600_000_000


def test_no_delay_is_longer_than_the_engines_can_keep() -> None:
    later = decide(Retry(), attempt=1, error=RetryLater("9999999w"), draw=MIDDLE)
    assert later.delay_us < 2**53
    retry = Retry(attempts=9, delay="9999999w", delay_max="9999999w")
    assert decide(retry, attempt=8, error=ValueError(), draw=MIDDLE).delay_us < 2**53


def test_no_delay_stays_no_delay() -> None:
    assert decide(Retry(delay=0), attempt=4, error=ValueError(), draw=0.9).delay_us == 0


@pytest.mark.parametrize(
    "settings", [{"attempts": 0}, {"factor": 0.5}, {"factor": float("nan")}, {"jitter": -0.1}, {"jitter": 1.1}]
)
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(settings))):
        Retry(**settings)  # type: ignore[arg-type]


def test_a_delay_that_is_no_duration_is_refused_when_it_is_written() -> None:
    with pytest.raises(UsageError, match="soon"):
        Retry(delay="soon")
