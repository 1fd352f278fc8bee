"""A topic's records as a folder of files."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from millstream.errors import UsageError
from millstream.log.cold.store import sync_folder
from millstream.log.export.partitions import keys_of
from millstream.log.export.texts import Format, said
from millstream.log.schema import Schema

if TYPE_CHECKING:
    import polars as pl

SCHEMA_FILE: Final = "_schema.json"
"""Beside the files: what the topic's fields are, for an exact import. Readers of folders leave out names with `_`."""


def export(
    frame: pl.LazyFrame,
    schema: Schema,
    folder: str | os.PathLike[str],
    *,
    format: str = "parquet",
    by: str | Sequence[str] = (),
) -> list[Path]:
    """Write a topic's frame to a folder, which appears when it is complete; memory does not grow with the records.

    Args:
        folder: It must not be there, or be empty.
        format: `parquet` (zstd), `csv` or `ndjson`.
        by: One folder for each value: `day(event_time)`, or columns; see `partitions`. Else one file.

    Returns:
        The files, sorted.

    Raises:
        UsageError: The folder holds something, or there is no such format or column.
    """
    try:
        chosen = Format(format)
    except ValueError:
        raise UsageError(f"files can be {', '.join(Format)}, not {format!r}") from None
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"{target} is there already; an export makes a new folder")
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    partial.mkdir(parents=True)
    try:
        _write(frame, partial, chosen, by)
        (partial / SCHEMA_FILE).write_bytes(schema.encode())
        for path in [*partial.rglob("*"), partial]:
            _sync(path)
        if target.exists():
            target.rmdir()
        os.replace(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(target.absolute().parent)
    return sorted(path for path in target.rglob("*") if path.is_file() and path.name != SCHEMA_FILE)


def _write(frame: pl.LazyFrame, folder: Path, format: Format, by: str | Sequence[str]) -> None:
    import polars as pl

    schema = frame.collect_schema()
    keys = keys_of(by, schema)
    texts = [said(pl.selectors.by_name(name).as_expr(), dtype, format).alias(name) for name, dtype in schema.items()]
    # Keys first: they are made of the values, not of the texts.
    names = {key.meta.output_name(): key for key in keys}
    made = frame.select(*texts, *(key for name, key in names.items() if name not in schema))
    place: Any = folder / f"records.{format}"
    if names:
        place = pl.PartitionBy(folder, key=list(names), include_key=True)
    match format:
        case Format.PARQUET:
            made.sink_parquet(place, compression="zstd", mkdir=True)
        case Format.CSV:
            made.sink_csv(place, mkdir=True)
        case Format.NDJSON:
            made.sink_ndjson(place, mkdir=True)


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    with path.open("rb+") as file:
        os.fsync(file.fileno())
