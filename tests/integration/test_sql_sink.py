"""Rows in tables: types, names, tables that are there already, databases that are away."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.postgres import PostgresServer

from millstream import App, UsageError, sinks
from millstream.errors import SinkError
from millstream.sinks import Patience
from millstream.testing import StreamTest

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


class Part(msgspec.Struct):
    n: int


class Everything(msgspec.Struct):
    id: int
    text: str
    share: float
    yes: bool
    at: datetime
    day: date
    took: timedelta
    data: bytes
    part: Part
    parts: list[int]
    none: str | None = None


ROW = Everything(1, "tea ☕", 0.5, True, NOON, NOON.date(), timedelta(seconds=90), b"\x00\xff", Part(7), [1, 2])


@pytest.fixture
def app() -> Iterator[App]:
    with App("memory://") as app:
        yield app


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.close()


def run(app: App, sink: sinks.Sink, values: list[Any], type: Any = Everything, name: str = "s") -> None:
    topic = app.topic(name, type)
    if name not in app.streams:
        app.stream(topic, name=name)(lambda s: s.to(sink))
    topic.extend(values)
    app.run(until="now")


def of_sqlite(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def of_postgres(server: PostgresServer, query: str) -> list[tuple[Any, ...]]:
    import psycopg

    with psycopg.connect(server.url) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.mark.parametrize("key", ["", "id"])
def test_values_of_every_type_are_what_sqlite_has_for_them(app: App, tmp_path: Path, key: str) -> None:
    run(app, sinks.sql(tmp_path / "x.db", "t", key=key or ()), [ROW])
    assert of_sqlite(tmp_path / "x.db", "SELECT * FROM t") == [
        (
            1, "tea ☕", 0.5, 1, "2026-01-31T12:00:00Z", "2026-01-31", "PT1M30S", b"\x00\xff", '{"n":7}', "[1,2]", None,
        )
    ]  # fmt: skip


@pytest.mark.parametrize("key", ["", "id"])
def test_values_of_every_type_are_what_postgresql_has_for_them(app: App, server: PostgresServer, key: str) -> None:
    table = f"types_{key}"
    run(app, sinks.sql(server.url, table, key=key or ()), [ROW])
    assert of_postgres(server, f"SELECT * FROM {table}") == [
        (1, "tea ☕", 0.5, True, NOON, NOON.date(), timedelta(seconds=90), b"\x00\xff", {"n": 7}, [1, 2], None)
    ]


def test_last_row_of_a_key_stays(app: App, tmp_path: Path) -> None:
    sink = sinks.sql(tmp_path / "x.db", "t", key="id")
    run(app, sink, [ROW, msgspec.structs.replace(ROW, text="coffee")])
    run(app, sink, [msgspec.structs.replace(ROW, id=2), msgspec.structs.replace(ROW, text="cake")])
    assert of_sqlite(tmp_path / "x.db", "SELECT id, text FROM t ORDER BY id") == [(1, "cake"), (2, "tea ☕")]


class Odd(msgspec.Struct, rename={"b": "a;b%s select"}):
    a: int
    b: str


def test_names_may_hold_anything(app: App, tmp_path: Path, server: PostgresServer) -> None:
    table = 'or"der%'
    for number, url in enumerate((str(tmp_path / "x.db"), server.url)):
        for key in ("", "a"):
            run(
                app,
                sinks.sql(url, f"{table}{key}", key=key or ()),
                [Odd(1, "x")],
                Odd,
                name=f"s{number}{'k' if key else ''}",
            )
    assert of_sqlite(tmp_path / "x.db", 'SELECT * FROM "or""der%a"') == [(1, "x")]
    assert of_postgres(server, 'SELECT * FROM "or""der%a"') == [(1, "x")]


def test_table_that_is_there_is_filled_and_keeps_its_other_columns(app: App, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT, note TEXT DEFAULT 'mine')")

    class Pair(msgspec.Struct):
        a: int
        b: str

    run(app, sinks.sql(tmp_path / "x.db", "t", key="a"), [Pair(1, "x"), Pair(1, "y")], Pair)
    assert of_sqlite(tmp_path / "x.db", "SELECT * FROM t") == [(1, "y", "mine")]


class Short(msgspec.Struct):
    a: int | None
    b: str


@pytest.mark.parametrize(
    ("table", "key", "value", "words"),
    [
        ("a INTEGER", "", Short(1, "x"), ["no column b", "it has a"]),
        ("a INTEGER, b TEXT", "a", Short(1, "x"), ["ON CONFLICT"]),
        ("a INTEGER PRIMARY KEY, b TEXT", "a", Short(None, "x"), ["no 'a'", "filter"]),
        ("a INTEGER PRIMARY KEY, b TEXT CHECK (b = 'y')", "a", Short(1, "x"), ["CHECK"]),
    ],
)
def test_what_the_table_does_not_take_is_said_and_not_lost(
    app: App, tmp_path: Path, table: str, key: str, value: Short, words: list[str]
) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        connection.execute(f"CREATE TABLE t ({table})")
    with pytest.raises((UsageError, SinkError)) as raised:
        run(app, sinks.sql(tmp_path / "x.db", "t", key=key or ()), [value], Short)
    for word in words:
        assert word in str(raised.value)
    assert not getattr(raised.value, "retryable", False)
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        connection.execute("DROP TABLE t")
    if value.a is not None:
        app.run(until="now")
        assert of_sqlite(tmp_path / "x.db", "SELECT * FROM t") == [(1, "x")]


def test_columns_that_the_table_has_not_are_said_before_the_log_counts_on_the_rows(app: App, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(UsageError, match="no column b"):
        run(app, sinks.sql(tmp_path / "x.db", "t"), [Short(1, "x")], Short)
    assert app.streams["s"].info().lag == 1


def test_text_that_postgresql_has_no_place_for_is_said_and_can_be_given_up(
    tmp_path: Path, server: PostgresServer
) -> None:
    sink = sinks.sql(server.url, "nul")
    with App(tmp_path / "log.db", durability="relaxed") as app, pytest.raises(SinkError, match="NUL") as raised:
        run(app, sink, [Short(1, "\x00")], Short)
    assert not raised.value.retryable
    with App(tmp_path / "log.db", durability="relaxed") as app:
        app.stream(app.topic("s", Short), name="s", changed="drop")(lambda s: s.to(sink))
        run(app, sink, [Short(2, "y")], Short)
    assert of_postgres(server, "SELECT * FROM nul") == [(2, "y")]


def test_key_that_is_no_column_is_said_when_the_stream_is_described(app: App) -> None:
    topic = app.topic("s", Short)
    with pytest.raises(UsageError, match="no column 'c'"):
        app.stream(topic, name="s")(lambda s: s.to(sinks.sql("x.db", "t", key="c")))


@pytest.mark.parametrize(("url", "word"), [("mysql://x/y", "postgresql"), ("", "name the database")])
def test_url_that_is_no_database_is_said(url: str, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        sinks.sql(url, "t")


def test_password_is_in_no_message(app: App) -> None:
    sink = sinks.sql("postgresql://ann:hunter2@127.0.0.1:1/x?password=hunter2", "t", patience=Patience(attempts=1))
    assert "hunter2" not in f"{sink} {sink!r}"
    with pytest.raises(SinkError) as raised:
        run(app, sink, [Short(1, "x")], Short)
    assert "127.0.0.1" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_another_writer_of_the_file_is_waited_for(app: App, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        worker = threading.Thread(target=run, args=(app, sinks.sql(tmp_path / "x.db", "t"), [Short(1, "x")], Short))
        worker.start()
        time.sleep(0.2)
        other.execute("COMMIT")
        worker.join(60)
    assert of_sqlite(tmp_path / "x.db", "SELECT * FROM t") == [(1, "x")]


@pytest.mark.parametrize("key", ["", "a"])
def test_database_that_crashes_and_comes_back_has_each_row_once(app: App, server: PostgresServer, key: str) -> None:
    table = f"away_{key}"
    patience = Patience(attempts=1000, first_s=0.05, most_s=0.2)
    topic = app.topic("s", Short)
    app.stream(topic, name="s")(lambda s: s.to(sinks.sql(server.url, table, key=key or (), patience=patience)))
    topic.extend([Short(n, "x") for n in range(100)])
    with app.start():
        until = time.monotonic() + 60
        for crash in range(3):
            server.crash()
            topic.extend([Short(100 * (crash + 1) + n, "x") for n in range(100)])
            server.start()
        while app.streams["s"].info().lag and time.monotonic() < until:
            time.sleep(0.02)
    rows = [number for (number,) in of_postgres(server, f"SELECT a FROM {table} ORDER BY a")]
    assert rows == list(range(400))


def test_sink_whose_results_are_all_there_may_go_from_the_description(tmp_path: Path) -> None:
    for table in ("first", "second"):
        with App(tmp_path / "log.db", durability="relaxed") as app:
            run(app, sinks.sql(tmp_path / "x.db", table), [Short(1, table)], Short)
    assert of_sqlite(tmp_path / "x.db", "SELECT * FROM first") == [(1, "first")]
    assert of_sqlite(tmp_path / "x.db", "SELECT * FROM second") == [(1, "second")]


def test_table_that_another_stream_makes_at_the_same_moment_is_waited_for(app: App, server: PostgresServer) -> None:
    import psycopg

    run(app, sinks.sql(server.url, "before"), [Short(0, "x")], Short, name="before")
    with psycopg.connect(server.url) as other:
        other.execute("CREATE TABLE raced (a bigint, b text)")
        worker = threading.Thread(target=run, args=(app, sinks.sql(server.url, "raced"), [Short(1, "x")], Short))
        worker.start()
        until = time.monotonic() + 60
        with psycopg.connect(server.url, autocommit=True) as watch:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%raced%'"
            while watch.execute(waiting).fetchone() == (0,):
                assert time.monotonic() < until
                time.sleep(0.01)
        other.commit()
        worker.join(60)
    assert of_postgres(server, "SELECT * FROM raced") == [(1, "x")]


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "link"])
def test_file_of_the_log_itself_is_refused(tmp_path: Path, form: str) -> None:
    path = tmp_path / "log.db"
    with App(path, durability="relaxed") as app:
        url = form.format(path)
        if form == "link":
            url = str(tmp_path / "other.db")
            Path(url).symlink_to(path)
        with pytest.raises(UsageError, match="is the log itself"):
            run(app, sinks.sql(url, "t"), [Short(1, "x")], Short)


def test_stream_test_writes_no_table(app: App, tmp_path: Path) -> None:
    reader = app.stream(app.topic("s", Short), name="s")(lambda s: s.to(sinks.sql(tmp_path / "x.db", "t")))
    with StreamTest(reader) as test:
        test.push(Short(1, "x"))
        assert len(test.sink()) == 1
    assert not (tmp_path / "x.db").exists()
