"""Where an address is, from a database of places."""

from __future__ import annotations

import ipaddress
import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.clock import Clock, SystemClock
from millstream.errors import UsageError
from millstream.logs.steps.geoip_database import Database
from millstream.logs.steps.members import with_new_member
from millstream.logs.steps.step import Step, StepTable
from millstream.logs.steps.whole_file import REFRESH_US
from millstream.logs.where import column_of

if TYPE_CHECKING:
    import polars as pl

ADDRESSES_MAX: Final = 100_000
"""That are remembered; the oldest go first. About 30 MB."""
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


class GeoIpTable(StepTable, frozen=True, kw_only=True, tag="geoip"):
    """Country, city, network and the like of an address, into `fields`."""

    database: str | tuple[str, ...]
    """Files in MaxMind's format; of several, the first that knows something says it."""
    field: str = "source_ip"
    """Where the address is."""
    into: str = "geo"
    """The name in `fields`."""
    language: str = "en"
    """Of names."""

    def check(self) -> None:
        super().check()
        if not self._paths() or not all(self._paths()):
            raise UsageError("database is empty; give a .mmdb file such as GeoLite2-City.mmdb, or a list of them")
        if _NAME.fullmatch(self.into) is None:
            raise UsageError(f"into is {self.into!r}; give a name of letters, digits and _, without fields.")
        column_of(self.field, what="field")

    def open(self, environment: Mapping[str, str]) -> Step:
        databases = [Database(path, self.language) for path in self._paths()]
        return GeoIp(databases, column_of(self.field), self.into)

    def _paths(self) -> Sequence[str]:
        return (self.database,) if isinstance(self.database, str) else self.database


class GeoIp(Step):
    """Where addresses are, each looked up once."""

    def __init__(self, databases: Sequence[Database], address: pl.Expr, into: str, clock: Clock | None = None) -> None:
        """Look up addresses.

        Args:
            address: Where the address is, in a frame of events.
            into: The name in `fields`.
        """
        self._databases = databases
        self._address = address
        self._into = into
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._known: OrderedDict[str, str | None] = OrderedDict()
        self._refreshed_us = self._clock.monotonic_us()

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        import polars as pl

        addresses = frame.select(self._address.cast(pl.String)).to_series()
        different = addresses.drop_nulls().unique().to_list()
        if not different:
            return frame
        places = pl.Series(self._of_addresses(different), dtype=pl.String)
        values = addresses.replace_strict(different, places, default=None)
        return frame.with_columns(with_new_member(frame.get_column("fields"), self._into, values))

    def _of_addresses(self, texts: Sequence[str]) -> list[str | None]:
        with self._lock:
            self._refresh()
            return [self._of_address(text) for text in texts]

    def _of_address(self, text: str) -> str | None:
        if text in self._known:
            self._known.move_to_end(text)
            return self._known[text]
        place = self._place(text)
        found = self._known[text] = msgspec.json.encode(place).decode() if place else None
        if len(self._known) > ADDRESSES_MAX:
            self._known.popitem(last=False)
        return found

    def _place(self, text: str) -> dict[str, Any]:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return {}
        # An address of IPv4 that came over a socket of IPv6.
        address = getattr(address, "ipv4_mapped", None) or address
        found: dict[str, Any] = {}
        for database in self._databases:
            found = database.place(address) | found
        return found

    def _refresh(self) -> None:
        now_us = self._clock.monotonic_us()
        if now_us - self._refreshed_us < REFRESH_US:
            return
        self._refreshed_us = now_us
        changed = [database.refresh() for database in self._databases]
        if any(changed):
            self._known.clear()
