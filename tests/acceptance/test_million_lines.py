"""A real file of a million lines goes in through `put --file`, and comes out of `sql` and `frame` as it was."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from millstream import App

LINES = 1_000_000
SEED = 20_260_131
START = datetime(2026, 1, 31, tzinfo=UTC)
PAGES = ["/", "/tea", "/cake", "/cart", "/checkout", "/über-uns", "/\U0001f375"]

COLUMNS = {
    "id": "BIGINT",
    "at": "VARCHAR",
    "visitor": "VARCHAR",
    "page": "VARCHAR",
    "load_ms": "DOUBLE",
    "mobile": "BOOLEAN",
    "tags": "VARCHAR[]",
    "coupon": "VARCHAR",
}
"""As DuckDB is told to read the file. `coupon` appears first after 900,000 lines; `load_ms` begins as whole numbers."""

QUERIES = [
    "SELECT count(*) AS n, sum(id) AS ids, min(load_ms) AS low, max(load_ms) AS high, count(coupon) AS c FROM clicks",
    "SELECT page, count(*) AS n, count(mobile) AS m, max(visitor) AS v FROM clicks GROUP BY page ORDER BY page",
    "SELECT visitor, count(*) AS n FROM clicks WHERE load_ms > 4000 GROUP BY visitor ORDER BY n DESC, visitor LIMIT 20",
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def write_lines(path: Path) -> None:
    draw = random.Random(SEED)
    pages = [json.dumps(page) for page in PAGES]
    with path.open("w", encoding="utf-8") as file:
        for number in range(LINES):
            load = draw.randrange(5000) if number < 1000 else draw.randrange(50_000) / 10
            tags = '["new","sale"]' if number % 7 == 0 else '["new"]' if number % 3 == 0 else "[]"
            coupon = f',"coupon":"c{number % 97}"' if number > 900_000 and number % 5 == 0 else ""
            mobile = ("true", "false", "null")[number % 3]
            at = (START + timedelta(milliseconds=50 * number)).isoformat(timespec="milliseconds")
            file.write(
                f'{{"id":{number},"at":"{at}","visitor":"v{draw.randrange(30_000)}","page":{pages[draw.randrange(7)]},'
                f'"load_ms":{load},"mobile":{mobile},"tags":{tags}{coupon}}}\n'
            )


def millstream(*arguments: str, cwd: Path) -> str:
    command = [sys.executable, "-m", "millstream", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(frame: Any) -> list[tuple[Any, ...]]:
    return frame.select(list(COLUMNS)).rows()  # type: ignore[no-any-return]


def test_a_million_json_lines_come_out_of_sql_and_frame_as_they_are_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "clicks.ndjson"
    write_lines(file)

    put = json.loads(millstream("put", "clicks", "--file", str(file), "--key", "visitor", "--json", cwd=tmp_path))
    print(f"put: {put['seconds']} s for {put['stored']:,} records of {file.stat().st_size:,} bytes")
    assert (put["lines"], put["stored"], put["bad"]) == (LINES, LINES, 0)

    duck = duckdb.connect()
    columns = ", ".join(f"'{name}': '{type}'" for name, type in COLUMNS.items())
    duck.execute(f"CREATE VIEW clicks AS SELECT * FROM read_json('{file}', format='nd', columns={{{columns}}})")

    # SQL, through the command line, against DuckDB over the file itself.
    for query in QUERIES:
        lines = millstream("sql", "--json", query, cwd=tmp_path).splitlines()
        assert [tuple(json.loads(line).values()) for line in lines] == duck.execute(query).fetchall()

    # The frame, row for row.
    with App(str(tmp_path / "millstream.db")) as app:
        frame = app.topic("clicks").frame().collect()
        assert frame.height == LINES
        assert frame["_offset"].to_list() == list(range(LINES))
        assert frame["_key"].cast(str).equals(frame["visitor"].alias("_key"))
        theirs = duck.execute("SELECT * FROM clicks ORDER BY id")
        for start in range(0, LINES, 100_000):
            assert rows_of(frame.slice(start, 100_000)) == theirs.fetchmany(100_000)

    size = (tmp_path / "millstream.db").stat().st_size
    print(f"on disk: {size:,} bytes, {size / file.stat().st_size:.0%} of the file")
    assert "no problems found" in millstream("doctor", cwd=tmp_path)
