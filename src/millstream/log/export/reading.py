"""Files that `export` wrote, or others with the same columns, into a topic."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from millstream.engines.protocol import TopicSpec
from millstream.errors import StorageError, TopicNotFoundError, UsageError
from millstream.log.export.texts import Format, dtype_said, read
from millstream.log.export.writing import SCHEMA_FILE
from millstream.log.frames import frame_schema
from millstream.log.log import Log
from millstream.log.schema import Schema
from millstream.log.topic import Topic

if TYPE_CHECKING:
    import polars as pl

_ROWS_AT_ONCE: Final = 65_536
"""Of one append: one batch of columns."""

_ENDINGS: Final = {
    ".parquet": Format.PARQUET,
    ".csv": Format.CSV,
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
}


def import_files(log: Log, topic: str, sources: Sequence[str | os.PathLike[str]]) -> Iterator[int]:
    """Append the records of files to a topic, file by file in the order of their names; yield how many each time.

    Keys, headers and event times come along; offsets and append times are new. A topic that is not there is made with
    the schema that the export left beside the files. Each piece is one append, all or nothing: after an error, what was
    yielded before is stored.

    Raises:
        UsageError: There are no files, or the topic is not there and no schema is beside them.
        SchemaError: A file does not fit the topic.
        StorageError: A file cannot be read; names it.
    """
    files = files_of(sources)
    target = _topic(log, topic, sources)
    for path, format in files:
        for frame in _frames(path, format, target.schema):
            yield sum(range_.end - range_.start for range_ in target.extend(frame))


def files_of(sources: Sequence[str | os.PathLike[str]]) -> list[tuple[Path, Format]]:
    """Return the files that paths mean: themselves, or all of a folder whose endings say their format."""
    found: list[tuple[Path, Format]] = []
    for source in map(Path, sources):
        if not source.exists():
            raise UsageError(f"{source} is not there")
        paths = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix in _ENDINGS)
        for path in paths:
            if path.suffix not in _ENDINGS:
                raise UsageError(f"{path}: its ending says no format; {', '.join(_ENDINGS)} do")
            if path.is_file():
                found.append((path, _ENDINGS[path.suffix]))
    if not found:
        raise UsageError(f"there are no files ({', '.join(_ENDINGS)}) in {', '.join(map(str, sources))}")
    return found


def _topic(log: Log, name: str, sources: Sequence[str | os.PathLike[str]]) -> Topic[Any]:
    try:
        info = log.engine.describe_topic(name)
        if info.schemas or info.records:
            return log.topic(name)
    except TopicNotFoundError:
        pass
    for source in map(Path, sources):
        path = (source if source.is_dir() else source.parent) / SCHEMA_FILE
        if path.exists():
            schema = Schema.decode(path.read_bytes())
            log.engine.create_topic(TopicSpec(name))
            if not schema.raw:
                log.engine.put_schema(name, schema.encode(), after=0)
            return log.topic(name)
    raise UsageError(
        f"there is no topic {name!r} and no {SCHEMA_FILE} beside the files: "
        f"make it with its type first, by app.topic({name!r}, Type)"
    )


def _frames(path: Path, format: Format, schema: Schema) -> Iterator[pl.DataFrame]:
    import polars as pl

    wanted = {**frame_schema(schema)}
    try:
        lazy = _scan(path, format, wanted)
        there = lazy.collect_schema().names()
        keys = {part.partition("=")[0] for part in path.parent.parts if "=" in part}
        unknown = [name for name in there if name not in wanted and name not in keys]
        columns = [
            read(pl.selectors.by_name(name).as_expr(), dtype, format).alias(name)
            for name, dtype in wanted.items()
            if name in there
        ]
        rest = [pl.selectors.by_name(name) for name in unknown]  # refused by the topic, in its words
        yield from lazy.select(*columns, *rest).collect_batches(chunk_size=_ROWS_AT_ONCE, maintain_order=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise StorageError(f"{path} cannot be read as {format}: {_said_of(error)}") from error


def _said_of(error: Exception) -> str:
    """Return what Polars found, without its hints for who writes expressions; for an instant, how one is written."""
    text = str(error).partition("\n\nYou might want")[0]
    hint = "; an instant is written 2024-01-31T12:00:00Z or +01:00 in place of the Z" if "to `datetime" in text else ""
    return f"{text}{hint}"


def _scan(path: Path, format: Format, wanted: dict[str, pl.DataType]) -> pl.LazyFrame:
    import polars as pl

    match format:
        case Format.PARQUET:
            return pl.scan_parquet(path, glob=False, hive_partitioning=False)
        case Format.CSV:
            return pl.scan_csv(path, glob=False, infer_schema=False)
        case Format.NDJSON:
            # All lines are looked at first: a field may come late, and Polars takes no type for one that never comes.
            there = pl.scan_ndjson(path, infer_schema_length=None).collect_schema().names()
            types = {name: dtype_said(wanted[name], format) for name in there if name in wanted}
            return pl.scan_ndjson(path, infer_schema_length=None, schema_overrides=types)
