"""All there is, then the end: what `app.run(until="now")` does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from millstream.errors import CommitConflictError
from millstream.run.reader import Reader

if TYPE_CHECKING:
    from millstream.batch.batch import Batch

_log = logging.getLogger("millstream.run")


def run_until_now(
    streams: Sequence[Reader], queues: Sequence[Reader], batches: Sequence[Batch], stop: threading.Event
) -> None:
    """Run streams, then queues, until none finds anything new; then each batch that has new records, once.

    A batch that another process runs just now is left to that.

    Streams go first, as what they put out is input of queues; the round is repeated because handlers append as well,
    also after the batches. A batch runs once at most, so a batch that appends to its own topic comes to an end.

    Raises:
        Exception: What a stream or batch raised; the rest is not run.
    """
    _drain(streams, queues, stop)
    for batch in batches:
        if stop.is_set():
            return
        if batch.lag:
            try:
                batch.run()
            except CommitConflictError as error:
                # Another process does the same work; nothing is lost, and nothing is to be done here.
                _log.warning("%s", error)
            _drain(streams, queues, stop)


def _drain(streams: Sequence[Reader], queues: Sequence[Reader], stop: threading.Event) -> None:
    moved = 1
    while moved and not stop.is_set():
        moved = sum(reader.run_now(stop) for reader in (*streams, *queues))
