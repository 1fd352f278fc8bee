"""The steps of a stream that keep no state: what each does to a micro-batch, and which columns it needs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from millstream.errors import UsageError
from millstream.log.schema import FieldType
from millstream.stream.chunks import chunks_of
from millstream.stream.kept import kept_by_select, kept_by_with_columns
from millstream.stream.keyed.awaiting import AsyncCaller
from millstream.stream.keyed.failing import Guard
from millstream.stream.needs import Needs, names_of, roots_of, union
from millstream.stream.piece import Piece, own_columns

if TYPE_CHECKING:
    import polars as pl


class Step(Protocol):
    """A step without state."""

    def run(self, piece: Piece, guard: Guard) -> Piece:
        """Return what it makes of records.

        Args:
            guard: Calls the functions of the program, and decides what becomes of records for which one raises.
        """
        ...

    def needs(self, out: Needs) -> Needs:
        """Return the columns it needs when those of `out` are wanted of what comes out."""
        ...

    @property
    def on_values(self) -> bool:
        """Whether it works on the records' Python values; otherwise on columns."""
        ...


class Filter(msgspec.Struct, frozen=True):
    """Keep the records for which all expressions are true."""

    predicates: tuple[Any, ...]
    on_values = False

    def run(self, piece: Piece, guard: Guard) -> Piece:
        import polars as pl

        mask = piece.frame().select(pl.all_horizontal(*self.predicates).alias("keep"))["keep"].fill_null(False)
        _same_height(mask.len(), piece, "filter")
        return piece.where(mask)

    def needs(self, out: Needs) -> Needs:
        return union(out, roots_of(self.predicates))

    def __str__(self) -> str:
        return f"filter({_texts(self.predicates)})"


class FilterValues(msgspec.Struct, frozen=True):
    """Keep the records for whose value a function returns a true value."""

    function: Callable[[Any], Any]
    on_values = True

    def run(self, piece: Piece, guard: Guard) -> Piece:
        import polars as pl

        kept = [bool(keep) for keep in guard.each(self.function, piece.values())]
        return piece.where(pl.Series(kept, dtype=pl.Boolean))

    def needs(self, out: Needs) -> Needs:
        return None

    def __str__(self) -> str:
        return f"filter({_name(self.function)})"


class WithColumns(msgspec.Struct, frozen=True):
    """Add or replace columns."""

    exprs: tuple[Any, ...]
    named: dict[str, Any]
    on_values = False

    def run(self, piece: Piece, guard: Guard) -> Piece:
        frame = piece.frame()
        made = frame.with_columns(*self.exprs, **self.named)
        kept = kept_by_with_columns(frame, self.exprs, self.named) if piece.json else ()
        return _with(piece, made, "with_columns", {name: piece.json[name] for name in kept if name in piece.json})

    def needs(self, out: Needs) -> Needs:
        kept = None if out is None else out - names_of(self.exprs, self.named)
        return union(kept, roots_of((*self.exprs, *self.named.values())))

    def __str__(self) -> str:
        return f"with_columns({_texts(self.exprs, self.named)})"


class Select(msgspec.Struct, frozen=True):
    """Keep these columns only."""

    exprs: tuple[Any, ...]
    named: dict[str, Any]
    on_values = False

    def run(self, piece: Piece, guard: Guard) -> Piece:
        import polars as pl

        if (
            self.exprs
            and not self.named
            and all(isinstance(name, str) and name in piece.columns().columns for name in self.exprs)
        ):
            # For a few records a query costs more than they do.
            columns = pl.DataFrame([piece.columns().get_column(n) for n in self.exprs])
            return Piece(piece.carried, columns=columns, json=piece.json)
        frame = piece.frame()
        kept = kept_by_select(frame, self.exprs, self.named) if piece.json else {}
        json = {name: piece.json[column] for name, column in kept.items() if column in piece.json}
        return _with(piece, frame.select(*self.exprs, **self.named), "select", json)

    def needs(self, out: Needs) -> Needs:
        return roots_of((*self.exprs, *self.named.values()))

    def __str__(self) -> str:
        return f"select({_texts(self.exprs, self.named)})"


class Explode(msgspec.Struct, frozen=True):
    """Make a record of each item of a list."""

    columns: tuple[str, ...]
    on_values = False

    def run(self, piece: Piece, guard: Guard) -> Piece:
        import polars as pl

        frame = piece.frame()
        for name in self.columns:
            if name in frame.columns and not frame.schema[name].is_nested():
                raise UsageError(f"explode: the column {name!r} is {frame.schema[name]}, not a list")
        # The chunks of a frame one by one: of the whole, Polars would copy them together first.
        made = pl.concat([chunk.explode(*self.columns) for chunk in chunks_of(frame)])
        items = {name: piece.json[name].item for name in self.columns if name in piece.json}
        return Piece.of(made, {**piece.json, **{name: item for name, item in items.items() if item is not None}})

    def needs(self, out: Needs) -> Needs:
        return union(out, frozenset(self.columns))

    def __str__(self) -> str:
        return f"explode({_texts(self.columns)})"


class KeyBy(msgspec.Struct, frozen=True):
    """Give the records another key: the text of a column, or a JSON array of several."""

    columns: tuple[str, ...]
    on_values = False

    def run(self, piece: Piece, guard: Guard) -> Piece:
        from millstream.stream.record_keys import key_series

        return piece.with_keys(key_series(piece.columns(), self.columns))

    def needs(self, out: Needs) -> Needs:
        return union(out, frozenset(self.columns))

    def __str__(self) -> str:
        return f"key_by({_texts(self.columns)})"


class Map(msgspec.Struct, frozen=True):
    """Go on with what a function makes of each value; None drops the record."""

    function: Callable[[Any], Any]
    type: type | None
    """What its return annotation names, if it does."""
    on_values = True

    def run(self, piece: Piece, guard: Guard) -> Piece:
        return piece.mapped(guard.each(self.function, piece.values()), self.type)

    def needs(self, out: Needs) -> Needs:
        return None

    def __str__(self) -> str:
        return f"map({_name(self.function)})"


class AsyncMap(msgspec.Struct, frozen=True):
    """Do as `Map` does with an `async` function, for many records at a time."""

    function: Callable[[Any], Coroutine[Any, Any, Any]]
    type: type | None
    caller: AsyncCaller
    on_values = True

    def run(self, piece: Piece, guard: Guard) -> Piece:
        return piece.mapped(self.caller.each(piece.values(), guard), self.type)

    def needs(self, out: Needs) -> Needs:
        return None

    def __str__(self) -> str:
        return f"map({_name(self.function)}, concurrency={self.caller.concurrency})"


class FlatMap(msgspec.Struct, frozen=True):
    """Go on with each of the values that a function makes of one."""

    function: Callable[[Any], Iterable[Any]]
    type: type | None
    on_values = True

    def run(self, piece: Piece, guard: Guard) -> Piece:
        function = self.function
        return piece.flat_mapped(guard.each(lambda value: list(function(value)), piece.values()), self.type)

    def needs(self, out: Needs) -> Needs:
        return None

    def __str__(self) -> str:
        return f"flat_map({_name(self.function)})"


class MapBatches(msgspec.Struct, frozen=True):
    """Go on with the frame that a function makes of one."""

    function: Callable[[Any], Any]
    on_values = False

    def run(self, piece: Piece, guard: Guard) -> Piece:
        return guard.batch(lambda some: _mapped(self.function(some.frame())), piece)

    def needs(self, out: Needs) -> Needs:
        return None

    def __str__(self) -> str:
        return f"map_batches({_name(self.function)})"


class Merge(msgspec.Struct, frozen=True):
    """The records of several streams as one."""

    on_values = False

    def run(self, piece: Piece, guard: Guard) -> Piece:
        return piece

    def needs(self, out: Needs) -> Needs:
        return out

    def __str__(self) -> str:
        return "merge"


def _with(piece: Piece, frame: pl.DataFrame, step: str, json: Mapping[str, FieldType]) -> Piece:
    _same_height(frame.height, piece, step)
    return Piece(piece.carried, columns=own_columns(frame), json=json)


def _mapped(frame: pl.DataFrame) -> Piece:
    """Return the frame of a map_batches; its rows need not be those that went in."""
    import polars as pl

    if not isinstance(frame, pl.DataFrame):
        raise UsageError(f"map_batches: the function returned {type(frame).__name__}; it must return a frame")
    if "_event_time" not in frame.columns:
        raise UsageError("map_batches: the frame returned has no _event_time; keep that column with the records")
    return Piece.of(frame)


def _same_height(height: int, piece: Piece, step: str) -> None:
    if height != piece.height:
        raise UsageError(
            f"{step}: {piece.height} records went in and {height} came out; expressions must give one value a record "
            "(a sum or count over the records belongs in a window, as a micro-batch ends anywhere)"
        )


def _texts(values: Iterable[Any], named: dict[str, Any] | None = None) -> str:
    texts = [repr(value) if isinstance(value, str) else _expr_text(value) for value in values]
    texts += [f"{name}={_expr_text(value)}" for name, value in (named or {}).items()]
    return ", ".join(texts)


def _expr_text(expr: Any) -> str:
    return " ".join(str(expr).split())


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", None) or repr(function)
