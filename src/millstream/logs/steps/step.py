"""What a step is."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from millstream.logs.names import FIELDS
from millstream.logs.where import condition

if TYPE_CHECKING:
    import polars as pl

from millstream.errors import UsageError


class Step:
    """A step at work, used by many threads."""

    def apply(self, frame: pl.DataFrame, *, now: datetime) -> pl.DataFrame:
        """Return the events that are kept, as they are to be from here on.

        Args:
            frame: The columns of `LogEvent`, at least one row; `fields` is JSON. There may be a column more, which
                stays as it is.
            now: The time of reading.
        """
        raise NotImplementedError

    def forget(self) -> None:
        """Forget which events came: the last ones may come again."""


class StepTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all kinds share. The fields of a kind are its keys in the file."""

    where: str | None = None
    """A condition: events of which it is not true are left as they are."""

    @property
    def kind(self) -> str:
        return str(self.__struct_config__.tag)

    def open(self, environment: Mapping[str, str]) -> Step:
        """Return what does it.

        Args:
            environment: Where keys may be.

        Raises:
            UsageError: A file is missing, an extra is not installed, a variable is not set.
        """
        raise NotImplementedError

    def rehearse(self, environment: Mapping[str, str]) -> Step:
        """Return what does it where examples are run: the same, unless it would ask others over the network."""
        return self.open(environment)

    def check(self) -> None:
        """Look at what does not show in types, without opening anything.

        Raises:
            UsageError: A key has a value that cannot be meant; says which, and what to give.
        """
        if self.where is not None:
            condition(self.where)


TEXT_FIELDS = (
    "message",
    "raw",
    "host",
    "program",
    "user",
    "target_user",
    "source_ip",
    "source_name",
    "method",
    "session",
    "terminal",
    "command",
    "service",
    "device",
    "device_vendor",
    "device_product",
    "device_serial",
)
"""Fields of an event that hold what a line says, as text; beside them there is `fields`."""


def check_field(name: str, what: str, among: tuple[str, ...] = FIELDS) -> None:
    """Look at the name of a field of events.

    Raises:
        UsageError: Events have none of that name.
    """
    if name not in among:
        raise UsageError(f"{what}: events have no field {name!r} here; there is {', '.join(among)}")
