"""Removing files that the log does not refer to: of compactions that were cut off, and of records that are deleted."""

from __future__ import annotations

import os

from millstream.engines.protocol import Engine
from millstream.log.cold.files import cold_batches, cold_files
from millstream.log.cold.reference import reference_of
from millstream.log.cold.store import ColdStore


def sweep(engine: Engine, *, wait: bool = False, store: ColdStore | None = None) -> int:
    """Remove the leftovers of a log; return how many. Nothing is done while another process writes cold files.

    Only files with names as we make them, in the folder beside the log, and files elsewhere that have a mark.
    """
    store = store or ColdStore.of(engine)
    if not os.path.isdir(store.folder):
        return 0
    with store.exclusive(wait=wait) as held:
        if not held:
            return 0
        removed = 0
        for location, mark in store.leftovers(cold_files(engine)):
            store.delete(location)
            if mark is not None:
                mark.unlink(missing_ok=True)
            removed += 1
        return removed


def condemn(engine: Engine, topic: str, partition: int, before: int | None = None) -> bool:
    """Mark the files elsewhere that a trim below an offset is about to leave without a record (None: all of them).

    Returns:
        Whether cold records are among those: then a sweep is worth it after the trim.
    """
    store: ColdStore | None = None
    dropped: set[str] = set()
    kept: set[str] = set()
    for batch in cold_batches(engine, topic, partition):
        location = reference_of(batch).location
        (dropped if before is None or batch.end_offset <= before else kept).add(location)
    for location in sorted(dropped - kept):
        if "://" in location or os.path.isabs(location):
            store = store or ColdStore.of(engine)
            store.mark(location)
    return bool(dropped)
