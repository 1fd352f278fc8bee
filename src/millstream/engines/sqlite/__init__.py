"""The embedded engine: one SQLite file, many processes.

General layout: driver (opening, errors), connections, file_lock, group_commit and log_file (who writes when),
transaction and statements (SQL by name), topics, records, groups, leases, sorting, settling, handing, caller (what is
written), owners (who lives), waiting and push (who is woken), checkpoints and wal_room, check and maintenance, and
engine, which is the protocol.
"""

from millstream.engines.sqlite.engine import SqliteEngine

__all__ = ["SqliteEngine"]
