"""What a program writes, as a table: a message of this shape means that."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from millstream.parsers.pattern import Pattern

NUMBERS: Final = ("source_port",)
"""Fields that are numbers; all others are text."""

ADDRESS: Final = r"(?P<source_ip>[^ ]+)"
PORT: Final = r"(?P<source_port>[0-9]{1,5})"


class Shape(msgspec.Struct, frozen=True):
    """Messages of one shape."""

    start: str
    """What they begin with: looked for first, as that costs next to nothing."""
    pattern: Pattern
    """The whole message; its groups are fields of a `LogEvent`."""
    meaning: Mapping[str, Any]
    """The other fields."""

    def read(self, message: str) -> dict[str, Any] | None:
        """Return the fields that a message says, or None where it has another shape."""
        if not message.startswith(self.start):
            return None
        groups = self.pattern.match(message)
        if groups is None:
            return None
        return {**self.meaning, **{name: converted(name, text) for name, text in groups.items()}}


def shape(start: str, rest: str = "", **meaning: Any) -> Shape:
    """Return a shape.

    Args:
        start: Literal text that the message begins with.
        rest: A regular expression for all that follows; its groups are named after fields.
        meaning: Fields that such a message has, whatever the rest says.
    """
    return Shape(start, Pattern(re.escape(start) + rest), meaning)


def converted(name: str, text: str | None) -> Any:
    """Return what a group matched as the value of its field; empty text is none."""
    if not text:
        return None
    return int(text) if name in NUMBERS else text


class Table(msgspec.Struct, frozen=True):
    """All shapes of some programs; the first that fits counts."""

    programs: frozenset[str]
    shapes: Sequence[Shape]
