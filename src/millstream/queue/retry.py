"""What happens to a record whose handler failed: a pure decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, NamedTuple

from millstream.durations import duration_us
from millstream.engines.protocol import Outcome
from millstream.errors import Reject, RetryLater, SettingsError

DELAY_US_MAX: Final = 100 * 365 * 86_400_000_000
"""A hundred years: what is due later is not waited for, and engines keep times in 64 bits."""


@dataclass(frozen=True)
class Retry:
    """How often and how long after one another a failing record is tried.

    The n-th failure waits `delay * factor ** (n - 1)`, at most `delay_max`, give or take the `jitter` share of it, so
    that records that failed together do not come back together.

    Raises:
        SettingsError: A value is out of range.
        UsageError: A delay is not a duration.

    Source: exponential backoff with jitter, AWS Architecture Blog, 2015.
    """

    attempts: int = 5
    """Deliveries in all, the first included; after the last one the record goes to the dead letters."""
    delay: timedelta | str | float = "1s"
    factor: float = 2.0
    delay_max: timedelta | str | float = "1h"
    jitter: float = 0.1
    on: Mapping[type[BaseException], Retry] = field(default_factory=dict, hash=False)
    """For errors of a class, in place of the rest: `on={ConnectionError: Retry(attempts=20)}`. Of several that fit, the
    nearest in the error's own line of classes counts."""
    never: tuple[type[BaseException], ...] = ()
    """Errors of these classes are not worth a second try."""

    def __post_init__(self) -> None:
        duration_us(self.delay)
        duration_us(self.delay_max)
        if self.attempts < 1:
            raise SettingsError(f"Retry(attempts={self.attempts}): a record is delivered once at least; give 1 or more")
        if not self.factor >= 1:
            raise SettingsError(f"Retry(factor={self.factor}): waits must not shrink; give 1 or more")
        if not 0 <= self.jitter <= 1:
            raise SettingsError(f"Retry(jitter={self.jitter}): a share of the delay; give 0 to 1")

        for kind in (*self.on, *self.never):
            if not issubclass(kind, BaseException):
                raise SettingsError(f"Retry: {kind!r} is not a class of exceptions; give some such as ValueError")

    @property
    def attempts_max(self) -> int:
        """Deliveries of a record at most, whatever it fails of."""
        return max([self.attempts, *(rule.attempts_max for rule in self.on.values())])

    def rule(self, error: BaseException) -> Retry | None:
        """Return the policy for an error; None: it is not tried again."""
        for kind in type(error).__mro__:
            if kind in self.never:
                return None
            if kind in self.on:
                return self.on[kind].rule(error)
        return self

    def delay_us(self, attempt: int, draw: float) -> int:
        """Return the wait after the failure of this attempt (1 for the first); `draw` in [0, 1) decides the jitter."""
        limit = duration_us(self.delay_max)
        try:
            wait = min(duration_us(self.delay) * self.factor ** (attempt - 1), limit)
        except OverflowError:
            wait = limit
        return round(wait * (1 + self.jitter * (2 * draw - 1)))


class RetryDecision(NamedTuple):
    """NACK with a delay, or REJECT."""

    outcome: Outcome
    delay_us: int = 0


def decide(retry: Retry, *, attempt: int, error: BaseException, draw: float) -> RetryDecision:
    """Say what happens to a record after its handler raised.

    `Reject` and the last attempt mean the dead letters; `RetryLater` names its own delay; anything else backs off, by
    the rule for its class where there is one.

    Args:
        attempt: 1 for the first delivery.
        draw: A random number in [0, 1), for the jitter.

    Raises:
        UsageError: The delay of a RetryLater is not a duration.
    """
    rule = retry.rule(error)
    if isinstance(error, Reject) or rule is None or attempt >= rule.attempts:
        return RetryDecision(Outcome.REJECT)
    delay_us = duration_us(error.delay) if isinstance(error, RetryLater) else rule.delay_us(attempt, draw)
    return RetryDecision(Outcome.NACK, min(delay_us, DELAY_US_MAX))
