"""The sink that writes files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from millstream.durations import duration_us
from millstream.errors import UsageError
from millstream.sinks.files.folders import Every, Folders
from millstream.sinks.files.formats import FormatName, format_of
from millstream.sinks.files.writer import FilesWriter
from millstream.sinks.protocol import PATIENCE, Guarantee, Patience, Sink, SinkPlace

if TYPE_CHECKING:
    import polars as pl

BYTES_MAX: Final = 64 * 1024 * 1024
"""Of a file: large enough to be read at full speed, small enough to be copied in a moment when a stream restarts."""

AGE: Final = "1m"


@dataclass(frozen=True)
class FilesSink(Sink):
    """See `files`."""

    folder: Path
    format: str
    folders: Folders
    bytes_max: int
    age_us: int
    patience: Patience = PATIENCE

    @property
    def guarantee(self) -> Guarantee:
        return Guarantee.EXACTLY_ONCE

    def __str__(self) -> str:
        return f"{self.format} files in {str(self.folder)!r}"

    def check(self, schema: pl.Schema) -> None:
        self.folders.check(schema)
        format_of(self.format).check(schema)

    def open(self, place: SinkPlace, stored: bytes | None) -> FilesWriter:
        return FilesWriter(
            self.folder,
            format_of(self.format),
            self.folders,
            place,
            stored,
            bytes_max=self.bytes_max,
            age_us=self.age_us,
        )


def files(
    folder: str | Path,
    format: FormatName = "ndjson",
    *,
    by: str | Sequence[str] = (),
    every: Every | None = None,
    size: int = BYTES_MAX,
    age: timedelta | str | float = AGE,
    patience: Patience = PATIENCE,
) -> FilesSink:
    """Write files into a folder: exactly once.

    A file appears when it is complete, under a name that it keeps: `STREAM-000017.ndjson`. Whatever crashes, all files
    together hold each result once, in order. What is not in a complete file yet is in a hidden folder beside them.

    Args:
        folder: Made if it is missing. Several streams may share it.
        format: "ndjson", "csv" or "parquet".
        by: Columns that become folders (`country=DE/`); they are not in the files.
        every: "month", "day" or "hour": folders by event time in UTC (`date=2026-01-31/hour=12/`).
        size: A file is complete when it is so long (of Parquet: its rows before they are compressed well), in bytes.
        age: Or when its first row came so long ago; or when the stream is stopped or has read all there is.

    Raises:
        UsageError: There is no such format, a size below 1, an age that is no duration.
    """
    format_of(format)
    if size < 1:
        raise UsageError(f"files(size={size}): give 1 or more bytes")
    if every not in (None, "month", "day", "hour"):
        raise UsageError(f'files(every={every!r}): give "month", "day" or "hour"')
    columns = (by,) if isinstance(by, str) else tuple(by)
    return FilesSink(Path(folder), format, Folders(columns, every), size, duration_us(age), patience)
