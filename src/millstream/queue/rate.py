"""How fast records may be handed over, as people write it: `"10/s"`, `"100/m per key"`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

import msgspec

from millstream.durations import duration_us
from millstream.engines.protocol import Rate
from millstream.errors import SettingsError, UsageError

_TEXT: Final = re.compile(r"\s*(\d+)\s*/\s*([\w.]+?)\s*(per key)?\s*")


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


def _unreadable(value: object) -> SettingsError:
    return SettingsError(f'rate is {value!r}; give one such as "10/s", "100/m per key" or "5/10s"')
