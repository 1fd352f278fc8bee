"""Records of a topic in the order of their event time, in bounded memory: sorted in runs, and the runs merged.

What is in memory at once is one run while they are made, and a row of each while they are merged; the runs are files of
a temporary folder. Where all is one run there is no file.

Source: external merge sort, Knuth, The Art of Computer Programming, volume 3, 5.4.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from millstream.errors import StorageError

if TYPE_CHECKING:
    import polars as pl

    from millstream.log.topic import Topic

Row = dict[str, Any]

READ_RECORDS: Final = 5000
"""Records looked at together."""
RUN_RECORDS: Final = 50_000
"""Sorted in memory: tens of megabytes of events as they usually are."""
RUNS_MAX: Final = 200
"""Files open at once: when there are so many they are merged to one."""
_LENGTH_BYTES: Final = 4


def in_order_of_time(
    topic: Topic[Any],
    start: int,
    end: int,
    wanted: pl.Expr,
    *,
    run_records: int = RUN_RECORDS,
    runs_max: int = RUNS_MAX,
    read_records: int = READ_RECORDS,
    looked: Callable[[int], None] = lambda offset: None,
) -> Iterator[Row]:
    """Yield the rows of some records, by their field `time`, and those of one time in the order of the log.

    Args:
        topic: With one partition, and a field `time`.
        start: Offset of the first record.
        end: Offset behind the last one.
        wanted: Which of them.
        run_records: Sorted in memory.
        runs_max: Files merged together.
        read_records: Looked at together.
        looked: Called now and then before the first row, with the offset behind what was looked at.

    Raises:
        StorageError: A run cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="millstream-") as folder:
        files: list[Path] = []
        made = 0
        in_hand: pl.DataFrame | None = None
        for run in _runs(topic, start, end, wanted, run_records, read_records, looked):
            if in_hand is not None:
                made += 1
                files.append(_written(_rows(in_hand), Path(folder, str(made))))
            if len(files) == runs_max:
                made += 1
                files = [_written(_merged([_read(file) for file in files]), Path(folder, str(made)))]
            in_hand = run
        if in_hand is not None:
            yield from _merged([*(_read(file) for file in files), _rows(in_hand)])


def _runs(
    topic: Topic[Any],
    start: int,
    end: int,
    wanted: pl.Expr,
    run_records: int,
    read_records: int,
    looked: Callable[[int], None],
) -> Iterator[pl.DataFrame]:
    """Yield all wanted records, some at a time, those sorted."""
    import polars as pl

    parts: list[pl.DataFrame] = []
    for begin in range(start, end, read_records):
        upto = min(end, begin + read_records)
        found = topic.frame(begin, upto).filter(wanted).collect()
        looked(upto)
        parts += [] if found.is_empty() else [found]
        if sum(part.height for part in parts) >= run_records:
            yield pl.concat(parts).sort("time", "_offset")
            parts = []
    if parts:
        yield pl.concat(parts).sort("time", "_offset")


def _rows(run: pl.DataFrame) -> Iterator[Row]:
    return run.iter_rows(named=True)


def _merged(runs: Iterable[Iterator[Row]]) -> Iterator[Row]:
    return heapq.merge(*runs, key=lambda row: (row["time"], row["_offset"]))


def _written(rows: Iterable[Row], file: Path) -> Path:
    encoder = msgspec.msgpack.Encoder()
    try:
        with file.open("wb") as out:
            for row in rows:
                data = encoder.encode(row)
                out.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)
    except OSError as error:
        raise StorageError(
            f"events cannot be sorted by time in {file.parent.parent}: {error.strerror}; free some space there, "
            "or name another folder in TMPDIR"
        ) from error
    return file


def _read(file: Path) -> Iterator[Row]:
    """Yield the rows of a file, and remove it."""
    decoder = msgspec.msgpack.Decoder(Row)
    with file.open("rb") as source:
        while length := source.read(_LENGTH_BYTES):
            yield decoder.decode(source.read(int.from_bytes(length, "big")))
    file.unlink()
