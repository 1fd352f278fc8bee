"""A process that makes the records of a log cold until it is killed: run by test_cold_kill.py."""

from __future__ import annotations

import sys
from typing import Any

from millstream.engines.sqlite import SqliteEngine
from millstream.log import Log
from millstream.log.cold import compaction, writing
from millstream.log.cold.compaction import ColdRange, compact
from millstream.log.cold.store import ColdStore
from millstream.log.cold.sweeping import condemn, sweep


def main(path: str, place: str) -> None:
    """Compact, file by file, and trim what is far behind; say each file on a line."""
    writing.GROUP_ROWS, compaction.FILE_RECORDS = 64, 256  # type: ignore[misc]
    engine: Any = SqliteEngine(path)
    log = Log(engine, housekeeping=False)
    while True:
        sweep(engine, wait=True)
        part = log.engine.describe_topic("events").partitions[0]
        store = ColdStore.of(engine, place or None)
        with store.exclusive(wait=True):
            made = compact(engine, store, ColdRange("events", 0, part.end_offset))
        before = part.end_offset - 1000
        if before > part.start_offset:
            condemn(engine, "events", 0, before)
            engine.trim("events", 0, before)
        print(made.files, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "")
