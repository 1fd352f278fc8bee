"""The embedded engine: one SQLite file, many processes.

General layout: driver (opening, errors), connections, file_lock and group_commit (who writes when), transaction and
statements (SQL by name), topics, records, groups, leases (what is written), waiting and push (who is woken),
maintenance, and engine, which puts them together.
"""

from millstream.engines.sqlite.engine import SqliteEngine

__all__ = ["SqliteEngine"]
