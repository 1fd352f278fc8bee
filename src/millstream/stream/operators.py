"""What a step with state is at run time: the Operator protocol.

A stream's description makes one operator for each such step. Records reach it in micro-batches, event time by the
watermark; what it keeps is stored as keys and values in the transaction that moves the offsets. An operator is used by
one thread; after an exception it is thrown away, and a new one loads what was committed last.

The promise that every operator keeps: what comes out in the end does not depend on where micro-batches end, nor on
where it was stored and loaded again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias, runtime_checkable

import msgspec

from millstream.engines.values import StateRange

if TYPE_CHECKING:
    import polars as pl

    from millstream.stream.piece import Piece

OPERATORS: Final = b"w"
"""The keys of operators begin with it; those of the stream itself are before it."""

StateWrite: TypeAlias = tuple[bytes, bytes | None]
"""A key with the operator's prefix, and its value; None deletes it."""


class StateReader(Protocol):
    """Reads what is stored, as of the last commit."""

    def __call__(self, keys: Sequence[bytes] | None = None, within: StateRange | None = None) -> dict[bytes, bytes]:
        """Return those of the keys that are stored, or the keys of a range."""
        ...


class OperatorStatus(msgspec.Struct, frozen=True):
    """What an operator holds."""

    late: int = 0
    """Records that came too late and were left out, since the stream began."""
    open: int = 0
    """Windows times keys that are open, records that wait for a match, keys with state."""
    rows: int = 0
    """Of state in memory."""
    bytes: int = 0
    """Of state in memory, about."""


class Operator(Protocol):
    """A step with state, at work."""

    @property
    def prefix(self) -> bytes:
        """What all keys of its state begin with."""
        ...

    def bind(self, port: int, schema: pl.Schema) -> pl.Schema | None:
        """Note the columns that will arrive at an input; return those that will come out, if known by now.

        Called when the description is made, as far as its topics tell the columns, and whenever they change.

        Raises:
            UsageError: A column is missing, or of a type that the step cannot use.
        """
        ...

    def process(self, port: int, piece: Piece) -> list[Piece]:
        """Take records; return what comes out at once."""
        ...

    def advance(self, watermark_us: int) -> list[Piece]:
        """Note that the event time of all inputs has come so far; return what closes. Never goes back."""
        ...

    def due_us(self) -> int | None:
        """Return the watermark at which something closes next; None: nothing waits."""
        ...

    def end_us(self) -> int | None:
        """Return the watermark at which all that is open has closed; None: nothing waits."""
        ...

    def out_us(self, watermark_us: int) -> int:
        """Return the watermark of what comes out: nothing with an earlier event time will."""
        ...

    def load(self, state: Mapping[bytes, bytes]) -> None:
        """Take over what was stored under its prefix. Called once, before anything else but `bind`."""
        ...

    def changes(self) -> list[StateWrite]:
        """Return what must be stored since the last call. Its size grows with what changed, not with the state."""
        ...

    def status(self) -> OperatorStatus: ...


@runtime_checkable
class LateOutput(Protocol):
    """An operator that hands out the records that came too late."""

    def late(self) -> Piece | None:
        """Return those since the last call, as they came in."""
        ...


@runtime_checkable
class Lazy(Protocol):
    """An operator that reads its state when it needs it; `load` gets nothing."""

    def attach(self, reader: StateReader) -> None: ...

    @property
    def asked_bytes(self) -> int:
        """Of memory, about: what the last micro-batch asked for, which stays until it is committed."""
        ...


@runtime_checkable
class Ticking(Protocol):
    """An operator that acts by the wall clock."""

    def tick(self, clock_us: int) -> list[Piece]: ...

    def tick_due_us(self) -> int | None:
        """Return the wall-clock time of the next act; None: none is planned."""
        ...
