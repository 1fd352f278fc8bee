"""Exports as people and scripts meet them: folders, partitions, errors, the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import msgspec
import polars as pl
import pytest

from millstream.cli.application import run as main
from millstream.engines.sqlite import SqliteEngine
from millstream.errors import SchemaError, StorageError, UsageError
from millstream.log import Log, Topic
from millstream.log.cold.compaction import ColdRange, compact
from millstream.log.cold.store import ColdStore
from millstream.log.export.reading import import_files


class Order(msgspec.Struct):
    country: str
    total: float
    at: datetime | None = None


START = datetime(2024, 1, 30, 12, tzinfo=UTC)


@pytest.fixture
def topic(tmp_path: Path) -> Topic[Order]:
    log = Log(SqliteEngine(tmp_path / "x.db", durability="relaxed"), housekeeping=False)
    made = log.topic("orders", Order, key="country", time="at")
    made.extend([Order("FR" if i % 3 else "CH/VD", i / 2, START + timedelta(hours=i)) for i in range(48)])
    compact(log.engine, ColdStore.of(log.engine), ColdRange("orders", 0, 48))
    made.extend([Order("IT", float(i), START) for i in range(10)])
    return made


@pytest.mark.parametrize("format", ["parquet", "csv", "ndjson"])
def test_files_by_day_and_country_come_back(topic: Topic[Order], tmp_path: Path, format: str) -> None:
    files = topic.export(tmp_path / "out", format=format, by=["day(event_time)", "country"])
    assert {str(file.parent.relative_to(tmp_path / "out")) for file in files} == {
        f"day=2024-01-{day}/country={country}"
        for day, country in [(30, "FR"), (30, "CH%2FVD"), (30, "IT"), (31, "FR"), (31, "CH%2FVD")]
    } | {f"day=2024-02-01/country={country}" for country in ("FR", "CH%2FVD")}
    assert sum(import_files(topic.log, "copy", [tmp_path / "out"])) == 58
    kept = ["country", "total", "at", "_key", "_event_time", "_headers"]
    copy, frame = (topic.log.topic(name).frame().select(kept).collect() for name in ("copy", "orders"))
    assert copy.sort("at", "total", "country").equals(frame.sort("at", "total", "country"))


def test_duckdb_reads_an_export(topic: Topic[Order], tmp_path: Path) -> None:
    topic.export(tmp_path / "out", by="month(at)")
    found = duckdb.sql(
        f"SELECT month, count(*) FROM read_parquet('{tmp_path}/out/**/*.parquet', hive_partitioning=true) "
        "GROUP BY 1 ORDER BY 1"
    ).fetchall()
    assert [(str(month), count) for month, count in found] == [("2024-01", 46), ("2024-02", 12)]


def test_an_export_of_nothing_makes_an_empty_topic(topic: Topic[Order], tmp_path: Path) -> None:
    topic.log.topic("empty", Order).export(tmp_path / "out")
    assert sum(import_files(topic.log, "copy", [tmp_path / "out"])) == 0
    assert topic.log.topic("copy").schema.names == ("country", "total", "at")


def test_an_export_never_mixes_with_what_is_there(topic: Topic[Order], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    topic.export(tmp_path / "out")
    with pytest.raises(UsageError, match="is there already"):
        topic.export(tmp_path / "out")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"format": "xlsx"}, "parquet, csv, ndjson"),
        ({"by": "planet"}, "no column 'planet'"),
        ({"by": "week(at)"}, "year, month, day, hour"),
        ({"by": "day(total)"}, "not a time"),
        ({"by": "_key"}, "cannot be by '_key'"),
    ],
)
def test_an_export_that_cannot_be_leaves_nothing(
    topic: Topic[Order], tmp_path: Path, options: dict[str, str], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        topic.export(tmp_path / "out", **options)
    assert not list(tmp_path.glob("out*"))


def test_files_of_others_are_taken_where_their_columns_fit(topic: Topic[Order], tmp_path: Path) -> None:
    pl.DataFrame({"country": ["DE"], "total": [3]}).write_parquet(tmp_path / "a.parquet")
    assert sum(import_files(topic.log, "orders", [tmp_path / "a.parquet"])) == 1
    assert topic.read(58)[0].value == Order("DE", 3.0)
    pl.DataFrame({"country": ["DE"], "total": [3.0], "extra": [1]}).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(SchemaError, match="'extra'"):
        list(import_files(topic.log, "orders", [tmp_path / "b.parquet"]))
    (tmp_path / "c.csv").write_text("country,total\nDE,much\n")
    with pytest.raises(StorageError, match=r"c\.csv cannot be read as csv"):
        list(import_files(topic.log, "orders", [tmp_path / "c.csv"]))
    (tmp_path / "d.parquet").write_bytes(b"no Parquet")
    with pytest.raises(StorageError, match=r"d\.parquet"):
        list(import_files(topic.log, "orders", [tmp_path / "d.parquet"]))
    with pytest.raises(UsageError, match="no topic 'new'"):
        list(import_files(topic.log, "new", [tmp_path / "a.parquet"]))
    with pytest.raises(UsageError, match="is not there"):
        list(import_files(topic.log, "orders", [tmp_path / "nowhere"]))
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UsageError, match="there are no files"):
        list(import_files(topic.log, "orders", [tmp_path / "nothing"]))


def test_the_commands_export_import_and_compact(
    topic: Topic[Order], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = ["--json", "--url", str(tmp_path / "x.db")]

    def run(*arguments: str) -> dict[str, object]:
        assert main([*arguments, *url]) == 0
        return json.loads(capsys.readouterr().out)  # type: ignore[no-any-return]

    def lines(*arguments: str) -> list[dict[str, object]]:
        assert main([*arguments, *url]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert run("export", "orders", str(tmp_path / "out"), "--format", "ndjson")["records"] == 58
    assert run("import", "copy", str(tmp_path / "out")) == {"topic": "copy", "records": 58, "files": 1}
    assert run("compact", "copy", "--older", "1h")["records"] == 0
    made = run("compact", "copy")
    assert (made["records"], made["files"]) == (58, 1)
    assert run("compact", "copy", "--to", str(tmp_path / "elsewhere"))["records"] == 0
    [described] = [topic for topic in lines("topics") if topic["topic"] == "copy"]
    assert described["cold_bytes"] == next((tmp_path / "x.db.cold/copy").rglob("*.parquet")).stat().st_size
    assert main(["doctor", "--url", str(tmp_path / "x.db")]) == 0
    [file] = (tmp_path / "x.db.cold/copy").rglob("*.parquet")
    file.unlink()
    assert main(["doctor", "--url", str(tmp_path / "x.db")]) == 1
    assert f"{file.name} is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-30T12:00:00+00:00",  # Python's isoformat, without a fraction and with one
        "2024-01-30T12:00:00.000000+00:00",
        "2024-01-30T12:00:00Z",
        "2024-01-30 12:00:00+00",  # PostgreSQL, DuckDB
        "2024-01-30 14:30:00.5+02:30",
    ],
)
@pytest.mark.parametrize("ending", ["csv", "ndjson"])
def test_instants_in_files_of_others_are_those_of_any_zone(
    topic: Topic[Order], tmp_path: Path, ending: str, text: str
) -> None:
    line = json.dumps({"country": "IT", "total": 1, "at": text})
    (tmp_path / f"in.{ending}").write_text(line if ending == "ndjson" else f"country,total,at\nIT,1,{text}\n")
    assert sum(import_files(topic.log, "orders", [tmp_path / f"in.{ending}"])) == 1
    at = topic.read(topic.end_offsets()[0] - 1)[0].value.at
    assert at == (START + timedelta(seconds=0.5) if ".5" in text else START)


def test_an_instant_without_a_zone_is_refused_with_what_to_write(topic: Topic[Order], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("country,total,at\nIT,1,2024-01-30 12:00:00\n")
    with pytest.raises(
        StorageError, match=r"in\.csv cannot be read as csv: .*2024-01-30.*2024-01-31T12:00:00Z"
    ) as raised:
        list(import_files(topic.log, "orders", [tmp_path / "in.csv"]))
    assert "strict=False" not in str(raised.value)


def test_ndjson_of_others_may_leave_fields_out_and_bring_them_late(topic: Topic[Order], tmp_path: Path) -> None:
    lines = ['{"country": "IT", "total": 1}'] * 300 + ['{"country": "IT", "total": 2.5, "at": "2024-01-30T12:00:00Z"}']
    (tmp_path / "in.ndjson").write_text("\n".join(lines))
    assert sum(import_files(topic.log, "orders", [tmp_path / "in.ndjson"])) == 301
    assert topic.read(topic.end_offsets()[0] - 1)[0].value == Order("IT", 2.5, START)
    assert topic.read(topic.end_offsets()[0] - 2)[0].value == Order("IT", 1.0)
    (tmp_path / "more.ndjson").write_text("\n".join([*lines, '{"country": "IT", "total": 1, "extra": 1}']))
    with pytest.raises(SchemaError, match="'extra'"):
        list(import_files(topic.log, "orders", [tmp_path / "more.ndjson"]))
    (tmp_path / "bad.ndjson").write_text("{no json")
    with pytest.raises(StorageError, match=r"bad\.ndjson cannot be read as ndjson"):
        list(import_files(topic.log, "orders", [tmp_path / "bad.ndjson"]))
