"""Chunks of a frame: the batches that it was read from lie apart in memory, and Polars works on them side by side.

Where two columns of a frame are cut at different places, Polars copies the whole frame together before each expression,
also the columns that the expression does not read; so what is put beside a frame is cut as the frame is.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def cut_as(frame: pl.DataFrame, like: pl.DataFrame) -> pl.DataFrame:
    """Return a frame in chunks of the same rows as another of its height; nothing is copied."""
    import polars as pl

    return pl.concat(_slices(frame, like)) if like.n_chunks() > 1 else frame


def chunks_of(frame: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the chunks of a frame, whose columns are cut at the same places; at least one."""
    return _slices(frame, frame) if frame.n_chunks() > 1 else [frame]


def _slices(frame: pl.DataFrame, like: pl.DataFrame) -> list[pl.DataFrame]:
    lengths = like.to_series(0).chunk_lengths()
    return [frame.slice(end - rows, rows) for rows, end in zip(lengths, accumulate(lengths), strict=True)]
