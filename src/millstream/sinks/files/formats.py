"""What is in a file: lines of JSON, CSV, Parquet. Each grows by bytes at its end, so a crash can be undone by length.

A Parquet file has its index at its end and cannot grow. Its rows are staged as Arrow blocks, and written as Parquet
when the file is complete.
"""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from millstream.errors import UsageError
from millstream.sinks.rows import Rows
from millstream.sinks.texts import as_texts, json_lines

if TYPE_CHECKING:
    import polars as pl

FormatName: TypeAlias = Literal["ndjson", "csv", "parquet"]

_LENGTH_BYTES: Final = 8
"""Before each staged block."""

GROUP_ROWS: Final = 50_000
"""Of a row group of Parquet: what is in memory while a file is written, and what a reader may pass over."""


class Format(ABC):
    """How rows become a file."""

    extension: str
    converts: bool = False
    """Whether a file that is complete must be written anew in its own form."""

    def check(self, schema: pl.Schema) -> None:  # noqa: B027 - JSON and Parquet take any columns
        """Raise UsageError where the columns cannot be written."""

    @abstractmethod
    def encode(self, rows: Rows, *, first: bool) -> bytes:
        """Return what is to be added to a file for some rows.

        Args:
            first: They are the first of their file.
        """

    def shape(self, rows: Rows) -> str:
        """Return what all rows of a file have in common, as text; others need a file of their own."""
        return ", ".join(f"{name} {dtype}" for name, dtype in _columns(rows, self).schema.items())

    def convert(self, staged: Path, ready: Path) -> None:
        """Write what was staged in its own form, durably."""
        raise AssertionError(f"{self.extension} is staged as it is")


class Ndjson(Format):
    """A line of JSON for each row."""

    extension = "ndjson"

    def encode(self, rows: Rows, *, first: bool) -> bytes:
        return json_lines(rows)

    def shape(self, rows: Rows) -> str:
        return ""  # Each line says what it has.


class Csv(Format):
    """A header, and a line for each row (RFC 4180); nothing between two commas is null, `""` the empty text."""

    extension = "csv"

    def check(self, schema: pl.Schema) -> None:
        nested = [name for name, dtype in schema.items() if dtype.is_nested()]
        if nested:
            raise UsageError(
                f"CSV has no lists and structs, which {', '.join(nested)} holds; take their fields with select, "
                'or write format="ndjson" or "parquet"'
            )

    def encode(self, rows: Rows, *, first: bool) -> bytes:
        columns = _columns(rows, self)
        self.check(columns.schema)
        return as_texts(columns).write_csv(include_header=first).encode()


class Parquet(Format):
    """Parquet with zstd: what DuckDB, Polars, Spark and pandas read."""

    extension = "parquet"
    converts = True

    def encode(self, rows: Rows, *, first: bool) -> bytes:
        buffer = io.BytesIO()
        _columns(rows, self).write_ipc(buffer, compression="lz4")
        block = buffer.getvalue()
        return len(block).to_bytes(_LENGTH_BYTES, "big") + block

    def convert(self, staged: Path, ready: Path) -> None:
        from polars.io.plugins import register_io_source

        def blocks(*_: object) -> Iterator[pl.DataFrame]:
            yield from _blocks(staged)

        # Text becomes many times larger than it is staged: never all of it at once.
        rows = register_io_source(blocks, schema=next(_blocks(staged)).schema)
        with ready.open("wb") as file:
            rows.sink_parquet(file, compression="zstd", row_group_size=GROUP_ROWS, maintain_order=True)
            file.flush()
            os.fsync(file.fileno())


FORMATS: Final[dict[str, Format]] = {kind.extension: kind for kind in (Ndjson(), Csv(), Parquet())}


def format_of(name: str) -> Format:
    """Return a format by its name.

    Raises:
        UsageError: There is none of that name.
    """
    if name not in FORMATS:
        raise UsageError(f"format={name!r}: give {', '.join(map(repr, FORMATS))}")
    return FORMATS[name]


def _columns(rows: Rows, format: Format) -> pl.DataFrame:
    if rows.objects is not None:
        raise UsageError(
            f"{format.extension} files have columns, and these records are JSON objects of any fields; give the topic "
            'a type, return a Struct from map, or write format="ndjson"'
        )
    return rows.columns()


def _blocks(staged: Path) -> Iterator[pl.DataFrame]:
    import polars as pl

    with staged.open("rb") as file:
        while prefix := file.read(_LENGTH_BYTES):
            yield pl.read_ipc(io.BytesIO(file.read(int.from_bytes(prefix, "big"))), use_pyarrow=False)
