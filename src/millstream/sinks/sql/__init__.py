"""The sink that writes rows into a table of SQLite or PostgreSQL.

General layout:

    sink.py         SqlSink: what is described; which of the two writers works
    upsert.py       with a key: each row under its key, idempotent
    staged.py       without one: rows wait in the database for the log's commit, exactly once
    target.py       the table: made, looked at, filled
    books.py        the sink's own two tables: who writes, and what waits
    database.py     Database: a connection, transactions, errors; what differs between databases
    sqlite.py       SQLite, through the standard library
    postgres.py     PostgreSQL, through psycopg
"""

from __future__ import annotations

from millstream.sinks.sql.sink import SqlSink, sql

__all__ = ["SqlSink", "sql"]
"""A description, and what it is made with."""
