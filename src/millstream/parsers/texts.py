"""Lines as they were written, as columns: bytes that may be anything, as text that can be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from millstream.parsers.system_event import text_of

if TYPE_CHECKING:
    import polars as pl


def columns_of(lines: Sequence[bytes]) -> tuple[pl.Series, pl.Series]:
    """Return lines as text (`raw`), and the bytes of those whose text is not exact (`raw_bytes`, null for others)."""
    import polars as pl

    stored = pl.Series("raw", lines, dtype=pl.Binary)
    try:
        return stored.cast(pl.String), pl.repeat(None, len(lines), dtype=pl.Binary, eager=True).alias("raw_bytes")
    except pl.exceptions.PolarsError:
        pass  # a line that is not UTF-8 is rare: then all of them are looked at
    pairs = [text_of(line) for line in lines]
    return (
        pl.Series("raw", [text for text, _ in pairs], dtype=pl.String),
        pl.Series("raw_bytes", [exact for _, exact in pairs], dtype=pl.Binary),
    )
