"""What happens to a record whose function raises: stop, skip it to the dead letters, or try again first."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import msgspec

from millstream.durations import duration_us
from millstream.errors import Reject, RetryLater, UsageError
from millstream.stream.piece import Piece, concat

T = TypeVar("T")

STOP: Final = "stop"
SKIP: Final = "skip"


@runtime_checkable
class RetryRule(Protocol):
    """How often and how long after one another: the `Retry` of queues is one."""

    @property
    def attempts(self) -> int: ...

    def rule(self, error: BaseException) -> RetryRule | None:
        """Return the policy for an error; None: it is not tried again."""
        ...

    def delay_us(self, attempt: int, draw: float) -> int: ...


class OnError(msgspec.Struct, frozen=True):
    """What a stream does about a record whose function raises an Exception.

    `Reject` is not an accident: the record goes to the dead letters whatever the policy says.
    """

    retry: RetryRule | None = None
    skips: bool = False
    """When there is no (further) attempt: set the record aside and go on; else the stream stops there."""

    @classmethod
    def of(cls, given: Any) -> OnError:
        """Return the policy of `on_error="stop"`, `"skip"`, a Retry (then skip), or `(Retry(...), "stop")`.

        Raises:
            UsageError: It is none of these.
        """
        match given:
            case OnError():
                return given
            case "stop" | "skip":
                return cls(None, given == SKIP)
            case (RetryRule() as retry, "stop" | "skip" as then):
                return cls(retry, then == SKIP)
            case RetryRule():
                return cls(given, True)
        raise UsageError(
            f'on_error={given!r}: give "stop", "skip" (to the dead letters), Retry(...), which skips after its last '
            'attempt, or (Retry(...), "stop")'
        )


ErrorPolicy: TypeAlias = Literal["stop", "skip"] | RetryRule | tuple[RetryRule, Literal["stop", "skip"]] | OnError


class Failed(NamedTuple):
    """A record that was given up on."""

    place: int
    """In the micro-batch's records as they came to the step."""
    error: Exception
    attempts: int
    instead: Piece | None = None
    """What is set aside where it is none of those records, as of a timer: one that tells of it."""


class Guard:
    """Calls functions of the user and decides what becomes of what they raise.

    Args:
        wait: Waits so many seconds; True when the stream is to stop meanwhile.
        draw: A random number in [0, 1), for the jitter.
    """

    def __init__(
        self,
        policy: OnError,
        *,
        wait: Callable[[float], bool] | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self.policy = policy
        self._wait = wait or _sleep
        self._draw = draw
        self._failed: list[Failed] = []
        self.stopped_at: int | None = None
        """The place of the record for which the stream stops."""

    def failed(self) -> list[Failed]:
        """Return what was given up on since the last call."""
        failed, self._failed = self._failed, []
        return failed

    def each(self, function: Callable[[Any], T], values: Sequence[Any]) -> list[T | None]:
        """Return what a function makes of each value, None where it was given up.

        Raises:
            Exception: What the function raised, where the stream is to stop.
        """
        results: list[T | None] = []
        rest = iter(values)
        while len(results) < len(values):
            error: Exception = RuntimeError("the function raised StopIteration")
            try:
                # What was made before an error is in the list; `rest` stands after the value that failed.
                results.extend(map(function, rest))
            except Exception as raised:  # noqa: BLE001 - the user's function may raise anything; the policy decides
                error = raised
            if (place := len(results)) < len(values):
                results.append(self.again(functools.partial(function, values[place]), error, place))
        return results

    def batch(self, function: Callable[[Piece], Piece], piece: Piece) -> Piece:
        """Return what a function of many records makes; where it raises, of halves, to find the records that fail.

        Raises:
            Exception: What the function raised, where the stream is to stop.
        """
        try:
            return function(piece)
        except UsageError:
            raise  # what it returned is of no use, whatever the records
        except Exception as error:
            if not self.policy.skips and self.policy.retry is None:
                raise
            return self._halves(function, piece, 0, error)

    def _halves(self, function: Callable[[Piece], Piece], piece: Piece, start: int, error: Exception) -> Piece:
        if piece.height == 1:
            made = self.again(functools.partial(function, piece), error, start)
            return function(piece.slice(0, 0)) if made is None else made
        middle = piece.height // 2
        parts: list[Piece] = []
        for at, half in ((0, piece.slice(0, middle)), (middle, piece.slice(middle, piece.height - middle))):
            try:
                parts.append(function(half))
            except Exception as raised:  # noqa: BLE001 - as above
                parts.append(self._halves(function, half, start + at, raised))
        return concat([part for part in parts if part.height] or parts[:1])

    def again(self, call: Callable[[], T], error: Exception, place: int, instead: Piece | None = None) -> T | None:
        """Return what a call makes that failed once, None where it was given up.

        Args:
            instead: See `Failed`.

        Raises:
            Exception: What it raised last, where the stream is to stop.
        """
        attempt = 1
        while (delay_us := self.delay_us(error, attempt)) is not None:
            if self._wait(delay_us / 1_000_000):
                raise error
            attempt += 1
            try:
                return call()
            except Exception as again:  # noqa: BLE001 - as above
                error = again
        self.give_up(place, error, attempt, instead)
        return None

    def delay_us(self, error: Exception, attempt: int) -> int | None:
        """Return how long to wait before the next attempt; None: there is none."""
        rule = self.policy.retry.rule(error) if self.policy.retry is not None else None
        if rule is None or isinstance(error, Reject) or attempt >= rule.attempts:
            return None
        return duration_us(error.delay) if isinstance(error, RetryLater) else rule.delay_us(attempt, self._draw())

    def stops_for(self, error: Exception) -> bool:
        """Return whether the stream stops at a record that is given up on."""
        return not self.policy.skips and not isinstance(error, Reject)

    def is_stopping(self) -> bool:
        """Return whether the stream is to stop."""
        return self._wait(0)

    def give_up(self, place: int, error: Exception, attempts: int, instead: Piece | None = None) -> None:
        """Note a record that is skipped; raise its error where the stream is to stop."""
        if self.stops_for(error):
            self.stopped_at = place if instead is None else None
            raise error
        self._failed.append(Failed(place, error, attempts, instead))


def _sleep(seconds: float) -> bool:
    time.sleep(seconds)
    return False
