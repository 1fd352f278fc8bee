"""Tables of a real PostgreSQL keep what sinks promise."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from tests.postgres import PostgresServer

from millstream import sinks
from millstream.sinks import Sink
from millstream.testing.sink_suite import SinkSuite, Sold

_RUNNING: list[PostgresServer] = []


@pytest.fixture(autouse=True, scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    _RUNNING.append(server)
    yield server
    _RUNNING.clear()
    server.close()


def table_of(folder: Path) -> str:
    return f"sold_{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}"


def url_of(folder: Path) -> str:
    """Return a schema for a test: all streams of the suite are called alike, and so are the sink's own tables."""
    import psycopg

    name = table_of(folder)
    with psycopg.connect(_RUNNING[0].url, autocommit=True) as connection:
        if not connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [name]).fetchall():
            connection.execute(f'CREATE SCHEMA "{name}"'.encode())
    return f"{_RUNNING[0].url}?options=-csearch_path%3D{name}"


def seen_in(folder: Path) -> list[Sold]:
    import psycopg

    with psycopg.connect(url_of(folder)) as connection:
        rows = connection.execute("SELECT number, item, at FROM sold ORDER BY ctid").fetchall()
    return [Sold(number, item, at) for number, item, at in rows]


class TestTableWithKey(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        return sinks.sql(url_of(folder), "sold", key="item")

    def seen(self, folder: Path) -> Sequence[Sold]:
        return seen_in(folder)


class TestTable(SinkSuite):
    def sink(self, folder: Path) -> Sink:
        return sinks.sql(url_of(folder), "sold")

    def seen(self, folder: Path) -> Sequence[Sold]:
        return seen_in(folder)
