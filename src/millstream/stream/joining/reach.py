"""When two records of a join can meet, and so when one is late and when it leaves the state.

A record is *late* when all that it could meet lies behind the watermark of its partition: whoever comes in time can no
longer meet it. Of a record that is behind the watermark, but not late, everything that it can meet must still be there;
so a record stays for as long as anything that is not late can meet it.

| `within=("-5m", "10m")`: right from 5 m before to 10 m after left | left record at 12:00 | right record at 12:00 |
|---|---|---|
| meets | right records from 11:55 to 12:10 | left records from 11:50 to 12:05 |
| is late when the watermark has passed | 12:10 | 12:05 |
| leaves when the watermark has passed | 12:15 | 12:15 |

In windows all of that is the window's end (and the lateness, where one is given).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

from millstream.stream.joining.steps import JoinStep

if TYPE_CHECKING:
    import polars as pl


class Within(msgspec.Struct, frozen=True):
    """The right record is from `low_us` to `high_us` later than the left one.

    Port 0 is the left input, port 1 the right one.
    """

    low_us: int
    high_us: int
    lateness_us: int

    @property
    def width_us(self) -> int:
        return self.high_us - self.low_us

    def _allowed_us(self, port: int) -> int:
        """How far behind the watermark a record may be without being late."""
        return max(0, self.high_us if port == 0 else -self.low_us) + self.lateness_us

    def _stay_us(self, port: int) -> int:
        """How long after its event time a record can be met by one that is not late."""
        return self.high_us + self._allowed_us(1) if port == 0 else -self.low_us + self._allowed_us(0)

    def late_us(self, port: int, time_us: pl.Expr) -> pl.Expr:
        """Return the watermark from which a record of this event time is late."""
        return time_us + (self._allowed_us(port) + 1)

    def leave_us(self, port: int, time_us: int) -> int:
        """Return the watermark from which nothing can meet a record of this event time."""
        return time_us + self._stay_us(port) + 1

    def left_us(self, port: int, watermark_us: int) -> int:
        """Return the event time up to which nothing can meet a record from this watermark on."""
        return watermark_us - self._stay_us(port) - 1

    def met_us(self, port: int, first_us: int, last_us: int) -> tuple[int, int]:
        """Return the event times of the records of the other input that those of a port between two times can meet."""
        if port == 0:
            return first_us + self.low_us, last_us + self.high_us
        return first_us - self.high_us, last_us - self.low_us

    def out_us(self, watermark_us: int, how: str) -> int:
        """Return the earliest event time of what comes out from this watermark on."""
        waits = [self._stay_us(0)] if how != "inner" else []
        waits += [self._stay_us(1)] if how == "outer" else []
        return watermark_us - max(self._allowed_us(0), self._allowed_us(1), *waits)


class SameWindow(msgspec.Struct, frozen=True):
    """Both records are in the same window of `size_us`."""

    size_us: int
    lateness_us: int

    def late_us(self, port: int, time_us: pl.Expr) -> pl.Expr:
        return (time_us // self.size_us + 1) * self.size_us + self.lateness_us

    def leave_us(self, port: int, time_us: int) -> int:
        return self._start_us(time_us) + self.size_us + self.lateness_us

    def left_us(self, port: int, watermark_us: int) -> int:
        return self._start_us(watermark_us - self.lateness_us) - 1

    def met_us(self, port: int, first_us: int, last_us: int) -> tuple[int, int]:
        return self._start_us(first_us), self._start_us(last_us) + self.size_us - 1

    def out_us(self, watermark_us: int, how: str) -> int:
        return self._start_us(watermark_us - self.lateness_us)

    def _start_us(self, time_us: int) -> int:
        return time_us // self.size_us * self.size_us


Reach: TypeAlias = Within | SameWindow


def reach_of(step: JoinStep) -> Reach:
    """Return the times of a join."""
    if step.window is not None:
        return SameWindow(step.window.size_us, step.lateness_us)
    assert step.within_us is not None
    return Within(*step.within_us, step.lateness_us)


def first_and_last_us(times: pl.Series) -> tuple[int, int]:
    """Return the least and the greatest of some event times."""
    first, last = times.min(), times.max()
    assert isinstance(first, int)
    assert isinstance(last, int)
    return first, last
