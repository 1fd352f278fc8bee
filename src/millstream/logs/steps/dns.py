"""The names of addresses, where a line has none."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from millstream.durations import duration_us
from millstream.errors import UsageError
from millstream.logs.steps.dns_lookups import Lookups, confirmed_name, unconfirmed_name
from millstream.logs.steps.step import Step, StepTable

if TYPE_CHECKING:
    import polars as pl

WAIT_MAX_US: Final = 30_000_000
"""For the names of one reading: nothing is stored, and nothing stops, meanwhile."""
KEEP_MIN_US: Final = 1_000_000


class DnsTable(StepTable, frozen=True, kw_only=True, tag="dns"):
    """The name of `source_ip`, in `source_name` where that is empty."""

    which: Literal["all", "public", "private"] = "all"
    """Addresses; private are all that are no public ones."""
    wait: str = "1s"
    """For the names of one reading, all together; what is not known by then goes on without."""
    keep: str = "1h"
    """How long a name is remembered."""
    keep_failed: str = "5m"
    """How long it is remembered that there is none."""
    confirm: bool = True
    """Whether a name counts only if it leads back to the address."""

    def check(self) -> None:
        super().check()
        if duration_us(self.wait) > WAIT_MAX_US:
            raise UsageError(f'wait is {self.wait!r}, while nothing is stored; give "30s" or less, "0s" for none')
        for name, value in (("keep", self.keep), ("keep_failed", self.keep_failed)):
            if duration_us(value) < KEEP_MIN_US:
                raise UsageError(f'{name} is {value!r}; give "1s" or more')

    def open(self, environment: Mapping[str, str]) -> Step:
        lookups = Lookups(
            confirmed_name if self.confirm else unconfirmed_name,
            keep_us=duration_us(self.keep),
            keep_failed_us=duration_us(self.keep_failed),
            wait_us=duration_us(self.wait),
        )
        return Dns(lookups, self.which)

    def rehearse(self, environment: Mapping[str, str]) -> Step:
        return _Nothing()


class Dns(Step):
    """Names of addresses, each looked up once."""

    def __init__(self, lookups: Lookups, which: Literal["all", "public", "private"] = "all") -> None:
        self._lookups = lookups
        self._which = which

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        import polars as pl

        nameless = frame.get_column("source_ip").filter(frame.get_column("source_name").is_null())
        addresses = [address for address in nameless.drop_nulls().unique().to_list() if self._is_asked_for(address)]
        names = self._lookups.names(addresses) if addresses else {}
        if not names:
            return frame
        found = pl.col("source_ip").replace_strict(list(names), list(names.values()), default=None)
        return frame.with_columns(pl.col("source_name").fill_null(found))

    def _is_asked_for(self, text: str) -> bool:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        if address.is_multicast or address.is_unspecified:
            return False
        return self._which == "all" or address.is_global == (self._which == "public")


class _Nothing(Step):
    """Asks nobody: examples of a configuration lead to the same everywhere."""

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        return frame
