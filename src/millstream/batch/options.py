"""How a batch is declared: when it runs, and what happens when it fails or is late."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, Protocol, Self, get_args, runtime_checkable

import msgspec

from millstream.batch.conditions import Gathered
from millstream.batch.planning import Missed, Overlap, Together
from millstream.durations import duration_us
from millstream.errors import UsageError
from millstream.triggers.schedule import Cron, Every, Schedule


@runtime_checkable
class RetryRule(Protocol):
    """How often and how long after one another: `Retry` is one."""

    @property
    def attempts(self) -> int: ...

    def rule(self, error: BaseException) -> RetryRule | None:
        """Return the policy for an error; None: it is not tried again."""
        ...

    def delay_us(self, attempt: int, draw: float) -> int: ...


class BatchOptions(msgspec.Struct, frozen=True):
    """Of `App.batch`, checked."""

    schedule: Together | None = None
    when: Gathered | None = None
    missed: Missed = "once"
    overlap: Overlap = "skip"
    retry: Any = None
    """A RetryRule; None: one attempt."""
    timeout_us: int | None = None
    fresh_us: int | None = None

    @classmethod
    def of(
        cls,
        *,
        cron: str | Sequence[str] | None = None,
        every: timedelta | str | float | None = None,
        when: Gathered | None = None,
        timezone: str | None = None,
        missed: Missed = "once",
        overlap: Overlap = "skip",
        retry: Any = None,
        timeout: timedelta | str | float | None = None,
        fresh: timedelta | str | float | None = None,
    ) -> Self:
        """Return the options as they were written.

        Raises:
            UsageError: One of them is not what it should be, or two do not go together.
        """
        for name, given, choices in (("missed", missed, get_args(Missed)), ("overlap", overlap, get_args(Overlap))):
            if given not in choices:
                raise UsageError(f"{name}={given!r}: give one of {', '.join(map(repr, choices))}")
        if timezone is not None and cron is None:
            raise UsageError(f"timezone={timezone!r} is for cron=; every= counts real time and needs none")
        if when is not None and not isinstance(when, Gathered):
            raise UsageError(
                f'when={when!r}: give gathered(records=10_000, size="64MB", age="10m") with one or several'
            )
        if retry is not None and not isinstance(retry, RetryRule):
            raise UsageError(f"retry={retry!r}: give Retry(attempts=3)")
        crons = [cron] if isinstance(cron, str) else [*(cron or ())]
        schedules: list[Schedule] = [Cron(text, timezone) for text in crons]
        if every is not None:
            schedules.append(Every.of(every))
        return cls(
            schedule=Together(tuple(schedules)) if schedules else None,
            when=when,
            missed=missed,
            overlap=overlap,
            retry=retry,
            timeout_us=_above_zero("timeout", timeout),
            fresh_us=_above_zero("fresh", fresh),
        )


def _above_zero(name: str, value: timedelta | str | float | None) -> int | None:
    if value is None:
        return None
    us = duration_us(value)
    if us == 0:
        raise UsageError(f"{name}={value!r}: give more than nothing, or leave it out")
    return us


PLAIN: Final = BatchOptions()
"""A batch that runs when it is called."""
