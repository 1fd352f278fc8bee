"""What a mail says of many rows: the first of them, how many they are, and of when.

All text of a mail may come from a log, which others write: what does not show on paper is written as `\\xNN`, so that
nothing of a row begins a header, a line or another colour.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from millstream.records import time_from_us
from millstream.sinks.rows import Rows

LINE_CHARACTERS_MAX: Final = 300
SUBJECT_CHARACTERS_MAX: Final = 150
NAMES: Final = ("count", "message", "name")
"""What a subject may have in braces."""


class Digest(msgspec.Struct, frozen=True, array_like=True):
    """Rows that are one mail; its size does not grow with their number."""

    count: int = 0
    lines: Sequence[str] = ()
    """Of the first rows."""
    first_us: int | None = None
    last_us: int | None = None
    """The event times they are between."""

    def with_rows(self, rows: Rows, rows_max: int) -> Digest:
        """Return this and further rows, of which the first are shown."""
        times = rows.times.to_physical()
        known = [us for us in (self.first_us, self.last_us, times.min(), times.max()) if isinstance(us, int)]
        room = rows_max - len(self.lines)
        return Digest(
            self.count + rows.height,
            (*self.lines, *_lines(rows, room)),
            min(known, default=None),
            max(known, default=None),
        )

    def text(self) -> str:
        """Return the body of a mail."""
        when = ""
        if self.first_us is not None and self.last_us is not None:
            first, last = (f"{time_from_us(us):%Y-%m-%d %H:%M:%S} UTC" for us in (self.first_us, self.last_us))
            when = f", {first}" if first == last else f", from {first} to {last}"
        head = "1 row" if self.count == 1 else f"{self.count:,} rows"
        more = self.count - len(self.lines)
        tail = [f"... and {more:,} more, which are in the log"] if more else []
        return "\n".join([head + when, "", *self.lines, *tail, ""])

    def subject(self, template: str, name: str) -> str:
        """Return the subject of a mail; `template` is one that `str.format` takes, with `NAMES`."""
        first = self.lines[0] if self.lines else ""
        said = template.format(count=f"{self.count:,}", message=first, name=name)
        more = f" (and {self.count - 1:,} more)" if self.count > 1 and "{count}" not in template else ""
        room = SUBJECT_CHARACTERS_MAX - len(more)
        return _shown(said, room) + more


def _lines(rows: Rows, most: int) -> list[str]:
    """Return a line for each of the first rows."""
    if most <= 0:
        return []
    times = rows.times.head(most).to_physical().to_list() if rows.objects is None else [None] * min(most, rows.height)
    return [_line(row, us) for row, us in zip(rows.values(most), times, strict=True)]


def _line(row: Any, time_us: int | None) -> str:
    if not isinstance(row, Mapping) or not isinstance(row.get("message"), str):
        return _shown(msgspec.json.encode(row).decode(), LINE_CHARACTERS_MAX)
    at = "" if time_us is None else f"{time_from_us(time_us):%Y-%m-%d %H:%M:%S}"
    told = (at, row.get("level") or row.get("severity"), row.get("host"), row.get("program"), row["message"])
    return _shown(" ".join(str(part) for part in told if part), LINE_CHARACTERS_MAX)


def _shown(text: str, most: int) -> str:
    found = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:most])
    return found if len(found) <= most and len(text) <= most else found[: most - 1] + "…"
