"""Objects of an object store as a trigger: `@app.on(objects("s3://bucket/inbox/*.csv"))`.

An object store tells nobody what is new: the prefix is listed again and again. An object appears when it is complete,
so there is nothing to wait for; each version of it (its tag, or its size and time) is one event.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

import msgspec

from millstream.durations import duration
from millstream.errors import CommitConflictError, StorageError, UsageError
from millstream.log.cold.store import open_objects
from millstream.log.log import Log
from millstream.triggers.memory import Memory
from millstream.triggers.protocol import EventSource, Trigger, name_of

EVENTS_MAX: Final = 500
"""Of one transaction."""

POLL_S_MIN: Final = 0.1
_WILD: Final = "*?["


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object that has come, or has a new version."""

    url: str
    path: str
    """Below the prefix."""
    size: int
    """Bytes."""
    modified: datetime
    version: str
    """What tells it from its other versions."""

    def bytes(self) -> bytes:
        """Return what is in it now, whole.

        Raises:
            FileNotFoundError: It is gone.
        """
        base, _, name = self.url.rpartition("/")
        return bytes(open_objects(base).get(name).bytes())


def objects(
    url: str, *, recursive: bool = False, every: timedelta | str | float = "10s", name: str | None = None
) -> ObjectTrigger:
    """Take objects of a store as they come: `@app.on(objects("s3://bucket/inbox/*.csv"))`.

    Each version of an object is one event, also across restarts and with several processes. What is there when it is
    looked at first is new. One that is deleted and comes again is new again.

    Args:
        url: A prefix, and a pattern of names behind the last `/`; s3, gs, az and file URLs. Credentials and region come
            from the environment (`AWS_ACCESS_KEY_ID`, ...). Needs `pip install 'millstream[objects]'`.
        recursive: Those in the prefixes below as well.
        every: How often the prefix is listed.
        name: Of the trigger; None: made of the URL.

    Raises:
        UsageError: It is no URL, or has a pattern before the last `/`.
    """
    base, slash, pattern = url.rpartition("/")
    if "://" not in base or not slash:
        raise UsageError(f"objects({url!r}): give a URL such as s3://bucket/inbox/*.csv")
    if any(character in base for character in _WILD):
        raise UsageError(f"objects({url!r}): a pattern is for names, behind the last /; recursive=True looks below")
    seconds = duration(every).total_seconds()
    if seconds < POLL_S_MIN:
        raise UsageError(f"objects(every={every!r}): a store is listed at most every {POLL_S_MIN} s")
    place = base.partition("://")[2].rstrip("/").rpartition("/")[2]
    given = name or name_of("objects", place, pattern or "all")
    return ObjectTrigger(base, pattern or "*", recursive=recursive, every_s=seconds, name=given)


class ObjectTrigger(Trigger):
    """Objects below a prefix; see `objects`."""

    kind = "objects"
    event: ClassVar[type] = StoredObject
    time_field = "modified"

    def __init__(self, base: str, pattern: str, *, recursive: bool, every_s: float, name: str) -> None:
        super().__init__(name)
        self.base = base
        self.pattern = pattern
        self.recursive = recursive
        self.every_s = every_s

    def source(self, log: Log) -> EventSource:
        return ObjectSource(log, self)

    def matches(self, path: str) -> bool:
        """Return whether an object is meant, by its path below the prefix."""
        folder, _, name = path.rpartition("/")
        return (self.recursive or not folder) and bool(name) and fnmatch.fnmatchcase(name, self.pattern)


class ObjectSource:
    """Writes an event for each version of an object.

    Which versions were seen changes in the transaction that writes the events: of two processes one commits, the other
    looks anew.
    """

    def __init__(self, log: Log, trigger: ObjectTrigger) -> None:
        self._log = log
        self._trigger = trigger

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.look()
            stop.wait(self._trigger.every_s)

    def run_now(self, stop: threading.Event) -> int:
        return self.look()

    def look(self) -> int:
        """List the prefix once; return how many events were written.

        Raises:
            StorageError: The store does not answer.
        """
        memory = Memory(self._log, self._trigger.name, self._trigger.events(self._log))
        known = memory.read()
        found = {one.path.encode(): one for one in self._listed()}
        new = {path: one for path, one in found.items() if known.get(path) != one.version.encode()}
        gone = [path for path in known if path not in found]
        written = 0
        try:
            for part in _parts(new):
                memory.write(
                    list(part.values()),
                    found={path: known.get(path) for path in part},
                    kept={path: one.version.encode() for path, one in part.items()},
                )
                written += len(part)
            if gone:
                memory.write([], found={path: known[path] for path in gone}, kept=dict.fromkeys(gone))
        except CommitConflictError:
            pass  # another process was faster; the next look sees what it has done
        return written

    def _listed(self) -> Iterator[StoredObject]:
        trigger = self._trigger
        try:
            for part in open_objects(trigger.base).list():
                for meta in part:
                    if trigger.matches(meta["path"]):
                        yield _object(trigger.base, meta)
        except UsageError:
            raise
        except Exception as error:  # obstore raises errors of its own, without a common base that it names
            raise StorageError(f"{trigger.base} cannot be listed: {error}") from error


def _object(base: str, meta: Mapping[str, Any]) -> StoredObject:
    modified: datetime = meta["last_modified"]
    version = meta.get("e_tag") or f"{meta['size']}-{modified.isoformat()}"
    return StoredObject(
        url=f"{base}/{meta['path']}", path=meta["path"], size=meta["size"], modified=modified, version=version
    )


def _parts(new: Mapping[bytes, StoredObject]) -> Iterator[dict[bytes, StoredObject]]:
    """Yield some of them at a time, oldest first."""
    ordered = sorted(new.items(), key=lambda item: (item[1].modified, item[0]))
    for place in range(0, len(ordered), EVENTS_MAX):
        yield dict(ordered[place : place + EVENTS_MAX])
