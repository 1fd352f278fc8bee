"""Listeners as rows of a table; `logs status` and `top` write the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from millstream.cli.output import bytes_text
from millstream.durations import duration_text

if TYPE_CHECKING:
    from millstream.sources.listener_info import ListenerInfo

LISTENER_COLUMNS: Final = ("LISTENER", "STATE", "LINES", "LAST READING", "BEHIND", "WHY")


def listener_row(one: ListenerInfo, *, topic: bool = False) -> list[Any]:
    """Return a listener as cells, in the order of `LISTENER_COLUMNS`.

    Args:
        topic: Say also into which topic it is read.
    """
    from millstream.records import time_from_us

    read = None if one.read_us is None else f"{time_from_us(one.read_us).astimezone():%Y-%m-%d %H:%M:%S}"
    since = f"for {duration_text(one.for_s)}: " if one.for_s is not None and one.why is not None else ""
    return [
        f"{one.topic}/{one.name}" if topic else one.name,
        str(one.state),
        one.lines,
        read,
        None if one.behind_bytes is None else bytes_text(one.behind_bytes),
        None if one.why is None else since + one.why,
    ]
