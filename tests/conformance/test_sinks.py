"""Each sink keeps what it promises."""

from __future__ import annotations

import contextlib
import csv
import functools
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import msgspec
import polars as pl
import pytest

from millstream import sinks
from millstream.sinks import Sink
from millstream.testing.sink_suite import SinkSuite, Sold


class TestLinesOfJson(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        return sinks.files(folder / "out", "ndjson", size=300)

    def seen(self, folder: Path) -> Sequence[Sold]:
        lines = b"".join(path.read_bytes() for path in sorted((folder / "out").glob("*.ndjson")))
        return msgspec.json.Decoder(Sold).decode_lines(lines)


class TestCsv(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        return sinks.files(folder / "out", "csv", size=100)

    def seen(self, folder: Path) -> Sequence[Sold]:
        rows = [
            row
            for path in sorted((folder / "out").glob("*.csv"))
            for row in csv.DictReader(path.read_text().splitlines())
        ]
        return [Sold(int(row["number"]), row["item"], datetime.fromisoformat(row["at"])) for row in rows]


class TestParquetInFolders(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        return sinks.files(folder / "out", "parquet", by="item", every="day", size=1)

    def seen(self, folder: Path) -> Sequence[Sold]:
        paths = sorted((folder / "out").glob("*/*/*.parquet"))
        frames = [pl.read_parquet(path, hive_partitioning=True) for path in paths]
        assert all(frame["date"].to_list() == frame["at"].dt.date().to_list() for frame in frames)
        return [Sold(row["number"], row["item"], row["at"]) for frame in frames for row in frame.to_dicts()]


def _append(path: Path, frame: pl.DataFrame) -> None:
    with path.open("ab") as file:
        for row in frame.select("number", "item", "at").to_dicts():
            file.write(msgspec.json.encode(row) + b"\n")


class TestFunctions(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        return sinks.function(functools.partial(_append, folder / "calls"))

    def seen(self, folder: Path) -> Sequence[Sold]:
        return msgspec.json.Decoder(Sold).decode_lines((folder / "calls").read_bytes())


_KEEPING = "import sys; open(sys.argv[1], 'ab').write(sys.stdin.buffer.read())"


class TestCommands(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        return sinks.command([sys.executable, "-S", "-c", _KEEPING, str(folder / "lines")])

    def seen(self, folder: Path) -> Sequence[Sold]:
        lines = folder / "lines"
        return msgspec.json.Decoder(Sold).decode_lines(lines.read_bytes()) if lines.exists() else []


class TestStandardOutput(SinkSuite):
    @pytest.fixture(autouse=True)
    def printed(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        self._monkeypatch = monkeypatch
        with contextlib.ExitStack() as self._files:
            yield
            monkeypatch.undo()

    def sink(self, folder: Path) -> Sink:
        """Return standard output, which goes to a file from now on, though pytest sets its own for each phase."""
        file = self._files.enter_context((folder / "printed").open("a", encoding="utf-8"))
        module = sys.modules["millstream.sinks.stdout"]
        self._monkeypatch.setattr(module, "sys", SimpleNamespace(stdout=file))
        return sinks.stdout()

    def seen(self, folder: Path) -> Sequence[Sold]:
        return msgspec.json.Decoder(Sold).decode_lines((folder / "printed").read_bytes())


class TestTableOfSqliteWithKey(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        return sinks.sql(folder / "shop.db", "sold", key="item")

    def seen(self, folder: Path) -> Sequence[Sold]:
        return _of_sqlite(folder / "shop.db")


class TestTableOfSqlite(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        return sinks.sql(f"sqlite:///{folder / 'shop.db'}", "sold")

    def seen(self, folder: Path) -> Sequence[Sold]:
        return _of_sqlite(folder / "shop.db")


def _of_sqlite(path: Path) -> list[Sold]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT number, item, at FROM sold ORDER BY rowid").fetchall()
    return [Sold(number, item, datetime.fromisoformat(at)) for number, item, at in rows]
