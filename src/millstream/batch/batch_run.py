"""BatchRun: what a handler can ask of its run, and what it gives it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from millstream.batch.files import Files
from millstream.batch.inputs import Source
from millstream.engines.protocol import Append
from millstream.errors import RunCancelledError, UsageError
from millstream.log.ranges import OffsetRange
from millstream.log.topic import Topic
from millstream.records import time_from_us

if TYPE_CHECKING:
    import polars as pl

_log = logging.getLogger("millstream.batch")

LINES_MAX: Final = 1000
"""Lines of a run that are kept, the first ones; a program's log is the place for more."""

LINE_CHARACTERS_MAX: Final = 2000


class BatchRun:
    """One run, as its handler sees it: a second parameter, `run`.

    What is given to `to`, `write` and `state` appears together with the run: all of it in the commit that moves the
    offsets, or nothing. Files are renamed right after it, by the next run if the process dies in between.
    """

    def __init__(
        self,
        *,
        id: str,
        trigger: str,
        due_us: int | None,
        attempt: int,
        ranges: Mapping[str, list[OffsetRange]],
        window: tuple[datetime, datetime] | None,
        state: dict[str, Any],
        files: Files,
        appends: bool,
        events: Source | None,
        begun_us: int,
    ) -> None:
        self.id = id
        self.trigger = trigger
        """What started it: call, cron, every, when, on, rerun, backfill."""
        self.attempt = attempt
        self.ranges = ranges
        """What it reads: [start, end) of each partition, by topic."""
        self.window = window
        """Of a backfill: the event times it reads, [start, end); None otherwise."""
        self.state = state
        """Kept with the batch: change it, and the next run finds it so. JSON. Runs over old records change nothing."""
        self.appends: list[Append] = []
        self.lines: list[str] = []
        self.share: float | None = None
        self.text = ""
        self.begun_us = begun_us
        """By the clock that nobody sets."""
        self._due_us = due_us
        self._events = events
        self._files = files
        self._appends = appends
        self._stopped: BaseException | None = None
        self.over = threading.Event()
        """Set when the handler has ended, and when it should."""

    @property
    def due(self) -> datetime | None:
        """The due time that this is the run of (UTC)."""
        return None if self._due_us is None else time_from_us(self._due_us)

    @property
    def events(self) -> pl.LazyFrame | None:
        """The events of `on=` that are new with this run, as a frame; None for a batch without it."""
        return None if self._events is None else self._events.lazy()

    def to(self, topic: Topic[Any], values: Iterable[Any] | pl.DataFrame | pl.LazyFrame) -> None:
        """Append to a topic with the commit of the run: values of its type, or a frame with its columns.

        A re-run or backfill appends nothing unless it was told `append=True`: what it would append is there already.

        Raises:
            UsageError: Not a topic.
            SchemaError: The values do not fit it.
        """
        self.check()
        if not isinstance(topic, Topic):
            raise UsageError(f"run.to({topic!r}): give a topic, as in run.to(app.topic('totals', Total), frame)")
        encoded = topic.encode(values)  # type: ignore[arg-type]
        if self._appends:
            self.appends += encoded

    def write(self, path: str | os.PathLike[str], content: pl.DataFrame | pl.LazyFrame | str | bytes) -> Path:
        """Write a file that appears, whole, with the commit of the run, and replaces an older one of its name.

        Args:
            path: For a frame it ends in .parquet, .csv or .ndjson.

        Raises:
            UsageError: The content or the name does not say what to write.
            OSError: It cannot be written there.
        """
        self.check()
        return self._files.write(path, content)

    def progress(self, share: float, text: str = "") -> None:
        """Say how far it is, 0 to 1; `millstream batch` shows it.

        Raises:
            RunCancelledError, TimeoutError: The run is to end.
        """
        self.check()
        self.share, self.text = min(1.0, max(0.0, float(share))), text[:LINE_CHARACTERS_MAX]

    def log(self, line: str) -> None:
        """Keep a line with the run.

        Raises:
            RunCancelledError, TimeoutError: The run is to end.
        """
        self.check()
        _log.info("run %s: %s", self.id, line)
        if len(self.lines) < LINES_MAX:
            self.lines.append(str(line)[:LINE_CHARACTERS_MAX])

    def check(self) -> None:
        """Return where the run goes on; long loops call it now and then.

        Raises:
            RunCancelledError: It was cancelled.
            TimeoutError: It has taken longer than its timeout.
            CommitConflictError: Another process has taken over.
        """
        if self._stopped is not None:
            raise self._stopped

    def stop(self, error: BaseException) -> None:
        """Have it end with this error; for the one that runs it."""
        if self._stopped is None:
            self._stopped = error
        self.over.set()


def cancelled(run_id: str) -> RunCancelledError:
    return RunCancelledError(f"run {run_id} was cancelled; its records go to the next run")
