"""How a stream runs: what is the same for all of its steps."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, Literal

import msgspec

from millstream import limits
from millstream.durations import duration_us
from millstream.errors import UsageError
from millstream.log.topic import Start
from millstream.stream.keyed.failing import ErrorPolicy, OnError

LATENCY: Final = "250ms"
"""A stream that runs on takes no more records at once than it processes in this time."""

FUTURE: Final = "1d"
"""An event time further than this after the record's append is a wrong clock: it does not move the watermark beyond.
One record from 2099 must not make all others late. A day covers every time zone that was taken for UTC."""


MEMORY_BYTES_MIN: Final = 1024 * 1024
"""Less would not hold what a small micro-batch asks for."""


class StreamOptions(msgspec.Struct, frozen=True):
    """The settings of `App.stream`, checked."""

    delay_us: int = 0
    latency_us: int = duration_us(LATENCY)
    future_us: int = duration_us(FUTURE)
    start: Start = "start"
    changed: Literal["refuse", "drop"] = "refuse"
    on_error: OnError = OnError()
    share: bool = False
    memory_bytes: int = limits.STATE_MEMORY_BYTES


DEFAULTS: Final = StreamOptions()


def options_of(
    *,
    delay: timedelta | str | float = 0,
    latency: timedelta | str | float = LATENCY,
    future: timedelta | str | float = FUTURE,
    start: Start = "start",
    changed: Literal["refuse", "drop"] = "refuse",
    on_error: ErrorPolicy = "stop",
    share: bool = False,
    memory_bytes: int = limits.STATE_MEMORY_BYTES,
) -> StreamOptions:
    """Return the settings as they are stored.

    Raises:
        UsageError: One is no duration, none of the words there are, or too small.
    """
    if start not in ("start", "end") and (isinstance(start, bool) or not isinstance(start, int | datetime)):
        raise UsageError(
            f'start={start!r}: give "start", the oldest record there is, "end", those from now on, an offset or a time'
        )
    if changed not in ("refuse", "drop"):
        raise UsageError(f'changed={changed!r}: give "refuse", or "drop" to give up the state of steps that are gone')
    if memory_bytes < MEMORY_BYTES_MIN:
        raise UsageError(f"memory_bytes={memory_bytes}: give {MEMORY_BYTES_MIN:,} or more; what is kept has to be read")
    return StreamOptions(
        delay_us=duration_us(delay),
        latency_us=duration_us(latency),
        future_us=duration_us(future),
        start=start,
        changed=changed,
        on_error=OnError.of(on_error),
        share=share,
        memory_bytes=memory_bytes,
    )
