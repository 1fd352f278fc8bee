"""How fast, as people write it: records handed over (`"10/s"`, `"100/m per key"`), records sent back (`"0.5/s"`)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import msgspec

from millstream.durations import duration_us
from millstream.engines.protocol import Rate
from millstream.errors import SettingsError, UsageError

_TEXT: Final = re.compile(r"\s*(\d+)\s*/\s*([\w.]+?)\s*(per key)?\s*")
_PACE: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(s|m|h)\s*")
_UNITS_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}


class RateLimit(msgspec.Struct, frozen=True):
    """At most so many records in a time, evenly spread after a burst of as many. Waiting for it uses no attempts.

    Raises:
        SettingsError: No records, or no time.
        UsageError: The time is not a duration.
    """

    records: int
    per: timedelta | str | float = "1s"
    per_key: bool = True
    """Of each key; False: of the whole queue."""

    def __post_init__(self) -> None:
        if self.records < 1 or duration_us(self.per) < self.records:
            raise SettingsError(f"{self}: give at least one record, and at most one a microsecond")

    @property
    def rate(self) -> Rate:
        return Rate(self.records, duration_us(self.per))

    @classmethod
    def of(cls, value: RateLimit | str) -> RateLimit:
        """Return a limit from its text: a number, `/`, a unit or duration, and `per key` where it is meant so.

        Raises:
            SettingsError: The text is none.
        """
        if isinstance(value, RateLimit):
            return value
        match = _TEXT.fullmatch(value)
        if match is None:
            raise _unreadable(value)
        number, per, per_key = match.groups()
        try:
            return cls(int(number), per if per[0].isdigit() else f"1{per}", per_key is not None)
        except SettingsError:
            raise
        except UsageError as error:
            raise _unreadable(value) from error


def rate_per_s(rate: str | float | None) -> float | None:
    """Return "10/s", "600/m", "100/h" or a number as records a second; None is no limit.

    Raises:
        UsageError: None of these, or nothing at all a second.
    """
    if rate is None:
        return None
    match = _PACE.fullmatch(rate) if isinstance(rate, str) else None
    per_s = float(match[1]) / _UNITS_S[match[2]] if match else rate if not isinstance(rate, str) else 0.0
    if not 0 < per_s < float("inf"):
        raise UsageError(f"{rate!r} is no rate; give records a second, minute or hour, such as 10/s, 600/m")
    return per_s


def _unreadable(value: object) -> SettingsError:
    return SettingsError(f'rate is {value!r}; give one such as "10/s", "100/m per key" or "5/10s"')
