"""What a rule says when its condition is met."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec


class Level(StrEnum):
    """How urgent an alert is; names and order are those of Sigma."""

    INFORMATIONAL = "informational"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert."""

    time: datetime
    """Event time of the event that met the condition; for an absence, when it was noticed."""
    rule: str
    level: Level
    message: str
    count: int
    """Events that led to it."""
    first: datetime
    """Event time of the first of them."""
    by: dict[str, Any]
    """Fields and values that the events had in common."""
    raw: str = ""
    """The line of the last of them."""
    tags: list[str] = []
    """Those of the rule."""


def alert_of(row: Mapping[str, Any]) -> Alert:
    """Return the alert of a row of a frame of its topic (`iter_rows(named=True)`)."""
    values = {name: row[name] for name in Alert.__struct_fields__}
    return Alert(**{**values, "level": Level(values["level"]), "by": msgspec.json.decode(values["by"])})
