"""The engine's statements: each is used, is compiled once, and finds what it wants without looking at everything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from millstream.engines.sqlite import driver
from millstream.engines.sqlite.driver import LogConnection
from millstream.engines.sqlite.statements import statements

LARGE = "batch|waiting|sorted|once|rate|[bws]"
"""Tables, and their names in joins, with as many rows as a log has batches, or a queue jobs."""

WHOLE_GROUP = {"heads_of_key": "of each key other records may be out from now on"}
"""Statements that go through a whole group, and why they may."""


CHECKING = frozenset(
    re.findall(r"^-- ([a-z_]+):", (Path(driver.__file__).parent / "check.sql").read_text(), re.MULTILINE)
)
"""What `doctor` asks: it looks at everything."""


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[LogConnection]:
    path = str(tmp_path / "log.db")
    connection = driver.connect(path, vfs=None, read_only=False)
    driver.prepare_file(connection, path)
    yield connection
    connection.close()


def plan(connection: LogConnection, statement: str) -> list[str]:
    numbers = [int(number) for number in re.findall(r"\?(\d+)", statement)]
    values = (0,) * (max(numbers) if numbers else statement.count("?"))
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)]


def test_a_statement_is_not_compiled_anew_for_other_values(connection: LogConnection) -> None:
    # With it, `LIMIT ?` and `first > ?` cost four times as much as the statement they are in.
    assert connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, -1) == 1


@pytest.mark.parametrize("name", sorted(statements()))
def test_a_statement_seeks_in_large_tables(connection: LogConnection, name: str) -> None:
    if name in WHOLE_GROUP or name in CHECKING or name.endswith(("_of", "_of_group")):
        return
    for step in plan(connection, statements()[name]):
        assert not re.match(rf"SCAN ({LARGE})\b", step), step
        assert not re.match(rf"SEARCH ({LARGE}) USING PRIMARY KEY \(group_id=\?\)", step), step
