"""The queries for PyFlink as SQL, in its own process with two slots: streaming, exactly-once checkpoints every 10 s.

Event time is cut to milliseconds: Flink's windows know no finer one.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment

_EVENTS = """
CREATE TABLE events (
    kind INT, `time` TIMESTAMP_LTZ(3), id BIGINT, name STRING, seller BIGINT,
    auction BIGINT, bidder BIGINT, price BIGINT, channel STRING,
    WATERMARK FOR `time` AS `time`
) WITH (
    'connector' = 'filesystem', 'path' = '{path}', 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601'
)"""

_LINES = "CREATE TABLE events (text STRING) WITH ('connector' = 'filesystem', 'path' = '{path}', 'format' = 'json')"

_QUERIES = {
    "q1": (
        "auction BIGINT, bidder BIGINT, euros DOUBLE, channel STRING, `time` TIMESTAMP_LTZ(3)",
        "SELECT auction, bidder, CAST(price AS DOUBLE) * 0.908, channel, `time` FROM events WHERE kind = 2",
    ),
    "q5": (
        "window_start TIMESTAMP(3), auction BIGINT, bids BIGINT",
        """
        SELECT a.window_start, a.auction, a.bids FROM (
            SELECT auction, window_start, window_end, count(*) AS bids
            FROM TABLE(HOP(TABLE bids, DESCRIPTOR(`time`), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
            GROUP BY auction, window_start, window_end
        ) a JOIN (
            SELECT max(bids) AS most, window_start, window_end FROM (
                SELECT count(*) AS bids, window_start, window_end
                FROM TABLE(HOP(TABLE bids, DESCRIPTOR(`time`), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
                GROUP BY auction, window_start, window_end
            ) GROUP BY window_start, window_end
        ) m ON a.window_start = m.window_start AND a.window_end = m.window_end AND a.bids >= m.most""",
    ),
    "q7": (
        "window_start TIMESTAMP(3), auction BIGINT, bidder BIGINT, price BIGINT",
        """
        SELECT window_start, auction, bidder, price FROM (
            SELECT *, ROW_NUMBER() OVER (PARTITION BY window_start, window_end ORDER BY price DESC) AS place
            FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(`time`), INTERVAL '10' SECOND))
        ) WHERE place = 1""",
    ),
    "q8": (
        "window_start TIMESTAMP(3), person BIGINT, name STRING",
        """
        SELECT p.window_start, p.id, p.name FROM (
            SELECT id, name, window_start, window_end
            FROM TABLE(TUMBLE(TABLE persons, DESCRIPTOR(`time`), INTERVAL '10' SECOND))
            GROUP BY id, name, window_start, window_end
        ) p JOIN (
            SELECT seller, window_start, window_end
            FROM TABLE(TUMBLE(TABLE auctions, DESCRIPTOR(`time`), INTERVAL '10' SECOND))
            GROUP BY seller, window_start, window_end
        ) a ON p.id = a.seller AND p.window_start = a.window_start AND p.window_end = a.window_end""",
    ),
    "q11": (
        "bidder BIGINT, window_start TIMESTAMP(3), window_end TIMESTAMP(3), bids BIGINT",
        """
        SELECT bidder, window_start, window_end, count(*)
        FROM TABLE(SESSION(TABLE bids PARTITION BY bidder, DESCRIPTOR(`time`), INTERVAL '10' SECOND))
        GROUP BY bidder, window_start, window_end""",
    ),
    "words": (
        "word STRING, times BIGINT",
        "SELECT word, count(*) FROM events, UNNEST(SPLIT(text, ' ')) AS T(word) GROUP BY word",
    ),
}

_BATCH = {"words"}
"""A count without windows is a stream of changes, which a file cannot take: these run in batch mode."""


def main(name: str, source: str, target: str) -> None:
    columns, query = _QUERIES[name]
    configuration = Configuration()
    configuration.set_string("parallelism.default", "2")
    configuration.set_string("table.local-time-zone", "UTC")
    if name not in _BATCH:
        configuration.set_string("execution.checkpointing.interval", "10 s")
    mode = EnvironmentSettings.new_instance()
    mode = mode.in_batch_mode() if name in _BATCH else mode.in_streaming_mode()
    tables = TableEnvironment.create(mode.with_configuration(configuration).build())
    tables.execute_sql((_LINES if name == "words" else _EVENTS).format(path=Path(source).resolve().as_uri()))
    if name != "words":
        for view, kind in (("persons", 0), ("auctions", 1), ("bids", 2)):
            tables.execute_sql(f"CREATE VIEW {view} AS SELECT * FROM events WHERE kind = {kind}")
    path = Path(target).resolve().as_uri()
    options = f"'connector' = 'filesystem', 'path' = '{path}', 'format' = 'json'"
    if name not in _BATCH:
        options += ", 'json.timestamp-format.standard' = 'ISO-8601'"
    tables.execute_sql(f"CREATE TABLE answer ({columns}) WITH ({options})")
    started = time.perf_counter()
    tables.execute_sql(f"INSERT INTO answer {query}").wait()
    print(json.dumps({"seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(*sys.argv[1:])
