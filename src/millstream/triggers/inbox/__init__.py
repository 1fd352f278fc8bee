"""Files as a trigger: `@app.on(files("inbox/*.csv"))`.

General layout:
    pattern       which files are meant
    completeness  when one is completely written
    watching      what changed, told by the system
    source        an event for each file, once
    file          a file as its handler sees it
    aftermath     moved or marked when it is done, or has failed
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

from millstream.durations import duration
from millstream.engines.protocol import StateChange
from millstream.errors import UsageError
from millstream.log.log import Log
from millstream.records import Record
from millstream.triggers.calling import called_with
from millstream.triggers.inbox.aftermath import MARKS, Aftermath
from millstream.triggers.inbox.completeness import Completeness
from millstream.triggers.inbox.file import File, signature_of
from millstream.triggers.inbox.pattern import Pattern
from millstream.triggers.inbox.source import SCAN_S, FileSource
from millstream.triggers.protocol import Ended, Ending, EventSource, Handling, Trigger, name_of

__all__ = ["File", "FileTrigger", "files"]

_log = logging.getLogger("millstream.triggers")


def files(
    pattern: str | Path,
    *,
    recursive: bool = False,
    settle: timedelta | str | float | Literal["closed"] = "1s",
    marker: str | None = None,
    done: str | None = None,
    failed: str | None = None,
    polling: timedelta | str | float | None = None,
    name: str | None = None,
) -> FileTrigger:
    """Take files of a folder, each when it is completely written: `@app.on(files("inbox/*.csv"))`.

    Each version of a file is one event, also across restarts and with several processes; a file that is written anew
    is a new version. The handler gets a `File`. A version that was replaced before its handler began is left to the
    event of the next one.

    Args:
        pattern: A folder and a pattern of names, such as "inbox/*.csv"; the folder is made if it is missing. Names that
            begin with a dot are left out.
        recursive: Those in the folders below as well.
        settle: Complete when it did not change for so long, and no program has it open for writing (told on Linux);
            "closed": as soon as no program has, which is at once for a file that is renamed into place.
        marker: Complete when a file of its name with this behind it is there, such as ".done"; in place of `settle`.
        done: "move:FOLDER/" moves it when its handler returned, "mark" makes an empty file `NAME.processed` beside it.
        failed: The same when it is given up on; the mark is `NAME.failed`.
        polling: The folder is read this often, and nothing else is relied on: for network file systems.
        name: Of the trigger, whose topic is `<name>.events`; None: made of the pattern and its
            folder's own name.

    Raises:
        UsageError: A setting cannot be understood, or files would be moved to where they are looked for.
    """
    return FileTrigger(
        Pattern(str(pattern), recursive=recursive),
        Completeness.of(settle, marker),
        done=None if done is None else Aftermath(done, "done"),
        failed=None if failed is None else Aftermath(failed, "failed"),
        scan_s=SCAN_S if polling is None else duration(polling).total_seconds(),
        watched=polling is None,
        name=name or name_of("files", *Path(pattern).parts[-2:]),
    )


class FileTrigger(Trigger):
    """Files of a folder; see `files`."""

    kind = "files"
    event: ClassVar[type] = File
    time_field = "modified"

    def __init__(
        self,
        pattern: Pattern,
        rule: Completeness,
        *,
        done: Aftermath | None,
        failed: Aftermath | None,
        scan_s: float,
        watched: bool,
        name: str,
    ) -> None:
        super().__init__(name)
        self._pattern = pattern
        self._rule = rule
        self._done = done
        self._failed = failed
        self._scan_s = scan_s
        self._watched = watched
        for aftermath in (done, failed):
            if aftermath is not None and aftermath.folder is not None and pattern.matches(str(aftermath.folder / "x")):
                raise UsageError(
                    f"{pattern.text!r}: files would be moved to {aftermath.folder}, where they are looked for"
                )

    @property
    def _moves(self) -> bool:
        return self._done is not None or self._failed is not None

    def source(self, log: Log) -> EventSource:
        marks = tuple(MARKS.values()) if self._moves else ()
        return FileSource(
            log,
            self.name,
            self.events(log),
            self._pattern,
            self._rule,
            scan_s=self._scan_s,
            watched=self._watched,
            forgets=any(one is not None and one.folder is not None for one in (self._done, self._failed)),
            skips=marks + ((self._rule.marker,) if self._rule.marker is not None else ()),
        )

    def check_follower(self, kind: str, others: Sequence[str]) -> None:
        if self._moves and (others or kind != "on"):
            raise UsageError(
                f"{self!r}: with done= or failed= only one @app.on can follow, as whoever is first would take the file "
                "away from the others; leave them out, or do the rest in that handler"
            )

    def handling(self, log: Log, function: Callable[..., Any], group: str, *, batches: bool, later: bool) -> Handling:
        if batches and self._moves:
            raise UsageError(f"{self!r}: coalesce= does not go with done= and failed=; leave one of them out")
        return Handling(called_with(function, self._current_files if batches else self._current), self._ended)

    def _current(self, event: File) -> File | None:
        """Return the file if it is still the one that the event is about; None: there is nothing to do.

        Raises:
            FileNotFoundError: It is gone.
        """
        found = signature_of(event.path)
        if found == event.signature:
            return event
        if found is not None:
            _log.info(
                "%s: %s was written anew before it was handled; its new version has its own event", self, event.path
            )
            return None
        if any(aftermath.was_applied(event) for aftermath in (self._done, self._failed) if aftermath is not None):
            return None
        raise FileNotFoundError(f"{event.path} went away before it was handled")

    def _current_files(self, events: Sequence[File]) -> list[File] | None:
        return [event for event in events if signature_of(event.path) == event.signature] or None

    def _ended(self, record: Record[Any], ended: Ended) -> Sequence[StateChange]:
        aftermath = {Ending.DONE: self._done, Ending.DEAD: self._failed}.get(ended.ending)
        if aftermath is not None:
            aftermath.apply(record.value)
        return ()
