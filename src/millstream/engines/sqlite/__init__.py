"""The embedded engine: one SQLite file, many processes.

General layout, `engine` being the protocol:

    driver          opening the file; APSW's errors as ours; connections: some for readers, one for the writer
    log_file        who writes when; file_lock: among processes; group_commit: of a process; roll: who else listens
    statements      SQL by name, from queries.sql and schema.sql; transaction: one, as operations see it
    topics, records, groups             what is written and read
    lease_request, leases, sorting, settling    what a queue holds; fetching: a worker's next records in one transaction
    popping, handing                    records handed over for good: one, or a run of them
    caller          a program's own tables in the same transaction
    owners          which processes live, and so which leases
    waiting, push   who is woken: in this process, in others
    checkpoints, wal_room, maintenance, check       the file is kept small, fast and safe
"""

from millstream.engines.sqlite.engine import SqliteEngine

__all__ = ["SqliteEngine"]
