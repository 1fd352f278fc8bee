"""Joins as a description has them: frozen values that say what is joined with what.

| step | joins a record of the left input with |
|---|---|
| `JoinStep(within_us=...)` | the records of the right input with its key, from so long before it to so long after it |
| `JoinStep(window=...)` | those with its key in the same window |
| `AsOfStep` | the newest one with its key that is not newer than itself |
| `TableStep` | the row of a table with its key, as of its event time |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from millstream.errors import UsageError
from millstream.stream.needs import Needs
from millstream.stream.windows import Tumbling

if TYPE_CHECKING:
    import polars as pl

How: TypeAlias = Literal["inner", "left", "outer"]

FOREVER_US: Final = 1 << 62
"""A watermark that never comes: 146,000 years from 1970."""


class JoinStep(msgspec.Struct, frozen=True):
    """Two streams, joined where the keys are equal and the event times near one another."""

    on_left: tuple[str, ...]
    on_right: tuple[str, ...]
    how: How = "inner"
    within_us: tuple[int, int] | None = None
    """Event time of the right record minus that of the left one, least and greatest, both included."""
    window: Tumbling | None = None
    """In place of `within_us`: both are in the same window."""
    suffix: str = "_right"
    lateness_us: int = 0
    """How much further behind the watermark a record still counts."""
    name: str = "join"

    def __post_init__(self) -> None:
        _check_keys(self.name, self.on_left, self.on_right)
        if self.how not in ("inner", "left", "outer"):
            raise UsageError(f'{self.name}: how={self.how!r} is not known; give "inner", "left" or "outer"')
        if (self.within_us is None) == (self.window is None):
            raise UsageError(
                f'{self.name}: say which records can meet: within="10m" (event times at most so far apart), '
                'within=("-5m", "10m") (the right one at most 5 m earlier or 10 m later), or window=tumbling("1m")'
            )
        if self.window is not None and not isinstance(self.window, Tumbling):
            raise UsageError(f"{self.name}: records meet in tumbling windows, and got {self.window}; or use within=")
        if self.within_us is not None and self.within_us[0] > self.within_us[1]:
            raise UsageError(f"{self.name}: within goes from the earliest to the latest, and got {self.within_us} us")

    def fingerprint(self) -> str:
        """Return what the meaning of the state depends on."""
        reach = f"within {self.within_us}" if self.window is None else f"window {self.window.size_us}"
        return f"join {self.how} {self.on_left} {self.on_right} {reach}"

    def __str__(self) -> str:
        reach = f"within_us={self.within_us}" if self.window is None else f"window={self.window}"
        return f"{self.name}({_on_text(self.on_left, self.on_right)}, how={self.how!r}, {reach})"


class AsOfStep(msgspec.Struct, frozen=True):
    """A stream, joined with the newest record of another one that is not newer; without one, with nulls."""

    on_left: tuple[str, ...]
    on_right: tuple[str, ...]
    tolerance_us: int | None = None
    """The right record is at most so much older; None: however old it is."""
    suffix: str = "_right"
    lateness_us: int = 0
    """How far behind the watermark a record still counts; results come so much later."""
    name: str = "join_asof"

    def __post_init__(self) -> None:
        _check_keys(self.name, self.on_left, self.on_right)

    def fingerprint(self) -> str:
        """Return what the meaning of the state depends on."""
        return f"asof {self.on_left} {self.on_right} {self.tolerance_us}"

    def __str__(self) -> str:
        return f"{self.name}({_on_text(self.on_left, self.on_right)}, tolerance_us={self.tolerance_us})"


class TableStep(msgspec.Struct, frozen=True):
    """A stream, joined with the row that a table had at each record's event time."""

    on_left: tuple[str, ...]
    """Columns of the stream; any, so also a foreign key."""
    on_right: tuple[str, ...]
    """The table's key: columns that tell its rows apart, or `_key`, the record's key."""
    how: Literal["inner", "left"] = "left"
    suffix: str = "_right"
    name: str = "join"
    timeless: bool = False
    """The table's records do not say since when they count: of each key the first one counts for all earlier times."""

    def __post_init__(self) -> None:
        _check_keys(self.name, self.on_left, self.on_right)
        if self.how not in ("inner", "left"):
            raise UsageError(f'{self.name}: how={self.how!r} cannot be had of a table; give "inner" or "left"')

    def needs(self, port: int, out: Needs, schema: pl.Schema | None) -> Needs:
        """Return the columns it needs of an input when those of `out` are wanted of what comes out.

        All of the table's: they are kept, and what is wanted may change. Of the stream's also those whose names make
        the table's get a suffix.
        """
        if port == 1 or out is None:
            return None
        return out | {name.removesuffix(self.suffix) for name in out} | set(self.on_left)

    def fingerprint(self) -> str:
        """Return what the meaning of the state depends on. All that is kept is the table."""
        return f"table {self.on_left} {self.on_right}"

    def __str__(self) -> str:
        return f"{self.name}(table, {_on_text(self.on_left, self.on_right)}, how={self.how!r})"


def _check_keys(name: str, on_left: tuple[str, ...], on_right: tuple[str, ...]) -> None:
    if not on_left or not on_right:
        raise UsageError(f'{name} needs a key: on="user_id", or left_on="author_id" and right_on="user_id"')
    if len(on_left) != len(on_right):
        raise UsageError(
            f"{name}: the key has {len(on_left)} columns on the left ({', '.join(on_left)}) "
            f"and {len(on_right)} on the right ({', '.join(on_right)})"
        )


def _on_text(on_left: tuple[str, ...], on_right: tuple[str, ...]) -> str:
    if on_left == on_right:
        return f"on={', '.join(on_left)}"
    return f"left_on={', '.join(on_left)}, right_on={', '.join(on_right)}"
