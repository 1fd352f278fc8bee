"""The steps of a stream at work on a micro-batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from millstream.errors import UsageError
from millstream.stream.description import Filter, Map, MapBatches, Select, Step, WindowStep, WithColumns
from millstream.stream.piece import CARRIED, Piece

if TYPE_CHECKING:
    import polars as pl


def run_step(step: Step, piece: Piece) -> Piece:
    """Return what a step that is not a window makes of records."""
    match step:
        case Filter(predicates=predicates):
            return _filtered(piece, predicates)
        case WithColumns(exprs=exprs, named=named):
            return _with(piece, piece.frame().with_columns(*exprs, **named), "with_columns")
        case Select(exprs=exprs, named=named):
            return _with(piece, piece.frame().select(*exprs, **named), "select")
        case Map(function=function, type=type):
            return piece.map(function, type)
        case MapBatches(function=function):
            return _mapped(function(piece.frame()), piece)
        case WindowStep():
            raise AssertionError("a window has state; its output's line runs it")


def works_on_values(steps: tuple[Step, ...]) -> bool:
    """Return whether the records' own Python values are wanted: by a map, or by the output."""
    for step in steps:
        if isinstance(step, Map):
            return True
        if not isinstance(step, Filter):
            return False
    return True


def works_on_columns(steps: tuple[Step, ...]) -> bool:
    """Return whether columns of the records are wanted."""
    return bool(steps) and not isinstance(steps[0], Map)


def _filtered(piece: Piece, predicates: tuple[pl.Expr, ...]) -> Piece:
    import polars as pl

    mask = piece.frame().select(pl.all_horizontal(*predicates).alias("keep"))["keep"].fill_null(False)
    _same_height(mask.len(), piece, "filter")
    return piece.where(mask)


def _with(piece: Piece, frame: pl.DataFrame, step: str) -> Piece:
    _same_height(frame.height, piece, step)
    return Piece(piece.carried, columns=_own_columns(frame))


def _mapped(frame: pl.DataFrame, before: Piece) -> Piece:
    """Return the frame of a map_batches; its rows need not be those that went in."""
    import polars as pl

    if not isinstance(frame, pl.DataFrame):
        raise UsageError(f"map_batches: the function returned {type(frame).__name__}; it must return a frame")
    if "_event_time" not in frame.columns:
        raise UsageError("map_batches: the frame returned has no _event_time; keep that column with the records")
    first = before.carried["_watermark"].first()
    lost = {"_key": pl.lit(None, dtype=pl.Binary), "_watermark": pl.lit(first, dtype=pl.Int64)}
    carried = frame.with_columns(**{name: column for name, column in lost.items() if name not in frame.columns})
    carried = carried.select(CARRIED)
    return Piece(carried, columns=_own_columns(frame))


def _own_columns(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.drop([name for name in frame.columns if name in CARRIED or name.startswith("_")])


def _same_height(height: int, piece: Piece, step: str) -> None:
    if height != piece.height:
        raise UsageError(
            f"{step}: {piece.height} records went in and {height} came out; expressions must give one value a record "
            "(a sum or count over the records belongs in a window, as a micro-batch ends anywhere)"
        )
